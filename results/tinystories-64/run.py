"""The run behind README.md here: `2^4`, `2` and `8` at width 64 on real TinyStories, tuned with the same effort.

    python results/tinystories-64/run.py search DATA OUT    # DATA holds out training stories to choose on
    python results/tinystories-64/run.py full DATA OUT      # one pass each with the chosen settings
    python results/tinystories-64/run.py report DATA OUT    # keep the records here, and write tables, plot and stories

Two runs at a time of one thread each; finished runs are skipped, so that the same command resumes.
"""

import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

from frailt.experiments.compare import CompareConfig, compare

HERE = Path(__file__).parent
LAYOUTS = ("2^4", "8", "2")
PROMPTS = ("Once upon a time, there was a little dog", "Lily was sad because")
SEARCH_TOKENS = 600_000
GRID = [
    {"batch_rows": 4, "model.initializer_range": std, "learning_rate": rate}
    for std, rate in product((0.02, 0.125), (1e-3, 3e-3, 1e-2))
]


def name_of(layout: str, settings: dict) -> str:
    return f"{layout}_b{settings['batch_rows']}_i{settings['model.initializer_range']}_lr{settings['learning_rate']}"


def train(data: Path, out: Path, layout: str, settings: dict, **more) -> None:
    record = out / "run.json"
    if record.is_file() and json.loads(record.read_text())["status"] == "finished":
        return
    if out.exists():
        out.rename(out.with_name(f"{out.name}.stopped-{os.getpid()}"))
    options = {"data": data, "out": out, "model.layout": layout, "threads": 1, **settings, **more}
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.with_name(out.name + ".log").open("w") as log:
        command = ["frailt", "train", *(f"--{name}={value}" for name, value in options.items())]
        subprocess.run(command, stdout=log, stderr=log, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})


def loss_of(folder: Path) -> float:
    return json.loads((folder / "run.json").read_text())["validation"]["nats_per_token"]


def search(data: Path, out: Path) -> None:
    cells = [(layout, settings) for settings in GRID for layout in LAYOUTS]
    with ThreadPoolExecutor(2) as pool:
        list(
            pool.map(
                lambda cell: train(
                    data, out / name_of(*cell), *cell, tokens=SEARCH_TOKENS, evaluations=4, evaluation_share=0.1
                ),
                cells,
            )
        )


def best(layout: str, out: Path) -> dict:
    return min(GRID, key=lambda settings: loss_of(out / name_of(layout, settings)))


def full(data: Path, out: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        list(
            pool.map(
                lambda layout: train(
                    data, out / f"full_{layout}", layout, best(layout, out / "search"), evaluations=20
                ),
                LAYOUTS,
            )
        )


def report(data: Path, out: Path) -> None:
    for run in sorted([*out.glob("search/*/run.json"), *out.glob("full_*/run.json")]):
        kept = HERE / "records" / run.parent.relative_to(out)
        kept.mkdir(parents=True, exist_ok=True)
        for name in ("config.yaml", "run.json", "metrics.jsonl"):
            shutil.copy(run.parent / name, kept / name)
    records = HERE / "records"
    lines = [
        "<!-- written by run.py report -->",
        "## Search",
        "",
        f"Nats per token on held-out training stories after {SEARCH_TOKENS:,} tokens; the best of each layout in bold.",
        "",
        "| rows | init std | learning rate | " + " | ".join(f"`{layout}`" for layout in LAYOUTS) + " |",
        "|---" * (3 + len(LAYOUTS)) + "|",
    ]
    chosen = {layout: best(layout, records / "search") for layout in LAYOUTS}
    for settings in GRID:
        cells = []
        for layout in LAYOUTS:
            loss = f"{loss_of(records / 'search' / name_of(layout, settings)):.3f}"
            cells.append(f"**{loss}**" if settings == chosen[layout] else loss)
        lines.append("| " + " | ".join([*(f"{value}" for value in settings.values()), *cells]) + " |")
    folders = [str(records / f"full_{layout}") for layout in LAYOUTS]
    lines += ["", "## One pass", "", compare(CompareConfig(runs=folders, plot=str(HERE / "loss.png"))), ""]
    lines += [
        "![Loss over training tokens](loss.png)",
        "",
        "## Stories",
        "",
        "Drawn at temperature 0.8, top-p 0.95, seed 0.",
        "",
    ]
    for layout in LAYOUTS:
        for prompt in PROMPTS:
            command = [
                "frailt",
                "generate",
                f"--checkpoint={out / f'full_{layout}'}",
                f"--prompt={prompt}",
                "--threads=1",
            ]
            story = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
            lines += [f"`{layout}`:", "", *(f"> {line}" for line in story.splitlines()), ""]
    (HERE / "report.md").write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    command, data, out = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    {
        "search": lambda: search(data, out / "search"),
        "full": lambda: full(data, out),
        "report": lambda: report(data, out),
    }[command]()
