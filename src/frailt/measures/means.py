"""Means over completions, every beginning weighing the same, with 95 % intervals over beginnings."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, variance

from frailt.intervals import t_quantile
from frailt.judge.agreement import mean_over_clusters


@dataclass(frozen=True)
class Mean:
    """A mean with its interval, whose ends are None where nothing tells the spread: never an interval of no length."""

    mean: float
    low: float | None
    high: float | None
    n: int
    """Completions that it is over."""


def mean(by_beginning: Mapping[int, Sequence[float]], most: float = math.inf) -> Mean:
    """By Student's t over beginnings, as the judge's means; at least one beginning.

    Values are from 0 to `most`, and so is the interval.
    """
    found = mean_over_clusters(list(by_beginning.values()))
    n = sum(map(len, by_beginning.values()))
    if not found.half_width:
        return Mean(found.value, None, None, n)
    return Mean(found.value, max(0.0, found.value - found.half_width), min(most, found.value + found.half_width), n)


def share(by_beginning: Mapping[int, Sequence[bool]]) -> Mean:
    """Of yes or no, by Wilson's interval, which stays within 0 and 1.

    Completions of one beginning are alike, so it counts as many as would give the variance between beginnings if they
    were independent (Kish's effective sample size), and no more than there are. Where all are the same, the variance
    tells nothing, and each beginning counts as one.
    """
    shares = [fmean(values) for values in by_beginning.values()]
    n, beginnings, found = sum(map(len, by_beginning.values())), len(shares), fmean(shares)
    if beginnings < 2:
        return Mean(found, None, None, n)
    squared_error = variance(shares) / beginnings
    if found in (0, 1):
        effective = float(beginnings)
    else:
        effective = min(n, found * (1 - found) / squared_error) if squared_error else float(n)
    t = t_quantile(beginnings - 1)
    scale = 1 + t * t / effective
    centre = (found + t * t / (2 * effective)) / scale
    half = t / scale * math.sqrt(found * (1 - found) / effective + (t / (2 * effective)) ** 2)
    return Mean(found, max(0.0, centre - half), min(1.0, centre + half), n)
