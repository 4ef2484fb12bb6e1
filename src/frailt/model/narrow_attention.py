"""`narrow` in `attn_implementation`: causal attention of heads of width 8 or 16 on a CPU, in float32.

The paper gives every model 8 heads, so at width 64 they are 8 wide. torch's fused kernel is made for wider ones, and
took two thirds of a training step there (docs/benchmarks.md). This one is some 200 lines of C, built by a C compiler
when it is first wanted, and kept for the next process. Where there is no compiler or no CPU, or a call is not for whole
causal rows in float32, `sdpa_padded` answers.
"""

import ctypes
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import repeat_kv
from transformers.masking_utils import sdpa_mask

from .attention import padded_sdpa_attention_forward

HEAD_DIMS = (8, 16)
MOST_NUMBERS = 16_384
"""Of a head's keys: past it they leave a core's cache, and torch's kernel is faster (docs/benchmarks.md)."""

_SOURCE = Path(__file__).with_suffix(".c")
_FLAGS = ["-O3", "-march=native", "-shared", "-fPIC"]


class _Strides(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int64) for name in ("batch", "head", "token")]


@cache
def library() -> ctypes.CDLL | None:
    """The kernel, built if need be; None where there is no compiler, or, with a line that says why, where it fails."""
    compiler = _compiler()
    if shutil.which(compiler[0]) is None:
        return None
    name = _name(compiler)
    try:
        kept = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "frailt" / name
        return _loaded_or_built(kept, compiler)
    except (OSError, RuntimeError):  # nowhere to keep it: for this process alone
        try:
            with tempfile.TemporaryDirectory() as folder:
                return _loaded_or_built(Path(folder) / name, compiler)
        except OSError as error:
            print(f"frailt: no kernel for narrow heads, torch's is taken: {error}", file=sys.stderr)
            return None


def _compiler() -> list[str]:
    return shlex.split(os.environ.get("CC", "")) or [shutil.which("cc") or shutil.which("gcc") or "clang"]


def _name(compiler: list[str]) -> str:
    """The library's file: another for another source, compiler or processor, since machines may share the folder."""
    facts = [_SOURCE.read_text(encoding="utf-8"), *_FLAGS, *compiler, platform.machine(), _processor()]
    return f"narrow-attention-{hashlib.sha256(repr(facts).encode()).hexdigest()[:16]}.so"


def _loaded_or_built(kept: Path, compiler: list[str]) -> ctypes.CDLL:
    """The library at `kept`, built where it is not there or cannot be loaded.

    Raises:
        OSError: it cannot be built, or not be kept there.
    """
    with suppress(OSError):
        return ctypes.CDLL(str(kept))
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
        built = Path(folder) / kept.name
        command = [*compiler, *_FLAGS, str(_SOURCE), "-o", str(built), "-lm"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise OSError(f"{' '.join(compiler)} ended with {done.returncode}: {' '.join(done.stderr.split())[:300]}")
        built.replace(kept)
    return ctypes.CDLL(str(kept))


def is_available(device: torch.device, head_dim: int, tokens: int) -> bool:
    """Whether the kernel is there for rows of that many tokens and heads of that width."""
    return device.type == "cpu" and _fits(head_dim, tokens) and library() is not None


def _fits(head_dim: int, tokens: int) -> bool:
    return head_dim in HEAD_DIMS and head_dim * tokens <= MOST_NUMBERS


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line for line in lines if line.startswith(("flags", "Features")))
    except (OSError, StopIteration):
        return platform.processor()


# The kernel as torch operators


