"""Time to the first step with torch.compile, and throughput after it, by layout: compiling should not grow with depth.

    python benchmarks/compile.py [--width 256] [--repeats 3]

Each run is a process of its own with an empty cache for the compiler. The first step is timed from its beginning to the
end of the optimiser's update, so that imports, data and model are not in it. Layout 1 is what a block costs to compile
once. Runs that the record of this machine has are passed over; --again measures anew. With --smoke everything is tiny,
and the page is only printed.
"""

import argparse
import tempfile
from typing import Any

import recording
from interleave import Contender, Process, at_most

LAYOUTS = ["1", "8", "1^8", "2^4"]
MODES = ["off", "block", "whole"]


def parser() -> argparse.ArgumentParser:
    parser = recording.parser(__doc__)
    recording.add_records(parser)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--rows", type=int, default=8, help="rows per step")
    parser.add_argument("--steps", type=int, default=4, help="steps on the clock, after three that are not")
    parser.add_argument("--layouts", nargs="+", default=LAYOUTS)
    parser.add_argument("--modes", nargs="+", default=MODES)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--repeats", type=int, default=3)
    return parser


def measure(contender: Contender, steps: int, seconds: float | None = None) -> dict[str, float]:
    """One run into an empty cache: `first_step_s` and `tokens_per_s`.

    Raises:
        RuntimeError: it failed, or took more than `seconds`.
    """
    with tempfile.TemporaryDirectory() as cache:
        process = Process(contender, TORCHINDUCTOR_CACHE_DIR=f"{cache}/inductor", TRITON_CACHE_DIR=f"{cache}/triton")
        with at_most(seconds, [process]):
            first = process.answer()["first_step_s"]
            took = process.train(steps)["seconds"]
    rate = round(steps * contender.rows * contender.context / took, 1)
    print(f"  {contender.layout} {contender.compile}: first step {first:.1f} s, {rate:,.0f} tokens/s", flush=True)
    return {"first_step_s": first, "tokens_per_s": rate}


def new_measurements(**settings: Any) -> dict[str, Any]:
    """The part of a record that is filled here; `runs` by layout and mode, a list of one entry per repeat."""
    return {"settings": settings, "runs": {}}


def main() -> None:
    options = parser().parse_args()
    if options.smoke:
        options.width, options.rows, options.repeats = 32, 2, 1
        options.layouts, options.modes = ["1", "2^4"], ["off", "block"]
    with recording.recording("compile", options) as found:
        settings = {
            "hidden_size": options.width, "rows": options.rows, "context": options.context,
            "precision": options.precision, "layouts": options.layouts, "modes": options.modes,
        }  # fmt: skip
        if options.again or found.record["compile"].get("settings") != settings:
            found.record["compile"] = new_measurements(**settings)
        for repeat in range(options.repeats):
            for layout in options.layouts:
                for mode in options.modes:
                    done = found.record["compile"]["runs"].setdefault(f"{layout} {mode}", [])
                    if len(done) > repeat:
                        continue
                    contender = Contender(
                        layout=layout, compile=mode, precision=options.precision, kind="frailt", data=found.data,
                        hidden_size=options.width, rows=options.rows, context=options.context, device="cpu",
                        threads=options.threads,
                    )  # fmt: skip
                    done.append(measure(contender, options.steps))
                    found.save()


if __name__ == "__main__":
    main()
