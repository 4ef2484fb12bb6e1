"""The run behind README.md here: `2^4`, `2` and `8` at width 64 on real TinyStories, tuned with the same effort.

    frailt prepare --source TRAIN.txt --tokenizer tok512.model --out SEARCH_DATA                       # holds out 5 %
    frailt prepare --source TRAIN.txt --validation VALID.txt --tokenizer tok512.model --out DATA
    python results/tinystories-64/run.py search SEARCH_DATA OUT   # choose on held-out *training* stories
    python results/tinystories-64/run.py full DATA OUT            # one pass each with the chosen settings
    python results/tinystories-64/run.py report DATA OUT          # keep the records; write report.md, plot and stories

Two runs at a time of one thread each; finished runs are skipped, so that the same command resumes.
"""

import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from frailt.experiments.compare import CompareConfig, compare

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
from common import keep, loss_of, train  # noqa: E402 - the folder above is no package

LAYOUTS = ("2^4", "8", "2")
PROMPTS = ("Once upon a time, there was a little dog", "Lily was sad because")
SEARCH_TOKENS = 600_000
GRID = [  # widened at std 0.125, where `8` was best at what was then the edge
    {"batch_rows": 4, "model__initializer_range": std, "learning_rate": rate}
    for std, rates in ((0.125, (1e-3, 3e-3, 6e-3, 1e-2, 2e-2)), (0.02, (1e-3, 3e-3, 1e-2)))
    for rate in rates
]


def name_of(layout: str, settings: dict[str, Any]) -> str:
    return f"{layout}_b{settings['batch_rows']}_i{settings['model__initializer_range']}_lr{settings['learning_rate']}"


def two_at_a_time(runs: Iterable[tuple[Path, dict[str, Any]]]) -> None:
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda run: train(run[0], **run[1]), runs))


def search(data: Path, out: Path) -> None:
    shared = {"data": data, "tokens": SEARCH_TOKENS, "evaluations": 4, "evaluation_share": 0.1}
    cells = [(layout, settings) for settings in GRID for layout in LAYOUTS]
    two_at_a_time((out / "search" / name_of(k, s), {**shared, "model__layout": k, **s}) for k, s in cells)


def best(layout: str, runs: Path) -> dict[str, Any]:
    return min(GRID, key=lambda settings: loss_of(runs / "search" / name_of(layout, settings)))


def full(data: Path, out: Path) -> None:
    shared = {"data": data, "evaluations": 20}
    two_at_a_time((out / f"full_{k}", {**shared, "model__layout": k, **best(k, out)}) for k in LAYOUTS)


def report(data: Path, out: Path) -> None:
    records = HERE / "records"
    for run in sorted([*out.glob("search/*/run.json"), *out.glob("full_*/run.json")]):
        keep(run.parent, records / run.parent.relative_to(out))
    lines = [
        "<!-- written by run.py report, from records/ -->",
        "## Search",
        "",
        f"Nats per token on held-out training stories after {SEARCH_TOKENS:,} tokens; the best of each layout in bold.",
        "",
        "| rows | init std | learning rate | " + " | ".join(f"`{layout}`" for layout in LAYOUTS) + " |",
        "|---" * (3 + len(LAYOUTS)) + "|",
    ]
    chosen = {layout: best(layout, records) for layout in LAYOUTS}
    for settings in GRID:
        losses = {layout: f"{loss_of(records / 'search' / name_of(layout, settings)):.3f}" for layout in LAYOUTS}
        cells = [f"**{loss}**" if settings == chosen[layout] else loss for layout, loss in losses.items()]
        lines.append("| " + " | ".join([*map(str, settings.values()), *cells]) + " |")
    folders = [str(records / f"full_{layout}") for layout in LAYOUTS]
    lines += ["", "## One pass", "", compare(CompareConfig(runs=folders, plot=str(HERE / "loss.png"))), ""]
    lines += ["![Loss over training tokens](loss.png)", "", "## Stories", ""]
    lines += ["Drawn at temperature 0.8, top-p 0.95, seed 0.", ""]
    for layout in LAYOUTS:
        for prompt in PROMPTS:
            command = ["frailt", "generate", f"--checkpoint={out / f'full_{layout}'}", f"--prompt={prompt}"]
            story = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
            lines += [f"`{layout}`:", "", *(f"> {line}" for line in story.splitlines()), ""]
    (HERE / "report.md").write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    {"search": search, "full": full, "report": report}[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]))