@torch.library.custom_op("frailt::narrow_attention", mutates_args=(), device_types="cpu")
def narrow_attention(query: Tensor, key: Tensor, value: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Causal attention.

    Args:
        query: float32 (B, H, T, D), D 8 or 16; as key and value.
        key: the rows that are looked at.
        value: what they hold.
        scale: of the scores.

    Returns:
        Output (B, H, T, D), laid out as (B, T, H, D), and the logarithms of the softmax's sums (B, H, T).

    Raises:
        ValueError: types or shapes are others.
    """
    _check(query, key, value)
    output, log_sums = _outputs(query)
    _over_heads("forward", query, scale, *map(_rows, (query, key, value)), output, log_sums)
    return output, log_sums


@narrow_attention.register_fake
def _(query: Tensor, key: Tensor, value: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    return _outputs(query)


@torch.library.custom_op("frailt::narrow_attention_backward", mutates_args=(), device_types="cpu")
def narrow_attention_backward(
    query: Tensor, key: Tensor, value: Tensor, output: Tensor, log_sums: Tensor, gradient: Tensor, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of query, key and value, laid out as the output."""
    _check(query, key, value, output, gradient)
    found = _like(query), _like(query), _like(query)
    tensors = (*map(_rows, (query, key, value, output)), log_sums.contiguous(), _rows(gradient), *found)
    _over_heads("backward", query, scale, *tensors)
    return found


@narrow_attention_backward.register_fake
def _(
    query: Tensor, key: Tensor, value: Tensor, output: Tensor, log_sums: Tensor, gradient: Tensor, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    return _like(query), _like(query), _like(query)


def _set_up(ctx: Any, inputs: tuple, output: tuple[Tensor, Tensor]) -> None:
    *tensors, ctx.scale = inputs
    ctx.save_for_backward(*tensors, *output)
    ctx.mark_non_differentiable(output[1])


def _backward(ctx: Any, gradient: Tensor, _: Tensor | None) -> tuple[Tensor | None, ...]:
    return *narrow_attention_backward(*ctx.saved_tensors, gradient, ctx.scale), None


narrow_attention.register_autograd(_backward, setup_context=_set_up)


def _check(*tensors: Tensor) -> None:
    """Raise where the kernel would read what is not there."""
    first = tensors[0]
    for tensor in tensors:
        if tensor.dtype != torch.float32 or tensor.shape != first.shape or first.shape[-1] not in HEAD_DIMS:
            raise ValueError(
                f"narrow attention takes float32 tensors of one shape (B, H, T, 8 or 16), got {tensor.dtype} "
                f"{tuple(tensor.shape)} beside {tuple(first.shape)}"
            )


def _outputs(query: Tensor) -> tuple[Tensor, Tensor]:
    return _like(query), query.new_empty(query.shape[:-1])


def _like(query: Tensor) -> Tensor:
    """Room for (B, H, T, D), laid out as (B, T, H, D)."""
    batch, heads, tokens, width = query.shape
    return query.new_empty(batch, tokens, heads, width).transpose(1, 2)


def _rows(tensor: Tensor) -> Tensor:
    """The tensor with the numbers of a head side by side, as the kernel reads them."""
    return tensor if tensor.stride(-1) == 1 else tensor.contiguous()


def _over_heads(name: str, query: Tensor, scale: float, *tensors: Tensor) -> None:
    """Run one of the kernel's functions, with the heads shared out among torch's number of threads."""
    found = library()
    assert found is not None
    batch, heads, tokens, width = query.shape
    arguments: list[Any] = [ctypes.c_int64(n) for n in (heads, tokens, width)] + [ctypes.c_float(scale)]
    for i, tensor in enumerate(tensors):
        arguments.append(ctypes.c_void_p(tensor.data_ptr()))
        if tensor.ndim == 4 and (name == "forward" or i not in (6, 7)):  # the three gradients share their strides
            arguments.append(_Strides(*tensor.stride()[:3]))
    every, threads = batch * heads, torch.get_num_threads()
    bounds = [every * i // threads for i in range(threads + 1)]
    parts = [(begin, end) for begin, end in pairwise(bounds) if begin < end]

    def run(part: tuple[int, int]) -> int:
        return getattr(found, name)(*map(ctypes.c_int64, part), *arguments)

    codes = list(map(run, parts)) if len(parts) == 1 else list(_pool(threads).map(run, parts))
    if any(codes):
        raise MemoryError("not enough memory for a head's keys and values")


@torch.compiler.assume_constant_result
def _is_there() -> bool:
    return library() is not None


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="narrow-attention")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # threads are not forked


# The name


def narrow_attention_forward(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, None]:
    """As transformers' `sdpa`: query (B, H, T, K), key and value (B, G, S, K), to (B, T, H, K)."""
    causal = kwargs.get("is_causal") if kwargs.get("is_causal") is not None else getattr(module, "is_causal", True)
    whole_rows = attention_mask is None and causal and 1 < query.shape[2] == key.shape[2]
    on_cpu = all(tensor.dtype == torch.float32 and tensor.device.type == "cpu" for tensor in (query, key, value))
    suits = on_cpu and _fits(query.shape[-1], query.shape[2]) and not kwargs.get("dropout")
    if not (whole_rows and suits and _is_there()):
        return padded_sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    repeats = query.shape[1] // key.shape[1]
    if repeats > 1:
        key, value = repeat_kv(key, repeats), repeat_kv(value, repeats)
    scale = kwargs.get("scaling") or query.shape[-1] ** -0.5
    return narrow_attention(query, key, value, scale)[0].transpose(1, 2), None


AttentionInterface.register("narrow", narrow_attention_forward)
AttentionMaskInterface.register("narrow", sdpa_mask)
