"""Texts that are decoded together: others can join them at any step, and none is read twice.

All rows end at the same place of the cache, so one step adds a token to each. A text that joins is read by itself, and
its keys and values are laid beside those that are there, ends together. That moves keys, which is allowed: they are
rotated by the position in their own text, not by their place in the cache.

Shapes: B rows, N rows that join, D width, G key-value heads, K channels per head, V vocabulary, T tokens that fit.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .cache import InPlaceCache
from .reading import padding_mask, read_padded
from .step import Step


class Batch:
    """Rows in the order in which they joined, none at first.

    Args:
        step: of the model.
    """

    def __init__(self, step: Step) -> None:
        self.step, self.model = step, step.model
        self.device = self.model.device
        self._texts: _Texts | None = None
        self._mask = torch.empty(0)

    @property
    def rows(self) -> int:
        """B."""
        return 0 if self._texts is None else len(self._texts.missing)

    @torch.inference_mode()
    def join(self, prompts: Sequence[Sequence[int]], room: int, keep: Sequence[int] | None = None) -> Tensor:
        """Let texts in behind the rows that are here, which are not read again.

        Args:
            prompts: token ids of each, at least one.
            room: how many tokens will be added to any of them at most, by `advance`.
            keep: numbers of the rows that stay; by default all. What moves them drops others at no cost.

        Returns:
            Logits behind each prompt, float32: (N, V).
        """
        room += 1  # to a compiled step a full cache would be another graph
        here = self._some(keep)
        cache, missing, logits = read_padded(self.model, prompts, 0 if here else room)
        texts = _Texts(cache, missing)
        self._set(_laid_together([*here, texts], room) if here else texts)
        return logits

    @torch.inference_mode()
    def advance(self, tokens: Tensor) -> Tensor:
        """Add one token to each row, (B,); logits behind it: (B, V)."""
        assert self._texts is not None
        return self.step(tokens, self._texts.cache.in_place, self._texts.missing, self._mask)

    @torch.inference_mode()
    def keep(self, rows: Sequence[int]) -> None:
        """Drop all rows but those at these numbers."""
        here = self._some(rows)
        if here:
            self._set(_laid_together(here, 0))
        else:
            self._texts = None

    def _some(self, rows: Sequence[int] | None) -> list["_Texts"]:
        """The rows at these numbers: a part for each run of them, so that they are copied from where they are."""
        if self._texts is None or rows is None:
            return [] if self._texts is None else [self._texts]
        runs: list[range] = []
        for row in rows:
            begins = runs.pop().start if runs and runs[-1].stop == row else row
            runs.append(range(begins, row + 1))
        return [self._texts.of(run) for run in runs]

    def _set(self, texts: "_Texts") -> None:
        """Make these the rows."""
        self._texts = texts
        self._mask = padding_mask(texts.missing, texts.cache.in_place[0].length, self.model.dtype)


class _Texts(NamedTuple):
    """Rows of a cache."""

    cache: InPlaceCache
    missing: Tensor
    """How many places before each row are padding: (B,)."""
    first: int = 0
    """The first row's number in the cache."""

    @property
    def filled(self) -> int:
        """Places that hold tokens."""
        return self.cache.in_place[0].filled

    @property
    def room(self) -> int:
        """Tokens that still fit."""
        return self.cache.in_place[0].length - self.filled

    def of(self, rows: range) -> "_Texts":
        """Some of these rows, one behind the other."""
        return _Texts(self.cache, self.missing[rows.start : rows.stop], rows.start)


def _laid_together(parts: Sequence[_Texts], room: int) -> _Texts:
    """All rows of these parts in one cache, where they end together; so much room behind them, or what any had."""
    room = max(room, *(part.room for part in parts))
    lengths = [part.filled - int(part.missing.min()) for part in parts]  # of the longest text in each
    filled, rows = max(lengths), sum(len(part.missing) for part in parts)
    cache = InPlaceCache(len(parts[0].cache.in_place), filled + room)
    for number, layer in enumerate(cache.in_place):
        like = parts[0].cache.in_place[number].values
        empty = like.new_empty(rows, like.shape[1], 0, like.shape[3])
        layer.lazy_initialization(empty, empty)
        layer.filled, last = filled, 0
        for part, length in zip(parts, lengths, strict=True):
            first, last = last, last + len(part.missing)
            old, taken = part.cache.in_place[number], slice(part.first, part.first + len(part.missing))
            there, here = slice(part.filled - length, part.filled), slice(filled - length, filled)
            layer.keys[first:last, ..., here] = old.keys[taken, ..., there]
            layer.values[first:last, :, here] = old.values[taken, :, there]
            # Nobody sees padding, but -inf does not hide a NaN.
            layer.keys[first:last, ..., : here.start] = 0
            layer.values[first:last, :, : here.start] = 0
    return _Texts(cache, torch.cat([part.missing + filled - part.filled for part in parts]))
