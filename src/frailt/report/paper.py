"""The numbers that the paper prints, as data: Tables 2 and 3, and the judge's of Tables 4 and 5."""

import json
from functools import cache
from importlib.resources import files
from typing import Any

from .cells import Variant
from .losses import Losses

_RUN = 0
"""The paper tells of no seeds: each number stands for one run."""


@cache
def tables() -> dict[str, Any]:
    """paper.json: `validation_loss`, `judge_scores` and `setup`, rows with their source."""
    return json.loads((files(__package__) / "paper.json").read_text(encoding="utf-8"))


@cache
def losses() -> Losses:
    """Tables 2 and 3."""
    return Losses(
        {(Variant.of(row["layout"]), row["dim"]): {_RUN: row["val_loss"]} for row in tables()["validation_loss"]}
    )


def loss(variant: Variant, width: int) -> float | None:
    """Validation loss, in nats per token, of one model; None where the paper has none."""
    return losses().by_seed(variant, width).get(_RUN)


def lead(model: Variant, baseline: Variant, width: int) -> float | None:
    """By how many nats per token `model` is ahead, below 0 where it is behind; None where the paper lacks one."""
    own, other = loss(model, width), loss(baseline, width)
    return None if own is None or other is None else other - own


def leads(model: Variant, baseline: Variant) -> dict[int, float]:
    """Those at every width where the paper has both."""
    found = {width: lead(model, baseline, width) for width in losses().widths}
    return {width: value for width, value in found.items() if value is not None}
