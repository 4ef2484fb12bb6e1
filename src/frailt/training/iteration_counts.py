"""How often looped groups run in each training step: as the layout says, drawn anew, or rising. No torch.

The counts come from a set that is written down, so that whatever is compiled for each of them is compiled so often and
no more. All looped groups run with the same count, and all forward passes of a step.
"""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

import numpy as np

from frailt.model.counts import parse_counts

Kind = Literal["fixed", "uniform", "poisson", "lognormal_poisson", "curriculum"]

_TAKES: dict[Kind, tuple[str, ...]] = {
    "fixed": (),
    "uniform": ("counts",),
    "poisson": ("counts", "mean"),
    "lognormal_poisson": ("counts", "mean", "sigma"),
    "curriculum": ("counts", "rise_share"),
}
DEFAULT_SIGMA = 0.5
"""Huginn's (Geiping et al., 2025, section 3.3)."""
DEFAULT_RISE_SHARE = 0.5


@dataclass(kw_only=True)
class IterationCounts:
    """How often looped groups run in each training step, all of them as often.

    Args:
        kind: fixed is the layout's own count. Drawn for each step: uniform; poisson, with the rate mean;
            lognormal_poisson, with a log-normal rate of that mean. curriculum rises through the counts.
        counts: the set they come from, such as 1..8 or 1,2,4,8. What a draw would give beside it is left out.
        mean: of the Poisson distribution's rate, before counts beside the set are left out.
        sigma: standard deviation of the rate's logarithm; 0.5 by default.
        rise_share: share of the steps in which a curriculum rises, each count as long as the next; it then stays at
            the highest. 0.5 by default.
    """

    kind: Kind = "fixed"
    counts: list[int] | str | None = None
    mean: float | None = None
    sigma: float | None = None
    rise_share: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in _TAKES:
            raise ValueError(f"iteration_counts.kind must be one of {', '.join(_TAKES)}, got {self.kind!r}")
        for name in ("counts", "mean", "sigma", "rise_share"):
            if getattr(self, name) is not None and name not in _TAKES[self.kind]:
                raise ValueError(
                    f"iteration_counts.{name} must be left out where kind is {self.kind}, got {getattr(self, name)}"
                )
        if self.counts is not None:
            self.counts = parse_counts(self.counts, "iteration_counts.counts")
        if self.kind == "lognormal_poisson" and self.sigma is None:
            self.sigma = DEFAULT_SIGMA
        if self.kind == "curriculum" and self.rise_share is None:
            self.rise_share = DEFAULT_RISE_SHARE
        for name in ("counts", "mean"):
            if name in _TAKES[self.kind] and getattr(self, name) is None:
                raise ValueError(f"iteration_counts.{name} must be given where kind is {self.kind}")
        for name in ("mean", "sigma"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise ValueError(f"iteration_counts.{name} must be above 0, got {value}")
        if self.rise_share is not None and not 0 < self.rise_share <= 1:
            raise ValueError(f"iteration_counts.rise_share must be above 0 and at most 1, got {self.rise_share}")

    @property
    def several(self) -> list[int]:
        """The set of counts, rising; empty where the layout's own is used."""
        return list(self.counts or ())  # type: ignore[arg-type]  # parsed by now

    def shares(self) -> dict[int, float]:
        """The share of steps that each count has, in expectation; they add up to 1."""
        counts = self.several
        if self.kind == "uniform":
            return dict.fromkeys(counts, 1 / len(counts))
        if self.kind == "curriculum":
            assert self.rise_share is not None
            rising = self.rise_share / len(counts)
            return {n: rising + (1 - self.rise_share if n == counts[-1] else 0) for n in counts}
        if self.kind == "fixed":
            return {}
        assert self.mean is not None
        logs = [
            _log_poisson(n, self.mean) if self.sigma is None else _log_lognormal_poisson(n, self.mean, self.sigma)
            for n in counts
        ]
        total = np.logaddexp.reduce(logs)
        return {n: math.exp(log - total) for n, log in zip(counts, logs, strict=True)}


class CountSchedule:
    """The count of every step: a function of (seed, step), so the same in all processes and when a run goes on.

    Args:
        config: how counts come about.
        seed: of the run.
        steps: of the run; a curriculum is a function of the share that is done.
    """

    BLOCK = 4096

    def __init__(self, config: IterationCounts, *, seed: int, steps: int) -> None:
        self.config, self.seed, self.steps = config, seed, steps
        self.counts = config.several
        self._bounds = np.cumsum(list(config.shares().values()))
        self._number, self._block = -1, np.empty(0, dtype=np.int64)

    def at(self, step: int) -> int | None:
        """The count of a step, from 1 on; None for the layout's own."""
        if not self.counts:
            return None
        if self.config.kind == "curriculum":
            assert self.config.rise_share is not None
            place = math.floor(len(self.counts) * (step - 1) / (self.config.rise_share * self.steps))
            return self.counts[min(place, len(self.counts) - 1)]
        number, within = divmod(step, self.BLOCK)
        if number != self._number:
            # The last part is to be unlike the keys of the order of rows; a 0 there would be no difference to numpy.
            drawn = np.random.default_rng([self.seed, number, 1]).random(self.BLOCK)
            places = np.searchsorted(self._bounds[:-1], drawn, side="right")
            self._number, self._block = number, np.asarray(self.counts)[places]
        return int(self._block[within])

    def ran(self, first: int, last: int) -> Counter[int | None]:
        """How many of the steps from `first` to `last`, both included, have each count."""
        if not self.counts:
            return Counter({None: last - first + 1})
        return Counter(self.at(step) for step in range(first, last + 1))


def mean_count(ran: Mapping[int | None, int]) -> float | None:
    """The mean over steps, by how many of them had each count; None where they had the layout's own."""
    counts = [count for count in ran if count is not None]
    return fmean(counts, [ran[count] for count in counts]) if counts else None


def _log_poisson(n: int, rate: float) -> float:
    return n * math.log(rate) - rate - math.lgamma(n + 1)


def _log_lognormal_poisson(n: int, mean: float, sigma: float) -> float:
    """Of a rate e^t with t from N(log mean - sigma^2 / 2, sigma^2), whose mean is `mean`; by the trapezoidal rule."""
    grid, step = np.linspace(-10, 10, 2001, retstep=True)
    logs = math.log(mean) - sigma**2 / 2 + sigma * grid  # of the rate
    terms = n * logs - np.exp(logs) - math.lgamma(n + 1) - grid**2 / 2
    return float(np.logaddexp.reduce(terms)) + math.log(step / math.sqrt(2 * math.pi))
