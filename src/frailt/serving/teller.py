"""One thread that owns the model and tells all texts, several at a time, and the bounded line before it.

A text joins those that are told before their next token, if there is a place for it, and it alone is read for that.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence

import torch

from frailt.inference.step import Step

from .errors import Refused, stopping
from .log import complain
from .telling import FAILED, STOPPING, Event, Row, Telling

READ_PER_STEP = 512
"""Tokens of prompts, with padding, that are read between two steps, but for one that is longer: others wait for it."""


class Teller:
    """Tells texts until it is closed.

    Args:
        step: of the model; no other thread uses it while this one runs.
        stops: token ids that end a text.
        max_concurrent: texts at a time.
        max_waiting: texts that may wait beyond these.
        post: takes what rows shall hear to the thread where they hear it.
        threads: CPU threads; None for torch's own choice.
    """

    def __init__(
        self,
        step: Step,
        *,
        stops: Sequence[int],
        max_concurrent: int,
        max_waiting: int,
        post: Callable[[list[Event]], object],
        threads: int | None = None,
    ) -> None:
        self._step, self._stops, self._post, self._threads = step, stops, post, threads
        self._max_concurrent = max_concurrent
        self.places = max_concurrent + max_waiting
        self._changed = threading.Condition()
        self._waiting: deque[Row] = deque()
        self._telling: list[Row] = []
        self._ends_at_s: float | None = None
        self._thread = threading.Thread(target=self._run, name="teller")

    def start(self) -> None:
        """Begin to tell."""
        self._thread.start()

    def submit(self, rows: Sequence[Row]) -> None:
        """Put texts in line.

        Raises:
            Refused: there are not as many places, or the server is stopping.
        """
        with self._changed:
            if self._ends_at_s is not None:
                raise stopping()
            free = self.places - sum(self._count())
            if len(rows) > free:
                raise Refused(
                    429,
                    f"texts must be at most {free} now, for so many of the {self.places} places are free, "
                    f"got {len(rows)}: try again",
                    code="queue_full",
                    headers={"Retry-After": "1"},
                )
            self._waiting.extend(rows)
            self._changed.notify()

    def drop(self, rows: Collection[Row]) -> None:
        """Nobody wants these any more: their places are free, at once or after the step under way."""
        with self._changed:
            for row in rows:
                row.unwanted = True
            self._waiting = deque(row for row in self._waiting if not row.unwanted)

    def counts(self) -> tuple[int, int]:
        """How many texts are being told, and how many wait."""
        with self._changed:
            return self._count()

    def close(self, grace_s: float) -> None:
        """Take no more; end what waits, and what is being told after at most so many seconds."""
        with self._changed:
            self._ends_at_s = min(self._ends_at_s or float("inf"), time.monotonic() + grace_s)
            self._post([(row, None, STOPPING) for row in self._waiting])
            self._waiting.clear()
            self._changed.notify()

    def join(self) -> None:
        """Wait until the thread has ended, after `close`."""
        self._thread.join()

    def _count(self) -> tuple[int, int]:
        return sum(not row.done for row in self._telling), len(self._waiting)

    def _run(self) -> None:
        if self._threads is not None:
            torch.set_num_threads(self._threads)  # OpenMP keeps it for each thread that calls it
        telling = self._begin()
        while rows := self._due():
            try:
                telling.step(rows)
            except Exception as error:  # of whatever kind: those who wait are told, and the next texts may go well
                complain(error)
                self._post([(row, None, FAILED) for row in rows if not row.done])
                for row in rows:
                    row.done = True
                telling = self._begin()

    def _begin(self) -> Telling:
        return Telling(self._step, stops=self._stops, post=self._post)

    def _due(self) -> list[Row]:
        """Those that get a token now, whom some may have joined; none when the teller is closed."""
        with self._changed:
            while True:
                self._telling = [row for row in self._telling if not row.done and not row.unwanted]
                if self._ends_at_s is not None and time.monotonic() >= self._ends_at_s:
                    self._post([(row, None, STOPPING) for row in self._telling])
                    self._telling = []
                new = longest = 0
                while self._waiting and len(self._telling) < self._max_concurrent:
                    longest = max(longest, len(self._waiting[0].prompt))
                    if new and (new + 1) * longest > READ_PER_STEP:  # all are as long as the longest, with padding
                        break
                    self._telling.append(self._waiting.popleft())
                    new += 1
                if self._telling or self._ends_at_s is not None:
                    return list(self._telling)
                self._changed.wait()
