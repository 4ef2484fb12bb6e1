import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frailt.experiments.grid import Cell, Search
from frailt.experiments.search import best_rate, next_rates, trial

SEARCH = Search(rates=[0.004, 0.002], widen=2)


def searched(loss, search=SEARCH) -> dict[float, float]:
    """All trials of a search to its end, where `loss` is a function of the rate."""
    losses: dict[float, float] = {}
    while rates := next_rates(search, losses):
        losses |= {rate: loss(rate) for rate in rates}
    return losses


def test_the_first_rates_are_tried_by_all():
    assert next_rates(SEARCH, {}) == [0.002, 0.004]
    assert next_rates(SEARCH, {0.004: 1.0}) == [0.002]


def test_a_best_rate_in_the_middle_ends_the_search():
    assert sorted(searched(lambda rate: abs(rate - 0.004), Search(rates=[0.002, 0.004, 0.008]))) == [
        0.002,
        0.004,
        0.008,
    ]


def test_beyond_an_edge_it_goes_on_by_the_factor_there_as_far_as_it_may():
    assert sorted(searched(lambda rate: -rate)) == [0.002, 0.004, 0.008, 0.016]
    assert sorted(searched(lambda rate: rate)) == [0.0005, 0.001, 0.002, 0.004]
    assert sorted(searched(lambda rate: abs(rate - 0.008))) == [0.002, 0.004, 0.008, 0.016]


@given(st.floats(1e-4, 1e-1))
def test_the_search_finds_the_rate_nearest_the_best_of_a_bowl_within_its_reach(best):
    losses = searched(lambda rate: math.log(rate / best) ** 2)
    found = best_rate(losses)
    assert found == min(losses, key=lambda rate: abs(math.log(rate / best)))
    assert len(losses) <= 4


def test_a_rate_at_which_training_diverged_is_never_taken():
    assert best_rate({0.1: math.inf, 0.01: 3.0}) == 0.01
    assert best_rate({0.1: math.inf, 0.01: math.inf}) is None
    assert next_rates(SEARCH, {0.002: math.inf, 0.004: math.inf}) == []


@pytest.mark.parametrize(("unit", "amount", "wanted"), [("passes", 2, 0.5), ("steps", 10, 2), ("tokens", 999, 250)])
def test_a_trial_is_a_share_of_the_cell_with_a_seed_of_its_own(unit, amount, wanted):
    cell = Cell(layout="2^4", width=128, encoding="none", seed=5, unit=unit, amount=amount, searched=True)
    tried = trial(Search(rates=[0.1, 0.2], share=0.25, seed=9, widths=[64]), cell, 0.1)
    assert (tried.amount, tried.seed, tried.width, tried.learning_rate) == (wanted, 9, 64, 0.1)
    assert (tried.layout, tried.encoding, tried.searched) == ("2^4", "none", False)
