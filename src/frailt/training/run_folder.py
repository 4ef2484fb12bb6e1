"""A run folder: what one training run leaves behind, and whether it is finished.

config.yaml     the resolved configuration
run.json        status, versions, commit, data, model, result; `finished` is written last
metrics.jsonl   one line per logged step and per evaluation
best/ last/     checkpoints
"""

import json
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

import frailt


class RunFolder:
    """The folder of one run.

    Args:
        path: the folder; it must not exist, or be empty.

    Raises:
        FileExistsError: there is something in it already.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser()
        if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise FileExistsError(f"out must be a new or empty folder, got {path}: choose another, or remove it")
        self.path.mkdir(parents=True, exist_ok=True)
        self.record: dict[str, Any] = {}

    def write_config(self, config: dict[str, Any]) -> None:
        """Write the resolved configuration."""
        write_whole(self.path / "config.yaml", yaml.safe_dump(config, sort_keys=False))

    def update(self, **values: Any) -> None:
        """Add to `run.json`."""
        self.record |= values
        write_whole(self.path / "run.json", json.dumps(self.record, indent=2) + "\n")

    def log(self, row: dict[str, Any]) -> None:
        """Append one line to `metrics.jsonl`."""
        with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


def write_whole(path: Path, text: str) -> None:
    """Write under another name, then rename: a file that is there is whole."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


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
