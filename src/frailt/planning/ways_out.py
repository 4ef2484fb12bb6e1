"""Settings with which a training step that does not fit into a device's memory does."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from frailt.model import FraiLTConfig

from .config import PlanConfig
from .memory import Step, training_peak
from .needs import NOT_TENSORS_BYTES, Device, gib

MAX_PROCESSES = 1024
CHECKPOINTING = "--gradient_checkpointing true"

Way = tuple[str, Step]
"""Options of `frailt plan` and `frailt train`, and the step that they make."""


def ways_out(config: PlanConfig, model: FraiLTConfig, step: Step, device: Device) -> tuple[str, ...]:
    """Options, with the memory that is needed then; the ones that cost least first."""

    def first(ways: Iterable[Way]) -> tuple[str, ...]:
        """The first that suffices."""
        for options, changed in ways:
            needed = training_peak(model, changed).total + NOT_TENSORS_BYTES
            if needed <= device.memory_bytes:
                return (f"{options} ({gib(needed)} GiB)",)
        return ()

    def again(ways: Iterable[Way]) -> Iterator[Way]:
        """The same with blocks run again in the backward pass."""
        for options, changed in ways:
            yield f"{CHECKPOINTING} {options}".rstrip(), replace(changed, gradient_checkpointing=True)

    return (
        first(_in_more_passes(config, step)) + first(again([("", step)]))
        or first(again(_in_more_passes(config, step)))
        or (first(_sharded(config, step)) if device.is_gpu else ())
        or ("a smaller model, context or vocabulary, or a larger device",)
    )


def _in_more_passes(config: PlanConfig, step: Step) -> Iterator[Way]:
    """The rows of a step in more forward passes, down to one row each."""
    rows_of_process = config.batch_rows // step.processes
    for passes in range(config.accumulation_steps + 1, rows_of_process + 1):
        if rows_of_process % passes == 0:
            yield f"--accumulation_steps {passes}", replace(step, rows=rows_of_process // passes, accumulates=True)


def _sharded(config: PlanConfig, step: Step) -> Iterator[Way]:
    """The model shared by more and more processes, which take one row at a time and run blocks again."""
    processes = max(2, step.processes)
    while processes <= min(MAX_PROCESSES, config.batch_rows):
        passes, left = divmod(config.batch_rows, processes)
        if left == 0:
            options = f"--parallel fsdp --processes {processes} {CHECKPOINTING}"
            if passes != config.accumulation_steps:
                options += f" --accumulation_steps {passes}"
            yield (
                options,
                replace(
                    step, rows=1, processes=processes, sharded=True, accumulates=passes > 1, gradient_checkpointing=True
                ),
            )
        processes *= 2
