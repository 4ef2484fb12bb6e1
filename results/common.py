"""What the scripts under results/ share: one run as a command, skipped where it is finished, and keeping its record."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

KEPT = ("config.yaml", "run.json", "metrics.jsonl")


def train(out: Path, **options: Any) -> None:
    """`frailt train` with these options into `out`, on one thread; it goes on where it was stopped."""
    out.parent.mkdir(parents=True, exist_ok=True)
    arguments = [f"--{name.replace('__', '.')}={value}" for name, value in options.items()]
    with out.with_name(out.name + ".log").open("w") as log:
        command = ["frailt", "train", f"--out={out}", "--threads=1", *arguments]
        subprocess.run(command, stdout=log, stderr=log, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})


def keep(run: Path, records: Path) -> None:
    """Copy a run's record, without its weights, into `records`."""
    records.mkdir(parents=True, exist_ok=True)
    for name in KEPT:
        shutil.copy(run / name, records / name)


def loss_of(folder: Path) -> float:
    """Validation nats per token of a finished run."""
    return json.loads((folder / "run.json").read_text())["validation"]["nats_per_token"]
