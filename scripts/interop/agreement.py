"""How far an engine agrees with the reference: what the scripts that run inside each engine's environment share.

numpy only, and nothing of this package's. Shapes: T positions, V vocabulary.
"""

import json
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

TOLERANCE = 1e-3
"""Of logits and of log-probabilities in float32; the likeliest token may differ where the first two are as close."""


class Checks:
    """What was found, to be written as JSON: checks that must pass, and figures that are only told."""

    def __init__(self, *packages: str) -> None:
        self.versions = {"python": platform.python_version(), **{name: _version(name) for name in packages}}
        self.found: list[dict[str, Any]] = []

    def must(self, what: str, passed: bool, **measured: Any) -> None:
        """Something that must hold."""
        self._add(what, bool(passed), measured)

    def told(self, what: str, **measured: Any) -> None:
        """Something that is as it is."""
        self._add(what, None, measured)

    def write(self, path: str | Path) -> None:
        """Put all of it into a file."""
        Path(path).write_text(json.dumps({"versions": self.versions, "checks": self.found}, indent=1) + "\n")

    def _add(self, what: str, passed: bool | None, measured: dict[str, Any]) -> None:
        self.found.append({"what": what, "passed": passed, **measured})
        word = {True: "ok  ", False: "FAIL", None: "    "}[passed]
        shown = ", ".join(f"{name.replace('_', ' ')} {_short(value)}" for name, value in measured.items())
        print(f"   {word} {what}: {shown}" if shown else f"   {word} {what}", file=sys.stderr, flush=True)


class Reference:
    """What prepare.py left of one model: its exports, and what transformers makes of them.

    `sequences` are token ids, the stories first; `logits` are the looped model's on them, each (T, V).
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        found = json.loads((self.folder / "reference.json").read_text(encoding="utf-8"))
        self.model: dict[str, Any] = found["model"]
        self.checkpoint: str = found["checkpoint"]
        self.stops: list[int] = found["stops"]
        self.stories: list[dict[str, Any]] = found["stories"]
        self.texts: list[dict[str, Any]] = found["texts"]
        self.sequences: list[list[int]] = found["sequences"]

    def logits(self, of: str = "logits") -> list[np.ndarray]:
        """Of each sequence."""
        with np.load(self.folder / f"{of}.npz") as arrays:
            return [arrays[f"arr_{number}"] for number in range(len(self.sequences))]


def agreement(wanted: list[np.ndarray], found: list[np.ndarray], tolerance: float = TOLERANCE) -> dict[str, Any]:
    """Of logits or log-probabilities, each (T, V)."""
    a, b = np.concatenate(wanted).astype(np.float64), np.concatenate(found).astype(np.float64)
    assert a.shape == b.shape, (a.shape, b.shape)
    second, first = np.sort(a, axis=-1)[:, -2:].T
    other = a.argmax(-1) != b.argmax(-1)
    return {
        "positions": len(a),
        "largest_difference": float(np.abs(a - b).max()),
        "other_argmax": int(other.sum()),
        "other_argmax_though_first_two_differ_by_more": int((other & (first - second > tolerance)).sum()),
    }


def agrees(measured: dict[str, Any], tolerance: float = TOLERANCE) -> bool:
    """Whether that is within the tolerance; a NaN is not."""
    beyond = measured["other_argmax_though_first_two_differ_by_more"]
    return measured["largest_difference"] < tolerance and beyond == 0


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """In float64, over the last axis."""
    logits = logits.astype(np.float64)
    top = logits.max(-1, keepdims=True)
    return logits - top - np.log(np.exp(logits - top).sum(-1, keepdims=True))


def same(wanted: list[Any], found: list[Any]) -> dict[str, int]:
    """How many are equal."""
    return {"of": len(wanted), "equal": sum(a == b for a, b in zip(wanted, found, strict=True))}


def _short(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:.6g}" if abs(value) >= 1 else f"{value:.2g}"


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
