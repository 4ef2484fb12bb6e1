"""Sweep folders made up for tests: records as training writes them, of losses that are known."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from frailt.model.layout import Layout
from frailt.report import paper
from frailt.report.cells import Variant
from frailt.report.statistics import estimate

EVEN_LESS, WHOLE_LESS = 0.013, 0.007
"""How far the loss on the even stories, and on all, is below that on the odd ones: none can pass for another."""

SPREAD = np.array([-2.0, -0.5, 0.0, 1.0, 1.5])
"""Of five seeds; the mean is 0."""

PAPERS = ("1", "2", "4", "8", "1^2", "1^8", "2^4", "4^2")


def write_run(
    folder: Path,
    *,
    layout: str = "2^4",
    width: int = 64,
    seed: int = 0,
    nats: float = 1.5,
    encoding: str = "learned",
    rate: float = 0.003,
    halves: bool = True,
    curve: Iterable[float] | None = None,
    config: dict[str, Any] | None = None,
    record: dict[str, Any] | None = None,
) -> Path:
    """A finished run, whose loss on the stories of odd number is `nats`.

    Args:
        folder: run folder to make.
        layout: of the model, as width, seed, encoding and rate.
        width: hidden size.
        seed: of the run.
        nats: its result.
        encoding: of iterations.
        rate: learning rate.
        halves: whether even and odd stories were told apart.
        curve: validation losses while training; by default falling to a little above the result.
        config: changes to config.yaml, by dotted name.
        record: changes to run.json, by dotted name.
    """
    parsed = Layout.parse(layout)
    block = 12 * width * width + 2 * width
    tokens = 10_000 * 512
    flops = 6 * (parsed.depth * block + 512 * width)
    validation: dict[str, Any] = {"nats_per_token": nats - WHOLE_LESS, "targets": 3001, "bits_per_byte": nats / 2}
    if halves:
        validation["even_stories"] = {"nats_per_token": nats - EVEN_LESS, "targets": 1501}
        validation["odd_stories"] = {"nats_per_token": nats, "targets": 1500}
    written = {
        "status": "finished",
        "versions": {"frailt": "0.1.0", "commit": "0123456789ab"},
        "device": "x86_64",
        "precision": "float32",
        "threads": 1,
        "data": {"source": "stories.txt", "data_hash": "a" * 64},
        "model": {
            "hidden_size": width,
            "iteration_encoding": encoding,
            "layout": layout,
            "depth": parsed.depth,
            "parameters": {"total": 512 * width + parsed.unique_blocks * block},
            "forward_flops_per_token": flops // 3,
            "training_flops_per_token": flops,
        },
        "seed": seed,
        "validation": validation,
        "tokens": tokens,
        "tokens_per_s": 2e9 / flops,
        "training_s": tokens * flops / 2e9,
    }
    told = {
        "data": "data/stories",
        "out": f"runs/{folder.name}",
        "model": {
            "layout": layout,
            "hidden_size": width,
            "iteration_encoding": encoding,
            "num_attention_heads": 8,
            "initializer_range": round(width**-0.5, 6),
        },
        "context": 512,
        "passes": 1.0,
        "tokens": None,
        "steps": None,
        "batch_rows": 16,
        "learning_rate": rate,
        "weight_decay": 0.1,
        "threads": 1,
        "seed": seed,
    }
    for changes, whole in ((record, written), (config, told)):
        for name, value in (changes or {}).items():
            *outer, last = name.split(".")
            inner = whole
            for key in outer:
                inner = inner[key]
            inner[last] = value
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps(written, indent=2))
    (folder / "config.yaml").write_text(yaml.safe_dump(told, sort_keys=False))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in _metrics(tokens, nats, curve)))
    return folder


def _metrics(tokens: int, nats: float, curve: Iterable[float] | None) -> Iterable[dict[str, Any]]:
    share = np.arange(1, 101) / 100
    falling = nats + 2.0 * (share**-0.5 - 1) * 0.4
    points = falling[9::10] if curve is None else np.array(list(curve))
    evaluated = {int(tokens * (i + 1) / len(points)): value for i, value in enumerate(points)}
    for i, loss in enumerate(falling):
        reached = int(tokens * share[i])
        yield {"step": i + 1, "tokens": reached, "loss_nats_per_token": float(loss - 0.02)}
        for at in [at for at in evaluated if at <= reached]:
            yield {"step": i + 1, "tokens": at, "validation_nats_per_token": float(evaluated.pop(at)), "targets": 301}


def write_sweep(
    folder: Path,
    loss: Callable[[str, int, int], float],
    *,
    layouts: Iterable[str] = PAPERS,
    widths: Iterable[int] = (64,),
    seeds: Iterable[int] = range(5),
    **changes: Any,
) -> Path:
    """A sweep of runs whose results are `loss(layout, width, seed)`; `changes` are `write_run`'s."""
    for width in widths:
        for layout in layouts:
            for seed in seeds:
                name = f"{width}_{layout.replace(',', '+')}_1-passes_seed-{seed}"
                written = {"layout": layout, "width": width, "seed": seed, "nats": loss(layout, width, seed)} | changes
                write_run(folder / "cells" / name, **written)
    return folder


def as_in_the_paper(spread: float = 0.004, shared: float = 0.02) -> Callable[[str, int, int], float]:
    """The paper's losses and 0.4 nats, with a spread over seeds of which `shared` is common to all layouts."""

    def loss(layout: str, width: int, seed: int) -> float:
        printed = paper.loss(Variant.of(layout), width)
        assert printed is not None
        own = SPREAD[(seed + 2 * PAPERS.index(layout)) % 5]
        return printed + 0.4 + shared * SPREAD[seed % 5] + spread * own

    return loss


def half_width(values: Iterable[float]) -> float:
    """Of the interval of these."""
    found = estimate(list(values)).half_width
    assert found is not None
    return found
