"""What `auto` comes to in a run, and a stop before it begins where something cannot be as asked."""

import os
from dataclasses import dataclass
from typing import Any

import torch
from transformers.integrations import get_available_reporting_integrations

from frailt.model import FraiLTForCausalLM

from .compiling import choose_compile
from .config import TrainConfig
from .depth import expected_training_flops
from .hardware import choose_attention, choose_attention_of_rows, choose_precision, matmul_flops_per_s
from .processes import Processes

TYPICAL_UTILISATION = 0.3
"""Of the matmul ceiling; good enough to guess whether a run is long enough to repay compiling."""


@dataclass(frozen=True, kw_only=True)
class Choices:
    """How a run is computed; recorded when it begins, and kept when it goes on."""

    precision: str
    compile: str
    attention: str
    threads: int
    parallel: str
    matmul_flops_per_s: float
    """Of one device, measured in `precision`."""

    def __str__(self) -> str:
        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''}"
        shared = "" if self.parallel == "none" else f", {self.parallel}"
        return f"{threads}{shared}, {self.precision}, attention {self.attention}, compile {self.compile}"


def choose(
    config: TrainConfig, record: dict[str, Any], model: FraiLTForCausalLM, steps: int, processes: Processes
) -> Choices:
    """What the first process chooses for all, or what a run that goes on has in its `record`.

    Raises:
        ValueError: precision, compiling or sharding is not there as asked.
    """
    device = processes.device
    threads = config.threads or record.get("threads") or torch.get_num_threads()
    torch.set_num_threads(threads)
    precision: str = config.precision
    if precision == "auto":
        precision = record.get("precision") or choose_precision("auto", device, model.config)
    precision = choose_precision(precision, device)
    ceiling = matmul_flops_per_s(device, precision)
    flops = steps * config.tokens_per_step * expected_training_flops(config, model.config)
    expected_s = expected_seconds(flops, ceiling * processes.count)
    compiling = record.get("compile", "auto") if config.compile == "auto" else config.compile
    parallel = config.parallel
    if parallel == "auto":
        parallel = "ddp"
    if parallel == "fsdp" and processes.count == 1:
        raise ValueError("parallel fsdp needs several processes: torchrun --nproc_per_node N -m frailt train ...")
    chosen = Choices(
        precision=precision,
        compile=choose_compile(compiling, device, expected_s),
        attention=_attention(record.get("attention"), model, config.context, precision, processes),
        threads=threads,
        parallel=parallel if processes.count > 1 else "none",
        matmul_flops_per_s=ceiling,
    )
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)  # what was measured here is not the run's
    return processes.told_by_first(chosen)


def expected_seconds(flops: float, matmul_flops_per_s: float) -> float:
    """A guess at the seconds that a run of so many FLOPs takes."""
    return flops / (matmul_flops_per_s * TYPICAL_UTILISATION)


def _attention(
    began_with: str | None, model: FraiLTForCausalLM, context: int, precision: str, processes: Processes
) -> str:
    """The kernel that the run began with, where it is here too; else the fastest one that all processes have."""
    fastest = choose_attention_of_rows(processes.device, model.config, context, precision)
    (lacking,) = processes.raised_anywhere(fastest != "narrow")
    if (began_with or fastest) == "narrow" and lacking:
        return choose_attention(processes.device, model.config)
    return began_with or fastest


def check_devices(wanted: str, device: torch.device) -> None:
    """Raise where transformers' Trainer would run elsewhere: without a launcher it takes all GPUs that are visible."""
    if "LOCAL_RANK" not in os.environ and (device.index or (device.type == "cuda" and torch.cuda.device_count() > 1)):
        raise ValueError(
            f"device must be auto, cpu, cuda or mps with one GPU visible, got {wanted}: choose among GPUs with the "
            "variable CUDA_VISIBLE_DEVICES, or use all: torchrun --nproc_per_node N -m frailt train ..."
        )


def check_same_device(record: dict[str, Any], wanted: str, device: torch.device) -> None:
    """Raise where a run would go on on another kind of device without being told to."""
    began_on = record.get("device_type", device.type)
    if wanted == "auto" and began_on != device.type:
        raise ValueError(f"device must be given where a run that began on {began_on} goes on without one, got auto")


def check_trackers(names: list[str]) -> None:
    """Raise where a tracker is not installed."""
    here = get_available_reporting_integrations()
    for name in names:
        if name not in here:
            raise ValueError(f"report_to must be trackers that are installed ({', '.join(here)}), got {name!r}")
