"""The count of a step: from which set, in which shares, and the same whoever asks."""

import math
import subprocess
import sys
from statistics import fmean

import numpy as np
import pytest
from scipy import stats

from frailt.training.iteration_counts import CountSchedule, IterationCounts, mean_count

STEPS = 20_000
DRAWN = [
    {"kind": "uniform", "counts": "1..8"},
    {"kind": "uniform", "counts": [1, 2, 4, 8]},
    {"kind": "poisson", "counts": "1..8", "mean": 4.0},
    {"kind": "poisson", "counts": "2,3,7", "mean": 30.0},
    {"kind": "lognormal_poisson", "counts": "1..12", "mean": 4.0},
    {"kind": "lognormal_poisson", "counts": "1..8", "mean": 2.5, "sigma": 1.5},
]


def schedule(config: dict, seed: int = 0, steps: int = STEPS) -> CountSchedule:
    return CountSchedule(IterationCounts(**config), seed=seed, steps=steps)


def simulated(config: IterationCounts, draws: int = 2_000_000) -> np.ndarray:
    """By numpy's own generators and rejection: what falls beside the set is drawn again."""
    random = np.random.default_rng(1)
    if config.kind == "poisson":
        found = random.poisson(config.mean, draws)
    else:
        center = math.log(config.mean) - config.sigma**2 / 2
        found = random.poisson(random.lognormal(center, config.sigma, draws))
    return found[np.isin(found, config.several)]


# Shares


def test_uniform_shares_are_equal():
    assert IterationCounts(kind="uniform", counts="1..4").shares() == dict.fromkeys([1, 2, 3, 4], 0.25)


def test_poisson_shares_are_those_of_the_distribution_given_the_set():
    shares = IterationCounts(kind="poisson", counts="1,2,5..7", mean=3.5).shares()
    whole = {n: stats.poisson.pmf(n, 3.5) for n in (1, 2, 5, 6, 7)}
    assert shares == pytest.approx({n: p / sum(whole.values()) for n, p in whole.items()})


def test_the_mean_of_an_almost_whole_poisson_is_its_rate_over_what_is_not_zero():
    """Truncated at zero alone, a Poisson distribution has the mean rate / (1 - e^-rate)."""
    shares = IterationCounts(kind="poisson", counts="1..60", mean=4.0).shares()
    assert sum(n * share for n, share in shares.items()) == pytest.approx(4 / (1 - math.exp(-4)))


@pytest.mark.parametrize("sigma", [0.1, 0.5, 1.5])
def test_lognormal_poisson_shares_are_those_of_a_simulation(sigma):
    config = IterationCounts(kind="lognormal_poisson", counts="1..12", mean=4.0, sigma=sigma)
    found = simulated(config)
    for n, share in config.shares().items():
        assert share == pytest.approx(np.mean(found == n), abs=2e-3), n


def test_without_spread_a_lognormal_poisson_is_a_poisson():
    narrow = IterationCounts(kind="lognormal_poisson", counts="1..12", mean=4.0, sigma=1e-6).shares()
    assert narrow == pytest.approx(IterationCounts(kind="poisson", counts="1..12", mean=4.0).shares(), abs=1e-6)


def test_sigma_is_huginns_by_default():
    default = IterationCounts(kind="lognormal_poisson", counts="1..12", mean=4.0)
    assert default == IterationCounts(kind="lognormal_poisson", counts="1..12", mean=4.0, sigma=0.5)


@pytest.mark.parametrize("config", [*DRAWN, {"kind": "curriculum", "counts": "1..5"}], ids=str)
def test_shares_add_up_to_one_over_the_whole_set(config):
    shares = IterationCounts(**config).shares()
    assert sum(shares.values()) == pytest.approx(1)
    assert list(shares) == IterationCounts(**config).several


@pytest.mark.parametrize("mean", [1e-6, 1e6])
def test_a_rate_far_from_the_set_takes_the_nearest_count(mean):
    shares = IterationCounts(kind="poisson", counts="2..4", mean=mean).shares()
    assert max(shares, key=lambda n: shares[n]) == (2 if mean < 1 else 4)
    assert sum(shares.values()) == pytest.approx(1)


# Draws


@pytest.mark.parametrize("config", DRAWN, ids=str)
def test_steps_have_the_shares(config):
    drawn = schedule(config)
    shares, ran = drawn.config.shares(), drawn.ran(1, STEPS)
    assert set(ran) <= set(shares)
    for n, share in shares.items():
        assert ran[n] / STEPS == pytest.approx(share, abs=4 * math.sqrt(share * (1 - share) / STEPS) + 1e-9), n
    assert mean_count(ran) == pytest.approx(sum(n * share for n, share in shares.items()), abs=0.1)


@pytest.mark.parametrize("config", DRAWN, ids=str)
def test_the_count_of_a_step_does_not_depend_on_what_was_asked_before(config):
    forwards = [schedule(config).at(step) for step in range(1, 20)]
    again, backwards = schedule(config), []
    for step in (9000, *range(19, 0, -1)):  # across the edge of a block
        backwards.append(again.at(step))
    assert backwards[:0:-1] == forwards


