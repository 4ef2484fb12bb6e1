"""Texts that are told together: each joins when it comes, and leaves when it ends."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from frailt.inference.batch import Batch
from frailt.inference.decoding import DROP_SHARE
from frailt.inference.drawing import Sampling
from frailt.inference.step import Step

from .choosing import choose

STOP, LENGTH, FAILED, STOPPING = "stop", "length", "failed", "stopping"
"""Why a text ends: the model ended it, its room is used up, an error, the server is stopping."""


@dataclass(eq=False, kw_only=True)
class Row:
    """A text to be told.

    Args:
        prompt: token ids, at least one.
        room: tokens that it may have, 1 or more.
        sampling: how it is drawn.
        numbers: what it is drawn with.
        hear: is given each token, and in the end why it ended, with the last token or after it.
    """

    prompt: list[int]
    room: int
    sampling: Sampling
    numbers: np.random.Generator
    hear: Callable[[int | None, str | None], object]
    told: int = 0
    last: int = 0
    done: bool = False
    unwanted: bool = False


Event = tuple[Row, int | None, str | None]
"""What a row is to hear."""


class Telling:
    """Texts under way: reads each once, chooses their tokens, and says which of them ends.

    Args:
        step: of the model.
        stops: token ids that end a text.
        post: takes the events of each step.
    """

    def __init__(self, step: Step, *, stops: Sequence[int], post: Callable[[list[Event]], object]) -> None:
        self._stops, self._post = stops, post
        self._batch = Batch(step)
        self._rows: list[Row] = []

    @torch.inference_mode()  # all tensors are of one kind, or a compiled step is compiled anew
    def step(self, rows: Sequence[Row]) -> None:
        """Tell a token more of each text.

        Args:
            rows: of the step before, those that go on, in their order; behind them those that join.
        """
        wanted = set(rows)
        kept = [place for place, row in enumerate(self._rows) if row in wanted]
        new, logits = rows[len(kept) :], []
        if not kept or (not new and len(self._rows) - len(kept) >= DROP_SHARE * len(self._rows)):
            self._batch.keep(kept)
            self._rows, kept = list(rows[: len(kept)]), list(range(len(kept)))
        if kept:
            last = torch.tensor([row.last for row in self._rows], device=self._batch.device)
            logits.append(self._batch.advance(last)[kept])
        if new:
            logits.append(self._batch.join([row.prompt for row in new], max(row.room for row in new), kept))
            self._rows = list(rows)
        chosen = choose(torch.cat(logits), [row.sampling for row in rows], [row.numbers for row in rows])
        self._post([self._told(row, token) for row, token in zip(rows, chosen, strict=True)])

    def _told(self, row: Row, token: int) -> Event:
        row.last = token
        if token in self._stops:
            row.done = True
            return row, None, STOP
        row.told += 1
        row.done = row.told == row.room
        return row, token, LENGTH if row.done else None
