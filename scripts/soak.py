"""Kill a training run again and again, at random times and while it writes a checkpoint, and see that nothing is lost.

    python scripts/soak.py [--kills 50] [--seed 1] [--out results/soak.json]

A reference run is trained without interruption; then the same command is started, killed by SIGKILL and started again.
In turn a kill comes at any moment from the start of the process on, at a random time of training, and with a
checkpoint that is between its first byte and its rename. A run that ends before its kill is checked, begun anew and not
counted. At the end the weights must be bit-equal to the reference's, and the metrics the same rows but for what the
clock says. Exit code 1 where they are not.
"""

import argparse
import json
import os
import platform
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from frailt.training.run_folder import versions

_START_S = 8.0
"""About how long a process takes until it trains."""

TIMES = {
    "training_s", "evaluating_s", "tokens_per_s", "model_flops_utilisation", "waiting_share", "peak_memory_bytes"
}  # fmt: skip


@dataclass
class Soak:
    """What was done and found."""

    seed: int
    kills: int = 0  # that were sent to a process that lived
    from_start: int = 0  # those at any moment from the start of the process on
    while_writing: int = 0  # those that found a checkpoint half-written
    went_on_from: Counter[int] = field(default_factory=Counter)  # step: how often
    complaints: list[str] = field(default_factory=list)  # what was not as it should be


def soak(data: Path, folder: Path, kills: int, seed: int, steps: int = 120, longest_s: float = 4) -> Soak:
    """Train in `folder` on the prepared corpus `data`, with `kills` kills, and compare with a run without any.

    A kill comes within `longest_s` seconds of the start of the process or of its training, or with the checkpoint that
    is written next.
    """
    found, drawn = Soak(seed), random.Random(seed)
    reference, run = folder / "reference", folder / "run"
    _finish(data, reference, steps)
    finished = 0
    while found.kills < kills:
        kind = ("starting", "training", "writing")[found.kills % 3]
        process = _start(data, run, steps)
        if kind == "starting":
            time.sleep(drawn.uniform(0, _START_S + longest_s))
        else:
            _wait(process, run, drawn.uniform(0, longest_s), writing=kind == "writing")
        process.kill()
        code = process.wait()
        if code not in (0, -signal.SIGKILL):
            found.complaints.append(f"ended by itself with {code}: {(folder / 'log').read_text()[-300:]}")
            break
        if code == 0:  # finished before its time to die came: begin again
            _check_equal(run, reference, found)
            finished += 1
            run.rename(folder / f"finished-{finished}")
            continue
        found.kills += 1
        found.from_start += kind == "starting"
        found.while_writing += any((run / "checkpoints").glob(".*.partial")) if run.exists() else 0
    _finish(data, run, steps)
    _check_equal(run, reference, found)
    return found


def rows_of(run: Path) -> list[dict]:
    """The metrics without what the clock says."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name not in TIMES} for row in rows]


def _start(data: Path, run: Path, steps: int) -> subprocess.Popen:
    options = {
        "data": data, "out": run, "steps": steps, "model.layout": "(2)^2", "model.hidden_size": 16,
        "model.num_attention_heads": 2, "context": 47, "batch_rows": 8, "learning_rate": 0.01, "precision": "float32",
        "device": "cpu", "threads": 1, "evaluations": 6, "evaluation_share": 0.2, "log_every_steps": 3,
        "save_every_steps": 2,
    }  # fmt: skip
    command = [sys.executable, "-m", "frailt", "train", *(f"--{name}={value}" for name, value in options.items())]
    return subprocess.Popen(command, stderr=(run.parent / "log").open("a"), stdout=subprocess.DEVNULL)


def _finish(data: Path, run: Path, steps: int) -> None:
    code = _start(data, run, steps).wait()
    if code:
        raise SystemExit(f"the run in {run} ended with exit code {code}: {(run.parent / 'log').read_text()[-300:]}")


def _wait(process: subprocess.Popen, run: Path, seconds: float, writing: bool) -> None:
    """Until the run has begun to train and then `seconds`, and where asked until a checkpoint is being written."""
    metrics = run / "metrics.jsonl"
    smallest = metrics.stat().st_size if metrics.exists() else 0
    while process.poll() is None:  # going on cuts off what came after the checkpoint; then rows are added
        size = metrics.stat().st_size if metrics.exists() else 0
        if size > smallest:
            break
        smallest = size
        time.sleep(0.002)
    time.sleep(seconds)
    while writing and process.poll() is None and not any((run / "checkpoints").glob(".*.partial/*")):
        pass


def _check_equal(run: Path, reference: Path, found: Soak) -> None:
    record = json.loads((run / "run.json").read_text())
    found.went_on_from.update(row["from_step"] for row in record.get("went_on", []))
    for name in ("best", "last"):
        weights = [(folder / name / "model.safetensors").read_bytes() for folder in (run, reference)]
        if weights[0] != weights[1]:
            found.complaints.append(f"{name} has other weights than without kills")
    if rows_of(run) != rows_of(reference):
        found.complaints.append("metrics.jsonl has other rows than without kills")
    left = [path.name for path in run.rglob("*") if path.name.endswith((".partial", ".replaced", ".removed"))]
    if left:
        found.complaints.append(f"left behind: {', '.join(left)}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    print(f"seed {options.seed}", flush=True)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        prepare = ["prepare", "--source=builtin", "--stories=150", "--vocab_size=330", f"--out={data}"]
        subprocess.run([sys.executable, "-m", "frailt", *prepare], check=True, capture_output=True)
        found = soak(data, Path(folder), options.kills, options.seed)
    report = {
        "seed": found.seed,
        "kills": found.kills,
        "kills_at_any_moment_from_the_start_on": found.from_start,
        "kills_while_a_checkpoint_was_half_written": found.while_writing,
        "went_on_from_step": {str(step): count for step, count in sorted(found.went_on_from.items())},
        "complaints": found.complaints,
        "elapsed_s": round(time.monotonic() - began),
        "python": platform.python_version(),
        "commit": versions()["commit"],
    }
    print(json.dumps(report, indent=1))
    if options.out:
        options.out.write_text(json.dumps(report, indent=1) + "\n")
    return 1 if found.complaints else 0


if __name__ == "__main__":
    sys.exit(main())
