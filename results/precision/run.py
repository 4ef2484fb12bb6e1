"""Do float32 and bfloat16 train alike? `2^4` at width 64 on real TinyStories, three seeds in each precision.

    frailt prepare --source TRAIN.txt --validation VALID.txt --tokenizer tok512.model --out DATA
    python results/precision/run.py DATA OUT

One run at a time, on one thread; finished runs are skipped. Keeps the records here and writes report.md. On a CPU
without matrix units for bfloat16 it is emulated: the losses are those of bfloat16, the speed is not.
"""

import json
import sys
from pathlib import Path
from statistics import mean, stdev

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
from common import keep, loss_of, train  # noqa: E402 - the folder above is no package

SEEDS, PRECISIONS = (0, 1, 2), ("float32", "bfloat16")
SETTINGS = {
    "model__layout": "2^4", "model__hidden_size": 64, "model__num_attention_heads": 4,
    "model__initializer_range": 0.125, "context": 128, "batch_rows": 16, "steps": 200, "learning_rate": 0.006,
    "evaluations": 2, "evaluation_share": 0.05, "log_every_steps": 10, "device": "cpu",
}  # fmt: skip

HEAD = """# Float32 and bfloat16 train alike

Written by `results/precision/run.py` from the records beside it. `2^4`, width 64, real TinyStories, {tokens:,} tokens;
training loss in nats per token, each the mean over the ten steps before.

| step | float32, mean of {seeds} seeds | standard deviation over seeds | bfloat16 minus float32, mean over seeds |
|---|---|---|---|
"""


def curve(folder: Path) -> dict[int, float]:
    """Training loss by step."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return {row["step"]: row["loss_nats_per_token"] for row in rows if "loss_nats_per_token" in row}


def main(data: Path, out: Path) -> None:
    folders = {(p, seed): HERE / "records" / f"{p}_seed{seed}" for p in PRECISIONS for seed in SEEDS}
    for (precision, seed), kept in folders.items():
        run = out / kept.name
        train(run, data=data, precision=precision, seed=seed, **SETTINGS)
        keep(run, kept)
    curves = {key: curve(folder) for key, folder in folders.items()}
    lines, within = [], 0
    steps = list(curves["float32", SEEDS[0]])
    for step in steps:
        full = [curves["float32", seed][step] for seed in SEEDS]
        difference = mean(curves["bfloat16", seed][step] - curves["float32", seed][step] for seed in SEEDS)
        within += abs(difference) <= stdev(full)
        if step % 40 == 0 or step == steps[0]:
            lines.append(f"| {step} | {mean(full):.4f} | {stdev(full):.4f} | {difference:+.4f} |")
    losses = {p: [loss_of(folders[p, seed]) for seed in SEEDS] for p in PRECISIONS}
    difference = mean(losses["bfloat16"]) - mean(losses["float32"])
    lines += [
        "",
        f"At {within} of {len(steps)} logged points the mean difference is within one standard deviation over seeds.",
        f"Final validation, all rows, measured in float32: {mean(losses['float32']):.4f} with float32, standard "
        f"deviation over seeds {stdev(losses['float32']):.4f}; {difference:+.4f} with bfloat16.",
    ]
    tokens = SETTINGS["steps"] * SETTINGS["batch_rows"] * SETTINGS["context"]
    (HERE / "report.md").write_text(HEAD.format(tokens=tokens, seeds=len(SEEDS)) + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
