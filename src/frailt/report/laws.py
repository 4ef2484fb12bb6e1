"""Figures 6 and 7 in numbers: for each kind of grade a power law of the loss, by family, and whether one serves both.

A point is a layout at a width, its loss and grade averaged over seeds: seeds of one model share what sets it apart from
the line, so they are not points of their own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from . import paper
from .cells import LEARNED, Variant
from .powerlaw import LEAST_POINTS, Fit, OneLine, Points, fit, one_line, p_without_one
from .scores import KINDS, Scores
from .statistics import Estimate
from .words import counted, interval, number, p_alone, percent, probability

STANDARD, FRAILT = "standard", "FraiLT"
FAMILIES = (STANDARD, FRAILT)


@dataclass(frozen=True)
class Point:
    """A layout at a width."""

    variant: Variant
    width: int
    nats: float
    score: Estimate

    @property
    def family(self) -> str | None:
        """Standard, or looped with the paper's encoding; other encodings are of neither."""
        if not self.variant.layout.is_looped:
            return STANDARD
        return FRAILT if self.variant.encoding == LEARNED else None


@dataclass(frozen=True)
class Law:
    """Of one kind of grade."""

    kind: str
    cutoff: float
    """Points of a higher loss are left out of fits: there consistency and plot stay near the lowest grade."""
    points: tuple[Point, ...]

    def is_fitted(self, point: Point) -> bool:
        """Whether a point is among those that laws are fitted to."""
        return point.nats <= self.cutoff and point.family is not None

    def fitted(self, family: str | None = None) -> list[Point]:
        """Those of one family, or of both."""
        return [each for each in self.points if self.is_fitted(each) and family in (None, each.family)]

    def fit(self, family: str | None = None) -> Fit | None:
        """The law of a family, or of both together; None where there are too few points."""
        return self._fits[family]

    @cached_property
    def one_line(self) -> OneLine | None:
        """Whether one law serves both families; None where one of them has none."""
        if self.fit(STANDARD) is None or self.fit(FRAILT) is None:
            return None
        return one_line(*(_places(self.fitted(family)) for family in FAMILIES))

    @cached_property
    def p_without_one(self) -> tuple[float, float] | None:
        """What p would be without any one of the models, from least to greatest; None where too few would be left."""
        if self.one_line is None:
            return None
        return p_without_one(*(_places(self.fitted(family)) for family in FAMILIES))

    @cached_property
    def _fits(self) -> dict[str | None, Fit | None]:
        return {family: _fit(self.fitted(family)) for family in (None, *FAMILIES)}

    def sentences(self) -> list[str]:
        """What was found, as Markdown."""
        both, name = self.fit(), self.kind.capitalize()
        if both is None:
            return [f"{name}: {self._too_few(None)}."]
        found = [
            f"{name} grows as {law_in_words(both)}, the exponent within {interval(both.low, both.high, 2)}: "
            f"{counted(both.models, 'model')}, R²\u00a0{number(both.r_squared, 2)}."
        ]
        apart, own = self.one_line, {family: self.fit(family) for family in FAMILIES}
        if apart is None:
            lacking = [self._too_few(family) for family in FAMILIES if own[family] is None]
            return [*found, f"{name}: {'; '.join(lacking)}, so that it is not known whether one law serves both."]
        exponents = " and ".join(
            f"{number(each.exponent, 2)} {interval(each.low, each.high, 2)} for {family} models"
            for family, each in own.items()
            if each is not None
        )
        serves = (
            "one law serves both families as far as these models tell"
            if apart.serves
            else "one law does *not* serve both families"
        )
        without = "" if self.p_without_one is None else f" ({_range(self.p_without_one)} with one model left out)"
        ratio, low, high = apart.higher
        found.append(
            f"{name}: {serves}, F({apart.freedom[0]}, {apart.freedom[1]}) = {number(apart.f, 2)}, "
            f"{probability(apart.p)}{without}. Exponents are {exponents}; at equal loss FraiLT models are graded "
            f"{percent(ratio - 1)} {'higher' if ratio >= 1 else 'lower'} "
            f"[{percent(low - 1, signed=True)}, {percent(high - 1, signed=True)}]."
        )
        return found

    def _too_few(self, family: str | None) -> str:
        there, models = len(self.fitted(family)), "models" if family is None else f"{family} models"
        if there >= LEAST_POINTS:
            return f"no law is fitted to {models}, for all have the same loss"
        return (
            f"no law is fitted to {models}, for there are {there} of a loss up to {self.cutoff:g} and it takes "
            f"{LEAST_POINTS}"
        )


def laws(scores: Scores, cutoff: float) -> list[Law]:
    """One for each kind of grade, of all models whose loss is known."""
    places = sorted(scores.cells, key=lambda place: (place[1], place[0].order))
    found = []
    for kind in KINDS:
        points = []
        for variant, width in places:
            nats, mean = scores.nats(variant, width), scores.mean(variant, width, kind)
            if nats is not None and mean is not None:
                points.append(Point(variant, width, nats, mean.found))
        found.append(Law(kind, cutoff, tuple(points)))
    return found


def printed_laws(cutoff: float) -> list[Law]:
    """Those of the paper's grades, with the losses of its Tables 2 and 3, which have a digit more than Table 4."""
    found = []
    for kind in KINDS:
        points = []
        for variant, width in paper.graded():
            nats, score = paper.loss(variant, width), paper.score(variant, width, kind)
            assert nats is not None
            assert score is not None
            points.append(Point(variant, width, nats, Estimate(score, None, 1)))
        found.append(Law(kind, cutoff, tuple(points)))
    return found


def above_the_cutoff(found: Sequence[Law]) -> str | None:
    """How consistency and plot are graded above the cut-off, as a sentence; None where nothing lies there."""
    by_kind = {law.kind: law for law in found}
    chosen = [by_kind[kind] for kind in ("consistency", "plot")]
    above = [[each.score.mean for each in law.points if each.nats > law.cutoff] for law in chosen]
    if not above[0]:
        return None
    consistency, plot = (number(max(each), 2) for each in above)
    return (
        f"Above a loss of {chosen[0].cutoff:g}, consistency is graded {consistency} at most and plot {plot}, over "
        f"{counted(len(above[0]), 'model')}."
    )


def law_in_words(found: Fit) -> str:
    """Such as 1.23 · loss^−2.05."""
    return f"{number(found.level, 2)} · loss^{number(-found.exponent, 2)}"


def _fit(points: Sequence[Point]) -> Fit | None:
    try:
        return fit(_places(points))
    except ValueError:
        return None


def _places(points: Sequence[Point]) -> Points:
    return [(each.nats, each.score.mean) for each in points]


def _range(ends: tuple[float, float]) -> str:
    """Such as: p from 0.015 to 0.16."""
    low, high = (p_alone(end) for end in ends)
    return f"p from {low} to {high}"
