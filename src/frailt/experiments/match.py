"""Comparing at equal parameters, FLOPs or time: the width or the budget of each cell, solved from a reference."""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from frailt.model.cost import parameters
from frailt.training.build import model_config
from frailt.training.config import TrainConfig
from frailt.training.depth import expected_training_flops

from .grid import WITHIN, Cell, Grid


def reference_of(grid: Grid, cell: Cell) -> Cell:
    """The cell that `cell` is matched to."""
    assert grid.reference is not None
    return replace(cell, layout=grid.reference, encoding="learned")


def changes(
    grid: Grid, cell: Cell, vocab_size: int, rows: int | None, rates: tuple[float, float] | None = None
) -> dict[str, Any]:
    """What `Grid.train_config` must change for `cell` to match the grid's reference; nothing without a match.

    Args:
        grid: says what to match, and to which layout.
        cell: to solve for.
        vocab_size: of the data.
        rows: of one pass over the data; None where nobody knows.
        rates: tokens per second of the cell and of its reference, to match time.

    Raises:
        ValueError: nothing matches within 2 %, or sizes do not fit each other.
    """
    if grid.match is None or cell.layout == grid.reference:
        return {}
    own, reference = (grid.train_config(each, "", "") for each in (cell, reference_of(grid, cell)))
    if grid.match == "params":
        return matched_size(own, reference, vocab_size)
    if grid.match == "flops":
        rates = tuple(  # type: ignore[assignment]
            1 / expected_training_flops(each, model_config(each, vocab_size)) for each in (own, reference)
        )
    assert rates is not None, "rates are measured first"
    exact = reference.steps_for(rows) * rates[0] / rates[1]
    steps = max(1, round(exact))
    if abs(steps / exact - 1) > WITHIN:
        raise ValueError(f"budget must be longer to match {cell.layout} within {WITHIN:.0%}, got {exact:.1f} steps")
    return {"steps": steps}


def matched_size(config: TrainConfig, reference: TrainConfig, vocab_size: int) -> dict[str, int]:
    """Width and MLP width with which the model of `config` has the unique parameters of the reference's, within 2 %.

    Widths come in steps of two per attention head, so the width of the MLP fills the gap; taken is the pair whose ratio
    is nearest to the reference's.

    Returns:
        hidden_size and intermediate_size.

    Raises:
        ValueError: there is none.
    """
    other = model_config(reference, vocab_size)
    assert other.intermediate_size is not None  # filled in by the configuration
    wanted, usual = parameters(other).total, other.intermediate_size / other.hidden_size
    sizes = _sizes(config, vocab_size, wanted)
    found = min(sizes, key=lambda size: abs(math.log(size[1] / size[0] / usual)), default=None)
    if found is None:
        raise ValueError(
            f"layout {config.model.layout} must have a width with the {wanted:,} parameters of "
            f"{reference.model.layout} within {WITHIN:.0%}, and has none: choose another reference"
        )
    return {"hidden_size": found[0], "intermediate_size": found[1]}


def _sizes(config: TrainConfig, vocab_size: int, wanted: int) -> Iterator[tuple[int, int]]:
    """Each width with the roundest MLP width that gives `wanted` parameters within 2 %, where there is one."""

    def count(hidden: int, inner: int) -> int:
        model = replace(config.model, hidden_size=hidden, intermediate_size=inner)
        return parameters(model_config(replace(config, model=model), vocab_size)).total

    step = hidden = 2 * config.model.num_attention_heads
    while (least := count(hidden, 1)) <= wanted * (1 + WITHIN):
        per_inner = count(hidden, 2) - least
        for multiple in (32, 8, 1):  # round sizes suit the kernels
            inner = multiple * round((1 + (wanted - least) / per_inner) / multiple)
            if inner > 0 and abs(count(hidden, inner) - wanted) <= WITHIN * wanted:
                yield hidden, inner
                break
        hidden += step
