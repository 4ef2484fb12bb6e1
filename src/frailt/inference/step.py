"""One decoding step: a token more for each row, over a cache that is written in place; run as it is or compiled.

A step runs the model's own groups and blocks. What it leaves out is what `model.generate` does around them for any
model in any state: making masks, growing caches, checking arguments. At small widths that is most of the time, and
compiling takes most of what is left: one graph for the whole step, with rows and tokens so far as free numbers. On a
GPU the compiled step is recorded as a CUDA graph besides.

Shapes: B rows, D width, H heads, G key-value heads, K channels per head, V vocabulary, t tokens so far, T that fit.
"""

from collections.abc import Callable, Sequence
from types import FunctionType, MethodType
from typing import Any

import torch
from torch import Tensor

from frailt.model import FraiLTForCausalLM
from frailt.model.exiting import Span
from frailt.training.compiling import missing_for_compile

from .cache import InPlaceLayer
from .graphs import Graphs

REPAYS_AFTER_S = 90.0
"""Seconds of plain steps from which on it pays to compile: that takes some tens of them, and halves the rest."""


class Step:
    """The step of one model.

    Args:
        model: in evaluation mode.
        compiled: whether the step is compiled when it first runs.

    Raises:
        ValueError: the step shall be compiled, and what that needs is not here; or rotations depend on how many tokens
            there are.
    """

    def __init__(self, model: FraiLTForCausalLM, *, compiled: bool = False) -> None:
        self.model = model
        if (kind := model.model.rotary_emb.rope_type) == "longrope":
            raise ValueError(
                f"rope_type must be one whose rotations are the same for short and long texts, got {kind}: such models "
                "tell stories with model.generate"
            )
        places = torch.arange(model.config.max_position_embeddings, device=model.device)
        like = torch.zeros(1, device=model.device, dtype=model.dtype)
        # Rotations of all positions of the context, (positions, K); each step looks its own up.
        cos, sin = model.model.rotary_emb(like, position_ids=places[None])
        self.rotations = cos[0], sin[0]
        self.compiled = self.ran = False
        self._run: Callable[..., Tensor] = self._plain
        self.graphs: Graphs | None = None
        if compiled:
            self.compile()

    def compile(self) -> None:
        """Run compiled from now on; the first step then takes some tens of seconds."""
        if self.model.early_exit is not None:
            raise ValueError("compile must be off with early exit, which makes other shapes in every step, got on")
        if missing := missing_for_compile(self.model.device):
            raise ValueError(f"compile must be off where {missing} is missing, got on: install it")
        # Code of its own, for graphs are counted by code: those of all models together would come to torch's limit.
        own = FunctionType(Step._plain.__code__.replace(), Step._plain.__globals__)
        self._run = torch.compile(MethodType(own, self), fullgraph=True, options=_options(self.model.device))
        self.compiled = True
        if self.model.device.type == "cuda":
            self.graphs = Graphs(self._run, self.rotations)

    def __call__(self, tokens: Tensor, layers: Sequence[InPlaceLayer], missing: Tensor, mask: Tensor) -> Tensor:
        """Add one token to each row.

        Args:
            tokens: (B,).
            layers: the cache of each block application, with t tokens before this one.
            missing: of these, how many are padding, on the left: (B,).
            mask: added to scores, -inf where there is padding: (B, 1, 1, T).

        Returns:
            Logits behind the tokens, float32: (B, V).
        """
        logits = self.graphs.step(tokens, layers, missing, mask) if self.graphs is not None else None
        if logits is None:
            logits = self._launch(tokens, layers, missing, mask)
        for layer in layers:
            layer.filled += 1
        return logits

    def _launch(self, tokens: Tensor, layers: Sequence[InPlaceLayer], missing: Tensor, mask: Tensor) -> Tensor:
        filled = layers[0].filled
        place = torch.tensor([filled], device=tokens.device)
        keys, values = [layer.keys for layer in layers], [layer.values for layer in layers]
        mask = mask[..., : filled + 1]
        if self.compiled and not self.ran:
            _leave_free(0, tokens, missing, mask, *keys, *values)
            _leave_free(2, *values)
            _leave_free(3, mask, *keys)
            self.ran = True
        return self._run(tokens, place, missing, mask, *self.rotations, keys, values)

    def _plain(
        self,
        tokens: Tensor,  # (B,)
        place: Tensor,  # (1,), t
        missing: Tensor,  # (B,)
        mask: Tensor,  # (B, 1, 1, t + 1)
        cos: Tensor,  # (positions, K)
        sin: Tensor,  # (positions, K)
        keys: Sequence[Tensor],  # of (B, G, K, T)
        values: Sequence[Tensor],  # of (B, G, T, K)
    ) -> Tensor:
        inner = self.model.model
        # A finished row that is not dropped yet may be past the end of the context; nobody looks at it.
        places = (place - missing).clamp(max=cos.shape[0] - 1)  # (B,)
        rotations = cos[places][:, None], sin[places][:, None]  # (B, 1, K)
        states = inner.embed_tokens(tokens)[:, None]  # (B, 1, D)
        slots = [
            _Slot(slot.scaling, slot.num_key_value_groups, place, mask, key, value)
            for slot, key, value in zip(inner.slots, keys, values, strict=True)
        ]
        first = 0
        for group in inner.groups:
            used = group.iterations * len(group.blocks)
            states = group(states, slots[first : first + used], position_embeddings=rotations)
            first += used
        return self.model.lm_head(inner.norm(states))[:, 0].float()


