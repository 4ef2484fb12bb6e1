from dataclasses import replace

import numpy as np
import pytest

from frailt.report import paper
from frailt.report.cells import Variant
from frailt.report.losses import Losses
from frailt.report.worth import FIELD_EXPONENT, PHI, Interval, layers, worth

from .synthetic import PAPERS


def made_up(exponent, *, seeds=5, noise=0.0, widths=(64,), layouts=PAPERS, rng=None, encoding="learned"):
    """Losses by the law, with noise of each run."""
    rng = rng or np.random.default_rng(0)
    cells = {}
    for width in widths:
        for variant in (Variant.of(layout, encoding) for layout in layouts):
            loss = 0.5 + (1.1 + 20 / width) * layers(variant, exponent) ** -(0.4 + width / 1000)
            cells[variant, width] = {seed: loss + noise * rng.normal() for seed in range(seeds)}
    return Losses(cells)


@pytest.mark.parametrize(("layout", "acts_as"), [("8", 8), ("2^4", 2 * 4**0.5), ("(2)^9", 6), ("1,(2)^4,1", 6)])
def test_a_group_of_n_blocks_run_m_times_acts_as_n_times_m_to_the_phi(layout, acts_as):
    assert layers(Variant.of(layout), 0.5) == pytest.approx(acts_as)
    assert layers(Variant.of(layout), 0.0) == Variant.of(layout).layout.unique_blocks
    assert layers(Variant.of(layout), 1.0) == Variant.of(layout).layout.depth


@pytest.mark.parametrize("exponent", [-0.2, 0.0, 0.18, 0.46, 1.0])
def test_a_known_exponent_is_found(exponent):
    found = worth(made_up(exponent), "learned", [64])
    assert found.exponent == pytest.approx(exponent, abs=0.01)
    curve = found.curves[64]
    assert (curve.c, curve.a) == pytest.approx((0.5, 0.464), abs=0.05)


def test_several_widths_share_an_exponent_and_keep_their_curves():
    found = worth(made_up(0.46, widths=(64, 256)), "learned", [64, 256])
    assert found.exponent == pytest.approx(0.46, abs=0.01)
    assert found.curves[64](4.0) > found.curves[256](4.0)


@pytest.mark.parametrize("seeds", [3, 5])
def test_its_intervals_hold_it_as_often_as_they_say(seeds):
    rng = np.random.default_rng(seeds)
    found = [worth(made_up(0.46, seeds=seeds, noise=0.01, rng=rng), "learned", [64]) for _ in range(40)]
    for intervals in ([each.by_seeds for each in found], [each.interval for each in found]):
        assert np.mean([each.low <= 0.46 <= each.high for each in intervals]) >= 0.88
    for each in found:
        widths = [each.by_seeds.high - each.by_seeds.low, each.by_misfit.high - each.by_misfit.low]
        assert each.interval.high - each.interval.low == max(widths)


def test_below_three_seeds_the_interval_is_from_the_misfit_and_says_so():
    found = worth(made_up(0.3, seeds=2, noise=0.01), "learned", [64])
    assert found.by_seeds is None
    assert found.interval == found.by_misfit
    assert "the interval being from the misfit of the law" in found.sentence()


def test_without_seeds_and_spare_models_there_is_no_interval():
    found = worth(made_up(0.3, seeds=1, layouts=("1", "2", "8", "2^4")), "learned", [64])
    assert found.interval is None
    assert found.sentence().endswith("seeds and models are too few for an interval.")


def test_an_interval_without_an_end_decides_nothing():
    found = worth(made_up(0.3), "learned", [64])
    endless = replace(found, by_seeds=None, by_misfit=Interval(PHI[0], PHI[-1], "the misfit of the law"))
    assert endless.sentence().endswith("the interval from the misfit of the law has no end: *undecided*.")


def test_other_encodings_are_fitted_apart():
    learned, none = made_up(0.6), made_up(0.1, encoding="none")
    both = Losses({**learned.cells, **none.cells})
    assert worth(both, "learned", [64]).exponent == pytest.approx(0.6, abs=0.01)
    assert worth(both, "none", [64]).exponent == pytest.approx(0.1, abs=0.01)


def test_too_few_models_are_refused_with_what_is_needed():
    with pytest.raises(
        ValueError, match="at width 64, 3 standard models and a looped one are needed, and there are 2 and 1"
    ):
        worth(made_up(0.3, layouts=("1", "2", "2^4")), "learned", [64])
    with pytest.raises(ValueError, match="and there are 4 and 0"):
        worth(made_up(0.3, layouts=("1", "2", "4", "8")), "learned", [64])


def test_losses_that_do_not_fall_with_layers_leave_it_open():
    rising = {(Variant.of(layout), 64): {0: 1.0 + 0.1 * i} for i, layout in enumerate(("1", "2", "4", "1^8"))}
    with pytest.raises(ValueError, match="at width 64 the exponent stays open"):
        worth(Losses(rising), "learned", [64])


def test_in_the_paper_a_loop_is_worth_more_in_wider_models():
    losses = paper.losses()
    exponents = [worth(losses, "learned", [width]).exponent for width in losses.widths]
    assert exponents == sorted(exponents)
    together = worth(losses, "learned", losses.widths)
    assert exponents[0] < together.exponent < exponents[-1]
    lies = "inside" if together.interval.low <= FIELD_EXPONENT <= together.interval.high else "outside"
    assert together.sentence().endswith(f"lies {lies}.")
