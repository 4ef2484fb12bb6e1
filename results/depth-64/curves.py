"""The table and the figure of README.md here: loss over iterations of both sweeps, the mean over seeds and their range.

python results/depth-64/curves.py SWEEPS        # the folder that holds fixed/ and sampled/; writes curves.png there
"""

import json
import sys
from pathlib import Path
from statistics import fmean
from typing import Any

from matplotlib.figure import Figure

COUNTS = range(1, 9)


def records(sweep: Path) -> list[dict[str, Any]]:
    """The finished runs of a sweep."""
    found = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(sweep.glob("cells/*/run.json"))]
    return [record for record in found if record["status"] == "finished"]


def cell(losses: list[float]) -> str:
    """Mean and range; a dash where nothing has run."""
    if not losses:
        return "—"
    return f"{fmean(losses):.3f}" + (f" ({min(losses):.3f} to {max(losses):.3f})" if len(losses) > 1 else "")


def at(record: dict[str, Any], count: int) -> float:
    """Loss of a run at an iteration count, on the validation stories of odd number: rates are chosen on the others."""
    return record["validation_at_iterations"][str(count)]["odd_stories"]["nats_per_token"]


def draw(runs: dict[str, list[dict[str, Any]]], path: Path) -> None:
    """A line through the means of each sweep, a small point for each run."""
    figure = Figure(figsize=(5.2, 3.2), layout="constrained")
    axes = figure.subplots()
    for (name, found), colour, marker in zip(runs.items(), ("#D55E00", "#0072B2"), ("s", "o"), strict=True):
        means = [fmean(at(record, count) for record in found) for count in COUNTS]
        axes.plot(COUNTS, means, color=colour, label=f"{name}, {found[0]['model']['layout']}")
        for record in found:
            axes.plot(COUNTS, [at(record, count) for count in COUNTS], marker, color=colour, markersize=3)
    axes.set_xlabel("iterations")
    axes.set_ylabel("validation loss (nats per token)")
    axes.grid(color="#e4e4e4")
    axes.legend(frameon=False)
    figure.savefig(path, dpi=200, metadata={"Software": None})


def main(sweeps: Path) -> None:
    """Print the table, draw the figure."""
    runs = {name: records(sweeps / name) for name in ("fixed", "sampled")}
    heads = []
    for name, found in runs.items():
        flops = [record["model"]["training_flops_per_token"] * record["tokens"] for record in found]
        layout = found[0]["model"]["layout"] if found else "—"
        heads.append(f"{name} `{layout}`, {len(found)} seeds" + (f", {fmean(flops):.3g} FLOPs" if flops else ""))
    print(f"| iterations | {' | '.join(heads)} |\n|---|---|---|")
    for count in COUNTS:
        print(f"| {count} | {' | '.join(cell([at(record, count) for record in found]) for found in runs.values())} |")
    if all(runs.values()):
        draw(runs, sweeps / "curves.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
