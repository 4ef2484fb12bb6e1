"""The level of every interval in this package, and Student's t at it."""

from scipy.special import stdtrit

LEVEL = 0.95
"""How often an interval holds the true value, over experiments; of each interval by itself, not of all at once."""


def t_quantile(freedom: float) -> float:
    """Student's t that is exceeded in size with probability 1 - LEVEL, with so many degrees of freedom."""
    return float(stdtrit(freedom, (1 + LEVEL) / 2))
