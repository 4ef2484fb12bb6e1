"""How far grades can be trusted: agreement, standard errors, and what order and length do to them.

Intraclass correlations are those of Shrout and Fleiss (1979) with the exact or approximate F intervals of McGraw and
Wong (1996). All intervals are at 95 %.
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

import numpy as np
from scipy.stats import f as f_distribution

from frailt.intervals import LEVEL, t_quantile

_EQUAL = 1e-9
"""Values that are apart by less are the same."""


@dataclass(frozen=True)
class Estimate:
    """A number with its interval, value - half_width to value + half_width; None where nothing tells the spread."""

    value: float
    half_width: float | None
    clusters: int
    """How many independent things it rests on."""

    def __str__(self) -> str:
        return f"{self.value:.2f}" + (" ± —" if self.half_width is None else f" ± {self.half_width:.2f}")


@dataclass(frozen=True)
class Agreement:
    """An intraclass correlation: the share of the variance of one grade that is the story's and not the judge's."""

    value: float
    low: float
    high: float
    stories: int
    grades_per_story: int

    def __str__(self) -> str:
        return f"{self.value:.2f} ({self.low:.2f} to {self.high:.2f})"


def icc_one_way(grades: Sequence[Sequence[float]]) -> Agreement | None:
    """ICC(1,1): agreement of a judge with itself over repeats, shape (stories, repeats).

    One-way, since the second repeat of one story has nothing in common with that of another: the numbers of repeats are
    labels, where those of ICC(2,1) and (3,1) are raters. None where all grades are equal, or there are less than two
    stories or repeats.
    """
    table = _table(grades)
    if table is None:
        return None
    n, k = table.shape
    between = k * table.mean(axis=1).var(ddof=1)
    within = ((table - table.mean(axis=1, keepdims=True)) ** 2).sum() / (n * (k - 1))
    if within == 0:
        return Agreement(1.0, 1.0, 1.0, n, k) if between > 0 else None
    ratio = between / within
    lower = ratio / _quantile(n - 1, n * (k - 1))
    upper = ratio * _quantile(n * (k - 1), n - 1)
    value, low, high = (float((one - 1) / (one + k - 1)) for one in (ratio, lower, upper))
    return Agreement(value, low, high, n, k)


def icc_two_way(grades: Sequence[Sequence[float]]) -> Agreement | None:
    """ICC(2,1), also ICC(A,1): absolute agreement of judges, shape (stories, judges); a stricter judge lowers it.

    None as in `icc_one_way`.
    """
    table = _table(grades)
    if table is None:
        return None
    n, k = table.shape
    rows = k * table.mean(axis=1).var(ddof=1)
    columns = n * table.mean(axis=0).var(ddof=1)
    residual = table - table.mean(axis=1, keepdims=True) - table.mean(axis=0) + table.mean()
    error = (residual**2).sum() / ((n - 1) * (k - 1))
    if rows + columns + error < 1e-12:
        return None
    if columns + error < 1e-12:
        return Agreement(1.0, 1.0, 1.0, n, k)
    value = (rows - error) / (rows + (k - 1) * error + k * (columns - error) / n)
    a = k * value / (n * (1 - value)) if value < 1 else math.inf
    b = 1 + k * value * (n - 1) / (n * (1 - value)) if value < 1 else math.inf
    mixed = a * columns + b * error
    freedom = mixed**2 / ((a * columns) ** 2 / (k - 1) + (b * error) ** 2 / ((n - 1) * (k - 1)))
    freedom = max(freedom, 1.0)
    spread = k * columns + (k * n - k - n) * error
    lower, upper = _quantile(n - 1, freedom), _quantile(freedom, n - 1)
    low = n * (rows - lower * error) / (lower * spread + n * rows)
    high = n * (upper * rows - error) / (spread + n * upper * rows)
    return Agreement(float(value), float(low), float(high), n, k)


def mean_over_clusters(clusters: Sequence[Sequence[float]]) -> Estimate:
    """The mean of clusters' means, each weighing the same, by Student's t over clusters.

    Stories from one beginning are alike, so the beginnings are what is independent, not the stories. Where all means
    are the same there is no interval: whole grades make that likely, and it does not tell the spread.
    """
    means = [fmean(values) for values in clusters]
    n = len(means)
    is_spread = max(means) - min(means) > _EQUAL
    return Estimate(fmean(means), t_quantile(n - 1) * stdev(means) / math.sqrt(n) if is_spread else None, n)


def slope_within(
    x: Sequence[float], y: Sequence[float], groups: Sequence[Hashable], clusters: Sequence[Hashable]
) -> Estimate | None:
    """How y changes with x by least squares, within groups: what tells groups from each other is taken out.

    The interval is by Student's t from the variance clustered by `clusters`, of which groups are parts, with the usual
    correction for their number. None where x varies within no group, or there is one cluster.
    """
    centred_x, centred_y = _centred(x, groups), _centred(y, groups)
    scale = float(centred_x @ centred_x)
    names = list(dict.fromkeys(clusters))
    if scale < 1e-12 or len(names) < 2:
        return None
    slope = float(centred_x @ centred_y) / scale
    moments = centred_x * (centred_y - slope * centred_x)
    sums = dict.fromkeys(names, 0.0)
    for name, moment in zip(clusters, moments, strict=True):
        sums[name] += float(moment)
    n = len(names)
    error = math.sqrt(n / (n - 1) * sum(value**2 for value in sums.values())) / scale
    return Estimate(slope, t_quantile(n - 1) * error if error > _EQUAL else None, n)


def _table(grades: Sequence[Sequence[float]]) -> np.ndarray | None:
    table = np.asarray(grades, dtype=np.float64)
    return table if table.ndim == 2 and min(table.shape) > 1 else None


def _centred(values: Sequence[float], groups: Sequence[Hashable]) -> np.ndarray:
    numbers = {name: number for number, name in enumerate(dict.fromkeys(groups))}
    index = np.array([numbers[name] for name in groups], dtype=np.int64)
    array = np.asarray(values, dtype=np.float64)
    return array - (np.bincount(index, array) / np.bincount(index))[index] if len(array) else array


def _quantile(first: float, second: float) -> float:
    return float(f_distribution.ppf((1 + LEVEL) / 2, first, second))
