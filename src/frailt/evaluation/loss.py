"""Loss, perplexity and bits per byte of a checkpoint on a prepared corpus (the paper's first measure, section 4.1)."""

import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from tqdm import tqdm

from frailt.data.packing import PreparedData, TokenStream
from frailt.model import FraiLTForCausalLM
from frailt.training.checkpoint import (
    about_run,
    check_same_tokenizer,
    load_checkpoint,
    load_config,
    quiet_transformers,
)
from frailt.training.hardware import choose_attention_of_rows, choose_device
from frailt.training.validation import validation_loss

from .config import EvaluateConfig
from .curve import Curve, check_loops, measure_curve
from .exit_curve import ExitCurve, criteria_of, measure_exits
from .exit_plot import draw_exits
from .plot import draw
from .tasks import TaskResults, evaluate_tasks
from .written import in_json


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What an evaluation found; printed as a table, or as JSON where that was asked for."""

    layout: str
    iterations: tuple[int, ...]
    split: str
    context: int
    nats_per_token: float
    perplexity: float
    bits_per_byte: float
    targets: int
    """Tokens predicted: every one of the split but the first."""
    elapsed_s: float
    as_json: bool = False

    def __str__(self) -> str:
        if self.as_json:
            return in_json(self, "as_json")
        values = {name: value for name, value in asdict(self).items() if name != "as_json"}
        shown = {name: f"{value:.6f}" if isinstance(value, float) else f"{value}" for name, value in values.items()}
        return "\n".join(f"{name:<15} {value}" for name, value in shown.items())


def evaluate(config: EvaluateConfig) -> Evaluation | Curve | ExitCurve | TaskResults:
    """Measure a checkpoint in float32, by the same function that training uses.

    At several iteration counts, or with early exit at several thresholds, it is a curve. With tasks, lm-eval runs them
    instead.

    Raises:
        ValueError, FileNotFoundError: checkpoint and data cannot be used, or do not belong together.
    """
    if config.tasks is not None or config.data is None:  # one of both is there
        return evaluate_tasks(config)
    device = choose_device(config.device)
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    quiet_transformers()
    data = PreparedData.open(config.data)
    counts = config.counts
    if counts is not None:
        check_loops(load_config(config.checkpoint), counts)
    if config.plot is not None and not Path(config.plot).parent.is_dir():
        raise FileNotFoundError(f"plot must be a file in a folder that is there, got {config.plot}")
    at_load = None if isinstance(config.iterations, str) else config.iterations
    model, tokenizer = load_checkpoint(config.checkpoint, device=device, iterations=at_load)
    check_same_tokenizer(tokenizer, data, config.checkpoint)
    longest = model.config.max_position_embeddings
    context = config.context or about_run(config.checkpoint).context or longest
    if context > longest:
        raise ValueError(f"context must be at most the model's {longest} tokens, got {context}")
    model.float()
    stream = data.split(config.split)  # type: ignore[call-overload]  # checked by the config
    if not isinstance(stream, TokenStream):
        raise ValueError(f"split must be validation where the train split is streamed, got {config.split}")
    rows = stream.rows(context)
    if config.exit_thresholds is None:
        model.set_attn_implementation(choose_attention_of_rows(device, model.config, context))
    if counts is not None:
        curve = measure_curve(
            model,
            rows,
            counts,
            batch_rows=config.batch_rows,
            split=config.split,
            utf8_bytes=stream.manifest.utf8_bytes,
            as_json=config.json,
        )
        if config.plot is None:
            return curve
        draw(curve, Path(config.plot))
        return replace(curve, plot=config.plot)
    if config.exit_thresholds is not None:
        exits = measure_exits(
            model,
            rows,
            config.exits(criteria_of(model.config)),
            against=[(name, _other(name, data, device, context)) for name in config.against],
            batch_rows=config.batch_rows,
            split=config.split,
            share=config.exit_share,
            as_json=config.json,
        )
        if config.plot is None:
            return exits
        draw_exits(exits, Path(config.plot))
        return replace(exits, plot=config.plot)
    began = time.perf_counter()
    with tqdm(total=len(rows), unit="row", desc=config.split, leave=False, disable=None) as bar:
        loss = validation_loss(model, rows, batch_rows=config.batch_rows, progress=bar.update)
    return Evaluation(
        layout=str(model.config.layout),
        iterations=model.config.iterations_per_group,
        split=config.split,
        context=context,
        nats_per_token=loss.nats_per_token,
        perplexity=loss.perplexity,
        bits_per_byte=loss.bits_per_byte(stream.manifest.utf8_bytes),
        targets=loss.targets,
        elapsed_s=round(time.perf_counter() - began, 3),
        as_json=config.json,
    )


def _other(checkpoint: str, data: PreparedData, device: torch.device, context: int) -> FraiLTForCausalLM:
    """A checkpoint to compare with."""
    model, tokenizer = load_checkpoint(checkpoint, device=device)
    check_same_tokenizer(tokenizer, data, checkpoint)
    if context > model.config.max_position_embeddings:
        raise ValueError(
            f"context must be at most the {model.config.max_position_embeddings} tokens of {checkpoint}, got {context}"
        )
    return model.float()
