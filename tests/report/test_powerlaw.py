import math

import numpy as np
import pytest
from scipy import stats

from frailt.report.powerlaw import fit, one_line, p_without_one

LOSSES = np.geomspace(0.5, 1.0, 12)


def points(exponent, level=1.3, noise=0.0, losses=LOSSES, rng=None):
    """Scores by the law, with noise in log score."""
    errors = noise * rng.normal(size=len(losses)) if rng is not None else np.zeros(len(losses))
    return [(float(x), float(level * x**-exponent * math.exp(e))) for x, e in zip(losses, errors, strict=True)]


@pytest.mark.parametrize("exponent", [-0.5, 0.0, 1.0, 2.7])
def test_a_known_law_is_found(exponent):
    found = fit(points(exponent))
    assert (found.exponent, found.level) == pytest.approx((exponent, 1.3))
    assert found.half_width == pytest.approx(0, abs=1e-6)
    assert found.at(0.7) == pytest.approx(1.3 * 0.7**-exponent)
    assert found.band(0.7) == pytest.approx((found.at(0.7), found.at(0.7)))


def test_slope_and_interval_are_those_of_scipy():
    found_in = points(2.0, noise=0.1, rng=np.random.default_rng(0))
    found = fit(found_in)
    x, y = np.log(np.array(found_in)).T
    line = stats.linregress(x, y)
    assert found.exponent == pytest.approx(-line.slope)
    assert found.half_width == pytest.approx(stats.t.ppf(0.975, 10) * line.stderr)
    assert found.level == pytest.approx(math.exp(line.intercept))
    assert found.r_squared == pytest.approx(line.rvalue**2)
    at_one = found.band(1.0)  # where the law is its intercept
    reach = stats.t.ppf(0.975, 10) * line.intercept_stderr
    assert at_one == pytest.approx((math.exp(line.intercept - reach), math.exp(line.intercept + reach)))


def test_scatter_is_in_points_of_the_score():
    rng = np.random.default_rng(1)
    losses = np.geomspace(0.5, 1.0, 2000)
    scores = 3.0 * losses**-1.5 + 0.2 * rng.normal(size=2000)
    assert fit(list(zip(losses, scores, strict=True))).scatter == pytest.approx(0.2, rel=0.05)


def test_intervals_and_bands_hold_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(2)
    found = [fit(points(2.0, noise=0.15, rng=rng)) for _ in range(1500)]
    assert np.mean([each.low <= 2.0 <= each.high for each in found]) == pytest.approx(0.95, abs=0.02)
    for loss in (0.5, 0.7, 1.0):
        bands = [each.band(loss) for each in found]
        assert np.mean([low <= 1.3 * loss**-2.0 <= high for low, high in bands]) == pytest.approx(0.95, abs=0.02)


def test_a_band_is_narrowest_in_the_middle():
    found = fit(points(2.0, noise=0.15, rng=np.random.default_rng(3)))
    widths = [high / low for low, high in (found.band(loss) for loss in (0.5, math.exp(found.centre), 1.0))]
    assert widths[1] < min(widths[0], widths[2])


@pytest.mark.parametrize("n", [0, 1, 3])
def test_fewer_than_four_models_have_no_law(n):
    with pytest.raises(ValueError, match=f"a fit takes 4 models, and there are {n}"):
        fit(points(2.0)[:n])
    assert fit(points(2.0)[:4]).models == 4


def test_models_of_one_loss_have_no_law():
    with pytest.raises(ValueError, match="all have the same"):
        fit([(0.7, score) for score in (1.0, 2.0, 3.0, 4.0)])


def test_scores_that_are_all_the_same_fall_with_no_exponent():
    found = fit([(loss, 1.0) for loss in (0.5, 0.6, 0.7, 0.8)])
    assert (found.exponent, found.half_width, found.r_squared) == pytest.approx((0, 0, 0), abs=1e-9)


# Chow's test


