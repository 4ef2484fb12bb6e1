"""What happens beside the steps of a run: metrics, progress, when to evaluate, to save, to stop."""

import math
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from tqdm import tqdm
from transformers import TrainerCallback

from frailt.model.cost import Cost

from .config import TrainConfig
from .depth import mean_training_flops
from .hardware import peak_memory_bytes
from .iteration_counts import mean_count
from .processes import check_wrapped
from .stopping import StopRequest
from .trainer import EVALUATED_AT, FraiLTTrainer


class RunLog(TrainerCallback):
    """Writes metrics, shows progress, keeps the best checkpoint, and says when to evaluate, to save and to stop.

    Args:
        trainer: whose time spent in evaluating and saving is not counted as training.
        config: how often to evaluate and to save.
        costs: of training at each iteration count, full attention square.
        matmul_flops_per_s: what the devices of all processes could do, for the utilisation.
        stop: whether somebody asked to stop.
        write: takes one row of metrics.
        save_best: called when the validation loss is the lowest so far.
    """

    def __init__(
        self,
        trainer: FraiLTTrainer,
        config: TrainConfig,
        *,
        costs: Mapping[int | None, Cost],
        matmul_flops_per_s: float,
        stop: StopRequest,
        write: Callable[[dict[str, Any]], None],
        save_best: Callable[[float, int], None],
    ) -> None:
        self.trainer, self.config = trainer, config
        self.costs, self.matmul_flops_per_s = costs, matmul_flops_per_s
        self.stop, self.write, self.save_best = stop, write, save_best
        steps, evaluations = trainer.args.max_steps, config.evaluations
        self.evaluate_after = {math.ceil(steps * i / evaluations) for i in range(1, evaluations + 1)}
        self.best_nats = math.inf
        self.skipped_steps = 0
        self.stopped = False
        """Whether training ended because it was asked to."""
        self.first_step_s: float | None = None
        """Seconds until a first step was done, in which blocks are compiled; summed over all starts of the run."""
        self._has_stepped, self._aside_before_s = False, 0.0
        self._before_s = 0.0  # trained before the checkpoint that this process goes on from
        self._began = self._saved = time.perf_counter()
        self._logged_step, self._logged_s, self._logged_waiting_s = 0, 0.0, 0.0
        self._counted_step = 0  # as logged, over checkpoints too, which seconds are not
        self.bar: tqdm | None = None

    @property
    def training_s(self) -> float:
        """Seconds of training over all processes that this run was, without evaluating and saving."""
        aside = self.trainer.evaluating_s + self.trainer.saving_s
        return self._before_s + time.perf_counter() - self._began - aside

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {
            "training_s": self.training_s,
            "evaluating_s": self.trainer.evaluating_s,
            "first_step_s": self.first_step_s,
            "evaluation_is_due": self.trainer.evaluation_is_due,
            "best_nats": self.best_nats if math.isfinite(self.best_nats) else None,
            "skipped_steps": self.skipped_steps,
            "losses": self.trainer.losses.state(self.trainer.processes),
            "logged_step": self._counted_step,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what a checkpoint kept."""
        self._before_s = state["training_s"] + state["evaluating_s"]  # which `training_s` takes off again
        self.trainer.evaluating_s = state["evaluating_s"]
        self.first_step_s = state.get("first_step_s")
        self.trainer.evaluation_is_due = state.get("evaluation_is_due", False)
        self.best_nats = math.inf if state["best_nats"] is None else state["best_nats"]
        self.skipped_steps = state["skipped_steps"]
        self.trainer.losses.restore(state["losses"])
        self._logged_step, self._logged_s = state["step"], state["training_s"]
        self._counted_step = state.get("logged_step", state["step"])

    def on_train_begin(self, args, state, control, **kwargs):
        check_wrapped(self.trainer.model_wrapped, self.trainer.processes)
        self._began = self._saved = time.perf_counter()
        self._aside_before_s = self.trainer.evaluating_s + self.trainer.saving_s
        # Where nobody watches, as in a log file, one line in ten seconds is enough.
        self.bar = tqdm(
            total=state.max_steps,
            initial=state.global_step,
            unit="step",
            mininterval=0.2 if sys.stderr.isatty() else 10,
            disable=not self.trainer.processes.first,
        )
        if self.trainer.evaluation_is_due:
            # The Trainer does so later, and a checkpoint may be written before.
            self.trainer._load_rng_state(str(self.trainer.last_checkpoint))
            self.trainer.evaluate()

    def on_step_end(self, args, state, control, **kwargs):
        assert self.bar is not None
        step = state.global_step
        if not self._has_stepped:
            self._has_stepped = True
            aside = self.trainer.evaluating_s + self.trainer.saving_s - self._aside_before_s
            self.first_step_s = (self.first_step_s or 0.0) + time.perf_counter() - self._began - aside
        if self.trainer.processes.device.type == "cpu":  # nothing to wait for
            self.trainer.check_finite()
        self.bar.update(step - self.bar.n)
        control.should_evaluate = step in self.evaluate_after
        every = self.config.save_every_steps
        since_save_s = time.perf_counter() - self._saved
        due = step % every == 0 if every else since_save_s >= 60 * self.config.save_every_minutes
        due, self.stopped = self.trainer.processes.raised_anywhere(due or step == state.max_steps, bool(self.stop))
        control.should_save = due or self.stopped
        control.should_training_stop |= self.stopped

    def on_save(self, args, state, control, **kwargs):
        self._saved = time.perf_counter()

    def on_log(self, args, state, control, logs=None, **kwargs):
        row: dict[str, Any] = {"step": state.global_step, "tokens": state.global_step * self.config.tokens_per_step}
        row["training_s"] = round(self.training_s, 3)
        if "loss" in logs:
            self.trainer.check_finite()
            row |= self._training_row(state.global_step, logs)
            if self.bar is not None:
                shown = f"loss {logs['loss']:.3f}, lr {logs['learning_rate']:.1e}, {row['tokens_per_s']:,.0f} tokens/s"
                self.bar.set_postfix_str(shown, refresh=False)
        elif "eval_loss" in logs:
            self.check_finite("validation loss", logs["eval_loss"], state.global_step)
            row |= {"validation_nats_per_token": logs["eval_loss"], "targets": logs["eval_targets"]}
            at = {name.removeprefix(EVALUATED_AT): nats for name, nats in logs.items() if name.startswith(EVALUATED_AT)}
            row |= {"validation_nats_per_token_at_iterations": at} if at else {}
        else:
            return
        self.write(row)

    def _training_row(self, step: int, logs: dict[str, Any]) -> dict[str, Any]:
        now_s, waiting_s = self.training_s, self.trainer.waiting_s
        steps, seconds = step - self._logged_step, now_s - self._logged_s
        waited = waiting_s - self._logged_waiting_s
        self._logged_step, self._logged_s, self._logged_waiting_s = step, now_s, waiting_s
        self.skipped_steps += logs["skipped_steps"]
        rate = steps * self.config.tokens_per_step / seconds
        flops = mean_training_flops(self.costs, self.trainer.schedule.ran(step - steps + 1, step))
        ran = self.trainer.schedule.ran(self._counted_step + 1, step)
        self._counted_step = step
        mean = {} if (iterations := mean_count(ran)) is None else {"mean_iterations": iterations}
        return (
            {
                "loss_nats_per_token": _number(logs["loss"]),
                "learning_rate": logs["learning_rate"],
                "gradient_norm": _number(logs.get("grad_norm")),
                "tokens_per_s": round(rate, 1),
                "model_flops_utilisation": round(rate * flops / self.matmul_flops_per_s, 4),
                "waiting_share": round(waited / seconds, 4),
                "peak_memory_bytes": peak_memory_bytes(self.trainer.processes.device),
            }
            | mean
            | ({"skipped_steps": logs["skipped_steps"]} if logs["skipped_steps"] else {})
        )

    def on_evaluate(self, args, state, control, metrics=None, **kwargs):
        if metrics["eval_loss"] < self.best_nats:
            self.best_nats = metrics["eval_loss"]
            self.save_best(self.best_nats, state.global_step)

    def check_finite(self, what: str, value: float, step: int) -> None:
        """Raise a FloatingPointError where a number is none: what was trained until then is worth nothing."""
        if not math.isfinite(value):
            raise FloatingPointError(
                f"{what} became {value} at or before step {step}; "
                f"last good checkpoint: {self.trainer.last_checkpoint or 'none yet'}; "
                f"lower learning_rate, now {self.trainer.args.learning_rate}, in another out"
            )

    def close(self) -> None:
        """End the progress bar's line."""
        if self.bar is not None:
            self.bar.close()


def _number(value: float | None) -> float | None:
    """JSON has no nan and no infinity; a step that was skipped has them."""
    return value if value is not None and math.isfinite(value) else None
