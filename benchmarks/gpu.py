"""All speed benchmarks on a CUDA machine, in parts that fit into a lease: throughput, utilisation, memory, compiling.

    PYTHONPATH=src python benchmarks/gpu.py --data FOLDER --out OUT [--minutes 8]

FOLDER is a corpus from `frailt prepare`; reading it needs no `datasets`. With parts left over after the minutes it ends
with exit code 75, and the same command goes on: with the record in OUT, or where OUT is empty with the one of this
machine in results/benchmarks, where the records from OUT belong. OUT gets the record and a table, gpu.md;
`python benchmarks/report.py` writes docs/benchmarks.md. `--device cpu --smoke` tries all of it, tiny, without a GPU.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import recording
import report
from compile import LAYOUTS, MODES, measure, new_measurements
from interleave import Contender, compare
from train import by_width, cell_contenders, probe

RUN_AGAIN = 75
ROWS = {64: 128, 128: 128, 256: 128, 512: 128, 1024: 64}
STEPS = {64: 50, 128: 50, 256: 30, 512: 20, 1024: 20}
AT_ONCE = {64: 6, 512: 4}
"""Contenders that set themselves up at the same time, by width: what 16 cores and 139 GB of a GPU take."""
PART_S = {"cell": 240.0, "compile": 75.0}
"""What a part may take, until one has shown what it does."""


def parser() -> argparse.ArgumentParser:
    parser = recording.parser(__doc__)
    parser.set_defaults(threads=4)
    parser.add_argument("--out", type=Path, required=True, help="folder for the record and the table")
    parser.add_argument("--minutes", type=float, default=8, help="no part is begun that may not be done by then")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--widths", type=int, nargs="+", default=list(ROWS))
    parser.add_argument("--rows", type=int, nargs="+", help="rows per step, one number or one per width")
    parser.add_argument("--steps", type=int, nargs="+", help="steps per round, one number or one per width")
    parser.add_argument("--layouts", nargs="+", default=["8", "2^4", "1^8"])
    parser.add_argument("--modes", nargs="+", default=MODES, help="of frailt's compile")
    parser.add_argument("--loop_mode", default="default", help="torch.compile's mode for the hand-written loop")
    parser.add_argument("--compile_width", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=3, help="of each compile time")
    parser.add_argument("--rounds", type=int, default=5)
    return parser


class Parts:
    """What is to be measured, and whether the time left is enough for it."""

    def __init__(self, options: argparse.Namespace, record: dict[str, Any], data: str) -> None:
        self.options, self.record, self.data = options, record, data
        self.deadline = time.monotonic() + 60 * options.minutes
        self.rows = by_width(options.rows, options.widths, ROWS)
        self.steps = by_width(options.steps, options.widths, STEPS)
        self.took_s = record.setdefault("took_s", dict(PART_S))

    @property
    def left_s(self) -> float:
        return self.deadline - time.monotonic()

    def missing(self) -> Iterator[tuple[str, str, Callable[[], None]]]:
        """Kind, name and function of every part that the record has not yet."""
        for width in self.options.widths:
            name = f"width {width}"
            if name not in self.record["cells"]:
                yield "cell", name, lambda width=width, name=name: self._cell(width, name)
        runs = self._compile_record()["runs"]
        for repeat in range(self.options.repeats):
            for layout in LAYOUTS:
                for mode in self.options.modes:
                    if len(runs.get(f"{layout} {mode}", [])) <= repeat:
                        name = f"compile {layout} {mode}, {repeat + 1}"
                        yield "compile", name, lambda layout=layout, mode=mode: self._compile_run(layout, mode)

    def settings(self, width: int, rows: int) -> dict[str, Any]:
        return {
            "hidden_size": width, "rows": rows, "context": self.options.context, "data": self.data,
            "device": self.options.device, "threads": self.options.threads,
        }  # fmt: skip

    def look_at_device(self) -> None:
        """Precision and the rate of a matrix product, measured with nothing beside it."""
        if "precision" not in self.record:
            width = self.options.widths[-1]
            said = probe("auto", **self.settings(width, self.rows[width]))
            self.record["precision"] = said["chosen_precision"]
            self.record["matmul_flops_per_s"] = said["chosen_matmul_flops_per_s"]

    def _cell(self, width: int, name: str) -> None:
        options, precision = self.options, self.record["precision"]
        at_once = by_width(None, [width], AT_ONCE)[width] if options.device == "cuda" else 1
        settings = self.settings(width, self.rows[width])
        contenders = cell_contenders(precision, options.layouts, options.modes, options.loop_mode, **settings)
        contenders = [contender for contender in contenders if contender.precision == precision]
        found = compare(
            contenders, rounds=options.rounds, steps=self.steps[width], at_once=at_once, seconds=self.left_s
        )
        if self.left_s > 0:  # else some were cut short
            self.record["cells"][name] = {
                "hidden_size": width, "rows": self.rows[width], "context": options.context, "precision": precision,
                "device": "gpu" if options.device == "cuda" else "cpu", "at_once": at_once,
                "matmul_flops_per_s": self.record["matmul_flops_per_s"], "contenders": found,
            }  # fmt: skip

    def _compile_record(self) -> dict[str, Any]:
        width = self.options.compile_width
        wanted = {
            "hidden_size": width, "rows": by_width(self.options.rows, [width], ROWS)[width],
            "context": self.options.context, "precision": self.record["precision"], "layouts": LAYOUTS,
            "modes": self.options.modes,
        }  # fmt: skip
        if self.record["compile"].get("settings") != wanted:
            self.record["compile"] = new_measurements(**wanted)
        return self.record["compile"]

    def _compile_run(self, layout: str, mode: str) -> None:
        measured = self._compile_record()
        settings = self.settings(self.options.compile_width, measured["settings"]["rows"])
        precision = self.record["precision"]
        contender = Contender(kind="frailt", layout=layout, compile=mode, precision=precision, **settings)
        steps = by_width(self.options.steps, [self.options.compile_width], STEPS)[self.options.compile_width]
        found = measure(contender, steps, seconds=self.left_s)
        measured["runs"].setdefault(f"{layout} {mode}", []).append(found)


def main() -> int:
    options = parser().parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.smoke:
            options.widths, options.rows, options.steps, options.compile_width = [32], [2], [2], 32
            options.layouts, options.modes = ["8", "2^4"], ["off", "block"]
            options.context = recording.SMOKE_CONTEXT
            options.rounds, options.repeats, options.threads = 2, 1, 1
        new = report.new_record(options.machine, options.device, options.threads)
        path = report.record_path(options.out, "gpu", new)
        record = report.load(path) or (None if options.smoke else report.load(report.RECORDS / path.name)) or new
        parts = Parts(options, record, recording.corpus(options, Path(folder)))
        parts.look_at_device()
        while parts.left_s > 0 and (part := next(parts.missing(), None)) is not None:
            kind, name, run = part
            if parts.left_s < parts.took_s[kind]:
                break
            print(f"{name}, {parts.left_s:.0f} s left", flush=True)
            began = time.monotonic()
            try:
                run()
            except RuntimeError as error:
                if parts.left_s > 0:
                    raise
                print(f"no time left: {error}", file=sys.stderr)
            else:
                if name not in [other for _, other, _ in parts.missing()]:  # a part that was cut off says nothing
                    longest_s = 0.9 * 60 * options.minutes  # or no call would try the next one
                    parts.took_s[kind] = min(longest_s, round(1.2 * (time.monotonic() - began), 1))
            report.save(path, record)
            (options.out / "gpu.md").write_text(report.render([record]), encoding="utf-8")
        left = [name for _, name, _ in parts.missing()]
    print((options.out / "gpu.md").read_text(encoding="utf-8") if (options.out / "gpu.md").exists() else "")
    print(f"{len(left)} parts left, such as {left[0]}: give the same command again" if left else "all parts are done")
    return RUN_AGAIN if left else 0


if __name__ == "__main__":
    sys.exit(main())
