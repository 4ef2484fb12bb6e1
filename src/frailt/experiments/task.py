"""One run of a sweep, and what its folder says of it. No torch."""

import fcntl
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from frailt.training.config import MAY_CHANGE, TrainConfig
from frailt.training.run_folder import RunFolder

from .grid import Cell

Status = Literal["unfinished", "finished", "diverged", "failed"]
_TAIL_BYTES = 1 << 16


@dataclass(frozen=True, kw_only=True)
class State:
    """How far a run is."""

    status: Status
    steps: int | None = None
    step: int = 0
    training_s: float = 0.0
    nats: float | None = None
    """The last training loss; of a finished run the validation loss."""
    chosen_on_nats: float = math.inf
    """What a search goes by: of a finished run the loss on the stories of even number, where its record has it."""
    reason: str = ""
    """Why it failed or diverged."""

    @property
    def left_s(self) -> float | None:
        """Seconds of training left, at its rate so far."""
        if self.steps is None or not self.step or not self.training_s:
            return None
        return (self.steps - self.step) * self.training_s / self.step


@dataclass(frozen=True, kw_only=True)
class Task:
    """One `frailt train`: a cell, or a trial that a cell needs first."""

    cell: Cell
    folder: Path
    config: TrainConfig
    data_hash: str

    @property
    def name(self) -> str:
        """Unique in its sweep."""
        return f"{self.folder.parent.name}/{self.folder.name}"

    def state(self) -> State:
        """What its folder says; of a run that is not this task's it says why, as a failure."""
        try:
            run = RunFolder(self.folder)
            if not run.record:
                return State(status="unfinished")
            run.check_unchanged(asdict(self.config), MAY_CHANGE)
            if _at(run.record, "data", "data_hash") != self.data_hash:
                raise ValueError(f"{self.folder} holds a run on other data: move it away")
        except (ValueError, OSError) as error:
            return State(status="failed", reason=" ".join(str(error).split()))
        return self._state(run.record)

    def _state(self, record: Mapping[str, Any]) -> State:
        steps, error = record.get("steps"), str(record.get("error", ""))
        if record.get("status") == "finished":
            nats = _at(record, "validation", "nats_per_token")
            even = _at(record, "validation", "even_stories", "nats_per_token")
            chosen_on = nats if even is None else even
            return State(status="finished", steps=steps, step=steps or 0, nats=nats, chosen_on_nats=chosen_on)
        if error.startswith("FloatingPointError"):
            return State(status="diverged", reason=error.partition(": ")[2])
        last = _last_row(self.folder / "metrics.jsonl")
        return State(
            status="unfinished",
            steps=steps,
            step=last.get("step", 0),
            training_s=last.get("training_s", 0.0),
            nats=last.get("loss_nats_per_token"),
        )

    def progress(self) -> State:
        """As `state`, of a run that is known to be this task's and may be writing its record just now."""
        try:
            return self._state(self.record())
        except (OSError, ValueError):
            return State(status="unfinished")

    def record(self) -> dict[str, Any]:
        """Its `run.json`."""
        return json.loads((self.folder / "run.json").read_text(encoding="utf-8"))


def in_use(folder: Path) -> bool:
    """Whether a process trains in a run folder: it holds the lock, whoever started it.

    Not to be asked of a run that is just being started, whose lock this would take for a moment.
    """
    try:
        with (folder / ".lock").open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _last_row(path: Path) -> dict[str, Any]:
    """The last whole line of metrics of a training step."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            lines = file.read().decode("utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    for line in reversed(lines):
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and "loss_nats_per_token" in row:
            return row
    return {}


def _at(record: Any, *keys: str) -> Any:
    for key in keys:
        record = record.get(key) if isinstance(record, Mapping) else None
    return record
