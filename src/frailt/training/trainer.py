"""transformers' `Trainer`, with our optimiser groups, our validation loss, and our log."""

import math
import sys
import time
from collections.abc import Callable
from typing import Any

from torch import nn
from tqdm import tqdm
from transformers import Trainer, TrainerCallback

from frailt.data.packing import PackedRows
from frailt.model.encodings import IterationEncoding

from .validation import share_of_rows, validation_loss


class FraiLTTrainer(Trainer):
    """Trains a FraiLT or its baseline.

    Args:
        validation_rows: what `evaluate` measures the loss on.
        evaluation_share: the share of those rows that it takes.
        trainer_arguments: as for `Trainer`.
    """

    def __init__(self, *, validation_rows: PackedRows, evaluation_share: float, **trainer_arguments: Any) -> None:
        self.validation_rows = validation_rows
        self.evaluation_indices = share_of_rows(len(validation_rows), evaluation_share)
        super().__init__(eval_dataset=self.evaluation_indices, **trainer_arguments)
        self.evaluating_s = 0.0

    def get_decay_parameter_names(self, model: nn.Module) -> list[str]:
        """Matrices decay; norms and iteration encodings, though tables, do not."""
        encodings = {id(p) for m in model.modules() if isinstance(m, IterationEncoding) for p in m.parameters()}
        return [name for name, p in model.named_parameters() if p.ndim >= 2 and id(p) not in encodings]

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """The validation loss on the fixed share of rows, logged as `eval_loss` in nats per token."""
        began = time.perf_counter()
        loss = validation_loss(
            self.accelerator.unwrap_model(self.model),
            self.validation_rows,
            indices=self.evaluation_indices,
            batch_rows=self.args.per_device_eval_batch_size,
        )
        metrics = {"eval_loss": loss.nats_per_token, "eval_targets": loss.targets}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        self.evaluating_s += time.perf_counter() - began  # with the saving of what is best
        return metrics


class RunLog(TrainerCallback):
    """Writes metrics, shows progress, keeps the best checkpoint, and stops where the loss is no number.

    Args:
        trainer: whose time spent in evaluation is not counted as training.
        evaluations: how often to evaluate, evenly spread over the steps, the last of them included.
        tokens_per_step: tokens of one optimiser step, over all devices.
        write: takes one row of metrics.
        save_best: called when the validation loss is the lowest so far.
    """

    def __init__(
        self,
        trainer: FraiLTTrainer,
        evaluations: int,
        tokens_per_step: int,
        write: Callable[[dict[str, Any]], None],
        save_best: Callable[[float, int], None],
    ) -> None:
        self.trainer, self.tokens_per_step = trainer, tokens_per_step
        steps = trainer.args.max_steps
        self.evaluate_after = {math.ceil(steps * i / evaluations) for i in range(1, evaluations + 1)}
        self.write, self.save_best = write, save_best
        self.best_nats = math.inf
        self.began = 0.0
        self.bar: tqdm | None = None

    @property
    def training_s(self) -> float:
        """Seconds since the start, less those spent in evaluation."""
        return time.perf_counter() - self.began - self.trainer.evaluating_s

    def on_train_begin(self, args, state, control, **kwargs):
        self.began = time.perf_counter()
        self._last_step, self._last_s = 0, 0.0
        # Where nobody watches, as in a log file, one line in ten seconds is enough.
        self.bar = tqdm(total=state.max_steps, unit="step", mininterval=0.2 if sys.stderr.isatty() else 10)

    def on_step_end(self, args, state, control, **kwargs):
        assert self.bar is not None
        self.bar.update(state.global_step - self.bar.n)
        control.should_evaluate = state.global_step in self.evaluate_after

    def on_log(self, args, state, control, logs=None, **kwargs):
        row: dict[str, Any] = {"step": state.global_step, "tokens": state.global_step * self.tokens_per_step}
        row["training_s"] = round(self.training_s, 3)
        if "loss" in logs:
            steps, seconds = state.global_step - self._last_step, self.training_s - self._last_s
            self._last_step, self._last_s = state.global_step, self.training_s
            row |= {
                "loss_nats_per_token": logs["loss"],
                "learning_rate": logs["learning_rate"],
                "gradient_norm": logs.get("grad_norm"),
                "tokens_per_s": round(steps * self.tokens_per_step / seconds, 1),
            }
            self.check_finite("loss", logs["loss"], state.global_step)
            self.check_finite("gradient norm", logs.get("grad_norm", 0.0), state.global_step)
            if self.bar is not None:
                shown = f"loss {logs['loss']:.3f}, lr {logs['learning_rate']:.1e}, {row['tokens_per_s']:,.0f} tokens/s"
                self.bar.set_postfix_str(shown, refresh=False)
        elif "eval_loss" in logs:
            self.check_finite("validation loss", logs["eval_loss"], state.global_step)
            row |= {"validation_nats_per_token": logs["eval_loss"], "targets": logs["eval_targets"]}
        else:
            return
        self.write(row)

    def on_evaluate(self, args, state, control, metrics=None, **kwargs):
        if metrics["eval_loss"] < self.best_nats:
            self.best_nats = metrics["eval_loss"]
            self.save_best(self.best_nats, state.global_step)

    def check_finite(self, what: str, value: float, step: int) -> None:
        """Raise a FloatingPointError where a number is none: what was trained from then on is worth nothing."""
        if not math.isfinite(value):
            raise FloatingPointError(
                f"{what} became {value} at or before step {step}: lower learning_rate, "
                f"now {self.trainer.args.learning_rate}"
            )

    def close(self) -> None:
        """End the progress bar's line."""
        if self.bar is not None:
            self.bar.close()
