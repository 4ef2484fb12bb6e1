"""Reading prompts of several lengths at once, padded on the left.

Shapes: B prompts, V vocabulary, T places in the cache.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from frailt.model import FraiLTForCausalLM

from .cache import InPlaceCache


def read_padded(
    model: FraiLTForCausalLM, prompts: Sequence[Sequence[int]], room: int
) -> tuple[InPlaceCache, Tensor, Tensor]:
    """Fill a new cache.

    Args:
        model: what reads.
        prompts: token ids of each, at least one.
        room: places for what will stand behind them.

    Returns:
        The cache; how many places before each prompt are padding, (B,); logits behind each, float32, (B, V).
    """
    longest, device = max(map(len, prompts)), model.device
    missing = torch.tensor([longest - len(prompt) for prompt in prompts], device=device)
    ids = torch.tensor([[0] * (longest - len(prompt)) + list(prompt) for prompt in prompts], device=device)
    places = torch.arange(longest, device=device)[None] - missing[:, None]
    cache = InPlaceCache(model.config.num_hidden_layers, longest + room)
    output = model(
        input_ids=ids,
        attention_mask=(places >= 0).long() if bool(missing.any()) else None,
        position_ids=places.clamp(min=0),
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    return cache, missing, output.logits[:, -1].float()


def padding_mask(missing: Tensor, length: int, dtype: torch.dtype) -> Tensor:
    """What is added to scores (B, 1, 1, T) of a step: -inf at padding, else 0.

    Args:
        missing: how many places before each row are padding, (B,).
        length: T.
        dtype: of the scores.
    """
    hidden = torch.arange(length, device=missing.device)[None] < missing[:, None]
    mask = torch.zeros(hidden.shape, device=missing.device, dtype=dtype)
    return mask.masked_fill_(hidden, float("-inf"))[:, None, None]
