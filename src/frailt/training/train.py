"""One training run, from a prepared corpus to checkpoints and a record."""

import re
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm
from transformers import TrainingArguments, set_seed
from transformers.integrations import get_available_reporting_integrations
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from frailt.data.packing import PackedRows, PreparedData
from frailt.model import FraiLTConfig, FraiLTForCausalLM
from frailt.model.cost import cost

from .checkpoint import (
    check_same_tokenizer,
    load_checkpoint,
    quiet_transformers,
    save_checkpoint,
    set_generation_defaults,
)
from .config import TrainConfig
from .hardware import choose_attention, choose_device, choose_precision, describe
from .model_card import model_card
from .rows import Collate, ShuffledRows
from .run_folder import RunFolder, now, versions
from .trainer import FraiLTTrainer, RunLog
from .validation import Loss, validation_loss


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

    def __str__(self) -> str:
        return (
            f"{self.folder}: validation loss {self.validation.nats_per_token:.4f} nats per token "
            f"after {self.tokens:,} tokens, {self.tokens_per_s:,.0f} tokens/s"
        )


def train(config: TrainConfig) -> TrainResult:
    """Train as told, and leave a run folder.

    Raises:
        ValueError, FileNotFoundError, FileExistsError: configuration, data or checkpoint cannot be used; nothing is
            left behind.
        FloatingPointError: the loss became infinite or no number.
    """
    device = choose_device(config.device)
    _check_one_device(config.device, device)
    _check_trackers(config.report_to)
    quiet_transformers()
    precision = choose_precision(config.precision, device)
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    data = PreparedData.open(config.data)
    tokenizer = data.tokenizer()
    set_seed(config.seed)
    model = _model(config, data, tokenizer)
    attention = choose_attention(device, model.config)
    model.set_attn_implementation(attention)
    train_rows, validation_rows = (
        data.split("train").rows(config.context),
        data.split("validation").rows(config.context),
    )
    steps = config.steps_for(len(train_rows))
    run = RunFolder(config.out)
    _tell_of_long_documents(data, config.context)
    run.write_config(_settings(config))
    run.update(
        status="running",
        started=now(),
        versions=versions(),
        device=describe(device),
        precision=precision,
        attention=attention,
        threads=torch.get_num_threads(),
        data={"source": _without_folder(data.manifest.source), "data_hash": data.data_hash},
        model=_model_record(model, config.context),
        steps=steps,
        seed=config.seed,
    )
    try:
        result = _fit(config, run, model, tokenizer, train_rows, validation_rows, steps, device, precision)
    except BaseException as error:
        run.update(status="stopped", ended=now(), error=f"{type(error).__name__}: {error}")
        raise
    run.update(
        validation=asdict(result.validation)
        | {
            "perplexity": result.validation.perplexity,
            "bits_per_byte": result.validation.bits_per_byte(data.split("validation").manifest.utf8_bytes),
        },
        best_share_nats_per_token=result.best_share_nats_per_token,
        tokens=result.tokens,
        tokens_per_s=result.tokens_per_s,
        training_s=result.training_s,
        ended=now(),
        status="finished",
    )
    return result


def _fit(
    config: TrainConfig,
    run: RunFolder,
    model: FraiLTForCausalLM,
    tokenizer: Any,
    train_rows: PackedRows,
    validation_rows: PackedRows,
    steps: int,
    device: torch.device,
    precision: str,
) -> TrainResult:
    if config.gradient_checkpointing:
        # The first is the name from transformers 5.20 or so on, the second goes in 6.
        enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
        enable()
    arguments = _trainer_arguments(config, run.path, steps, device, precision)
    trainer = FraiLTTrainer(
        model=model,
        args=arguments,
        train_dataset=ShuffledRows(
            len(train_rows),
            steps * arguments.train_batch_size * arguments.world_size * config.accumulation_steps,
            config.seed,
        ),
        data_collator=Collate(train_rows),
        validation_rows=validation_rows,
        evaluation_share=config.evaluation_share,
    )
    for shown_by_us in (ProgressCallback, PrinterCallback):
        trainer.remove_callback(shown_by_us)
    tokens_per_step = arguments.train_batch_size * arguments.world_size * config.accumulation_steps * config.context

    def save(name: str, nats: float, step: int, what: str) -> None:
        model.config.use_cache = True  # transformers' Trainer switches it off; what is saved is for generation too
        card = model_card(model, run.record, _settings(config), nats, step, step * tokens_per_step, what)
        save_checkpoint(run.path / name, model, tokenizer, card)

    log = RunLog(
        trainer,
        config.evaluations,
        tokens_per_step,
        run.log,
        lambda nats, step: save("best", nats, step, "a fixed share of the validation rows"),
    )
    trainer.add_callback(log)
    try:
        trainer.train()
    finally:
        log.close()
    training_s = log.training_s
    if log.best_nats == float("inf"):
        trainer.evaluate()
    began = time.perf_counter()
    with tqdm(total=len(validation_rows), unit="row", desc="validation", leave=False, disable=None) as bar:
        validation = validation_loss(
            model, validation_rows, batch_rows=arguments.per_device_eval_batch_size, progress=bar.update
        )
    log.check_finite("validation loss", validation.nats_per_token, steps)
    save("last", validation.nats_per_token, steps, "all validation rows")
    tokens = steps * tokens_per_step
    run.log(
        {
            "step": steps,
            "tokens": tokens,
            "training_s": round(training_s, 3),
            "final_validation_nats_per_token": validation.nats_per_token,
            "targets": validation.targets,
            "evaluating_s": round(trainer.evaluating_s + time.perf_counter() - began, 3),
        }
    )
    return TrainResult(
        folder=run.path,
        validation=validation,
        best_share_nats_per_token=log.best_nats,
        tokens=tokens,
        tokens_per_s=round(tokens / training_s, 1),
        training_s=round(training_s, 3),
    )


