"""Training throughput and memory of `frailt train`, against transformers' Trainer and a hand-written compiled loop.

    python benchmarks/train.py [--widths 64 256 512] [--threads 1] [--rounds 5]

For each width and precision the contenders train in turn (see interleave.py). A width that the record of this machine
has already is passed over, so that the command can be stopped and given again; --again measures anew. At the end
docs/benchmarks.md is written from all records. With --smoke everything is tiny, and the page is only printed.
"""

import argparse
from collections.abc import Sequence
from typing import Any

import recording
from interleave import Contender, Process, at_most, compare, peers

ROWS = {64: 16, 256: 8, 512: 4}
STEPS = {64: 8, 256: 3, 512: 2}
"""Rows per step and steps per round by width: some ten seconds a round, on one core of an EPYC of 2021."""


def parser() -> argparse.ArgumentParser:
    parser = recording.parser(__doc__)
    recording.add_records(parser)
    parser.add_argument("--widths", type=int, nargs="+", default=list(ROWS))
    parser.add_argument("--rows", type=int, nargs="+", help="rows per step, one number or one per width")
    parser.add_argument("--steps", type=int, nargs="+", help="steps per round, one number or one per width")
    parser.add_argument("--layouts", nargs="+", default=["8", "2^4", "1^8"])
    parser.add_argument("--modes", nargs="+", default=["off", "block", "whole"], help="of frailt's compile")
    parser.add_argument("--precisions", nargs="+", default=["float32", "auto"])
    parser.add_argument("--rounds", type=int, default=5)
    return parser


def cell_contenders(
    precision: str, layouts: Sequence[str], modes: Sequence[str], loop_mode: str = "default", **settings: Any
) -> list[Contender]:
    """All of one cell: the peers, ours in every layout and mode, and below float32 the float32 Trainer too."""
    ours = [
        Contender(kind="frailt", layout=layout, compile=mode, precision=precision, **settings)
        for layout in layouts
        for mode in modes
    ]
    slow = [Contender(kind="trainer", precision="float32", **settings)] if precision != "float32" else []
    return [*peers(precision, loop_mode, **settings), *ours, *slow]


def probe(precision: str, **settings: Any) -> dict[str, Any]:
    """What `frailt train` chooses for this width here, and the rate of a matrix product, with nothing beside it."""
    process = Process(Contender(kind="frailt", precision=precision, **settings))
    with at_most(None, [process]):
        return process.answer()


def measure_cell(
    options: argparse.Namespace, data: str, width: int, rows: int, steps: int, precision: str
) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "hidden_size": width, "rows": rows, "context": options.context, "data": data, "device": "cpu",
        "threads": options.threads,
    }  # fmt: skip
    found = probe(precision, **settings)["chosen_precision"] if precision == "auto" else precision
    cell = {"hidden_size": width, "rows": rows, "context": options.context, "precision": found, "device": "cpu"}
    if precision == "auto" and found == "float32":
        return cell | {"contenders": {}}
    contenders = cell_contenders(found, options.layouts, options.modes, **settings)
    return cell | {"contenders": compare(contenders, rounds=options.rounds, steps=steps)}


def by_width(given: list[int] | None, widths: list[int], default: dict[int, int]) -> dict[int, int]:
    """A setting for each width; for one that has no default, that of the nearest smaller."""
    if given is None:
        return {width: default[max((w for w in default if w <= width), default=min(default))] for width in widths}
    if len(given) not in (1, len(widths)):
        raise SystemExit(f"one number or one per width must be given, got {given} for widths {widths}")
    return dict(zip(widths, given * len(widths) if len(given) == 1 else given, strict=True))


def main() -> None:
    options = parser().parse_args()
    if options.smoke:
        options.widths, options.rows, options.steps, options.rounds = [32], [2], [2], 2
    rows = by_width(options.rows, options.widths, ROWS)
    steps = by_width(options.steps, options.widths, STEPS)
    with recording.recording("train", options) as found:
        for width in options.widths:
            for precision in options.precisions:
                name = f"width {width}, {precision}"
                if name in found.record["cells"] and not options.again:
                    print(f"{name}: recorded already")
                    continue
                print(name, flush=True)
                cell = measure_cell(options, found.data, width, rows[width], steps[width], precision)
                found.record["cells"][name] = cell
                found.save()


if __name__ == "__main__":
    main()
