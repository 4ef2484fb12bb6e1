"""The table of README.md here: loss over iterations of both sweeps, the mean over seeds and their range.

python results/depth-64/curves.py SWEEPS        # the folder that holds fixed/ and sampled/
"""

import json
import sys
from pathlib import Path
from statistics import fmean
from typing import Any

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


def main(sweeps: Path) -> None:
    """Print the table; losses are those of the validation stories of odd number, rates being chosen on the others."""
    runs = {name: records(sweeps / name) for name in ("fixed", "sampled")}
    heads = []
    for name, found in runs.items():
        flops = [record["model"]["training_flops_per_token"] * record["tokens"] for record in found]
        layout = found[0]["model"]["layout"] if found else "—"
        heads.append(f"{name} `{layout}`, {len(found)} seeds" + (f", {fmean(flops):.3g} FLOPs" if flops else ""))
    print(f"| iterations | {' | '.join(heads)} |\n|---|---|---|")
    for count in COUNTS:
        losses = [
            [record["validation_at_iterations"][str(count)]["odd_stories"]["nats_per_token"] for record in found]
            for found in runs.values()
        ]
        print(f"| {count} | {' | '.join(map(cell, losses))} |")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