def test_f_is_that_of_two_regressions_with_and_without_a_family():
    rng = np.random.default_rng(4)
    first = points(2.0, noise=0.1, rng=rng)
    second = points(2.3, level=1.4, noise=0.1, losses=LOSSES[:9], rng=rng)
    x, y = np.log(np.array([*first, *second])).T
    family = np.array([0] * 12 + [1] * 9)

    def left(*columns):
        design = np.column_stack([np.ones_like(x), x, *columns])
        solution, *_ = np.linalg.lstsq(design, y, rcond=None)
        return ((y - design @ solution) ** 2).sum(), solution, design

    one, _, _ = left()
    two, _, _ = left(family, family * x)
    f = (one - two) / 2 / (two / 17)
    found = one_line(first, second)
    assert found.freedom == (2, 17)
    assert (found.f, found.p) == pytest.approx((f, stats.f.sf(f, 2, 17)))
    # The ratio at equal loss: the coefficient of the family beside a common slope.
    apart, solution, design = left(family)
    error = math.sqrt(apart / 18 * np.linalg.inv(design.T @ design)[2, 2])
    reach = stats.t.ppf(0.975, 18) * error
    assert found.higher == pytest.approx(tuple(map(math.exp, (solution[2], solution[2] - reach, solution[2] + reach))))
    _, solution, design = left(family, family * x)
    error = math.sqrt(two / 17 * np.linalg.inv(design.T @ design)[3, 3])
    reach = stats.t.ppf(0.975, 17) * error
    assert found.steeper == pytest.approx((-solution[3], -solution[3] - reach, -solution[3] + reach))


def test_one_law_is_rejected_in_one_of_twenty_where_it_holds():
    rng = np.random.default_rng(5)
    found = [
        one_line(points(2.0, noise=0.1, rng=rng), points(2.0, noise=0.1, losses=LOSSES[2:], rng=rng))
        for _ in range(1500)
    ]
    assert np.mean([not each.serves for each in found]) == pytest.approx(0.05, abs=0.02)
    assert np.mean([each.higher[1] <= 1 <= each.higher[2] for each in found]) == pytest.approx(0.95, abs=0.02)


@pytest.mark.parametrize(("exponent", "level", "ratio"), [(2.0, 1.3 * 1.4, 1.4), (2.0, 1.3 / 1.4, 1 / 1.4)])
def test_families_that_are_apart_are_told_apart_and_by_how_much(exponent, level, ratio):
    rng = np.random.default_rng(6)
    found = one_line(points(2.0, noise=0.05, rng=rng), points(exponent, level=level, noise=0.05, rng=rng))
    assert not found.serves
    assert found.p < 0.001
    assert found.higher[1] < ratio < found.higher[2]


def test_families_that_differ_in_their_exponent_alone_are_told_apart():
    rng = np.random.default_rng(7)
    found = one_line(points(1.0, noise=0.05, rng=rng), points(3.0, noise=0.05, rng=rng))
    assert not found.serves
    assert found.steeper[1] < 2.0 < found.steeper[2]


def test_exact_laws_are_one_or_two():
    assert (one_line(points(2.0), points(2.0)).f, one_line(points(2.0), points(2.0)).p) == (0.0, 1.0)
    apart = one_line(points(2.0), points(2.5))
    assert (apart.f, apart.p, apart.serves) == (math.inf, 0.0, False)


def test_p_without_one_model_is_the_range_over_all_that_may_be_left_out():
    rng = np.random.default_rng(8)
    first, second = points(2.0, noise=0.1, rng=rng), points(2.2, noise=0.1, losses=LOSSES[:6], rng=rng)
    found = [one_line([*first[:i], *first[i + 1 :]], second).p for i in range(12)]
    found += [one_line(first, [*second[:i], *second[i + 1 :]]).p for i in range(6)]
    assert p_without_one(first, second) == (min(found), max(found))
    assert p_without_one(first, second[:4]) is None
