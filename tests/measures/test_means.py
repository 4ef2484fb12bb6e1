"""Intervals over beginnings: against known formulas, and how often they hold the truth."""

import math

import numpy as np
import pytest
from scipy.stats import t as student

from frailt.measures.means import mean, share


def test_every_beginning_weighs_the_same():
    found = mean({0: [101.0, 103.0, 105.0], 1: [109.0]})
    assert (found.mean, found.n) == (106.0, 4)
    half = student.ppf(0.975, 1) * 3.0  # sqrt(18 / 2)
    assert (found.low, found.high) == (pytest.approx(106 - half), pytest.approx(106 + half))


def test_an_interval_ends_where_values_end():
    found = mean({0: [0.0], 1: [0.9], 2: [0.1]}, most=1.0)
    assert (found.low, found.high) == (0.0, 1.0)


def test_no_interval_where_nothing_tells_the_spread():
    assert mean({0: [1.0, 2.0]}).low is None
    assert mean({0: [2.0], 1: [2.0]}).high is None
    assert share({0: [True, False]}).low is None


def test_a_share_of_all_or_none_is_uncertain_by_the_number_of_beginnings():
    few, many = share({i: [True] * 9 for i in range(4)}), share({i: [True] * 9 for i in range(40)})
    assert few.mean == few.high == 1
    assert 0 < few.low < many.low < 1
    none = share({i: [False] * 9 for i in range(4)})
    assert (none.low, none.high) == (pytest.approx(1 - few.high), pytest.approx(1 - few.low))


def test_one_completion_a_beginning_gives_wilsons_interval_with_students_t():
    n, told = 50, 20
    found = share({i: [i < told] for i in range(n)})
    t, p = student.ppf(0.975, n - 1), told / n
    effective = p * (1 - p) / (p * (1 - p) / (n - 1))  # the variance is taken with n - 1
    centre = (p + t**2 / (2 * effective)) / (1 + t**2 / effective)
    half = t / (1 + t**2 / effective) * math.sqrt(p * (1 - p) / effective + t**2 / (4 * effective**2))
    assert (found.low, found.high) == (pytest.approx(centre - half), pytest.approx(centre + half))


def test_completions_that_repeat_the_first_of_their_beginning_add_nothing():
    alone = share({i: [i % 3 == 0] for i in range(30)})
    repeated = share({i: [i % 3 == 0] * 8 for i in range(30)})
    assert (repeated.low, repeated.high) == (pytest.approx(alone.low), pytest.approx(alone.high))


@pytest.mark.parametrize("truth", [0.5, 0.9])
def test_nineteen_of_twenty_intervals_hold_the_true_share(truth):
    rng, held = np.random.default_rng(1), 0
    for _ in range(400):
        of_beginning = rng.beta(6 * truth, 6 * (1 - truth), size=25)  # beginnings differ
        found = share({i: list(rng.random(7) < p) for i, p in enumerate(of_beginning)})
        held += found.low <= truth <= found.high
    assert 0.93 <= held / 400 <= 0.98
