"""Where a model runs and in which precision: what `auto` means, and a clear stop where what was asked is not there."""

import os
import platform
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median

import torch
from torch import nn

from frailt.model import FraiLTConfig
from frailt.model.attention import PADDED_HEAD_DIM
from frailt.model.narrow_attention import is_available

FASTER_BY = 1.1
"""A lower precision must be so many times as fast to be chosen: it has less to give, and measurements are noisy."""

WIDE = 2048
"""The widest MLP that precisions are measured with."""


def choose_device(wanted: str) -> torch.device:
    """The device named `wanted`: auto, cpu, cuda, cuda:1, mps, ...; auto is a GPU where there is one.

    Of several processes that a launcher started, each gets its own GPU.

    Raises:
        ValueError: no such device here.
    """
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(wanted)
    except RuntimeError as error:
        raise ValueError(f"device must be auto, cpu, cuda, cuda:N or mps, got {wanted!r}") from error
    backends = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not backends.get(device.type, False):
        here = ", ".join(name for name, there in backends.items() if there)
        raise ValueError(f"device must be one that is here ({here}), got {wanted!r}")
    launched = os.environ.get("LOCAL_RANK")
    if device.type == "cuda" and launched is not None:
        if device.index not in (None, int(launched)):
            raise ValueError(f"device must be cuda where a launcher gives each process its own GPU, got {wanted}")
        device = torch.device("cuda", int(launched))
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"device must be one of the {torch.cuda.device_count()} GPUs here, got {device}")
    return device


def choose_precision(wanted: str, device: torch.device, config: FraiLTConfig | None = None) -> str:
    """`float32` or `bfloat16`; auto is the faster one that is safe.

    On GPUs that compute in it that is bfloat16; on CPUs with matrix units for it the one that a short measurement at
    the width of `config` says; float32 elsewhere.

    Raises:
        ValueError: bfloat16 on a GPU that has none.
    """
    has_bfloat16 = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    if wanted == "auto":
        if device.type == "cpu" and config is not None and cpu_has_bfloat16_units():
            return "bfloat16" if bfloat16_gain(config) >= FASTER_BY else "float32"
        return "bfloat16" if has_bfloat16 else "float32"
    if wanted == "bfloat16" and device.type == "cuda" and not has_bfloat16:
        raise ValueError(f"precision must be float32 on {torch.cuda.get_device_name(device)}, got bfloat16")
    return wanted


def cpu_has_bfloat16_units() -> bool:
    """Whether this CPU multiplies bfloat16 matrices in hardware (AMX, or AVX-512 with bfloat16)."""
    known = (getattr(torch.cpu, name, None) for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"))
    return any(is_supported() for is_supported in known if is_supported is not None)


def bfloat16_gain(config: FraiLTConfig, tokens: int | None = None) -> float:
    """How many times as fast the MLP of this width is forward and backward in bfloat16 autocast as in float32.

    Of `tokens` at a time; 4,096 by default, fewer in wide models, which need no more to show it. Beyond WIDE one of
    that width stands for all: its matrices are large, and the memory belongs to what is to be trained.
    """
    assert isinstance(config.hidden_size, int)
    assert isinstance(config.intermediate_size, int)
    hidden = min(config.hidden_size, WIDE)
    inner = max(1, round(config.intermediate_size * hidden / config.hidden_size))
    tokens = tokens or min(4096, max(512, 2**18 // hidden))
    up, down = nn.Linear(hidden, inner, bias=False), nn.Linear(inner, hidden, bias=False)
    states = torch.randn(tokens, hidden)

    def step(enabled: bool) -> Callable[[], None]:
        def run() -> None:
            with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
                loss = down(nn.functional.silu(up(states))).sum()
            loss.backward()

        return run

    return median(_seconds(step(False), 5)) / median(_seconds(step(True), 5))


def choose_attention(device: torch.device, config: FraiLTConfig) -> str:
    """The fastest attention kernel that is always there: see `frailt.model.attention` for narrow heads on a CPU."""
    assert config.head_dim is not None
    return "sdpa_padded" if device.type == "cpu" and config.head_dim < PADDED_HEAD_DIM else "sdpa"


def choose_attention_of_rows(
    device: torch.device, config: FraiLTConfig, context: int, precision: str = "float32"
) -> str:
    """The fastest attention kernel for whole rows of `context` tokens: see `frailt.model.narrow_attention`."""
    assert config.head_dim is not None
    narrow = precision == "float32" and is_available(device, config.head_dim, context)
    return "narrow" if narrow else choose_attention(device, config)


def matmul_flops_per_s(device: torch.device, precision: str) -> float:
    """The ceiling that utilisation is measured against: the rate of a large square matrix product here and now.

    Size 1,024 on a CPU, 8,192 on a GPU; a product of n x n matrices counts 2 n^3 operations. In `precision`, but in
    float32 on CPUs that only emulate bfloat16, where it would take minutes.
    """
    size = 1024 if device.type == "cpu" else 8192

    emulated = device.type == "cpu" and not cpu_has_bfloat16_units()
    dtype = torch.bfloat16 if precision == "bfloat16" and not emulated else torch.float32
    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))

    def product() -> None:
        left @ right
        if device.type != "cpu":
            torch.accelerator.synchronize(device)

    return 2 * size**3 / min(_seconds(product, 10))  # a ceiling: the least disturbed one


@contextmanager
def with_threads(threads: int | None) -> Iterator[None]:
    """Let torch compute with so many CPU threads, and afterwards with as many as before; None changes nothing."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _seconds(run: Callable[[], None], repeats: int) -> list[float]:
    """Seconds of each `run`, after one to warm up."""
    run()
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - began)
    return seconds


def peak_memory_bytes(device: torch.device) -> int:
    """The most memory held so far: of tensors on a GPU, of the whole process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def describe(device: torch.device) -> str:
    """The device's name, for records."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return platform.processor() or platform.machine()
