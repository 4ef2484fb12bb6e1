"""Power laws of scores over losses, score = c · loss^−k: straight lines where both are logarithms.

Fitted by least squares in log score over log loss. Intervals and bands are Student's, and take the losses to be exact
and the residuals in log score to be independent, normal and of one variance.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import fdtrc

from frailt.intervals import LEVEL, t_quantile

LEAST_POINTS = 4
"""Below so many there is no fit."""

Points = Sequence[tuple[float, float]]
"""Loss and score of each model."""

_NONE = 1e-20
"""Squares below this are rounding."""


@dataclass(frozen=True)
class Fit:
    """score = level · loss^−exponent."""

    models: int
    exponent: float
    half_width: float
    """Of the exponent's 95 % interval."""
    level: float
    """The score at a loss of 1 nat per token."""
    r_squared: float
    """Of log score; 0 where all scores are the same."""
    scatter: float
    """Standard deviation of scores about the law, in points of the score."""
    squares: float
    """Of the residuals, in log score."""
    centre: float
    """Mean log loss."""
    spread: float
    """Of log losses about their mean, the sum of squares."""

    @property
    def low(self) -> float:
        return self.exponent - self.half_width

    @property
    def high(self) -> float:
        return self.exponent + self.half_width

    def at(self, loss: float) -> float:
        """The score by the law."""
        return self.level * loss**-self.exponent

    def band(self, loss: float) -> tuple[float, float]:
        """Where the law itself lies at a loss, with 95 % confidence; single models scatter more."""
        freedom = self.models - 2
        error = math.sqrt(
            self.squares / freedom * (1 / self.models + (math.log(loss) - self.centre) ** 2 / self.spread)
        )
        factor = math.exp(t_quantile(freedom) * error)
        return self.at(loss) / factor, self.at(loss) * factor


@dataclass(frozen=True)
class OneLine:
    """Whether one law serves two families of models: Chow's F test, and by how much they are apart."""

    f: float
    freedom: tuple[int, int]
    p: float
    """How often F is as large where one law holds."""
    steeper: tuple[float, float, float]
    """The second family's exponent less the first's, and its interval."""
    higher: tuple[float, float, float]
    """The second family's score over the first's at equal loss, with a common exponent, and its interval."""

    @property
    def serves(self) -> bool:
        """Whether nothing speaks against one law, at 5 %."""
        return self.p >= 1 - LEVEL


def fit(points: Points) -> Fit:
    """The law of some models.

    Raises:
        ValueError: there are fewer than `LEAST_POINTS`, or all have the same loss.
    """
    if len(points) < LEAST_POINTS:
        raise ValueError(f"a fit takes {LEAST_POINTS} models, and there are {len(points)}")
    x, y = _logs(points)
    spread = _squares(x)
    if spread < _NONE:
        raise ValueError("a fit takes models of different losses, and all have the same")
    slope = float(((x - x.mean()) * (y - y.mean())).sum()) / spread
    residuals = y - y.mean() - slope * (x - x.mean())
    squares, freedom = float((residuals**2).sum()), len(points) - 2
    level = math.exp(y.mean() - slope * x.mean())
    apart = np.exp(y) - level * np.exp(slope * x)
    return Fit(
        models=len(points),
        exponent=-slope,
        half_width=t_quantile(freedom) * math.sqrt(squares / freedom / spread),
        level=level,
        r_squared=1 - squares / _squares(y) if _squares(y) > _NONE else 0.0,
        scatter=math.sqrt(float((apart**2).sum()) / freedom),
        squares=squares,
        centre=float(x.mean()),
        spread=spread,
    )


def one_line(first: Points, second: Points) -> OneLine:
    """Whether two families, each of which has a fit, lie on one law.

    Chow's test: F compares what two laws leave of the squares with what one law leaves, for two parameters more. It
    takes both families to scatter alike. A large p is no proof of one law, so the difference in exponents and the
    ratio of scores at equal loss are given with their intervals.
    """
    (x1, y1), (x2, y2) = _logs(first), _logs(second)
    own, other, both = fit(first), fit(second), fit([*first, *second])
    freedom = both.models - 4
    apart = own.squares + other.squares
    gained = max(0.0, both.squares - apart)
    f = (gained / 2) / (apart / freedom) if apart > _NONE else math.inf if gained > _NONE else 0.0

    error = t_quantile(freedom) * math.sqrt(apart / freedom * (1 / own.spread + 1 / other.spread))
    steeper = other.exponent - own.exponent

    # One exponent and two levels: what is left after the families' means are taken out.
    within = own.spread + other.spread
    slope = -(own.exponent * own.spread + other.exponent * other.spread) / within
    step = x2.mean() - x1.mean()
    ratio = float(y2.mean() - y1.mean() - slope * step)
    left = _squares(y1) + _squares(y2) - slope**2 * within
    variance = max(0.0, left) / (freedom + 1) * (1 / own.models + 1 / other.models + step**2 / within)
    reach = t_quantile(freedom + 1) * math.sqrt(variance)
    low, high = math.exp(ratio - reach), math.exp(ratio + reach)
    return OneLine(
        f=f,
        freedom=(2, freedom),
        p=float(fdtrc(2, freedom, f)),
        steeper=(steeper, steeper - error, steeper + error),
        higher=(math.exp(ratio), low, high),
    )


def p_without_one(first: Points, second: Points) -> tuple[float, float] | None:
    """The least and the greatest p of Chow's test where any one model is left out; None where too few would be left."""
    found = []
    for place in range(len(first) + len(second)):
        own = [each for i, each in enumerate(first) if i != place]
        other = [each for i, each in enumerate(second) if i != place - len(first)]
        try:
            found.append(one_line(own, other).p)
        except ValueError:
            return None
    return min(found), max(found)


def _logs(points: Points) -> tuple[np.ndarray, np.ndarray]:
    return np.log([loss for loss, _ in points]), np.log([score for _, score in points])


def _squares(values: np.ndarray) -> float:
    return float(((values - values.mean()) ** 2).sum())
