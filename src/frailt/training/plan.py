"""What a training run will need, before it is started: memory, tokens, FLOPs and time, in closed form."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import cast

import torch

from frailt.data.packing import PreparedData, TokenStream
from frailt.model import FraiLTConfig
from frailt.model.cost import Cost, cost

from .accelerators import ACCELERATORS
from .build import model_config
from .checkpoint import checkpoint_folder
from .hardware import choose_attention, choose_device, choose_precision, describe, matmul_flops_per_s
from .memory import Kernel, Moment, Step, training_peak
from .plan_config import DEFAULT_VOCAB_SIZE, HERE, OTHER, PlanConfig

GIB = 2**30
NOT_TENSORS_BYTES = 2 * GIB
"""Left free on each device: CUDA context, workspaces of kernels, what torch's allocator cannot use; on a CPU Python and
the libraries. An allowance, not a measurement."""
TOKENS_PER_PARAMETER = 20
"""Compute-optimal for plain transformers: Hoffmann et al. (2022), "Training compute-optimal large language models"."""
MAX_PROCESSES = 1024


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
    ways_out: tuple[str, ...]
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
    peak, costs = training_peak(model, step), cost(model, config.context)
    head = 2 * model.vocab_size * model.hidden_size
    again = costs.forward_flops_per_token - head if config.gradient_checkpointing else 0
    train = data.split("train") if data else None
    rows_per_pass = len(train.rows(config.context)) if isinstance(train, TokenStream) else None
    in_passes = config.tokens is None and config.steps is None
    fits = peak.total + NOT_TENSORS_BYTES <= device.memory_bytes
    return Plan(
        config=config,
        model=model,
        vocabulary=vocabulary,
        device=device,
        step=step,
        peak=peak,
        costs=costs,
        hardware_flops_per_token=costs.training_flops_per_token + again,
        steps=None if in_passes and rows_per_pass is None else config.steps_for(rows_per_pass),
        tokens_per_pass=None if rows_per_pass is None else rows_per_pass * config.context,
        ways_out=() if fits else tuple(_ways_out(config, model, step, device)),
    )


def _model(config: PlanConfig, data: PreparedData | None) -> tuple[FraiLTConfig, str]:
    """The model and, in words, where its vocabulary comes from."""
    known, source = (data.manifest.vocab_size, "of data") if data else (None, "")
    if config.from_checkpoint is not None:
        folder = checkpoint_folder(config.from_checkpoint)
        if not (folder / "config.json").is_file():
            raise FileNotFoundError(f"from_checkpoint must be a checkpoint or run folder, got {config.from_checkpoint}")
        model = FraiLTConfig.from_pretrained(folder)
        if config.context > model.max_position_embeddings:
            raise ValueError(
                f"context must be at most the checkpoint's {model.max_position_embeddings} tokens, got {config.context}"
            )
        known, source = model.vocab_size, "of the checkpoint"
    if known is not None and config.vocab_size not in (None, known):
        raise ValueError(f"vocab_size must be the {known} {source}, got {config.vocab_size}: leave it out")
    if config.from_checkpoint is not None:
        return model, source
    if known is None:
        known = config.vocab_size or DEFAULT_VOCAB_SIZE
        source = "as given" if config.vocab_size else "assumed; --data or --vocab_size says"
    return model_config(config, known), source


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
    kernel = cast(Kernel, choose_attention(here, model))
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


def _ways_out(config: PlanConfig, model: FraiLTConfig, step: Step, device: Device) -> Iterator[str]:
    """Settings with which a step that does not fit does, the ones that cost least first."""

    def needed(changed: Step) -> str | None:
        """Memory in words, where it suffices."""
        total = training_peak(model, changed).total + NOT_TENSORS_BYTES
        return f"({_gib(total)} GiB)" if total <= device.memory_bytes else None

    again = replace(step, gradient_checkpointing=True)
    fewer = [
        (count, config.batch_rows // (step.processes * count))
        for count in range(config.accumulation_steps + 1, config.batch_rows // step.processes + 1)
        if config.batch_rows % (step.processes * count) == 0
    ]
    found = False
    for count, rows in fewer:
        if said := needed(replace(step, rows=rows, accumulates=True)):
            found = True
            yield f"--accumulation_steps {count} {said}"
            break
    if not step.gradient_checkpointing:
        if said := needed(again):
            found = True
            yield f"--gradient_checkpointing true {said}"
        elif not found:
            for count, rows in fewer:
                if said := needed(replace(again, rows=rows, accumulates=True)):
                    found = True
                    yield f"--gradient_checkpointing true --accumulation_steps {count} {said}"
                    break
    if found:
        return
    smallest = min(step.rows, 1)
    processes = 2 if step.processes == 1 else step.processes
    while device.is_gpu and processes <= min(MAX_PROCESSES, config.batch_rows):
        rows, left = divmod(config.batch_rows, processes)
        sharded = replace(again, rows=smallest, processes=processes, sharded=True, accumulates=rows > smallest)
        if left == 0 and (said := needed(sharded)):
            more = f" --accumulation_steps {rows}" if rows > 1 else ""
            yield f"--parallel fsdp --processes {processes} --gradient_checkpointing true{more} {said}"
            return
        processes *= 2
    yield "a smaller model, context or vocabulary, or a larger device"


def _rows(plan: Plan) -> Iterator[tuple[str, str]]:
    """The table, line by line."""
    config, step, costs, device = plan.config, plan.step, plan.costs, plan.device
    unique = costs.parameters.total
    yield "layout", f"{costs.layout}, {costs.depth} block applications, width {plan.model.hidden_size:,}"
    yield "vocabulary", f"{plan.model.vocab_size:,} tokens, {plan.vocabulary}"
    yield "unique parameters", f"{unique:,}"
    yield "of a plain model as deep", f"{costs.parameters_of_equal_depth:,}"
    rate = f"{device.flops_per_s / 1e12:,.3g} TFLOP/s in {'bfloat16' if device.bfloat16 else 'float32'}"
    yield "device", f"{device.title}: {_gib(device.memory_bytes)} GiB, {rate}"
    yield (
        "optimiser step",
        f"{config.tokens_per_step:,} tokens: {_count(step.processes, 'process', 'processes')} x "
        f"{_count(config.accumulation_steps, 'forward pass', 'forward passes')} x {_count(step.rows, 'row', 'rows')} "
        f"x {step.context:,} tokens",
    )
    yield "", ""
    yield "memory of a process", f"GiB at its fullest, the {plan.peak.name}"
    yield from ((f"  {name}", _gib(size)) for name, size in _parts(plan) if size)
    yield "  tensors", _gib(plan.peak.total)
    yield "  left free beside them", _gib(NOT_TENSORS_BYTES)
    if plan.fits:
        yield "fits", f"yes, {_gib(plan.needed_bytes)} of {_gib(device.memory_bytes)} GiB"
    else:
        yield "fits", f"no, {_gib(plan.needed_bytes)} of {_gib(device.memory_bytes)} GiB; it would with"
        yield from (("", way) for way in plan.ways_out)
    for name, size in (("float32", 4), ("bfloat16", 2)):
        cache = costs.kv_bytes_per_token(size) * step.context
        yield "KV cache of a row" if size == 4 else "", f"{_gib(cache)} GiB in {name}, when generating"
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


def _gib(size: float) -> str:
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
