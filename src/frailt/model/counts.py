"""Several iteration counts in one text: `1..8`, `1,2,4,8`, `1,2,4..8`."""

import re
from collections.abc import Sequence
from itertools import pairwise

from .layout import MAX_DEPTH

_PART = re.compile(r"(\d{1,6})(?:\.\.(\d{1,6}))?", re.ASCII)


def parse_counts(given: str | Sequence[int], field: str) -> list[int]:
    """The counts of a text, or of a list of numbers, as they are written.

    Args:
        given: counts and ranges with both ends, between commas; or a list.
        field: what an error calls it.

    Raises:
        ValueError: it is no such text, a count is not from 1 to `MAX_DEPTH`, or they do not rise.
    """
    counts: list[int] = []
    if isinstance(given, str):
        for part in given.replace(" ", "").split(","):
            match = _PART.fullmatch(part)
            if match is None:
                raise ValueError(f"{field} must be counts such as 1..8 or 1,2,4,8, got {given!r}")
            first, last = int(match[1]), int(match[2] or match[1])
            if last > MAX_DEPTH:
                counts.append(last)  # refused below, without a list as long as that
            else:
                counts += [last] if match[2] is None else range(first, last + 1) or [first, last]
    else:
        counts = list(given)
    if not counts or any(type(count) is not int or not 1 <= count <= MAX_DEPTH for count in counts):
        raise ValueError(f"{field} must be whole numbers from 1 to {MAX_DEPTH}, got {given!r}")
    if any(later <= earlier for earlier, later in pairwise(counts)):
        raise ValueError(f"{field} must rise from each count to the next, got {given!r}")
    return counts