def test_seeds_differ_and_the_number_of_steps_does_not_matter_to_a_draw():
    config = DRAWN[0]
    one = [schedule(config, seed=1).at(step) for step in range(1, 100)]
    assert one == [schedule(config, seed=1, steps=100).at(step) for step in range(1, 100)]
    assert one != [schedule(config, seed=2).at(step) for step in range(1, 100)]


def test_draws_are_not_those_that_order_the_rows():
    """numpy takes [a, b] and [a, b, 0] for the same key."""
    shared = np.random.default_rng([0, 0]).random(CountSchedule.BLOCK)
    places = np.minimum((shared * 8).astype(int), 7) + 1
    found = schedule(DRAWN[0])
    assert [found.at(step) for step in range(1, 100)] != places[1:100].tolist()


def test_neighbouring_steps_are_not_alike():
    found = schedule(DRAWN[0])
    counts = np.array([found.at(step) for step in range(1, 10_000)], dtype=float)
    assert abs(np.corrcoef(counts[:-1], counts[1:])[0, 1]) < 0.05


def test_another_process_has_the_same_counts():
    program = (
        "from frailt.training.iteration_counts import *\n"
        f"schedule = CountSchedule(IterationCounts(**{DRAWN[4]!r}), seed=5, steps=9)\n"
        "import sys\n"
        "print([schedule.at(step) for step in range(1, 50)], 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"{[schedule(DRAWN[4], seed=5).at(step) for step in range(1, 50)]} False"


# Curriculum


def test_a_curriculum_gives_each_count_as_long_and_then_stays():
    found = schedule({"kind": "curriculum", "counts": "1,2,4", "rise_share": 0.6}, steps=20)
    assert [found.at(step) for step in range(1, 21)] == [1] * 4 + [2] * 4 + [4] * 12
    assert found.config.shares() == pytest.approx({1: 0.2, 2: 0.2, 4: 0.6})


@pytest.mark.parametrize("steps", [1, 2, 3, 7])
def test_a_curriculum_shorter_than_its_set_still_rises(steps):
    found = [schedule({"kind": "curriculum", "counts": "1..8"}, steps=steps).at(step) for step in range(1, steps + 1)]
    assert found == sorted(found)
    assert set(found) <= set(range(1, 9))


def test_the_mean_of_a_curriculum_is_that_of_its_shares():
    found = schedule({"kind": "curriculum", "counts": "1..8", "rise_share": 0.5}, steps=16_000)
    shares = found.config.shares()
    assert mean_count(found.ran(1, 16_000)) == pytest.approx(sum(n * share for n, share in shares.items()), abs=1e-2)


# Fixed


def test_a_fixed_count_is_the_layouts_own():
    found = schedule({"kind": "fixed"})
    assert [found.at(1), found.at(STEPS)] == [None, None]
    assert found.ran(1, STEPS) == {None: STEPS}
    assert mean_count(found.ran(1, 3)) is None
    assert found.config.shares() == {}


def test_the_mean_over_some_steps_is_of_those_steps():
    found = schedule(DRAWN[0])
    assert mean_count(found.ran(5, 9)) == fmean(found.at(step) for step in range(5, 10))


# What cannot be


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"kind": "normal"},
            "kind must be one of fixed, uniform, poisson, lognormal_poisson, curric",
        ),
        ({"counts": "1..8"}, "counts must be left out where kind is fixed, got 1..8"),
        ({"kind": "uniform"}, "counts must be given where kind is uniform"),
        ({"kind": "uniform", "counts": "8..1"}, "counts must rise from each count to the next, got '8..1'"),
        ({"kind": "uniform", "counts": "0..3"}, "counts must be whole numbers from 1 to 1024, got '0..3'"),
        ({"kind": "uniform", "counts": []}, "counts must be whole numbers from 1 to 1024, got []"),
        ({"kind": "uniform", "counts": "1..8", "mean": 3.0}, "mean must be left out where kind is uniform, got 3.0"),
        ({"kind": "poisson", "counts": "1..8"}, "mean must be given where kind is poisson"),
        ({"kind": "poisson", "counts": "1..8", "mean": 0.0}, "mean must be above 0, got 0.0"),
        ({"kind": "poisson", "counts": "1..8", "mean": math.nan}, "mean must be above 0, got nan"),
        ({"kind": "poisson", "counts": "1..8", "mean": math.inf}, "mean must be above 0, got inf"),
        (
            {"kind": "poisson", "counts": "1..8", "mean": 3.0, "sigma": 1.0},
            "sigma must be left out where",
        ),
        (
            {"kind": "lognormal_poisson", "counts": "1..8", "mean": 3.0, "sigma": -1.0},
            "sigma must be above 0, got",
        ),
        ({"kind": "curriculum", "counts": "1..8", "rise_share": 0.0}, "rise_share must be above 0 and at most 1, got"),
        ({"kind": "curriculum", "counts": "1..8", "rise_share": 1.1}, "rise_share must be above 0 and at most 1, got"),
    ],
)
def test_a_bad_value_is_one_line(config, message):
    with pytest.raises(ValueError) as raised:  # noqa: PT011 - the line is compared below
        IterationCounts(**config)
    assert str(raised.value).startswith(f"iteration_counts.{message}")
    assert "\n" not in str(raised.value)
