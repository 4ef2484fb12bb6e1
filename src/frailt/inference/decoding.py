"""Many continuations at a time, as fast as plain PyTorch goes: one step after another, finished rows dropped.

A step runs the model's own blocks. What it leaves out is what `model.generate` does around them for any model in any
state: making masks, growing caches, checking arguments. At small widths that is most of the time.

Shapes: B rows, D width, H heads, G key-value heads, K channels per head, V vocabulary, t tokens so far.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessorList

from frailt.model import FraiLTForCausalLM

from .cache import InPlaceCache, InPlaceLayer

DROP_SHARE = 0.25
"""Finished rows are dropped when they are this share of a batch: dropping copies the cache."""


@dataclass(frozen=True)
class Continuation:
    """What was decoded behind one prompt."""

    tokens: list[int]
    """Without the stop."""
    ended: bool
    """Whether a stop was drawn, before the room was used up."""


class Greedy:
    """The likeliest token."""

    def __call__(self, logits: Tensor, row: Tensor, step: int) -> Tensor:
        """Choose from logits (B, V), for these rows of all prompts (B,), in this step: (B,)."""
        return logits.argmax(-1)


class Drawn:
    """Tokens drawn with the numbers that each row has for itself, so that what it gets depends on no other row.

    Args:
        warpers: transformers' temperature, top-p and top-k.
        numbers: uniform in [0, 1), one per row of all prompts and step: (rows, steps).
    """

    def __init__(self, warpers: LogitsProcessorList, numbers: Tensor) -> None:
        self.warpers, self.numbers = warpers, numbers

    def __call__(self, logits: Tensor, row: Tensor, step: int) -> Tensor:
        """As `Greedy`: the token at which the summed probabilities pass the row's number."""
        logits = self.warpers(None, logits)  # type: ignore[arg-type]  # none of them looks at the tokens so far
        passed = logits.double().softmax(-1).cumsum(-1)
        number = self.numbers[row, step, None] * passed[:, -1:]
        return torch.searchsorted(passed, number, right=True).squeeze(-1).clamp_(max=logits.shape[-1] - 1)


def decode(
    model: FraiLTForCausalLM,
    prompts: Sequence[Sequence[int]],
    choose: Greedy | Drawn,
    *,
    stops: Sequence[int],
    max_new_tokens: int | None = None,
    batch_size: int = 44,
    progress: Callable[[int], object] = lambda rows_done: None,
) -> list[Continuation]:
    """Continue every prompt until a stop, `max_new_tokens`, or the end of the context.

    Args:
        model: in evaluation mode.
        prompts: token ids, each with at least one.
        choose: how the next token follows from the logits.
        stops: ids that end a text.
        max_new_tokens: at most so many; by default what the context has room for.
        batch_size: prompts at a time; those of like length go together.
        progress: told of every prompt that is done.

    Raises:
        ValueError: a prompt leaves no room in the context.
    """
    context = model.config.max_position_embeddings
    room = [min(max_new_tokens or context, context - len(prompt)) for prompt in prompts]
    for prompt, left in zip(prompts, room, strict=True):
        if not prompt or left < 1:
            raise ValueError(f"a prompt must have from 1 to {context - 1} tokens, got {len(prompt)}")
    found: dict[int, Continuation] = {}
    by_length = sorted(range(len(prompts)), key=lambda i: len(prompts[i]), reverse=True)  # the largest batch first
    for begin in range(0, len(by_length), batch_size):
        rows = by_length[begin : begin + batch_size]
        for i, continuation in _decode_batch(model, [prompts[i] for i in rows], rows, room, choose, set(stops)):
            found[i] = continuation
            progress(1)
    return [found[i] for i in range(len(prompts))]


@torch.inference_mode()
def _decode_batch(
    model: FraiLTForCausalLM,
    prompts: Sequence[Sequence[int]],
    rows: Sequence[int],
    room: Sequence[int],
    choose: Greedy | Drawn,
    stops: set[int],
) -> Iterator[tuple[int, Continuation]]:
    batch = _Batch(model, prompts, max(room[i] for i in rows))
    alive, new = list(rows), {i: list[int]() for i in rows}
    logits = batch.read_prompts()
    step = 0
    while True:
        chosen = choose(logits, torch.tensor(alive), step)
        step += 1
        for i, token in zip(alive, chosen.tolist(), strict=True):
            if i in new:
                if ended := token in stops:
                    yield i, Continuation(new.pop(i), ended)
                else:
                    new[i].append(token)
                    if len(new[i]) == room[i]:
                        yield i, Continuation(new.pop(i), False)
        if not new:
            return
        if len(alive) - len(new) >= DROP_SHARE * len(alive):
            kept = [place for place, i in enumerate(alive) if i in new]
            batch.keep(kept)
            chosen, alive = chosen[kept], [alive[place] for place in kept]
        logits = batch.step(chosen)


