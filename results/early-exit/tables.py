"""The tables of README.md here, from what `frailt evaluate --exit_thresholds ... --json` printed.

python results/early-exit/tables.py results/early-exit
"""

import json
import sys
from pathlib import Path

from frailt.evaluation.exit_curve import ExitCurve, ExitPoint


def main(folder: Path) -> None:
    """Print one table for each record."""
    for file in sorted(folder.glob("*.json")):
        found = json.loads(file.read_text(encoding="utf-8"))
        points = tuple(ExitPoint(**point) for point in found.pop("points"))
        print(f"## {file.stem}\n\n{ExitCurve(**found | {'plot': None}, points=points)}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
