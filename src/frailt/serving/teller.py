"""One thread that owns the model and tells all texts, several at a time, and the bounded line before it.

Texts are decoded together in turns. A turn ends when its last text does, or when somebody waits for a place that is
free and the turn has been worth it; texts that are not at their end then go on in the next turn, with those that
waited, behind all that they have so far. They are read again for that, so turns are long enough to keep reading below
a quarter of the time.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence

import torch

from frailt.inference.decoding import Decoder

from .errors import Refused
from .log import complain
from .turn import FAILED, STOPPING, Event, Row, Turn


class Teller:
    """Tells texts until it is closed.

    Args:
        decoder: of the model; no other thread uses it while this one runs.
        stops: token ids that end a text.
        max_concurrent: texts at a time.
        max_waiting: texts that may wait beyond these.
        post: takes what rows shall hear to the thread where they hear it.
        threads: CPU threads; None for torch's own choice.
    """

    def __init__(
        self,
        decoder: Decoder,
        *,
        stops: Sequence[int],
        max_concurrent: int,
        max_waiting: int,
        post: Callable[[list[Event]], object],
        threads: int | None = None,
    ) -> None:
        self._decoder, self._stops, self._post, self._threads = decoder, stops, post, threads
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
        while rows := self._next_turn():
            turn = Turn(
                rows,
                stops=self._stops,
                post=self._post,
                wanted_by_others=lambda telling: bool(self._waiting) and telling < self._max_concurrent,
                is_over=lambda: self._ends_at_s is not None and time.monotonic() >= self._ends_at_s,
            )
            try:
                turn.run(self._decoder)
            except Exception as error:  # of whatever kind: those who wait are told, and the next turn may go well
                complain(error)
                self._post([(row, None, FAILED) for row in rows if not row.done])
                for row in rows:
                    row.done = True

    def _next_turn(self) -> list[Row]:
        """Those whose turn it is; none when the teller is closed."""
        with self._changed:
            while True:
                self._telling = [row for row in self._telling if not row.done and not row.unwanted]
                while self._waiting and len(self._telling) < self._max_concurrent:
                    self._telling.append(self._waiting.popleft())
                if self._telling or self._ends_at_s is not None:
                    return self._telling
                self._changed.wait()


def stopping() -> Refused:
    """What those hear who come, or are not told to their end, while the server stops."""
    return Refused(503, "the server is stopping", code="stopping")
