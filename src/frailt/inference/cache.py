"""A key-value cache that is written in place: a step costs what it reads, and nothing is copied.

transformers' dynamic cache makes a longer copy of itself in every step, and its static one attends over its whole
length. This one holds room for a known number of tokens and hands out what is filled.

Shapes: B rows, G key-value heads, K channels per head, T tokens that fit, t tokens that are there.
"""

from collections.abc import Iterable

import torch
from torch import Tensor
from transformers import Cache
from transformers.cache_utils import CacheLayerMixin

from .large_pages import empty


class InPlaceLayer(CacheLayerMixin):
    """Keys and values of one block application.

    Keys lie channel by channel, (B, G, K, T): the product of one query with all of them then runs along memory.

    Args:
        length: T.
    """

    is_compileable = False
    is_sliding = False

    keys: Tensor
    values: Tensor

    def __init__(self, length: int) -> None:
        super().__init__()
        self.length = length
        self.filled = 0

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Make room, of the type and on the device of the first keys and values."""
        rows, heads, _, width = key_states.shape
        self.keys = empty(key_states, rows, heads, width, self.length)
        self.values = empty(value_states, rows, heads, self.length, value_states.shape[-1])
        self.dtype, self.device, self.is_initialized = key_states.dtype, key_states.device, True

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Add keys and values, each (B, G, new, K), and return all there are, (B, G, t, K).

        Raises:
            ValueError: there is no room.
        """
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        begin, end = self.filled, self.filled + key_states.shape[-2]
        if end > self.length:
            raise ValueError(f"the cache must have room for all tokens, got {end} for its {self.length}")
        self.keys[..., begin:end] = key_states.transpose(-1, -2)
        self.values[:, :, begin:end] = value_states
        self.filled = end
        if begin == 0:  # torch's fused attention wants keys as they came, not transposed
            return key_states, value_states
        keys = self.keys[..., :end].transpose(-1, -2)
        return keys if end - begin == 1 else keys.contiguous(), self.values[:, :, :end]

    def get_seq_length(self) -> int:
        """How many tokens are there."""
        return self.filled

    def get_max_length(self) -> int:
        """How many fit."""
        return self.length

    get_max_cache_shape = get_max_length  # its name before transformers 5.23

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """How many keys a mask for `query_length` new tokens covers, and the first one's place."""
        return self.filled + query_length, 0

    def keep(self, rows: Tensor) -> None:
        """Drop all rows but those at these numbers, (rows kept,)."""
        self.keys, self.values = (
            empty(whole, len(rows), *whole.shape[1:]).copy_(whole[rows]) for whole in (self.keys, self.values)
        )

    def reset(self) -> None:
        """Forget all tokens."""
        self.filled = 0

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Put the rows in another order, for beam search."""
        self.keep(beam_idx)


class InPlaceCache(Cache):
    """The cache of a whole model, also for `model.generate(past_key_values=...)`.

    Args:
        depth: block applications of the model, `config.num_hidden_layers`.
        length: tokens that shall fit.
    """

    def __init__(self, depth: int, length: int) -> None:
        self.in_place = [InPlaceLayer(length) for _ in range(depth)]
        super().__init__(layers=list(self.in_place))

    def keep(self, rows: Iterable[int] | Tensor) -> None:
        """Drop all rows but those at these numbers."""
        wanted = torch.as_tensor(rows, device=self.in_place[0].device)
        for layer in self.in_place:
            layer.keep(wanted)
