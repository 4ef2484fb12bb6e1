"""transformers' `Trainer`, with our optimiser groups, validation loss and checkpoints, and care for nan."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer
from transformers import Trainer

from frailt.data.packing import PackedRows
from frailt.model.encodings import IterationEncoding

from .depth import Depth
from .iteration_counts import CountSchedule
from .processes import Processes, is_sharded, settle
from .resume import read_state, restore_optimizer, restore_random
from .validation import Loss, share_of_rows, validation_loss

EVALUATED_AT = "eval_loss_at_iterations_"
"""What the loss at another count is logged as, before the count."""


class EvaluationCut(Exception):
    """An evaluation ended early because the run was asked to stop; it has a checkpoint."""


class LossWindow:
    """The mean training loss since the last logged step, over the steps whose update was done.

    Sums stay on the device, in double precision where it has it: nothing waits for them until they are asked for.
    """

    def __init__(self) -> None:
        self.kept: Tensor | float = 0.0
        self.steps = self.skipped = 0
        self._step: Tensor | float = 0.0

    def add(self, loss: Tensor) -> None:
        """The loss of one forward pass, already divided by the targets of the whole step."""
        self._step = self._step + (loss.double() if loss.device.type != "mps" else loss)

    def end_step(self, *, skipped: bool = False) -> None:
        """Count the step in, or leave it out."""
        if skipped:
            self.skipped += 1
        else:
            self.kept, self.steps = self.kept + self._step, self.steps + 1
        self._step = 0.0

    def take(self, processes: Processes) -> tuple[float, int]:
        """The mean over all processes, nan where every step was skipped, and how many steps were; then start again."""
        mean = processes.total(float(self.kept))[0] / processes.count / self.steps if self.steps else math.nan
        skipped = self.skipped
        self.__init__()  # type: ignore[misc]
        return mean, skipped

    def state(self, processes: Processes) -> dict[str, float]:
        """What a checkpoint keeps of it."""
        kept = processes.total(float(self.kept))[0] / processes.count
        return {"kept": kept, "steps": self.steps, "skipped": self.skipped}

    def restore(self, state: dict[str, float]) -> None:
        """Go on from `state`."""
        self.kept, self.steps, self.skipped = state["kept"], int(state["steps"]), int(state["skipped"])


class FraiLTTrainer(Trainer):
    """Trains a FraiLT or its baseline.

    Args:
        processes: those that train together.
        validation_rows: what `evaluate` measures the loss on.
        evaluation_share: the share of those rows that it takes.
        evaluation_batch_rows: rows of one of its forward passes.
        skip_nonfinite: whether a step whose loss or gradient is infinite or no number is left out instead of ending
            the run.
        rows_of: the training rows of a step, for the message that ends a run.
        depth: lets the model run with other iteration counts.
        schedule: the count of every step.
        evaluated_counts: at which the loss is measured too.
        asked_to_stop: whether an evaluation shall end early, in all processes alike.
        trainer_arguments: as for `Trainer`.
    """

    def __init__(
        self,
        *,
        processes: Processes,
        validation_rows: PackedRows,
        evaluation_share: float,
        evaluation_batch_rows: int,
        skip_nonfinite: bool,
        rows_of: Callable[[int], list[int]],
        depth: Depth,
        schedule: CountSchedule,
        evaluated_counts: Sequence[int] = (),
        asked_to_stop: Callable[[], bool] = lambda: False,
        **trainer_arguments: Any,
    ) -> None:
        self.processes, self.validation_rows = processes, validation_rows
        self.evaluation_indices = share_of_rows(len(validation_rows), evaluation_share)
        self.evaluation_batch_rows = evaluation_batch_rows
        self.skip_nonfinite, self.rows_of = skip_nonfinite, rows_of
        self.depth, self.schedule, self.evaluated_counts = depth, schedule, evaluated_counts
        super().__init__(eval_dataset=self.evaluation_indices, **trainer_arguments)
        # What tells the Trainer to leave placement and the averaging of gradients to the model.
        self.is_distributed_loading_by_transformers = is_sharded(self.bare_model)
        self.asked_to_stop = asked_to_stop
        self.evaluation_is_due = False
        """Whether the evaluation after the last step was cut short; whoever goes on makes up for it."""
        self.losses = LossWindow()
        self.began_after_step = 0
        self.last_checkpoint: Path | None = None
        self.keep: Callable[[], Path] | None = None
        self.evaluating_s = self.saving_s = self.waiting_s = 0.0
        self._unchecked: list[tuple[int, Tensor, Tensor]] = []  # step, loss, gradient norm, on the device

    # The optimiser

    def get_decay_parameter_names(self, model: nn.Module) -> list[str]:
        """Matrices decay; norms and iteration encodings, though tables, do not."""
        encodings = {id(p) for m in model.modules() if isinstance(m, IterationEncoding) for p in m.parameters()}
        return [name for name, p in model.named_parameters() if p.ndim >= 2 and id(p) not in encodings]

    @property
    def bare_model(self) -> nn.Module:
        """The model, without what DDP wraps it in."""
        assert isinstance(self.model, nn.Module)
        return self.model

    @property
    def bare_optimizer(self) -> Optimizer:
        """Torch's optimiser, without accelerate's wrapping."""
        assert self.optimizer is not None
        return getattr(self.optimizer, "optimizer", self.optimizer)

    def _clip_grad_norm(self, model: nn.Module) -> Tensor:
        settle(self.bare_model)
        norm = super()._clip_grad_norm(model)
        return norm.full_tensor() if isinstance(norm, DTensor) else norm

    def _get_grad_norm(self, model: nn.Module, grad_norm: Tensor | None = None) -> Tensor:
        """The norm, and the place to look at it: between the backward pass and the optimiser's step."""
        settle(self.bare_model)
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)
        norm = norm.full_tensor() if isinstance(norm, DTensor) else norm
        skipped = self.skip_nonfinite and not math.isfinite(norm)
        if skipped:
            for parameter in model.parameters():
                parameter.grad = None  # the optimiser passes over parameters without a gradient
        elif not self.skip_nonfinite:
            self._unchecked.append((self.state.global_step + 1, torch.as_tensor(self.losses._step), norm))
        self.losses.end_step(skipped=skipped)
        return norm

    @contextmanager
    def _defer_fsdp_gradient_reduction(self) -> Iterator[None]:
        """For accumulation over forward passes: FSDP2 reduces gradients in the last one only."""
        model = self.bare_model
        assert isinstance(model, FSDPModule)
        model.set_requires_gradient_sync(False)
        try:
            yield
        finally:
            model.set_requires_gradient_sync(True)

    # One step

    def get_batch_samples(self, epoch_iterator: Iterator, *args: Any, **kwargs: Any) -> Any:
        """As in `Trainer`; a process that trains alone saves what is done where the data cannot be read."""
        try:
            return super().get_batch_samples(self._timed(epoch_iterator), *args, **kwargs)
        except (OSError, ValueError):
            if self.processes.count == 1 and self.state.global_step > self.began_after_step and self.keep is not None:
                with suppress(OSError, FloatingPointError):
                    self._save_checkpoint(self.bare_model, None)
            raise

    def _timed(self, batches: Iterator) -> Iterator:
        """The batches; the time is what training waits for its data."""
        while True:
            began = time.perf_counter()
            try:
                batch = next(batches)
            except StopIteration:
                return
            finally:
                self.waiting_s += time.perf_counter() - began
            yield batch

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        """As in `Trainer`, at the iteration count of the step."""
        with self.depth.at(self.schedule.at(self.state.global_step + 1)):
            loss = super().training_step(*args, **kwargs)
        self.losses.add(loss)
        return loss

    def check_finite(self) -> None:
        """Raise a FloatingPointError where a step since the last check had a loss or a gradient that is no number.

        On a GPU this waits for the steps to be done, so it is called when something is logged or saved.
        """
        unchecked, self._unchecked = self._unchecked, []
        if not unchecked:
            return
        steps = [step for step, _, _ in unchecked]
        losses = torch.stack([loss.detach() for _, loss, _ in unchecked]).cpu()
        norms = torch.stack([norm.detach() for _, _, norm in unchecked]).cpu()
        # What one process alone sees must not end it alone: the gradient's norm is the same in all.
        bad = ~torch.isfinite(norms) if self.processes.count > 1 else ~(torch.isfinite(losses) & torch.isfinite(norms))
        if not bad.any():
            return
        first = int(bad.nonzero()[0, 0])
        step, loss, norm = steps[first], float(losses[first]), float(norms[first])
        what, value = ("loss", loss) if not math.isfinite(loss) else ("gradient norm", norm)
        rows = self.rows_of(step)
        shown = ", ".join(map(str, rows[:16])) + (", ..." if len(rows) > 16 else "")
        raise FloatingPointError(
            f"{what} became {value} at step {step}, on training rows {shown}; "
            f"last good checkpoint: {self.last_checkpoint or 'none yet'}; "
            f"lower learning_rate, now {self.args.learning_rate}, in another out, or go on here with on_nonfinite skip"
        )

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """As in `Trainer`, with the mean loss over steps that were not skipped, in double precision."""
        if "loss" in logs:
            logs["loss"], logs["skipped_steps"] = self.losses.take(self.processes)
        super().log(logs, start_time)
        self.state.log_history.clear()  # metrics.jsonl has it all

    # Validation

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """The validation loss on the fixed share of rows, logged as `eval_loss` in nats per token.

        Where the run is asked to stop meanwhile, it is saved with the evaluation still due.

        Raises:
            EvaluationCut: that was so.
        """
        self.check_finite()
        began = time.perf_counter()

        def stop_early(rows: int) -> None:
            if self.asked_to_stop():
                raise EvaluationCut

        def measure() -> Loss:
            return validation_loss(
                self.accelerator.unwrap_model(self.model),
                self.validation_rows,
                indices=self.evaluation_indices,
                batch_rows=self.evaluation_batch_rows,
                processes=self.processes,
                progress=stop_early,
            )

        try:
            loss = measure()
            metrics = {"eval_loss": loss.nats_per_token, "eval_targets": loss.targets}
            for count, own in self.depth.measure_each(self.evaluated_counts, measure, loss).items():
                metrics[f"{EVALUATED_AT}{count}"] = own.nats_per_token
        except EvaluationCut:
            self.evaluating_s += time.perf_counter() - began
            self.evaluation_is_due = True
            self._save_checkpoint(self.bare_model, None)
            raise
        self.evaluation_is_due = False
        measured = time.perf_counter()
        self.evaluating_s += measured - began  # before it is logged, with the time of training
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        self.evaluating_s += time.perf_counter() - measured  # with the saving of what is best
        return metrics

    # Checkpoints: ours instead of the Trainer's, which are written in place and hold pickles

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        self.check_finite()
        began = time.perf_counter()
        assert self.keep is not None
        self.last_checkpoint = self.keep()
        self.saving_s += time.perf_counter() - began

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        """Nothing: the model had the checkpoint's weights before it was wrapped or sharded."""

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None:
            return
        assert self.optimizer is not None
        assert self.lr_scheduler is not None
        state = read_state(Path(checkpoint))
        restore_optimizer(self.bare_model, self.bare_optimizer, Path(checkpoint))
        self.lr_scheduler.load_state_dict(self.lr_scheduler.state_dict() | state["schedule"])
        for group, rate in zip(self.optimizer.param_groups, state["schedule"]["_last_lr"], strict=True):
            group["lr"] = rate

    def _load_scaler(self, checkpoint: str | None) -> None:
        """Nothing: bfloat16 needs no scaling."""

    def _load_rng_state(self, checkpoint: str | None) -> None:
        if checkpoint is not None:
            restore_random(self.processes, Path(checkpoint), self.args.seed, self.state.global_step)
