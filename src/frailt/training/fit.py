"""The part of a run between its first step and its last checkpoint."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from tqdm import tqdm
from transformers import TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from frailt.data.packing import PackedRows
from frailt.data.streaming import StreamedRows
from frailt.model import FraiLTForCausalLM

from .choices import Choices
from .compiling import compile_model
from .config import TrainConfig
from .depth import Depth, costs_by_count
from .hardware import peak_memory_bytes
from .iteration_counts import CountSchedule
from .keeper import Keeper
from .processes import Processes
from .resume import read_state
from .rows import Collate, Order
from .run_folder import RunFolder
from .run_log import RunLog
from .stopping import Stopped, StopRequest
from .trainer import EvaluationCut, FraiLTTrainer
from .validation import Loss, evaluation_rows, validation_loss


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """What a finished run came to."""

    folder: Path
    validation: Loss
    """Of the last weights, over all validation rows."""
    best_share_nats_per_token: float
    """The lowest loss on the evaluated share while training; `best` holds those weights."""
    tokens: int
    tokens_per_s: float
    training_s: float
    validation_at_iterations: dict[int, Loss] = field(default_factory=dict)
    """The same at each of `evaluate_iterations`."""

    def __str__(self) -> str:
        return (
            f"{self.folder}: validation loss {self.validation.nats_per_token:.4f} nats per token "
            f"after {self.tokens:,} tokens, {self.tokens_per_s:,.0f} tokens/s"
        )


class Fit:
    """Trains a model to the end of its budget.

    Args:
        config: what was asked for.
        run: the run's folder.
        keeper: writes its checkpoints.
        processes: those that train together.
        chosen: how it is computed.
        train_rows: what is trained on.
        order: the number of the row at each position, from the first of the first step on.
        validation_rows: what the loss is measured on.
        schedule: how often looped groups run in each step.
        steps: optimiser steps.
    """

    def __init__(
        self,
        config: TrainConfig,
        run: RunFolder,
        keeper: Keeper,
        processes: Processes,
        chosen: Choices,
        train_rows: PackedRows | StreamedRows,
        order: Order,
        validation_rows: PackedRows,
        schedule: CountSchedule,
        steps: int,
    ) -> None:
        self.config, self.run_folder, self.keeper, self.processes = config, run, keeper, processes
        self.chosen, self.train_rows, self.order, self.validation_rows = chosen, train_rows, order, validation_rows
        self.schedule, self.steps, self.rows_per_pass = schedule, steps, config.rows_per_pass(processes.count)
        self.trainer: FraiLTTrainer

    def run(
        self,
        model: FraiLTForCausalLM,
        callbacks: Sequence[TrainerCallback],
        checkpoint: Path | None,
        stop: StopRequest,
    ) -> TrainResult:
        """Train to the end, or until `stop` says so."""
        if self.config.gradient_checkpointing:
            # The first is the name from transformers 5.20 or so on, the second goes in 6.
            enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
            enable()
        self.trainer = trainer = self._trainer(model, stop)
        log = self._log(stop, model)
        trainer.add_callback(log)
        for callback in callbacks:
            trainer.add_callback(callback)
        compile_model(model, self.chosen.compile, counts=max(1, len(self.schedule.counts)))
        if checkpoint is not None:
            state = read_state(checkpoint)
            log.restore(state)
            trainer.last_checkpoint, trainer.began_after_step = checkpoint, state["step"]
            if isinstance(self.train_rows, StreamedRows):
                self.train_rows.restore(state["data"])
        trainer.keep = lambda: self.keeper.save_to_go_on(trainer, log.state() | self._data_state())
        try:
            try:
                trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
            finally:
                log.close()
                if isinstance(self.train_rows, StreamedRows):
                    self.train_rows.close()
            if log.stopped and trainer.state.global_step < self.steps:
                self._stop(stop)
            return self._finish(model, log, stop)
        except EvaluationCut:
            self._stop(stop)

    def _data_state(self) -> dict[str, Any]:
        """Where a streamed corpus is read on from; any other batch is a function of seed and step."""
        if not isinstance(self.train_rows, StreamedRows):
            return {}
        return {"data": self.train_rows.state(self.trainer.state.global_step * self.config.batch_rows)}

    def _trainer(self, model: FraiLTForCausalLM, stop: StopRequest) -> FraiLTTrainer:
        batch_rows = self.config.batch_rows

        def rows_of(step: int) -> list[int]:
            return [self.order[position] for position in range((step - 1) * batch_rows, step * batch_rows)]

        trainer = FraiLTTrainer(
            model=model,
            args=self._arguments(),
            train_dataset=self.order,
            data_collator=Collate(self.train_rows),
            processes=self.processes,
            validation_rows=self.validation_rows,
            evaluation_share=self.config.evaluation_share,
            evaluation_batch_rows=self._evaluation_rows(model),
            skip_nonfinite=self.config.on_nonfinite == "skip",
            rows_of=rows_of,
            depth=Depth(model, {*self.schedule.counts, *self.config.evaluated}),
            schedule=self.schedule,
            evaluated_counts=self.config.evaluated,
            asked_to_stop=lambda: any(self.processes.raised_anywhere(bool(stop))),
        )
        for shown_by_us in (ProgressCallback, PrinterCallback):
            trainer.remove_callback(shown_by_us)
        return trainer

    def _evaluation_rows(self, model: FraiLTForCausalLM) -> int:
        device = self.processes.device
        return evaluation_rows(self.rows_per_pass, self.config.context, model.config.vocab_size, device)

    def _log(self, stop: StopRequest, model: FraiLTForCausalLM) -> RunLog:
        def write(row: dict[str, Any]) -> None:
            if self.processes.first:
                self.run_folder.log(row)

        return RunLog(
            self.trainer,
            self.config,
            costs=costs_by_count(self.config, model.config),
            matmul_flops_per_s=self.chosen.matmul_flops_per_s * self.processes.count,
            stop=stop,
            write=write,
            save_best=lambda nats, step: self.keeper.save("best", nats, step, "a fixed share of the validation rows"),
        )

    def _finish(self, model: FraiLTForCausalLM, log: RunLog, stop: StopRequest) -> TrainResult:
        training_s, trainer = log.training_s, self.trainer
        if log.best_nats == float("inf"):
            trainer.evaluate()
        began = time.perf_counter()
        with tqdm(
            total=len(self.validation_rows),
            unit="row",
            desc="validation",
            leave=False,
            disable=None if self.processes.first else True,
        ) as bar:

            def progress(rows: int) -> None:
                bar.update(rows)
                if any(self.processes.raised_anywhere(bool(stop))):
                    self._stop(stop)

            def measure() -> Loss:
                bar.reset()
                return validation_loss(
                    model,
                    self.validation_rows,
                    batch_rows=self._evaluation_rows(model),
                    processes=self.processes,
                    progress=progress,
                )

            validation = measure()
            at_iterations = trainer.depth.measure_each(self.config.evaluated, measure, validation)
        log.check_finite("validation loss", validation.nats_per_token, self.steps)
        self.keeper.save("last", validation.nats_per_token, self.steps, "all validation rows")
        tokens = self.steps * self.config.tokens_per_step
        log.write(
            {
                "step": self.steps,
                "tokens": tokens,
                "training_s": round(training_s, 3),
                "final_validation_nats_per_token": validation.nats_per_token,
                "targets": validation.targets,
                **_by_count(at_iterations),
                "evaluating_s": round(trainer.evaluating_s + time.perf_counter() - began, 3),
            }
        )
        if self.processes.first:
            self.run_folder.record |= {
                "first_step_s": log.first_step_s and round(log.first_step_s, 3),
                "skipped_steps": log.skipped_steps,
                "peak_memory_bytes": peak_memory_bytes(self.processes.device),
            }
        return TrainResult(
            folder=self.run_folder.path,
            validation=validation,
            best_share_nats_per_token=log.best_nats,
            tokens=tokens,
            tokens_per_s=round(tokens / training_s, 1),
            training_s=round(training_s, 3),
            validation_at_iterations=at_iterations,
        )

    def _stop(self, stop: StopRequest) -> NoReturn:
        raise Stopped(
            f"stopped by {stop}; checkpoint {self.trainer.last_checkpoint} is kept: the same command goes on from it"
        )

    def _arguments(self) -> TrainingArguments:
        config, device = self.config, self.processes.device
        return TrainingArguments(
            output_dir=str(self.run_folder.path),
            save_strategy="no",  # `RunLog` says when
            eval_strategy="no",  # as here
            logging_steps=config.log_every_steps,
            logging_nan_inf_filter=False,
            max_steps=self.steps,
            per_device_train_batch_size=self.rows_per_pass,
            gradient_accumulation_steps=config.accumulation_steps,
            learning_rate=config.learning_rate,
            lr_scheduler_type="cosine",
            warmup_steps=round(config.warmup_share * self.steps),
            optim="adamw_torch_fused",
            weight_decay=config.weight_decay,
            adam_beta1=config.beta1,
            adam_beta2=config.beta2,
            max_grad_norm=config.clip_norm,
            bf16=self.chosen.precision == "bfloat16",
            use_cpu=device.type == "cpu",
            seed=config.seed,
            train_sampling_strategy="sequential",  # `order` is the order
            remove_unused_columns=False,
            dataloader_pin_memory=device.type == "cuda",
            accelerator_config={"non_blocking": device.type == "cuda"},  # or each batch would wait for the one before
            ddp_find_unused_parameters=False,
            ddp_backend="gloo" if device.type == "cpu" and self.processes.count > 1 else None,
            disable_tqdm=True,
            report_to=(config.report_to or "none") if self.processes.first else "none",
        )


def _by_count(losses: dict[int, Loss]) -> dict[str, dict[str, float]]:
    """The part of the last row of metrics that has the loss at each of `evaluate_iterations`."""
    at = {str(count): loss.nats_per_token for count, loss in losses.items()}
    return {"final_validation_nats_per_token_at_iterations": at} if at else {}
