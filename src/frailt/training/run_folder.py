"""A run folder: what one training run leaves behind, whether it is finished, and how it goes on.

config.yaml     the resolved configuration
run.json        status, versions, commit, data, model, result; `finished` is written last
metrics.jsonl   one line per logged step and per evaluation
best/ last/     checkpoints
checkpoints/    what an unfinished run goes on from
"""

import fcntl
import json
import os
import platform
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, TextIO

import yaml

import frailt
from frailt.data.whole_files import write_whole

_OURS_BEFORE_A_RECORD = {"config.yaml", ".config.yaml.partial", ".run.json.partial", ".lock"}


class RunFolder:
    """The folder of one run, new or to go on with. Looking changes nothing; `begin` makes and locks it.

    Args:
        path: the folder; it must not exist, be empty, or hold a run.

    Raises:
        FileExistsError: there is something else in it.
        ValueError: the run's record is damaged.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser()
        self._lock: TextIO | None = None
        self.record: dict[str, Any] = {}
        """What `run.json` says; empty for a new run."""
        if self.path.exists():
            self._look(path)

    def _look(self, path: str | Path) -> None:
        if (self.path / "run.json").is_file():
            self.record = self._recorded()
        elif not self.path.is_dir() or {entry.name for entry in self.path.iterdir()} - _OURS_BEFORE_A_RECORD:
            raise FileExistsError(
                f"out must be a new or empty folder, or that of a run, got {path}: choose another, or remove it"
            )

    def _recorded(self) -> dict[str, Any]:
        record = self.path / "run.json"
        if not record.is_file():
            return {}
        try:
            found = json.loads(record.read_text(encoding="utf-8"))
        except ValueError:
            found = None
        if not isinstance(found, dict) or "status" not in found:
            raise ValueError(
                f"out holds a run whose run.json is damaged, got {self.path}: choose another, or move it away"
            )
        return found

    def config(self) -> dict[str, Any]:
        """The configuration that the run began with.

        Raises:
            ValueError: `config.yaml` is damaged.
        """
        try:
            found = yaml.safe_load((self.path / "config.yaml").read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError):
            found = None
        if not isinstance(found, dict):
            raise ValueError(
                f"out holds a run whose config.yaml is damaged, got {self.path}: choose another, or move it away"
            )
        return found

    def check_unchanged(
        self, config: dict[str, Any], may_change: Iterable[str], defaults: dict[str, Any] | None = None
    ) -> None:
        """Raise a ValueError where a field differs from the one that the run began with, but for `may_change`.

        A run that began before there was a field began with what `defaults` has for it.
        """
        began = _flat(defaults or {}) | _flat(self.config())
        for name, value in _flat(config).items():
            if name.partition(".")[0] not in may_change and began.get(name, value) != value:
                raise ValueError(
                    f"{name} must stay {began[name]} when the run in {self.path} goes on, got {value}: "
                    f"choose another out for another run"
                )

    def begin(self) -> None:
        """Make the folder and lock it for as long as this process lives.

        Raises:
            BlockingIOError: another process trains in it, or did until now.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        self._lock = (self.path / ".lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BlockingIOError(
                f"out is in use by another process, got {self.path}: wait for it, or stop it"
            ) from error
        if self._recorded() != self.record:
            raise BlockingIOError(f"out was in use by another process until now, got {self.path}: try again")

    def end(self) -> None:
        """Let go of the lock, if this process has it."""
        if self._lock is not None:
            self._lock.close()

    def write_config(self, config: dict[str, Any]) -> None:
        """Write the resolved configuration."""
        write_whole(self.path / "config.yaml", yaml.safe_dump(config, sort_keys=False))

    def update(self, **values: Any) -> None:
        """Add to `run.json`."""
        self.record |= values
        write_whole(self.path / "run.json", json.dumps(self.record, indent=2) + "\n")

    def give_up(self, status: str, error: BaseException) -> None:
        """Note why the run ended early; a disk that takes no note shall not hide the reason."""
        with suppress(OSError):
            self.update(status=status, ended=now(), error=f"{type(error).__name__}: {error}")

    def log(self, row: dict[str, Any]) -> None:
        """Append one line to `metrics.jsonl`."""
        with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def metrics_bytes(self) -> int:
        """How long `metrics.jsonl` is, once all of it is on the disk."""
        path = self.path / "metrics.jsonl"
        if not path.exists():
            return 0
        with path.open("a", encoding="utf-8") as file:
            os.fsync(file.fileno())
            return file.tell()

    def cut_metrics(self, size: int) -> None:
        """Forget the rows past `size` bytes: those that were logged after the checkpoint that the run goes on from.

        Raises:
            ValueError: there are fewer.
        """
        path = self.path / "metrics.jsonl"
        found = path.stat().st_size if path.exists() else 0
        if found < size:
            raise ValueError(f"{path} must have at least {size} bytes, as at the checkpoint, got {found}: restore it")
        if path.exists():
            os.truncate(path, size)


def _flat(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in config.items():
        nested = isinstance(value, dict) and not prefix  # one level: settings of the model, whose own are values
        flat |= _flat(value, f"{name}.") if nested else {f"{prefix}{name}": value}
    return flat


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def versions() -> dict[str, str | None]:
    """What the run was made with; `commit` ends in + where the tree had changes, and is None outside a checkout."""
    libraries = ("torch", "transformers", "accelerate", "tokenizers", "numpy")
    return {
        "frailt": frailt.__version__,
        "commit": _commit(),
        "python": platform.python_version(),
        **{name: version(name) for name in libraries},
    }


def _commit() -> str | None:
    here = Path(__file__).parent
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"],
            cwd=here, capture_output=True, text=True, timeout=10,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return described.stdout.strip() if described.returncode == 0 else None
