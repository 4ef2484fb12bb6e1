"""Searching the learning rate of one model: which rates to try next, and which one to take. No torch."""

import math
from collections.abc import Mapping

from .grid import Cell, Search


def next_rates(search: Search, losses: Mapping[float, float]) -> list[float]:
    """The rates to try, given the losses of those that were tried; none where the search is at its end.

    Args:
        search: how to search.
        losses: nats per token by rate, infinite where training diverged.
    """
    if missing := [rate for rate in search.rates if rate not in losses]:
        return missing
    tried = sorted(losses)
    best, beyond = best_rate(losses), len(tried) - len(search.rates)
    if best is None or beyond >= search.widen:
        return []
    if best == tried[-1]:
        return [_rounded(best * tried[-1] / tried[-2])]
    if best == tried[0]:
        return [_rounded(best * tried[0] / tried[1])]
    return []


def best_rate(losses: Mapping[float, float]) -> float | None:
    """The rate with the lowest loss, the lower one where two are equal; None where every trial diverged."""
    best = min(losses, key=lambda rate: (losses[rate], rate))
    return best if math.isfinite(losses[best]) else None


def trial(search: Search, cell: Cell, rate: float) -> Cell:
    """The short run that tries a rate for `cell`."""
    amount = cell.amount * search.share
    return Cell(
        layout=cell.layout,
        width=search.width_for(cell.width),
        encoding=cell.encoding,
        seed=search.seed,
        unit=cell.unit,
        amount=amount if cell.unit == "passes" else max(1, round(amount)),
        learning_rate=rate,
    )


def _rounded(rate: float) -> float:
    """To three digits, so that a rate and its name say the same."""
    return float(f"{rate:.3g}")
