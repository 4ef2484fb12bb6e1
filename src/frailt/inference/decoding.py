"""Many continuations at a time, as fast as PyTorch goes: one step after another, finished rows dropped.

Shapes: B rows, V vocabulary, T tokens that fit.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from frailt.model import FraiLTForCausalLM
from frailt.training.compiling import missing_for_compile

from .drawing import Choose
from .reading import padding_mask, read_padded
from .step import REPAYS_AFTER_S, Step

DROP_SHARE = 0.25
"""Finished rows are dropped when they are this share of a batch, which copies the cache; under early exit at once."""


@dataclass(frozen=True)
class Continuation:
    """What was decoded behind one prompt."""

    tokens: list[int]
    """Without the stop."""
    ended: bool
    """Whether a stop was drawn, before the room was used up."""


class Decoder:
    """Continues prompts with one model; what it compiles serves all its calls.

    Args:
        model: in evaluation mode.
        compile: `on` compiles the step, `off` does not, and `auto` does where the batches that are left after a first
            one will take so long that it pays; never with early exit, whose steps have no fixed shapes.

    Raises:
        ValueError: compiling was asked for, and what it needs is not here, or tokens exit early.
    """

    def __init__(self, model: FraiLTForCausalLM, compile: str = "off") -> None:
        self.model, self.compile = model, compile
        self.step = Step(model, compiled=compile == "on")

    def decode(
        self,
        prompts: Sequence[Sequence[int]],
        choose: Choose,
        *,
        stops: Sequence[int],
        max_new_tokens: int | None = None,
        batch_size: int = 44,
        progress: Callable[[int], object] = lambda rows_done: None,
    ) -> list[Continuation]:
        """Continue every prompt until a stop, `max_new_tokens`, or the end of the context.

        Args:
            prompts: token ids, each with at least one.
            choose: how the next token follows from the logits.
            stops: ids that end a text.
            max_new_tokens: at most so many; by default what the context has room for.
            batch_size: prompts at a time, at most; those of like length go together.
            progress: told of every prompt that is done.

        Raises:
            ValueError: a prompt leaves no room in the context.
        """
        room = self._room(prompts, max_new_tokens)
        found: dict[int, Continuation] = {}
        by_length = sorted(range(len(prompts)), key=lambda i: len(prompts[i]), reverse=True)  # the largest batch first
        batches = _evenly(by_length, batch_size)
        for number, rows in enumerate(batches, 1):
            began = time.perf_counter()
            for i, continuation in self._decode_batch([prompts[i] for i in rows], rows, room, choose, set(stops)):
                found[i] = continuation
                progress(1)
            if self.compile == "auto" and not self.step.compiled and self.model.early_exit is None:
                left_s = (time.perf_counter() - began) * (len(batches) - number)
                if left_s >= REPAYS_AFTER_S and not missing_for_compile(self.model.device):
                    self.step.compile()
        return [found[i] for i in range(len(prompts))]

    @torch.inference_mode()
    def stream(
        self, prompt: Sequence[int], choose: Choose, *, stops: Sequence[int], max_new_tokens: int | None = None
    ) -> Iterator[int]:
        """Continue one prompt token by token, as `decode` would; the stop that ends it comes last, where one does.

        Raises:
            ValueError: the prompt leaves no room in the context.
        """
        [room] = self._room([prompt], max_new_tokens)
        batch = _Batch(self.step, [prompt], room)
        logits = batch.logits
        for step in range(room):
            chosen = choose(logits, torch.tensor([0]), step)
            token = int(chosen)
            yield token
            if token in stops:
                return
            if step + 1 < room:
                logits = batch.advance(chosen)

    def _room(self, prompts: Sequence[Sequence[int]], max_new_tokens: int | None) -> list[int]:
        context = self.model.config.max_position_embeddings
        room = [min(max_new_tokens or context, context - len(prompt)) for prompt in prompts]
        for prompt, left in zip(prompts, room, strict=True):
            if not prompt or left < 1:
                raise ValueError(f"a prompt must have from 1 to {context - 1} tokens, got {len(prompt)}")
        return room

    @torch.inference_mode()
    def _decode_batch(
        self,
        prompts: Sequence[Sequence[int]],
        rows: Sequence[int],
        room: Sequence[int],
        choose: Choose,
        stops: set[int],
    ) -> Iterator[tuple[int, Continuation]]:
        batch = _Batch(self.step, prompts, max(room[i] for i in rows))
        alive, new = list(rows), {i: list[int]() for i in rows}
        logits = batch.logits
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
            # A compiled step goes down to two rows and no further: that of one row is another graph.
            least, share = 2 if self.step.compiled else 1, 0 if self.model.early_exit is not None else DROP_SHARE
            if len(alive) > max(least, len(new)) and len(alive) - len(new) >= share * len(alive):
                kept = [place for place, i in enumerate(alive) if i in new]
                kept += [place for place, i in enumerate(alive) if i not in new][: max(0, least - len(kept))]
                batch.keep(kept)
                chosen, alive = chosen[kept], [alive[place] for place in kept]
            logits = batch.advance(chosen)


def _evenly(rows: Sequence[int], batch_size: int) -> list[Sequence[int]]:
    """Batches of at most so many rows, as few and as alike in number as can be; none of no rows."""
    if not rows:
        return []
    batches = -(-len(rows) // batch_size)
    ends = [len(rows) * k // batches for k in range(batches + 1)]
    return [rows[begin:end] for begin, end in pairwise(ends)]


class _Batch:
    """Prompts of several rows, read, and the steps behind them."""

    def __init__(self, step: Step, prompts: Sequence[Sequence[int]], room: int) -> None:
        self.step = step
        self.cache, self.missing, self.logits = read_padded(step.model, prompts, room)
        length = self.cache.in_place[0].length
        self.mask = padding_mask(self.missing, length, step.model.dtype)

    def advance(self, tokens: Tensor) -> Tensor:
        """Add one token to each row, (B,); logits behind it: (B, V)."""
        return self.step(tokens, self.cache.in_place, self.missing, self.mask)

    def keep(self, rows: list[int]) -> None:
        """Drop all rows but these."""
        self.cache.keep(rows)
        self.mask, self.missing = self.mask[rows], self.missing[rows]
