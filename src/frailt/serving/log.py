"""What the server says on standard error: a line for each request, and where an error of its own was."""

import sys
import traceback
from contextlib import suppress


def say(line: str) -> None:
    """Print a line; a reader that has gone does no harm."""
    with suppress(OSError):
        print(line, file=sys.stderr, flush=True)


def complain(error: BaseException) -> None:
    """Of what kind it is and where it happened; not its message, which might quote a prompt."""
    where = "".join(traceback.format_tb(error.__traceback__)).rstrip()
    say(f"frailt serve: error: {type(error).__name__}\n{where}")