class _Slot:
    """Attention of one new token per row over the cache: what a block is handed in place of the model's own slot."""

    def __init__(
        self, scaling: float, queries_per_key: int, place: Tensor, mask: Tensor, keys: Tensor, values: Tensor
    ) -> None:
        self.scaling, self.queries_per_key = scaling, queries_per_key
        self.place, self.mask, self.keys, self.values = place, mask, keys, values

    def __call__(
        self, query: Tensor, key: Tensor, value: Tensor, rows: Tensor | None = None, **kwargs: Any
    ) -> tuple[Tensor, None]:
        """Query (B, H, 1, K), key and value (B, G, 1, K), to (B, 1, H, K); queries of some `rows` under early exit."""
        batch, heads, _, width = query.shape
        keys, values = self.store(key, value)
        mask = self.mask
        if rows is not None:
            keys, values, mask = keys[rows], values[rows], mask[rows]
        query = (query * self.scaling).view(batch, -1, self.queries_per_key, width)  # (B, G, H / G, K)
        scores = query @ keys + mask  # (B, G, H / G, t + 1)
        weights = (scores - scores.amax(-1, keepdim=True)).exp()
        output = weights @ values / weights.sum(-1, keepdim=True)  # (B, G, H / G, K); compiled, a division per key less
        return output.view(batch, 1, heads, width), None

    def store(self, key: Tensor, value: Tensor, past_key_values: Any = None) -> tuple[Tensor, Tensor]:
        """Keep keys and values, (B, G, 1, K), of a new token; all keys, (B, G, K, t + 1), values (B, G, t + 1, K)."""
        self.keys.index_copy_(3, self.place, key.transpose(2, 3))
        self.values.index_copy_(2, self.place, value)
        filled = self.mask.shape[-1]
        return self.keys[..., :filled], self.values[:, :, :filled]

    def span(self, tokens: int, past_key_values: Any = None) -> Span:
        """Where the new token is among the keys."""
        filled = self.mask.shape[-1]
        return Span(filled - tokens, filled, True)


def _leave_free(dimension: int, *tensors: Tensor) -> None:
    """Let a graph that is made of these tensors serve any length of this dimension; one of length 1 stays fixed."""
    for tensor in tensors:
        if tensor.shape[dimension] > 1:
            torch._dynamo.mark_dynamic(tensor, dimension)


def _options(device: torch.device) -> dict[str, Any] | None:
    """On a CPU, a wrapper in C++ around the kernels: in Python it is a third of a step of one row.

    And what is made of several tensors is made once, such as a rotated query: else it is made again for every key.
    """
    return {"cpp_wrapper": True, "realize_acc_reads_threshold": 4} if device.type == "cpu" else None
