import pytest

from frailt.report.comparisons import pairs
from frailt.report.curves import band, overfitting, smooth, turns
from frailt.report.pareto import Priced, front, of_one_machine, priced
from frailt.report.reading import read_records
from frailt.report.statistics import Estimate

from .synthetic import write_run


def test_a_noisy_curve_is_averaged_since_the_point_before():
    curve = {10: 4.0, 20: 2.0, 30: 7.0, 40: 5.0, 50: 1.0}
    assert smooth(curve, [20, 40]) == {20: 3.0, 40: 6.0}
    assert smooth(curve, [5, 20]) == {20: 3.0}


def test_a_band_is_of_the_points_that_all_seeds_have():
    assert band([{1: 2.0, 2: 1.0}, {2: 3.0, 3: 0.0}]) == {2: (2.0, 1.0, 3.0)}
    assert band([]) == {}


def cells(sweep, curves):
    for (layout, seed), curve in curves.items():
        write_run(sweep / "cells" / f"{layout}-{seed}", layout=layout, seed=seed, curve=curve)
    return read_records([str(sweep)]).cells


def of(found):
    return overfitting(turns(found), pairs(sorted({cell.variant for cell in found}, key=lambda v: v.order)))


def test_the_minimum_before_the_end_is_where_overfitting_begins(sweep):
    curves = {("8", seed): (3.0, 2.0, 2.2 + 0.01 * seed, 2.5 + 0.01 * seed) for seed in range(3)}
    (turn,) = turns(cells(sweep, curves))
    assert (turn.tokens, turn.end_tokens) == (2_560_000, 5_120_000)
    assert turn.rises == pytest.approx({0: 0.5, 1: 0.51, 2: 0.52})
    assert turn.sentence() == (
        "`8` at width 64 overfits from 2,560,000 of 5,120,000 tokens on: its validation loss then rises by 0.510 nats "
        "[0.485, 0.535], 3 seeds."
    )


def test_dips_of_chance_are_no_overfitting(sweep):
    low = {0: (3.0, 1.9, 2.0, 2.0), 1: (3.0, 2.0, 1.9, 2.0), 2: (3.0, 1.9, 2.0, 2.0)}
    (turn,) = turns(cells(sweep, {("8", seed): curve for seed, curve in low.items()}))
    assert turn.is_before_the_end
    assert set(turn.rises.values()) == {0}
    assert turn.sentence().startswith("Whether `8` at width 64 overfits is *undecided*")


def test_a_model_that_does_not_turn_rises_by_nothing(sweep):
    curves = {0: (3.0, 2.0, 2.0), 1: (3.0, 2.1, 1.8), 2: (3.0, 2.1, 1.8)}
    (turn,) = turns(cells(sweep, {("8", seed): curve for seed, curve in curves.items()}))
    assert set(turn.rises.values()) == {0}


def test_the_looped_model_may_overfit_less(sweep):
    curves = {("8", seed): (3.0, 2.0, 2.2, 2.5 + 0.01 * seed) for seed in range(3)}
    curves |= {("2^4", seed): (3.0, 2.1, 2.0, 2.1 + 0.01 * seed) for seed in range(3)}
    curves |= {("2", seed): (3.0, 2.5, 2.4, 2.3) for seed in range(3)}
    sentences = of(cells(sweep, curves))
    assert "`2^4` overfits less than `8` (equal depth) at width 64, by 0.400 nats [0.400, 0.400], 3 seeds." in sentences
    # `2` does not overfit at all
    assert any(line.startswith("`2^4` overfits more than `2` (equal parameters) at width 64") for line in sentences)


def test_one_seed_does_not_say_whether_a_model_overfits(sweep):
    (sentence,) = of(cells(sweep, {("8", 0): (3.0, 2.0, 2.2)}))
    assert sentence.startswith("Whether `8` at width 64 overfits is *undecided*")
    assert sentence.endswith("changes by 0.200 nats, 1 seed.")


def test_curves_that_fall_to_the_end_overfit_nothing(sweep):
    (sentence,) = of(cells(sweep, {("8", 0): (3.0, 2.0, 1.9), ("2^4", 0): (3.0, 2.1, 2.1)}))
    assert sentence == "No mean validation curve ends above its lowest point, where it was measured."


def model(cost, nats, variant=None):
    return Priced(variant, 64, cost, cost, cost, Estimate(nats, None, 1))


def test_the_pareto_front_is_what_nothing_cheaper_beats():
    cheap, equal, dear, beaten, best = model(1, 3.0), model(1, 3.5), model(2, 2.0), model(3, 2.0), model(4, 1.0)
    assert front([best, beaten, dear, equal, cheap]) == [cheap, dear, best]
    assert front([]) == []


def test_costs_are_means_over_seeds_and_times_those_of_one_machine(sweep):
    for seed, (device, seconds) in enumerate((("a", 10.0), ("a", 30.0), ("b", 1.0))):
        record = {"device": device, "training_s": seconds}
        write_run(sweep / "cells" / str(seed), seed=seed, nats=2.0 + seed, record=record)
    found = read_records([str(sweep)]).cells
    machine, timed = of_one_machine(found)
    assert (machine, len(timed)) == ("a, 1 thread", 2)
    (one,) = priced(timed, lambda cell: cell.training_s)
    assert (one.cost, one.loss.mean, one.loss.seeds) == (20.0, 2.5, 2)
