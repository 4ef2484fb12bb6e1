"""Where a model runs and in which precision: what `auto` means, and a clear stop where what was asked is not there."""

import platform

import torch

from frailt.model import FraiLTConfig
from frailt.model.attention import PADDED_HEAD_DIM


def choose_device(wanted: str) -> torch.device:
    """The device named `wanted`: auto, cpu, cuda, cuda:1, mps, ...; auto is a GPU where there is one.

    Raises:
        ValueError: no such device here.
    """
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(wanted)
    except RuntimeError as error:
        raise ValueError(f"device must be auto, cpu, cuda, cuda:N or mps, got {wanted!r}") from error
    backends = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not backends.get(device.type, False):
        here = ", ".join(name for name, there in backends.items() if there)
        raise ValueError(f"device must be one that is here ({here}), got {wanted!r}")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"device must be one of the {torch.cuda.device_count()} GPUs here, got {wanted!r}")
    return device


def choose_precision(wanted: str, device: torch.device) -> str:
    """`float32` or `bfloat16`; auto is bfloat16 on GPUs that compute in it, float32 elsewhere.

    Raises:
        ValueError: bfloat16 on a GPU that has none.
    """
    has_bfloat16 = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    if wanted == "auto":
        return "bfloat16" if has_bfloat16 else "float32"
    if wanted == "bfloat16" and device.type == "cuda" and not has_bfloat16:
        raise ValueError(f"precision must be float32 on {torch.cuda.get_device_name(device)}, got bfloat16")
    return wanted


def choose_attention(device: torch.device, config: FraiLTConfig) -> str:
    """The fastest attention kernel that is always there: see `frailt.model.attention` for narrow heads on a CPU."""
    assert config.head_dim is not None
    return "sdpa_padded" if device.type == "cpu" and config.head_dim < PADDED_HEAD_DIM else "sdpa"


def describe(device: torch.device) -> str:
    """The device's name, for records."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return platform.processor() or platform.machine()
