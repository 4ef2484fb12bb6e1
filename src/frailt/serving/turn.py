"""Texts that are decoded together for a while, each ending by itself."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from frailt.inference.decoding import Decoder
from frailt.inference.drawing import Sampling

from .choosing import choose

TURN_PER_READING = 3.0
"""A turn that others could join goes on for at least so many times what reading its texts took."""

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
    told: list[int] = field(default_factory=list)
    done: bool = False
    unwanted: bool = False


Event = tuple[Row, int | None, str | None]
"""What a row is to hear."""


class Turn:
    """Decodes texts together: chooses their tokens, and ends a text, or all of them, by choosing a stop.

    Args:
        rows: the texts; those that have been told in part go on behind it.
        stops: token ids that end a text.
        post: takes the events of each step.
        wanted_by_others: told how many texts are not at their end, whether some other could join them.
        is_over: whether all must end.
    """

    def __init__(
        self,
        rows: Sequence[Row],
        *,
        stops: Sequence[int],
        post: Callable[[list[Event]], object],
        wanted_by_others: Callable[[int], bool],
        is_over: Callable[[], bool],
    ) -> None:
        self._rows, self._stops, self._post = rows, stops, post
        self._wanted_by_others, self._is_over = wanted_by_others, is_over
        self._began_s = 0.0
        self._read_s: float | None = None

    def run(self, decoder: Decoder) -> None:
        """Tell until all are at their end, or others shall join."""
        self._began_s = time.monotonic()
        decoder.decode(
            [row.prompt + row.told for row in self._rows],
            self,
            stops=self._stops,
            max_new_tokens=max(row.room - len(row.told) for row in self._rows),
            batch_size=len(self._rows),
        )

    def __call__(self, logits: Tensor, numbers: Tensor, step: int) -> Tensor:
        """Choose from logits (B, V) for the rows of these numbers (B,): (B,)."""
        if self._read_s is None:
            self._read_s = time.monotonic() - self._began_s
        rows = [self._rows[number] for number in numbers.tolist()]
        events: list[Event] = []
        for row in rows:
            if not row.done and not row.unwanted and self._is_over():
                events.append((row, None, STOPPING))
                row.done = True
            row.done = row.done or row.unwanted
        places = [place for place, row in enumerate(rows) if not row.done]
        following = [self._stops[0]] * len(rows)
        if places:
            chosen = choose(
                logits if len(places) == len(rows) else logits[places],
                [rows[place].sampling for place in places],
                [rows[place].numbers for place in places],
            )
            for place, token in zip(places, chosen, strict=True):
                events.append(self._told(rows[place], token))
                if not rows[place].done:
                    following[place] = token
        if events:
            self._post(events)
        if self._may_be_joined():
            following = [self._stops[0]] * len(rows)
        return torch.tensor(following, device=logits.device)

    def _told(self, row: Row, token: int) -> Event:
        if token in self._stops:
            row.done = True
            return row, None, STOP
        row.told.append(token)
        row.done = len(row.told) == row.room
        return row, token, LENGTH if row.done else None

    def _may_be_joined(self) -> bool:
        assert self._read_s is not None
        worth_it = time.monotonic() - self._began_s >= (1 + TURN_PER_READING) * self._read_s
        return worth_it and self._wanted_by_others(sum(not row.done for row in self._rows))
