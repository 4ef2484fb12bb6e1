"""What a record must hold, by dotted name; where it does not, a ValueError of one line says what it should be."""

import sys
from typing import Any

from frailt.experiments.records import at

LARGEST = sys.float_info.max


def text(record: dict[str, Any], name: str) -> str:
    """A text."""
    value = at(record, name)
    if not isinstance(value, str):
        raise ValueError(f"{name} must be a text, got {value!r}")
    return value


def count(record: dict[str, Any], name: str, least: int = 1) -> int:
    """A whole number of `least` or more."""
    value = at(record, name)
    if type(value) is not int or value < least:
        raise ValueError(f"{name} must be a whole number of {least} or more, got {value!r}")
    return value


def positive(record: dict[str, Any], name: str) -> float:
    """A finite number above 0."""
    value = at(record, name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= LARGEST:
        raise ValueError(f"{name} must be a number above 0, got {value!r}")
    return float(value)