class _Batch:
    """Prompts of several rows, padded on the left, and the steps behind them."""

    def __init__(self, model: FraiLTForCausalLM, prompts: Sequence[Sequence[int]], room: int) -> None:
        self.model, self.prompts = model, prompts
        self.device = model.device
        self.longest = max(map(len, prompts))
        length = self.longest + room
        self.cache = InPlaceCache(model.config.num_hidden_layers, length)
        lengths = torch.tensor([len(prompt) for prompt in prompts], device=self.device)
        self.missing = self.longest - lengths  # (B,)
        places = torch.arange(length, device=self.device)
        states = torch.zeros(1, device=self.device, dtype=model.dtype)
        # Rotations of all positions of the context, (positions, K); each step looks its own up.
        cos, sin = model.model.rotary_emb(states, position_ids=places[None, : model.config.max_position_embeddings])
        self.rotations = cos[0], sin[0]
        hidden = places[None] < self.missing[:, None]
        self.mask = torch.zeros(hidden.shape, device=self.device, dtype=model.dtype)
        self.mask = self.mask.masked_fill_(hidden, float("-inf"))[:, None, None]  # (B, 1, 1, T), added to scores
        self.is_padded = bool(self.missing.any())
        self.slots = [_StepSlot(layer, self) for layer in self.cache.in_place]

    def read_prompts(self) -> Tensor:
        """Fill the cache; logits behind each prompt: (B, V)."""
        ids = torch.zeros(len(self.prompts), self.longest, dtype=torch.long)
        for row, prompt in enumerate(self.prompts):
            ids[row, self.longest - len(prompt) :] = torch.tensor(prompt)
        places = torch.arange(self.longest, device=self.device)[None] - self.missing[:, None]
        output = self.model(
            input_ids=ids.to(self.device),
            attention_mask=(places >= 0).long() if self.is_padded else None,
            position_ids=places.clamp(min=0),
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1,
        )
        return output.logits[:, -1].float()

    def step(self, tokens: Tensor) -> Tensor:
        """Add one token to each row, (B,); logits behind it: (B, V)."""
        inner = self.model.model
        # A finished row that is not dropped yet may be past the end of the context; nobody looks at it.
        places = (self.cache.get_seq_length() - self.missing).clamp_(max=len(self.rotations[0]) - 1)  # (B,)
        cos, sin = (table[places][:, None] for table in self.rotations)  # (B, 1, K)
        states = inner.embed_tokens(tokens)[:, None]  # (B, 1, D)
        first = 0
        for group in inner.groups:
            used = group.iterations * len(group.blocks)
            states = group(states, self.slots[first : first + used], position_embeddings=(cos, sin))
            first += used
        return self.model.lm_head(inner.norm(states))[:, 0].float()

    def keep(self, rows: list[int]) -> None:
        """Drop all rows but these."""
        self.cache.keep(rows)
        self.mask, self.missing = self.mask[rows], self.missing[rows]


class _StepSlot:
    """Attention of one new token per row over the cache: what a block is handed in place of the model's own slot."""

    def __init__(self, layer: InPlaceLayer, batch: _Batch) -> None:
        self.layer = layer
        self.batch = batch
        attention = batch.model.model.slots[0]
        self.scaling, self.queries_per_key = attention.scaling, attention.num_key_value_groups

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, **kwargs: Any) -> tuple[Tensor, None]:
        """Query (B, H, 1, K), key and value (B, G, 1, K), to (B, 1, H, K)."""
        layer, (rows, heads, _, width) = self.layer, query.shape
        layer.update(key, value)
        groups, filled = heads // self.queries_per_key, layer.filled
        query = (query * self.scaling).view(rows, groups, self.queries_per_key, width)  # (B, G, H / G, K)
        scores = query @ layer.keys[..., :filled]  # (B, G, H / G, t)
        if self.batch.is_padded:
            scores = scores + self.batch.mask[..., :filled]
        output = scores.softmax(-1) @ layer.values[:, :, :filled]  # (B, G, H / G, K)
        return output.view(rows, 1, heads, width), None
