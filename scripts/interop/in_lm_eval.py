"""One task of lm-eval, in this package's process and by lm-eval's own command, on what prepare.py made.

    .interop/lm-eval/bin/python scripts/interop/in_lm_eval.py FOLDER OUT.json

Runs in lm-eval's environment, which has this package too: its tasks import it.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from agreement import Checks, Reference

from frailt.tasks import FOLDER

TASK = "frailt_stories"
LIMIT = 20
"""Documents of each task."""
TOLERANCE = 1e-4
"""Relative, of a mean of log-likelihoods in float32; counts of right answers are equal."""


def main(folder: str, out: str) -> None:
    """See above."""
    reference = Reference(folder)
    checks = Checks("lm-eval", "torch", "transformers", "frailt")
    command = ["evaluate", "--checkpoint", reference.checkpoint, "--tasks", f"[{TASK}]", "--limit", str(LIMIT)]
    own = numbers(json.loads(run("-m", "frailt", *command, "--threads", "1", "--json", "true"))["results"])
    for way, more in (("llama", ""), ("hub", ",trust_remote_code=True")):
        with tempfile.TemporaryDirectory() as kept:
            told = f"pretrained={reference.folder.resolve() / way},dtype=float32{more}"
            stock = ["run", "--model", "hf", "--model_args", told, "--include_path", str(FOLDER), "--tasks", TASK]
            run("-m", "lm_eval", *stock, "--limit", str(LIMIT), "--device", "cpu", "--output_path", kept)
            [found] = Path(kept).rglob("results*.json")
            theirs = numbers(json.loads(found.read_text(encoding="utf-8"))["results"])
        for metric in sorted(own.keys() | theirs.keys()):
            ours, other = own.get(metric), theirs.get(metric)
            near = ours is not None and other is not None and abs(ours - other) <= TOLERANCE * abs(ours)
            checks.must(f"{way}, {metric}", near, in_process=ours, stock_command=other)
    checks.write(out)


def numbers(results: dict[str, dict[str, Any]]) -> dict[str, float]:
    """Metrics by task, without their standard errors, which are drawn."""
    return {
        f"{task}: {metric.partition(',')[0]}": float(value)
        for task, metrics in results.items()
        for metric, value in metrics.items()
        if isinstance(value, int | float) and "," in metric and "_stderr" not in metric
    }


def run(*arguments: str) -> str:
    """What a command prints on stdout."""
    done = subprocess.run([sys.executable, *arguments], stdout=subprocess.PIPE, text=True, check=True, env=os.environ)
    return done.stdout


if __name__ == "__main__":
    main(*sys.argv[1:])