def _trainer_arguments(
    config: TrainConfig, folder: Path, steps: int, device: torch.device, precision: str
) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(folder),
        save_strategy="no",
        eval_strategy="no",  # `RunLog` says when
        logging_steps=config.log_every_steps,
        logging_nan_inf_filter=False,
        max_steps=steps,
        per_device_train_batch_size=config.batch_rows,
        per_device_eval_batch_size=config.batch_rows,
        gradient_accumulation_steps=config.accumulation_steps,
        learning_rate=config.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=round(config.warmup_share * steps),
        optim="adamw_torch_fused",
        weight_decay=config.weight_decay,
        adam_beta1=config.beta1,
        adam_beta2=config.beta2,
        max_grad_norm=config.clip_norm,
        bf16=precision == "bfloat16",
        use_cpu=device.type == "cpu",
        seed=config.seed,
        train_sampling_strategy="sequential",  # `ShuffledRows` is the order
        remove_unused_columns=False,
        dataloader_pin_memory=device.type == "cuda",
        disable_tqdm=True,
        report_to=config.report_to or "none",
    )


def _model(config: TrainConfig, data: PreparedData, tokenizer: Any) -> FraiLTForCausalLM:
    if config.from_checkpoint is not None:
        model, own_tokenizer = load_checkpoint(config.from_checkpoint)
        check_same_tokenizer(own_tokenizer, data, config.from_checkpoint)
        if config.context > model.config.max_position_embeddings:
            raise ValueError(
                f"context must be at most the checkpoint's {model.config.max_position_embeddings} tokens, "
                f"got {config.context}"
            )
        return model.float()  # a checkpoint may hold bfloat16; precision is what the forward pass computes in
    settings = asdict(config.model)
    rope = {"rope_type": "default", "rope_theta": settings.pop("rope_theta")}
    stops = data.manifest.stop_token_ids
    model = FraiLTForCausalLM(
        FraiLTConfig(
            **settings,
            rope_parameters=rope,
            vocab_size=data.manifest.vocab_size,
            max_position_embeddings=config.context,
            bos_token_id=data.manifest.bos_token_id,
            eos_token_id=stops,
        )
    )
    set_generation_defaults(model, tokenizer)
    return model


def _check_one_device(wanted: str, device: torch.device) -> None:
    """Raise where transformers' Trainer would run elsewhere: it takes the first GPU, or all that are visible."""
    if device.index or (device.type == "cuda" and torch.cuda.device_count() > 1):
        raise ValueError(
            f"device must be auto, cpu, cuda or mps with one GPU visible, got {wanted}: "
            "choose among GPUs with the variable CUDA_VISIBLE_DEVICES"
        )


def _without_folder(source: str) -> str:
    """A source as records name it: the id of a dataset, or a file or folder without where it lay."""
    return source if re.fullmatch(r"[\w.-]+/[\w.-]+", source) and not Path(source).exists() else Path(source).name


def _settings(config: TrainConfig) -> dict[str, Any]:
    """The resolved configuration, which reads back as an equal one; a checkpoint's model is described in its folder."""
    settings = asdict(config)
    if config.from_checkpoint is not None:
        del settings["model"]
    return settings


def _check_trackers(names: list[str]) -> None:
    here = get_available_reporting_integrations()
    for name in names:
        if name not in here:
            raise ValueError(f"report_to must be trackers that are installed ({', '.join(here)}), got {name!r}")


def _tell_of_long_documents(data: PreparedData, context: int) -> None:
    stream = data.split("train")
    if stream.manifest.longest_document_tokens > context:  # else there is no need to read the stream
        print(
            f"frailt train: {stream.documents_longer_than(context):,} of {stream.manifest.documents:,} documents are "
            f"longer than the context of {context} tokens; they continue in the next row",
            file=sys.stderr,
        )


def _model_record(model: FraiLTForCausalLM, context: int) -> dict[str, Any]:
    costs = cost(model.config, context)
    return {
        "hidden_size": model.config.hidden_size,
        "iteration_encoding": model.config.iteration_encoding,
        **asdict(costs),
        "parameters": {**asdict(costs.parameters), "total": costs.parameters.total},
    }
