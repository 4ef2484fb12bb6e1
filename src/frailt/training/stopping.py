"""Stopping on request: SIGTERM and SIGUSR1 end a run after the step that is under way, with a checkpoint. No torch."""

import signal
import threading
from types import FrameType

RUN_AGAIN = 75
"""Exit code of a run that ended early and goes on when started again: EX_TEMPFAIL of sysexits.h, "try again"."""


class Stopped(Exception):
    """A run was asked to stop, and has a checkpoint of where it is."""


class ProcessLost(Exception):
    """Another process of the run died or hung; the run goes on from its last checkpoint when started again."""


class StopRequest:
    """Whether a signal has asked to stop, while this context is open; the handlers before it come back after it."""

    SIGNALS = (signal.SIGTERM, signal.SIGUSR1)

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():  # Python lets no other thread set handlers
            self._before = {number: signal.signal(number, self._note) for number in self.SIGNALS}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def __str__(self) -> str:
        return self.signal.name if self.signal is not None else "a signal to another process"

    def __bool__(self) -> bool:
        return self.signal is not None

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal = signal.Signals(number)
