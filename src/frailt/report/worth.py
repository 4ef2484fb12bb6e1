"""How many layers of its own a loop is worth.

The loss of standard models of one width falls with their layers L as a power law, c + b L^-a with b, c >= 0. A group of
n blocks that is run m times is taken to act as n m^phi layers on the same curve: phi = 0 says that looping is worth
nothing, phi = 1 that a loop is as good as layers of its own. Per width c, b, a are free; phi is one for all widths that
are fitted together.

For given phi and a the law is linear in c and b, so the least squares are exact there, and both are searched on a grid:
no starting point, no local minimum, nothing random. A search over phi leaves the squared residuals of every width as a
curve over phi, and several widths are fitted by adding their curves.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from scipy.special import fdtri

from frailt.intervals import LEVEL

from .cells import LEARNED, Variant
from .losses import Losses
from .statistics import estimate
from .words import number, series

PHI = np.linspace(-1.0, 2.0, 301)
DECAY = np.geomspace(0.05, 5.0, 80)
"""Values of a."""

FIELD_EXPONENT = 0.46
"""Of r loops, in unique parameters, over 116 runs of looped models (arXiv 2604.21106)."""

_FREE_PER_WIDTH = 3
_LEAST_STANDARD = 3
_LEAST_SEEDS = 3


@dataclass(frozen=True)
class Curve:
    """c + b L^-a, in nats per token over layers L."""

    c: float
    b: float
    a: float

    def __call__(self, layers: float) -> float:
        return self.c + self.b * layers**-self.a


@dataclass(frozen=True)
class Interval:
    """Where phi lies; open at an end that is the end of the search."""

    low: float
    high: float
    basis: str
    """What it answers for."""

    def __str__(self) -> str:
        low = f"(≤ {number(PHI[0], 2)}" if self.low <= PHI[0] else f"[{number(self.low, 2)}"
        high = f"≥ {number(PHI[-1], 2)})" if self.high >= PHI[-1] else f"{number(self.high, 2)}]"
        return f"{low}, {high}"


@dataclass(frozen=True)
class Worth:
    """The fitted exponent phi, with what is known of its certainty."""

    widths: tuple[int, ...]
    encoding: str
    """Of the looped models."""
    exponent: float
    by_seeds: Interval | None
    """By leaving out one seed at a time; None below three seeds that all models share."""
    by_misfit: Interval | None
    """Where squared residuals as large as the misfit of the law leave phi; None without a model more than unknowns."""
    misfit_nats: float
    """Root mean square of the residuals."""
    curves: dict[int, Curve]
    """By width."""
    models: tuple[tuple[Variant, int, float], ...]
    """What was fitted: variant, width, mean nats per token over the seeds that all models of the width have."""

    @property
    def interval(self) -> Interval | None:
        """The wider of the two; None where there is neither. It answers for seeds or for the law, not both."""
        found = [each for each in (self.by_seeds, self.by_misfit) if each is not None]
        return max(found, key=lambda each: each.high - each.low, default=None)

    def sentence(self) -> str:
        """What was found, as Markdown."""
        where = f"width{'s' if len(self.widths) > 1 else ''} {series([str(width) for width in self.widths])}"
        looped = max((v for v, _, _ in self.models if v.layout.is_looped), key=lambda v: v.layout.unique_blocks)
        run = "run m times" if self.encoding == LEARNED else f"run m times (encoding {self.encoding})"
        acts = f"At {where} a block {run} acts as m^{number(self.exponent, 2)} layers"
        example = f"`{looped}` as {number(layers(looped, self.exponent), 1)}"
        if self.interval is None:
            return f"{acts}, so {example}; seeds and models are too few for an interval."
        found = self.interval
        if found.low <= PHI[0] and found.high >= PHI[-1]:
            return f"{acts}, so {example}; the interval from {found.basis} has no end: *undecided*."
        lies = "inside" if found.low <= FIELD_EXPONENT <= found.high else "outside"
        return (
            f"{acts} {found}, the interval being from {found.basis}, so {example}; "
            f"{FIELD_EXPONENT}, which a scaling law over looped models has, lies {lies}."
        )


def layers(variant: Variant, exponent: float) -> float:
    """The layers that a layout acts as: the sum of n m^phi over its groups."""
    return sum(shape.blocks * shape.iterations**exponent for shape in variant.layout.groups)


def worth(losses: Losses, encoding: str, widths: Sequence[int]) -> Worth:
    """Fit phi to the standard models and the looped ones with `encoding`, at `widths` together.

    Raises:
        ValueError: there are too few models, or what they say leaves phi open.
    """
    fits = [_Width(losses, encoding, width) for width in widths]
    names = ", ".join(map(str, widths))
    for fit in fits:
        if not fit.is_enough:
            raise ValueError(
                f"at width {fit.width}, {_LEAST_STANDARD} standard models and a looped one are needed, and there are "
                f"{fit.standard} and {len(fit.variants) - fit.standard}"
            )
    residuals = np.sum([fit.residuals(fit.means) for fit in fits], axis=0)
    exponent = _minimum(residuals)
    if not PHI[0] < exponent < PHI[-1] or np.ptp(residuals) == 0:
        raise ValueError(f"at width {names} the exponent stays open: the loss does not fall with layers as a power law")
    return Worth(
        widths=tuple(widths),
        encoding=encoding,
        exponent=exponent,
        by_seeds=_by_seeds(fits, exponent),
        by_misfit=_by_misfit(fits, residuals),
        misfit_nats=math.sqrt(max(0.0, residuals.min()) / sum(len(fit.variants) for fit in fits)),
        curves={fit.width: fit.curve(exponent) for fit in fits},
        models=tuple((v, fit.width, m) for fit in fits for v, m in zip(fit.variants, fit.means, strict=True)),
    )


class _Width:
    """The models of one width, and how far the law is from them."""

    def __init__(self, losses: Losses, encoding: str, width: int) -> None:
        self.width = width
        self.variants = [
            variant
            for variant in losses.variants
            if losses.by_seed(variant, width) and (not variant.layout.is_looped or variant.encoding == encoding)
        ]
        self.by_seed = [losses.by_seed(variant, width) for variant in self.variants]
        self.seeds = set.intersection(*map(set, self.by_seed)) if self.by_seed else set()
        self.standard = sum(not variant.layout.is_looped for variant in self.variants)
        as_layers = np.array([[layers(variant, phi) for variant in self.variants] for phi in PHI])
        self._x = as_layers ** -DECAY[:, None, None]  # (a, phi, models)
        self._mean_x = self._x.mean(axis=-1)

    @property
    def is_enough(self) -> bool:
        return self.standard >= _LEAST_STANDARD and len(self.variants) > self.standard

    @property
    def means(self) -> list[float]:
        """Over the seeds that all models have, or each over its own where there is none, (models,)."""
        return self.means_of(self.seeds) if self.seeds else [fmean(by_seed.values()) for by_seed in self.by_seed]

    def means_of(self, seeds: set[int]) -> list[float]:
        """Over some of the seeds, (models,)."""
        return [fmean(by_seed[seed] for seed in sorted(seeds)) for by_seed in self.by_seed]

    def residuals(self, nats: Sequence[float]) -> np.ndarray:
        """The least sum of squares at each phi, (phi,)."""
        return self._squares(np.array(nats)).min(axis=0)

    def curve(self, exponent: float) -> Curve:
        """The law that fits best at one phi, to the grid's precision."""
        phi = int(np.abs(PHI - exponent).argmin())
        nats = np.array(self.means)
        a = int(self._squares(nats)[:, phi].argmin())
        b, c = (float(each[a, phi]) for each in self._law(nats))
        return Curve(c, b, float(DECAY[a]))

    def _squares(self, nats: np.ndarray) -> np.ndarray:
        """The sum of squared residuals with the best b and c, (a, phi)."""
        b, c = self._law(nats)
        return ((nats - c[..., None] - b[..., None] * self._x) ** 2).sum(axis=-1)

    def _law(self, nats: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The best b and c that are not below 0, at each a and phi, each (a, phi)."""
        x = self._x - self._mean_x[..., None]
        b = np.maximum(x @ (nats - nats.mean()) / (x * x).sum(axis=-1), 0.0)
        c = nats.mean() - b * self._mean_x
        through_zero = self._x @ nats / (self._x * self._x).sum(axis=-1)
        return np.where(c < 0, through_zero, b), np.maximum(c, 0.0)


def _minimum(residuals: np.ndarray) -> float:
    """Where the curve over phi is least; between the points of the grid by the parabola through three of them."""
    i = int(residuals.argmin())
    if i in (0, len(PHI) - 1):
        return float(PHI[i])
    before, here, after = residuals[i - 1 : i + 2]
    bend = before - 2 * here + after
    return float(PHI[i] + (PHI[1] - PHI[0]) * (0.5 * (before - after) / bend if bend > 0 else 0.0))


def _by_seeds(fits: Sequence[_Width], exponent: float) -> Interval | None:
    """The jackknife: phi with each seed left out in turn gives one value per seed, and these a t interval."""
    seeds = set.intersection(*(fit.seeds for fit in fits))
    n = len(seeds)
    if n < _LEAST_SEEDS:
        return None
    without = [
        _minimum(np.sum([fit.residuals(fit.means_of(seeds - {seed})) for fit in fits], axis=0))
        for seed in sorted(seeds)
    ]
    half_width = estimate([n * exponent - (n - 1) * each for each in without]).half_width
    assert half_width is not None
    return Interval(exponent - half_width, exponent + half_width, f"{n} seeds")


def _by_misfit(fits: Sequence[_Width], residuals: np.ndarray) -> Interval | None:
    """The profile interval: phi whose squared residuals are not above the least by more than F allows."""
    spare = sum(len(fit.variants) for fit in fits) - _FREE_PER_WIDTH * len(fits) - 1
    if spare < 1:
        return None
    within = PHI[residuals <= residuals.min() * (1 + fdtri(1, spare, LEVEL) / spare)]
    return Interval(float(within[0]), float(within[-1]), "the misfit of the law")
