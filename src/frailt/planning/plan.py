"""What a training run will need, before it is started: memory, tokens, FLOPs and time, in closed form."""

import os
from dataclasses import replace
from typing import cast

import torch

from frailt.data.packing import PreparedData, TokenStream
from frailt.model import FraiLTConfig
from frailt.model.cost import cost
from frailt.training.build import check_context, model_config
from frailt.training.checkpoint import load_config
from frailt.training.depth import at_count, check_counts, expected_training_flops
from frailt.training.hardware import (
    choose_attention_of_rows,
    choose_device,
    choose_precision,
    describe,
    matmul_flops_per_s,
)

from .accelerators import ACCELERATORS
from .config import DEFAULT_VOCAB_SIZE, HERE, OTHER, PlanConfig
from .memory import Kernel, Step, training_peak
from .needs import Device, Plan
from .ways_out import ways_out


def plan(config: PlanConfig) -> Plan:
    """Plan a run. Nothing is written; where the run is planned for this machine, its rate is measured for a moment.

    Raises:
        ValueError: sizes, rows, data, device or checkpoint do not fit.
        FileNotFoundError: data or checkpoint is not there.
    """
    rows = config.rows_per_pass(config.processes)
    data = PreparedData.open(config.data) if config.data else None
    model, vocabulary = _model(config, data)
    device, kernel = _device(config, model)
    step = Step(
        rows=rows,
        context=config.context,
        bfloat16=device.bfloat16,
        kernel=kernel,
        gradient_checkpointing=config.gradient_checkpointing,
        accumulates=config.accumulation_steps > 1,
        processes=config.processes,
        sharded=config.parallel == "fsdp",
    )
    check_counts(config, model)
    counts = config.iteration_counts.several
    deepest = at_count(model, max(counts)) if counts else model  # its step is the fullest
    training_flops = expected_training_flops(config, model)
    costs = replace(cost(model, config.context), training_flops_per_token=round(training_flops))
    head = 2 * model.vocab_size * model.hidden_size
    again = round(training_flops / 3) - head if config.gradient_checkpointing else 0
    train = data.split("train") if data else None
    rows_per_pass = len(train.rows(config.context)) if isinstance(train, TokenStream) else None
    in_passes = config.tokens is None and config.steps is None
    found = Plan(
        config=config,
        model=model,
        vocabulary=vocabulary,
        device=device,
        step=step,
        peak=training_peak(deepest, step),
        costs=costs,
        hardware_flops_per_token=costs.training_flops_per_token + again,
        steps=None if in_passes and rows_per_pass is None else config.steps_for(rows_per_pass),
        tokens_per_pass=None if rows_per_pass is None else rows_per_pass * config.context,
    )
    return found if found.fits else replace(found, ways_out=ways_out(config, deepest, step, device))


def _model(config: PlanConfig, data: PreparedData | None) -> tuple[FraiLTConfig, str]:
    """The model and, in words, where its vocabulary comes from."""
    if config.from_checkpoint is not None:
        model, source = load_config(config.from_checkpoint), "of the checkpoint"
        check_context(config, model)
        _check_vocabulary(config, model.vocab_size, source)
        return model, source
    if data is not None:
        size, source = data.manifest.vocab_size, "of data"
        _check_vocabulary(config, size, source)
    elif config.vocab_size is not None:
        size, source = config.vocab_size, "as given"
    else:
        size, source = DEFAULT_VOCAB_SIZE, "assumed; --data or --vocab_size says"
    return model_config(config, size), source


def _check_vocabulary(config: PlanConfig, size: int, source: str) -> None:
    if config.vocab_size not in (None, size):
        raise ValueError(f"vocab_size must be the {size} {source}, got {config.vocab_size}: leave it out")


def _device(config: PlanConfig, model: FraiLTConfig) -> tuple[Device, Kernel]:
    """Where the run shall be, and the attention kernel it will use there."""
    if config.on == HERE:
        here = choose_device(config.device)
        precision = choose_precision(config.precision, here, model)
        rate, memory, title = config.flops_per_s, _memory_bytes(here), f"this machine, {describe(here)}"
        rate = rate or matmul_flops_per_s(here, precision)
        if here.type != "cuda":  # processes share the cores and the memory
            rate, memory = rate / config.processes, memory // config.processes
    else:
        here = torch.device("cuda")
        precision = "float32" if config.precision == "float32" else "bfloat16"
        title, rate, memory = "a GPU as described", config.flops_per_s or 0.0, 0
        if config.on != OTHER:
            known = ACCELERATORS[config.on]
            rate = rate or known.flops_per_s(precision == "bfloat16")
            title, memory = known.title, known.memory_bytes
    if config.memory_gb is not None:
        memory = int(config.memory_gb * 10**9)
    kernel = cast(Kernel, choose_attention_of_rows(here, model, config.context, precision))
    if here.type == "cuda" and precision == "float32" and model.num_key_value_heads != model.num_attention_heads:
        kernel = "eager"  # torch's fused GPU kernels for grouped heads take 16-bit numbers only; else it stores squares
    device = Device(
        title=title,
        is_gpu=here.type == "cuda",
        bfloat16=precision == "bfloat16",
        flops_per_s=rate,
        memory_bytes=memory,
    )
    return device, kernel


def _memory_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
