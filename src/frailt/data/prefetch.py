"""Work done ahead of its consumer, in a thread."""

import time
import weakref
from collections.abc import Iterator
from contextlib import suppress
from queue import Empty, Queue
from threading import Event, Thread
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class _Ended:
    """The last thing in a queue: why there is no more."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


class Prefetcher(Generic[T]):
    """An iterator that runs in a thread of its own, at most `depth` items ahead.

    An error of the iterator is raised where its item would have come, and again whenever more is asked for. The thread
    ends with `close`, with the object, or with the interpreter: one killed within native code would abort the process.

    Args:
        items: what is iterated; used by the thread alone from now on.
        depth: finished items that wait, at most.
    """

    def __init__(self, items: Iterator[T], depth: int) -> None:
        queue: Queue[T | _Ended] = Queue(depth)
        stop = Event()
        thread = Thread(target=_run, args=(items, queue, stop), name="frailt-prefetch", daemon=True)
        self._queue = queue
        self._ended: _Ended | None = None
        self.waited_s = 0.0
        """Seconds that the consumer waited so far."""
        self.close = weakref.finalize(self, _stop, queue, stop, thread)
        """Stop the thread, and wait for it; what it had done is dropped."""
        thread.start()

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        if self._ended is None:
            began = time.perf_counter()
            item = self._queue.get()
            self.waited_s += time.perf_counter() - began
            if not isinstance(item, _Ended):
                return item
            self._ended = item
        raise self._ended.error


def _run(items: Iterator[Any], queue: "Queue[Any]", stop: Event) -> None:
    try:
        for item in items:
            queue.put(item)
            if stop.is_set():
                return
        queue.put(_Ended(StopIteration()))
    except BaseException as error:
        queue.put(_Ended(error))


def _stop(queue: "Queue[Any]", stop: Event, thread: Thread) -> None:
    stop.set()
    while thread.is_alive():
        _empty(queue)  # lets a thread go on that waits for room
        thread.join(0.01)
    _empty(queue)
    queue.put(_Ended(ValueError("reading was closed")))


def _empty(queue: "Queue[Any]") -> None:
    with suppress(Empty):
        while True:
            queue.get_nowait()
