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


JUDGE = "gpt-4-1106-preview"
"""Who graded, section 3.3."""


@cache
def scores() -> dict[tuple[Variant, int], dict[str, Any]]:
    """Tables 4 and 5: a row for each layout and width that was graded."""
    return {(Variant.of(row["layout"]), row["dim"]): row for row in tables()["judge_scores"]}


def graded() -> list[tuple[Variant, int]]:
    """The models that the paper has grades of, by width and layout."""
    return sorted(scores(), key=lambda place: (place[1], place[0].order))


def score(variant: Variant, width: int, kind: str) -> float | None:
    """The mean grade in a category, or their average; None where the paper has none."""
    return scores().get((variant, width), {}).get(kind)


def score_lead(model: Variant, baseline: Variant, width: int, kind: str) -> float | None:
    """How much higher `model` is graded; None where the paper lacks one."""
    own, other = score(model, width, kind), score(baseline, width, kind)
    return None if own is None or other is None else own - other
