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
from .records import at

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
            if at(run.record, "data.data_hash") != self.data_hash:
                raise ValueError(f"{self.folder} holds a run on other data: move it away")
        except (ValueError, OSError) as error:
            return State(status="failed", reason=" ".join(str(error).split()))
        return self._state(run.record)

    def _state(self, record: Mapping[str, Any]) -> State:
        if record.get("status") == "finished":
            return self._ended(record)
        error = str(record.get("error", ""))
        if error.startswith("FloatingPointError"):
            return State(status="diverged", reason=error.partition(": ")[2])
        last = _last_row(self.folder / "metrics.jsonl")
        return State(
            status="unfinished",
            steps=int(_number(record.get("steps"))) or None,
            step=int(_number(last.get("step"))),
            training_s=_number(last.get("training_s")),
            nats=_number(last.get("loss_nats_per_token"), None),
        )

    def _ended(self, record: Mapping[str, Any]) -> State:
        """Of a run whose record says that it is finished: a search and a report go by its numbers."""
        even = "validation.even_stories.nats_per_token"
        names = ["validation.nats_per_token", *([even] if at(record, even) is not None else [])]
        for name in names:
            value = at(record, name)
            if isinstance(value, float) and not math.isfinite(value):
                return State(status="diverged", reason=f"its {name} is {value}")
            if _number(value, None) is None:
                why = f"{self.folder} holds a finished run whose run.json has no number at {name}: move it away"
                return State(status="failed", reason=why)
        nats, chosen_on = (float(at(record, name)) for name in (names[0], names[-1]))
        steps = int(_number(record.get("steps")))
        return State(status="finished", steps=steps or None, step=steps, nats=nats, chosen_on_nats=chosen_on)

    def progress(self) -> State:
        """As `state`, of a run that is known to be this task's and may be writing its record just now."""
        try:
            return self._state(self.record())
        except (OSError, ValueError):
            return State(status="unfinished")

    def record(self) -> dict[str, Any]:
        """Its `run.json`."""
        found = json.loads((self.folder / "run.json").read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError(f"{self.folder} must hold a run.json with a mapping: move it away")
        return found


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


def _number(value: Any, otherwise: Any = 0.0) -> Any:
    """A finite number; instead of anything else, `otherwise`."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return value if is_number else otherwise
