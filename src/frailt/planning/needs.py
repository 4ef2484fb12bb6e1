"""What a training run will need, as numbers and as the table that `frailt plan` shows."""

from collections.abc import Iterator
from dataclasses import dataclass

from frailt.model import FraiLTConfig
from frailt.model.cost import Cost

from .config import PlanConfig
from .memory import Moment, Step

GIB = 2**30
NOT_TENSORS_BYTES = 2 * GIB
"""Left free on each device: CUDA context, workspaces of kernels, what torch's allocator cannot use; on a CPU Python and
the libraries. An allowance, not a measurement."""
TOKENS_PER_PARAMETER = 20
"""Compute-optimal for plain transformers: Hoffmann et al. (2022), "Training compute-optimal large language models"."""


@dataclass(frozen=True, kw_only=True)
class Device:
    """What one process computes on."""

    title: str
    is_gpu: bool
    bfloat16: bool
    """Whether training runs in bfloat16 autocast there."""
    flops_per_s: float
    """Peak of matrix products in that precision."""
    memory_bytes: int


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run will need; as text, the table that `frailt plan` shows."""

    config: PlanConfig
    model: FraiLTConfig
    vocabulary: str
    """Where the size of the vocabulary comes from."""
    device: Device
    step: Step
    peak: Moment
    """The fullest moment of a step, of one process."""
    costs: Cost
    hardware_flops_per_token: int
    """Training FLOPs, and those of running blocks again under gradient checkpointing."""
    steps: int | None
    """Optimiser steps; None where the budget is in passes and the data is not known."""
    tokens_per_pass: int | None
    ways_out: tuple[str, ...] = ()
    """Where the step does not fit: settings with which it does."""

    @property
    def needed_bytes(self) -> int:
        """Memory of one device that the run takes."""
        return self.peak.total + NOT_TENSORS_BYTES

    @property
    def fits(self) -> bool:
        """Whether the device has that much."""
        return self.needed_bytes <= self.device.memory_bytes

    @property
    def tokens(self) -> int | None:
        """Tokens trained on."""
        return None if self.steps is None else self.steps * self.config.tokens_per_step

    @property
    def tokens_per_s(self) -> float:
        """Of all processes together, at the given utilisation."""
        rate = self.device.flops_per_s * self.config.utilisation * self.step.processes
        return rate / self.hardware_flops_per_token

    @property
    def training_s(self) -> float | None:
        """Seconds of training, evaluations and checkpoints aside."""
        return None if self.tokens is None else self.tokens / self.tokens_per_s

    def __str__(self) -> str:
        return "\n".join(f"{name:<26} {value}".rstrip() for name, value in _rows(self))


def _rows(plan: Plan) -> Iterator[tuple[str, str]]:
    """The table, line by line."""
    config, step, costs, device = plan.config, plan.step, plan.costs, plan.device
    unique = costs.parameters.total
    yield "layout", f"{costs.layout}, {costs.depth} block applications, width {plan.model.hidden_size:,}"
    if counts := config.iteration_counts.several:
        shares = config.iteration_counts.shares()
        mean = sum(count * share for count, share in shares.items())
        yield "iterations", f"{counts[0]} to {counts[-1]}: memory for {counts[-1]}, FLOPs for the mean of {mean:.3g}"
    yield "vocabulary", f"{plan.model.vocab_size:,} tokens, {plan.vocabulary}"
    yield "unique parameters", f"{unique:,}"
    yield "of a plain model as deep", f"{costs.parameters_of_equal_depth:,}"
    rate = f"{device.flops_per_s / 1e12:,.3g} TFLOP/s in {'bfloat16' if device.bfloat16 else 'float32'}"
    yield "device", f"{device.title}: {gib(device.memory_bytes)} GiB, {rate}"
    yield (
        "optimiser step",
        f"{config.tokens_per_step:,} tokens: {_count(step.processes, 'process', 'processes')} x "
        f"{_count(config.accumulation_steps, 'forward pass', 'forward passes')} x {_count(step.rows, 'row', 'rows')} "
        f"x {step.context:,} tokens",
    )
    yield "", ""
    yield "memory of a process", f"GiB at its fullest, the {plan.peak.name}"
    yield from ((f"  {name}", gib(size)) for name, size in _parts(plan) if size)
    yield "  tensors", gib(plan.peak.total)
    yield "  left free beside them", gib(NOT_TENSORS_BYTES)
    if plan.fits:
        yield "fits", f"yes, {gib(plan.needed_bytes)} of {gib(device.memory_bytes)} GiB"
    else:
        yield "fits", f"no, {gib(plan.needed_bytes)} of {gib(device.memory_bytes)} GiB; it would with"
        yield from (("", way) for way in plan.ways_out)
    for name, size in (("float32", 4), ("bfloat16", 2)):
        cache = costs.kv_bytes_per_token(size) * step.context
        yield "KV cache of a row" if size == 4 else "", f"{gib(cache)} GiB in {name}, when generating"
    yield "", ""
    yield from _budget(plan)


def _parts(plan: Plan) -> Iterator[tuple[str, int]]:
    peak = plan.peak
    yield "parameters", peak.parameters
    yield "AdamW's means", peak.optimizer_state
    yield "gradients", peak.gradients
    yield "gathered weights" if plan.step.sharded else "buckets of gradients", peak.shared
    yield "bfloat16 copies", peak.weight_copies
    yield "activations", peak.activations
    yield "logits and loss", peak.logits
    yield "temporary", peak.temporary


def _budget(plan: Plan) -> Iterator[tuple[str, str]]:
    """Tokens, FLOPs and time."""
    costs, unique = plan.costs, plan.costs.parameters.total
    rule = TOKENS_PER_PARAMETER * unique
    if plan.tokens is None:
        yield "tokens", "— (a budget in passes needs data whose length is known: give data, tokens or steps)"
    else:
        passes = f", {plan.tokens / plan.tokens_per_pass:,.3g} passes" if plan.tokens_per_pass else ""
        per_parameter = f"{plan.tokens / unique:,.3g} per unique parameter"
        yield "tokens", f"{plan.tokens:,} in {plan.steps:,} steps{passes}, {per_parameter}"
    yield "  rule of thumb", f"{rule:,}, 20 per parameter, found for plain transformers (Hoffmann et al., 2022)"
    yield "training FLOPs per token", f"{costs.training_flops_per_token:,}"
    if plan.hardware_flops_per_token != costs.training_flops_per_token:
        yield "  with recomputation", f"{plan.hardware_flops_per_token:,}"
    if plan.tokens is not None:
        yield "training FLOPs", f"{plan.tokens * costs.training_flops_per_token:.3g}"
    speed = f"{plan.tokens_per_s:,.0f} tokens/s at a utilisation of {plan.config.utilisation:g}"
    yield "time", f"{_duration(plan.training_s) if plan.training_s is not None else '—'}, at {speed}"


def gib(size: float) -> str:
    """Bytes in GiB: two decimals, or two figures where that is nothing."""
    gib = size / GIB
    return f"{gib:,.2f}" if gib >= 0.01 else f"{gib:.1g}"


def _count(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"


def _duration(seconds: float) -> str:
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.1f} {unit}"
    return f"{seconds:,.1f} seconds"
