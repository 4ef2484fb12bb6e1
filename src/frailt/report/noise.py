"""How far the paper's grades may be off by chance: what they say of how many stories they are means of.

Nearly all are multiples of .05, as means of 20 whole grades are. How much single grades spread is not in the paper, so
the standard error is given for a spread of 1 and of 2 points, but never for more or less than whole grades from 1 to 10
with that mean can spread.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from frailt.intervals import t_quantile
from frailt.judge.prompt import CATEGORIES
from frailt.judge.tool import HIGHEST, LOWEST

from . import paper
from .cells import Variant
from .comparisons import Pair
from .scores import AVERAGE

GRADES = 20
"""A mean of so many whole numbers is a multiple of .05."""

HALF = 10
"""And of so many, of .1."""

SPREADS = (1.0, 2.0)
"""Standard deviations of single grades, in points: assumed."""


@dataclass(frozen=True)
class Multiples:
    """How many printed grades are multiples of a step."""

    of: float
    are: int
    all: int
    others: tuple[float, ...]


def multiples(step_hundredths: int, grades: Iterable[float]) -> Multiples:
    """Count grades that are multiples of so many hundredths; they are printed with two digits."""
    found = list(grades)
    others = tuple(each for each in found if round(100 * each) % step_hundredths)
    return Multiples(step_hundredths / 100, len(found) - len(others), len(found), others)


def printed(width: int | None = None) -> list[float]:
    """The paper's grades by category, of all models or those of one width; averages are no grades of their own."""
    return [
        float(row[kind])
        for (_, of_width), row in paper.scores().items()
        for kind in CATEGORIES
        if width in (None, of_width)
    ]


def grades_of(width: int) -> int:
    """Of how many stories the means at a width are, by what they are multiples of."""
    return GRADES if multiples(10, printed(width)).others else HALF


def widths_of_ten() -> list[int]:
    """The widths at which all grades are multiples of .1."""
    return [width for width in sorted({width for _, width in paper.graded()}) if grades_of(width) == HALF]


def least_spread(mean: float, n: int) -> float:
    """The least standard deviation that n whole numbers of that mean can have: they are two neighbours."""
    share = mean - math.floor(mean)
    return math.sqrt(max(0.0, share * (1 - share)) * n / (n - 1))


def most_spread(mean: float, n: int) -> float:
    """The greatest that n grades of that mean can have: they are the lowest and the highest."""
    return math.sqrt(max(0.0, (mean - LOWEST) * (HIGHEST - mean)) * n / (n - 1))


def standard_error(mean: float, n: int, spread: float) -> float:
    """Of a mean grade, where single grades spread as assumed, as far as whole grades of that mean can."""
    return min(max(spread, least_spread(mean, n)), most_spread(mean, n)) / math.sqrt(n)


@dataclass(frozen=True)
class Doubt:
    """A difference between two of the paper's grades, with what chance alone may make of it."""

    pair: Pair
    width: int
    kind: str
    difference: float
    """Model less baseline."""
    errors: tuple[float, ...]
    """The standard error of the difference, for each of `SPREADS`."""
    reach: float
    """How many standard errors chance reaches in 19 of 20 cases."""

    def is_beyond_chance(self, spread: int) -> bool:
        """Whether it is larger than chance makes it, at one of `SPREADS` by its place."""
        return abs(self.difference) > self.reach * self.errors[spread]


def doubt(pair: Pair, width: int, kind: str) -> Doubt | None:
    """The doubt about one difference; None where the paper lacks a grade.

    Stories are taken to be independent. The average of four categories is taken to spread as they do on average, which
    is the most that it can.
    """
    difference = paper.score_lead(pair.model, pair.baseline, width, kind)
    if difference is None:
        return None
    n = grades_of(width)
    errors = tuple(
        math.hypot(*(_error(variant, width, kind, n, spread) for variant in (pair.model, pair.baseline)))
        for spread in SPREADS
    )
    return Doubt(pair, width, kind, difference, errors, t_quantile(2 * n - 2))


def _error(variant: Variant, width: int, kind: str, n: int, spread: float) -> float:
    kinds = CATEGORIES if kind == AVERAGE else (kind,)
    means = [paper.score(variant, width, each) for each in kinds]
    return sum(standard_error(mean, n, spread) for mean in means if mean is not None) / len(kinds)
