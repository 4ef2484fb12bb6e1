"""Attention kernels beyond those of transformers, under names that `attn_implementation` takes.

`sdpa_padded`: torch's fused attention with heads padded by zeros to 16 channels. Products with the zeros are 0, so it
is the same attention up to rounding; torch's CPU kernel is made for wider heads and is slow at width 8.
"""

from typing import Any

from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

PADDED_HEAD_DIM = 16


def padded_sdpa_attention_forward(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, None]:
    """As transformers' `sdpa`: query (B, H, T, K), key and value (B, G, S, K), to (B, T, H, K)."""
    width = query.shape[-1]
    missing = max(0, PADDED_HEAD_DIM - width)
    padded = (nn.functional.pad(tensor, (0, missing)) for tensor in (query, key, value))
    kwargs.setdefault("scaling", width**-0.5)
    output, _ = sdpa_attention_forward(module, *padded, attention_mask, **kwargs)
    return output[..., :width], None


AttentionInterface.register("sdpa_padded", padded_sdpa_attention_forward)
AttentionMaskInterface.register("sdpa_padded", sdpa_mask)
