"""Reading what runs left behind, without torch."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
    """A finished run: its record (`run.json`) and its metrics (`metrics.jsonl`), in order."""

    folder: Path
    record: dict[str, Any]
    metrics: list[dict[str, Any]]

    @classmethod
    def read(cls, folder: str | Path) -> "Run":
        """Read a run folder.

        Raises:
            FileNotFoundError: it is no run folder.
            ValueError: the run is not finished, or its record is damaged.
        """
        folder = Path(folder).expanduser()
        path = folder / "run.json"
        if not path.is_file():
            raise FileNotFoundError(
                f"runs must be folders made by frailt train, got {str(folder)!r} without a run.json"
            )
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
            metrics = [json.loads(line) for line in lines]
        except (ValueError, OSError) as error:
            raise ValueError(f"{folder} must hold a readable run.json and metrics.jsonl: {error}") from error
        if not all(isinstance(row, dict) for row in (record, *metrics)):
            raise ValueError(f"{folder} must hold a run.json and a metrics.jsonl of mappings, got other JSON")
        if record.get("status") != "finished":
            raise ValueError(f"{folder} must be a finished run, its status is {record.get('status')!r}")
        missing = [name for name in _NEEDED if _at(record, name) is None]
        if missing:
            raise ValueError(f"{folder} must hold a whole run.json, got one without {missing[0]}")
        return cls(folder, record, metrics)

    def curve(self, what: str) -> tuple[list[int], list[float]]:
        """Tokens trained on, and the metric named `what`, wherever it was logged."""
        rows = [row for row in self.metrics if row.get(what) is not None]
        return [row["tokens"] for row in rows], [row[what] for row in rows]


def _at(record: Any, name: str) -> Any:
    """What is at a dotted name in nested mappings, or None."""
    for key in name.split("."):
        record = record.get(key) if isinstance(record, dict) else None
    return record
