"""How sure a number is: means over seeds with 95 % t intervals, differences paired by seed, slopes over widths."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from frailt.intervals import t_quantile

MOST_SEEDS = 1000
"""Where more seeds than this were needed, no number is given."""


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds; in nats per token unless said otherwise.

    `half_width` is that of its interval, mean - half_width to mean + half_width. It is None where there is one seed,
    which says nothing of the spread: never 0.
    """

    mean: float
    half_width: float | None
    seeds: int

    @property
    def low(self) -> float | None:
        return None if self.half_width is None else self.mean - self.half_width

    @property
    def high(self) -> float | None:
        return None if self.half_width is None else self.mean + self.half_width

    @property
    def sign(self) -> int:
        """1 or -1 where the interval lies above or below 0; 0 where it holds 0, and where there is none."""
        if self.half_width is None or abs(self.mean) <= self.half_width:
            return 0
        return 1 if self.mean > 0 else -1


def estimate(values: Sequence[float]) -> Estimate:
    """Mean and interval of one value per seed, at least one, by Student's t with n - 1 degrees of freedom."""
    n = len(values)
    half_width = t_quantile(n - 1) * stdev(values) / math.sqrt(n) if n > 1 else None
    return Estimate(fmean(values), half_width, n)


def paired(minuend: Mapping[int, float], subtrahend: Mapping[int, float]) -> Estimate | None:
    """The mean difference between values by seed; None where they share no seed.

    Two models trained with one seed see the same rows in the same order, and what that does to both drops out. Seeds
    that only one of them has are not used.
    """
    differences = list(difference(minuend, subtrahend).values())
    return estimate(differences) if differences else None


def difference(minuend: Mapping[int, float], subtrahend: Mapping[int, float]) -> dict[int, float]:
    """The differences themselves, by seed."""
    return {seed: minuend[seed] - subtrahend[seed] for seed in sorted(minuend) if seed in subtrahend}


def slope(values: Mapping[int, Mapping[int, float]]) -> Estimate | None:
    """How much a value by width and seed changes with each doubling of the width.

    A straight line over log2(width) is fitted for each seed that all widths have, and the slopes are averaged: that
    takes no line to be the truth, and what seeds do to it is in the interval. None below two widths, or without such a
    seed.
    """
    shared = sorted(set.intersection(*map(set, values.values()))) if values else []
    if len(values) < 2 or not shared:
        return None
    x = [math.log2(width) for width in values]
    centred = [value - fmean(x) for value in x]
    scale = math.fsum(value * value for value in centred)
    slopes = [
        math.fsum(c * by_seed[seed] for c, by_seed in zip(centred, values.values(), strict=True)) / scale
        for seed in shared
    ]
    return estimate(slopes)


def seeds_needed(found: Estimate, half_width: float) -> int | None:
    """How many seeds would bring the interval to `half_width`, if they spread as those found.

    None where there is one seed, or where more than `MOST_SEEDS` were needed.
    """
    if found.half_width is None:
        return None
    deviation = found.half_width * math.sqrt(found.seeds) / t_quantile(found.seeds - 1)
    numbers = range(2, MOST_SEEDS + 1)
    return next((n for n in numbers if t_quantile(n - 1) * deviation <= half_width * math.sqrt(n)), None)
