"""One process in a folder at a time."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def locked(out: Path, whose: str) -> Iterator[None]:
    """Make a folder, and hold it for as long as this context is open.

    Args:
        out: the folder.
        whose: who would be in it, such as sweep.

    Raises:
        BlockingIOError: another process is in it.
    """
    out.mkdir(parents=True, exist_ok=True)
    with (out / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BlockingIOError(f"out is in use by another {whose}, got {out}: wait for it, or stop it") from error
        yield
