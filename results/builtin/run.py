"""Do the embedded stories need depth? The standard model at 1, 2 and 8 layers, and the FraiLT `2^4`, three seeds each.

    frailt prepare --source builtin --stories 6000 --out DATA
    python results/builtin/run.py DATA OUT

The settings are the quickstart's. Two runs at a time; finished runs are skipped. Keeps the records here and writes
docs/builtin-stories.md.
"""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import mean

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
from common import keep, loss_of, train  # noqa: E402 - the folder above is no package

LAYOUTS, SEEDS = ("8", "2^4", "2", "1"), (0, 1, 2)
CONFIG = HERE.parents[1] / "configs" / "quickstart.yaml"

HEAD = """# The embedded stories: does depth help?

Written by `results/builtin/run.py`, from the records beside it. Validation loss in nats per token on held-out stories
of the builtin source (6,000 stories, vocabulary 512), width 64, 600,064 training tokens, `configs/quickstart.yaml`;
mean and range over {seeds} seeds. One learning rate for all, untuned, so `2^4` against `8` is no verdict: the question
is whether these stories reward depth.

| layout | mean | lowest | highest |
|---|---|---|---|
"""


def main(data: Path, out: Path) -> None:
    cells = [(layout, seed) for seed in SEEDS for layout in LAYOUTS]

    def run(cell: tuple[str, int]) -> None:
        layout, seed = cell
        folder = out / f"{layout}_seed{seed}"
        train(folder, config=CONFIG, data=data, model__layout=layout, seed=seed)
        keep(folder, HERE / "records" / folder.name)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(run, cells))
    losses = {layout: [loss_of(HERE / "records" / f"{layout}_seed{s}") for s in SEEDS] for layout in LAYOUTS}
    rows = [f"| `{k}` | {mean(v):.3f} | {min(v):.3f} | {max(v):.3f} |" for k, v in losses.items()]
    ordered = max(losses["8"]) < min(losses["2"]) and max(losses["2"]) < min(losses["1"])
    verdict = "beats" if ordered else "does not always beat"
    rows += ["", f"The worst `8` {verdict} the best `2`, and the worst `2` the best `1`."]
    page = HERE.parents[1] / "docs" / "builtin-stories.md"
    page.write_text(HEAD.format(seeds=len(SEEDS)) + "\n".join(rows) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
