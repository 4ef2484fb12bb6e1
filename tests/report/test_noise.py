import itertools
import math
import statistics

import numpy as np
import pytest

from frailt.report.cells import Variant
from frailt.report.comparisons import EQUAL_DEPTH, EQUAL_PARAMETERS, Pair
from frailt.report.noise import (
    GRADES,
    SPREADS,
    doubt,
    grades_of,
    least_spread,
    most_spread,
    multiples,
    printed,
    standard_error,
    widths_of_ten,
)


def test_all_but_one_of_the_papers_grades_are_multiples_of_five_hundredths():
    found = multiples(5, printed())
    assert (found.are, found.all, found.others) == (139, 140, (6.38,))


def test_at_one_width_all_are_multiples_of_a_tenth():
    assert widths_of_ten() == [128]
    assert [grades_of(width) for width in (64, 128, 256, 512, 1024)] == [20, 10, 20, 20, 20]
    assert multiples(10, printed(128)).others == ()
    assert len(multiples(10, printed(512)).others) > 8


def test_multiples_are_counted_in_hundredths():
    found = multiples(5, [1.1, 1.15, 2.3, 2.28, 10.0])
    assert (found.of, found.are, found.all, found.others) == (0.05, 4, 5, (2.28,))


def test_whole_grades_spread_no_less_and_no_more_than_the_bounds():
    for grades in itertools.combinations_with_replacement(range(1, 11), 4):
        mean, spread = statistics.fmean(grades), statistics.stdev(grades)
        assert least_spread(mean, 4) <= spread + 1e-9
        assert spread <= most_spread(mean, 4) + 1e-9
    assert least_spread(2.25, 4) == pytest.approx(statistics.stdev([2, 2, 2, 3]))
    assert most_spread(5.5, 4) == pytest.approx(statistics.stdev([1, 1, 10, 10]))


def test_the_lowest_mean_has_no_error_and_one_near_it_a_small_one():
    assert standard_error(1.0, 20, 1.0) == 0
    one_two = statistics.stdev([1] * 19 + [2])
    one_three = most_spread(1.05, 20)
    assert one_two <= math.sqrt(20) * standard_error(1.05, 20, 0.0) < math.sqrt(20) * standard_error(1.05, 20, 5.0)
    assert math.sqrt(20) * standard_error(1.05, 20, 5.0) == pytest.approx(one_three)
    assert standard_error(4.0, 20, 1.0) == pytest.approx(1 / math.sqrt(20))


def test_the_error_of_a_difference_is_what_twenty_grades_give():
    found = doubt(Pair(EQUAL_PARAMETERS, Variant.of("2^4"), Variant.of("2")), 512, "grammar")
    assert found.difference == pytest.approx(5.55 - 4.90)
    assert found.errors == pytest.approx(tuple(spread * math.sqrt(2 / GRADES) for spread in SPREADS))
    rng = np.random.default_rng(0)
    drawn = rng.normal(5, 2.0, (4000, GRADES)).mean(axis=1) - rng.normal(5, 2.0, (4000, GRADES)).mean(axis=1)
    assert drawn.std() == pytest.approx(found.errors[1], rel=0.05)
    assert np.mean(np.abs(drawn) > found.reach * found.errors[1]) == pytest.approx(0.05, abs=0.015)


def test_chance_is_a_matter_of_the_spread():
    found = doubt(Pair(EQUAL_DEPTH, Variant.of("1^8"), Variant.of("8")), 512, "consistency")
    assert found.difference == pytest.approx(2.75 - 4.45)
    assert [found.is_beyond_chance(place) for place in (0, 1)] == [True, True]
    small = doubt(Pair(EQUAL_PARAMETERS, Variant.of("4^2"), Variant.of("4")), 256, "creativity")
    assert [small.is_beyond_chance(place) for place in (0, 1)] == [False, False]


def test_a_pair_that_the_paper_did_not_grade_has_no_doubt():
    assert doubt(Pair(EQUAL_PARAMETERS, Variant.of("1^2"), Variant.of("1")), 64, "plot") is None
