"""Reading what runs left behind, without torch."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

_NEEDED = (
    "data.data_hash",
    "model.layout",
    "model.hidden_size",
    "model.depth",
    "model.parameters.total",
    "model.forward_flops_per_token",
    "validation.nats_per_token",
    "validation.bits_per_byte",
    "tokens",
    "tokens_per_s",
)


@dataclass(frozen=True)
class Run:
    """A finished run: its record (`run.json`) and its metrics (`metrics.jsonl`), in order.

    `config` is what it was told (`config.yaml`), empty where that was not kept.
    """

    folder: Path
    record: dict[str, Any]
    metrics: list[dict[str, Any]]
    config: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: str | Path, *, name: str | None = None) -> "Run":
        """Read a run folder. What is wrong with it names it by `name`, or by its path.

        Raises:
            FileNotFoundError: it is no run folder.
            ValueError: the run is not finished, or its record is damaged.
        """
        folder = Path(folder).expanduser()
        name = str(folder) if name is None else name
        if not (folder / "run.json").is_file():
            raise FileNotFoundError(f"runs must be folders made by frailt train, got {name!r} without a run.json")
        try:
            record = _json(_text(folder / "run.json"), "run.json")
            lines = _text(folder / "metrics.jsonl").splitlines()
            metrics = [_json(line, f"line {i} of metrics.jsonl") for i, line in enumerate(lines, start=1)]
            config = _yaml(folder / "config.yaml")
        except ValueError as error:
            raise ValueError(f"{name} must hold a readable run.json, metrics.jsonl and config.yaml: {error}") from error
        if record.get("status") != "finished":
            raise ValueError(
                f"{name} must be a finished run, its status is {record.get('status')!r}{_diverged(record)}"
            )
        missing = [needed for needed in _NEEDED if at(record, needed) is None]
        if missing:
            raise ValueError(f"{name} must hold a whole run.json, got one without {missing[0]}")
        return cls(folder, record, metrics, config)

    def curve(self, what: str) -> tuple[list[int], list[float]]:
        """Tokens trained on, and the metric named `what`, wherever it was logged."""
        rows = [row for row in self.metrics if row.get(what) is not None]
        return [row["tokens"] for row in rows], [row[what] for row in rows]


def at(record: Any, name: str) -> Any:
    """What is at a dotted name in nested mappings, or None."""
    for key in name.split("."):
        record = record.get(key) if isinstance(record, dict) else None
    return record


def is_positive(value: Any) -> bool:
    """Whether it is a finite number above 0."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < float("inf")


def _diverged(record: dict[str, Any]) -> str:
    kind, _, what = str(record.get("error", "")).partition(": ")
    return f": {what.partition(';')[0]}" if kind == "FloatingPointError" else ""


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ValueError(f"{path.name} is missing") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path.name} cannot be read: {getattr(error, 'strerror', None) or error}") from error


def _json(text: str, what: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{what} is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{what} is no mapping")
    return found


def _yaml(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        found = yaml.safe_load(_text(path))
    except yaml.YAMLError as error:
        raise ValueError(f"{path.name} is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path.name} is no mapping")
    return found


def steady_s(training_s: float, first_step_s: Any) -> float:
    """Seconds of training without the first step, in which blocks are compiled; with it where it is not known."""
    known = isinstance(first_step_s, int | float) and 0 < first_step_s < training_s
    return training_s - first_step_s if known else training_s
