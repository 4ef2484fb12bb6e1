import numpy as np
import pytest
from scipy import stats

from frailt.report.statistics import Estimate, difference, estimate, paired, seeds_needed, slope


@pytest.mark.parametrize("n", [2, 3, 5, 11])
def test_an_interval_is_that_of_scipy(n):
    values = np.random.default_rng(n).normal(2.0, 0.3, n)
    low, high = stats.t.interval(0.95, n - 1, loc=values.mean(), scale=stats.sem(values))
    found = estimate(list(values))
    assert (found.mean, found.low, found.high, found.seeds) == pytest.approx((values.mean(), low, high, n))


def test_an_interval_by_hand():
    # mean 2, standard deviation 1, t(2) = 4.3027
    assert estimate([1.0, 2.0, 3.0]).half_width == pytest.approx(4.302653 / 3**0.5, rel=1e-6)


def test_one_seed_has_no_interval_and_decides_nothing():
    found = estimate([1.7])
    assert found == Estimate(1.7, None, 1)
    assert (found.low, found.high, found.sign) == (None, None, 0)


@pytest.mark.parametrize(("mean", "sign"), [(0.11, 1), (-0.11, -1), (0.1, 0), (-0.05, 0), (0.0, 0)])
def test_the_sign_is_that_of_the_whole_interval(mean, sign):
    assert Estimate(mean, 0.1, 5).sign == sign


def test_differences_are_paired_by_seed_and_others_are_not_used():
    ours, theirs = {0: 1.1, 1: 2.3, 5: 9.0}, {1: 2.0, 0: 1.0, 7: 0.0}
    assert difference(ours, theirs) == pytest.approx({0: 0.1, 1: 0.3})
    assert paired(ours, theirs) == estimate([ours[0] - theirs[0], ours[1] - theirs[1]])
    assert paired({0: 1.0}, {1: 1.0}) is None


def test_pairing_takes_out_what_seeds_do_to_both():
    common = np.random.default_rng(0).normal(0, 1, 5)
    found = paired({i: 3.0 + each for i, each in enumerate(common)}, {i: 2.5 + each for i, each in enumerate(common)})
    assert found.mean == pytest.approx(0.5)
    assert found.half_width == pytest.approx(0, abs=1e-9)


def test_intervals_hold_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(7)
    for n in (3, 5):
        draws = rng.normal(0.06, 0.02, (2000, n))
        found = [estimate(list(row)) for row in draws]
        assert np.mean([each.low <= 0.06 <= each.high for each in found]) == pytest.approx(0.95, abs=0.015)


def test_a_slope_is_per_doubling_of_the_width():
    values = {64: {0: 1.0, 1: 1.5}, 128: {0: 1.25, 1: 1.8}, 256: {0: 1.5, 1: 2.1}}
    found, expected = slope(values), estimate([0.25, 0.3])
    assert (found.mean, found.half_width) == pytest.approx((expected.mean, expected.half_width))


def test_a_slope_is_the_least_squares_line_of_each_seed():
    rng = np.random.default_rng(3)
    widths = (64, 128, 512, 1024)
    values = {width: dict(enumerate(rng.normal(0, 1, 3))) for width in widths}
    lines = [np.polyfit(np.log2(widths), [values[width][seed] for width in widths], 1)[0] for seed in range(3)]
    found = slope(values)
    assert (found.mean, found.seeds) == pytest.approx((np.mean(lines), 3))


def test_a_slope_needs_two_widths_and_a_seed_in_common():
    assert slope({}) is None
    assert slope({64: {0: 1.0}}) is None
    assert slope({64: {0: 1.0}, 128: {1: 1.0}}) is None
    assert slope({64: {0: 1.0, 1: 2.0}, 128: {1: 3.0}}) == Estimate(1.0, None, 1)


def test_the_seeds_needed_are_the_fewest_that_do():
    found = estimate([1.0, 1.1, 1.3])
    deviation = np.std([1.0, 1.1, 1.3], ddof=1)
    n = seeds_needed(found, 0.05)

    def half_width(n):
        return stats.t.ppf(0.975, n - 1) * deviation / n**0.5

    assert half_width(n) <= 0.05 < half_width(n - 1)
    assert seeds_needed(estimate([1.0]), 0.05) is None
    assert seeds_needed(found, 1e-6) is None
