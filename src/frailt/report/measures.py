"""`measures.json`: what was measured of completions without a judge, as `frailt measure` wrote it."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .fields import text

MEASURES = "measures.json"

IDENTITY = {"evaluator": "sha256", "corpus": "hash"}
"""What a measure may rest on, and which of its fields says which one it is."""


@dataclass(frozen=True)
class Measure:
    """A number over the stories of one checkpoint."""

    mean: float
    low: float | None
    """Of its interval; None, as `high`, where it has none."""
    high: float | None
    n: int
    unit: str
    about: str


@dataclass(frozen=True)
class Measures:
    """All that was measured of one checkpoint, whatever it is."""

    completions: dict[str, Any]
    """The record of the completions that it was measured on."""
    sha256: str
    """Of these completions."""
    basis: Mapping[str, dict[str, Any] | None]
    """What they rest on besides the completions: evaluator and corpus, as far as there was one."""
    by_name: Mapping[str, Measure]


def read_measures(folder: Path) -> Measures | None:
    """Read measures.json of a folder; None where there is none.

    Raises:
        ValueError: it is not finished, or damaged.
    """
    path = folder / MEASURES
    if not path.is_file():
        return None
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(_damaged(f"it is no JSON: {error}")) from error
    if not isinstance(record, dict) or record.get("status") != "finished":
        status = record.get("status") if isinstance(record, dict) else record
        raise ValueError(f"status of {MEASURES} must be finished, got {status!r}: give its frailt measure again")
    try:
        if not isinstance(record.get("measures"), dict) or not isinstance(record.get("completions"), dict):
            raise ValueError("measures and completions must be there and be mappings")
        return Measures(
            completions=record["completions"],
            sha256=text(record, "completions_sha256"),
            basis={name: _basis(record, name) for name in IDENTITY},
            by_name={str(name): _measure(str(name), each) for name, each in record["measures"].items()},
        )
    except ValueError as error:
        raise ValueError(_damaged(str(error))) from error


def _basis(record: dict[str, Any], name: str) -> dict[str, Any] | None:
    found = record.get(name)
    if found is not None and not (isinstance(found, dict) and isinstance(found.get(IDENTITY[name]), str)):
        raise ValueError(f"{name} must be null or a record with {IDENTITY[name]}, got {found!r}")
    return found


def _measure(name: str, fields: Any) -> Measure:
    if not isinstance(fields, dict):
        raise ValueError(f"{name} must be a mapping, got {fields!r}")
    numbers = {key: _number(name, key, fields.get(key)) for key in ("mean", "low", "high")}
    if numbers["mean"] is None or (numbers["low"] is None) != (numbers["high"] is None):
        raise ValueError(f"{name} must have a mean, and low and high or neither")
    if type(fields.get("n")) is not int or fields["n"] < 0:
        raise ValueError(f"{name}.n must be a whole number of 0 or more, got {fields.get('n')!r}")
    words = {key: text(fields, key) for key in ("unit", "about")}
    return Measure(numbers["mean"], numbers["low"], numbers["high"], fields["n"], **words)


def _number(name: str, key: str, value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{name}.{key} must be a number, got {value!r}")
    return float(value)


def _damaged(rule: str) -> str:
    return f"{MEASURES} is damaged: {rule}; give its frailt measure again"
