"""The statistics give published values, and recover those that synthetic grades were made with."""

import numpy as np
import pytest

from frailt.judge.agreement import icc_one_way, icc_two_way, mean_over_clusters, slope_within

# Shrout and Fleiss (1979), Table 2: six targets, four judges.
PUBLISHED = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]


def test_published_correlations_are_met():
    one, two = icc_one_way(PUBLISHED), icc_two_way(PUBLISHED)
    assert (one.value, one.low, one.high) == pytest.approx((0.166, -0.133, 0.723), abs=6e-4)
    assert (two.value, two.low, two.high) == pytest.approx((0.290, 0.019, 0.761), abs=6e-4)
    assert (one.stories, one.grades_per_story) == (6, 4)


def tables(rng, *, stories, columns, icc, bias=0.0, times):
    """Grades of variance 1 of which `icc` is the story's; the bias of a column is random too."""
    for _ in range(times):
        own = rng.normal(0, np.sqrt(icc), (stories, 1))
        noise = rng.normal(0, np.sqrt(1 - icc - bias), (stories, columns))
        yield own + rng.normal(0, np.sqrt(bias), (1, columns)) + noise


@pytest.mark.parametrize("true", [0.2, 0.6, 0.9])
def test_self_agreement_is_recovered_and_its_interval_holds_it_in_95_of_100(true):
    rng = np.random.default_rng(0)
    found = [icc_one_way(table) for table in tables(rng, stories=37, columns=3, icc=true, times=800)]
    assert np.mean([one.value for one in found]) == pytest.approx(true, abs=0.02)
    assert np.mean([one.low <= true <= one.high for one in found]) == pytest.approx(0.95, abs=0.023)  # three errors


@pytest.mark.parametrize(("true", "bias"), [(0.6, 0.1), (0.8, 0.05)])
def test_agreement_of_judges_is_recovered_and_counts_strictness_as_disagreement(true, bias):
    rng = np.random.default_rng(1)
    found = [icc_two_way(table) for table in tables(rng, stories=37, columns=5, icc=true, bias=bias, times=800)]
    assert np.mean([one.value for one in found]) == pytest.approx(true, abs=0.03)
    covered = np.mean([one.low <= true <= one.high for one in found])
    assert covered == pytest.approx(0.95, abs=0.03)


def test_a_stricter_judge_agrees_less_but_as_well_with_itself():
    base = np.arange(10.0)
    assert icc_two_way(np.stack([base, base], 1)).value == 1.0
    assert icc_two_way(np.stack([base, base - 2], 1)).value == pytest.approx(9.166667 / (9.166667 + 2))


def test_where_grades_do_not_differ_there_is_no_agreement_to_speak_of():
    for icc in (icc_one_way, icc_two_way):
        assert icc([[7, 7], [7, 7]]) is None
        assert icc([[7, 8]]) is None
        assert icc([[7], [8]]) is None
        assert icc([]) is None
        assert icc([[7, 7], [8, 8]]).value == 1.0


def test_a_mean_takes_beginnings_to_be_independent_and_not_stories():
    """Stories of one beginning that are all alike say no more than one of them."""
    alike = mean_over_clusters([[1.0] * 10, [2.0] * 10, [4.0] * 10])
    single = mean_over_clusters([[1.0], [2.0], [4.0]])
    assert alike == single
    assert single.value == pytest.approx(7 / 3)
    assert single.half_width == pytest.approx(4.302653 * np.std([1, 2, 4], ddof=1) / np.sqrt(3))
    assert mean_over_clusters([[1.0, 3.0]]).half_width is None


def test_what_does_not_vary_has_no_interval_and_not_one_of_no_length():
    assert mean_over_clusters([[1.0, 3.0], [2.0], [1.9, 2.1]]).half_width is None
    assert slope_within([0, 1, 0, 1], [1, 3, 2, 4], "aabb", "aabb").half_width is None


def test_the_interval_of_a_mean_holds_it_in_95_of_100_where_stories_of_a_beginning_are_alike():
    rng, true = np.random.default_rng(2), 6.5
    covered = 0
    for _ in range(1500):
        found = mean_over_clusters(true + rng.normal(0, 1, (11, 1)) + rng.normal(0, 1, (11, 5)))
        covered += abs(found.value - true) <= found.half_width
    assert covered / 1500 == pytest.approx(0.95, abs=0.017)


def test_a_slope_within_groups_is_recovered_with_its_interval():
    rng, true = np.random.default_rng(3), -0.3
    groups = np.repeat(np.arange(41), 7)
    found, covered = [], 0
    for _ in range(500):
        level = rng.normal(0, 5, 41)
        x = rng.normal(0, 1, 287) + level[groups]  # groups that are higher in x are in y too
        own = rng.normal(0, 0.2, 41)  # and each has a slope of its own
        y = (true + own[groups]) * (x - level[groups]) + 3 * level[groups] + rng.normal(0, 1, 287)
        estimate = slope_within(x, y, groups.tolist(), groups.tolist())
        found.append(estimate.value)
        covered += abs(estimate.value - true) <= estimate.half_width
    assert np.mean(found) == pytest.approx(true, abs=0.01)
    assert covered / 500 == pytest.approx(0.95, abs=0.03)


def test_a_slope_by_hand():
    found = slope_within([0, 1, 5, 7], [0, 2, 1, 3], ["a", "a", "b", "b"], ["a", "a", "b", "b"])
    # Within groups: x is -1/2, 1/2, -1, 1 and y -1, 1, -1, 1; so 3 / 2.5, residual moments 0.4 and -0.4.
    assert found.value == pytest.approx(1.2)
    assert found.half_width == pytest.approx(12.7062 * np.sqrt(2 * (0.4**2 + 0.4**2)) / 2.5, rel=1e-5)


def test_without_variation_there_is_no_slope():
    assert slope_within([1, 1, 2, 2], [1, 2, 3, 4], list("aabb"), list("aabb")) is None
    assert slope_within([1, 2], [1, 2], list("aa"), list("aa")) is None
    assert slope_within([], [], [], []) is None
