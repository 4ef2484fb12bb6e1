import pytest

from frailt.report import paper
from frailt.report.cells import Variant
from frailt.report.comparisons import EQUAL_DEPTH, EQUAL_PARAMETERS, LARGER, Comparison, Pair
from frailt.report.losses import Losses
from frailt.report.statistics import Estimate
from frailt.report.verdicts import Answer, answers, tally
from frailt.report.widths import passing, passing_width, trend


def pair(kind=LARGER, model="1^8", baseline="2"):
    return Pair(kind, Variant.of(model), Variant.of(baseline))


def at_widths(signs, of=None):
    """Comparisons with a lead of 0.3 either way, or one that is undecided."""
    of = of or pair()
    found = []
    for width, sign in signs.items():
        printed = paper.lead(of.model, of.baseline, width)
        found.append(Comparison(of, width, Estimate(0.3 * sign or 0.01, 0.1, 5), printed))
    return found


@pytest.mark.parametrize(("model", "baseline", "width"), [("1^8", "2", 512), ("2^4", "4", 1024), ("4^2", "8", None)])
def test_the_widths_at_which_the_papers_models_pass_larger_ones(model, baseline, width):
    assert passing_width(paper.leads(Variant.of(model), Variant.of(baseline))) == width


@pytest.mark.parametrize(
    ("leads", "width"),
    [
        ({64: -1, 128: 1, 256: 1}, 128),
        ({64: 1, 128: 1}, 64),
        ({64: 1, 128: -1, 256: 1}, 256),
        ({64: 1, 128: 0}, None),
        ({}, None),
    ],
)
def test_a_model_passes_at_the_width_from_which_on_it_is_always_ahead(leads, width):
    assert passing_width(leads) == width


@pytest.mark.parametrize(
    ("signs", "sentence"),
    [
        ({64: -1, 512: 1, 1024: 1}, "`1^8` passes `2` from width 512 on (the paper: from 512 on)."),
        (
            {64: -1, 128: 0, 256: 1},
            "`1^8` passes `2` from width 256 on; at 128 it is *undecided* (the paper: from 512 on).",
        ),
        ({64: 1, 128: 1}, "`1^8` is past `2` at width 64 already, the narrowest here (the paper: from 512 on)."),
        ({64: -1, 128: -1}, "`1^8` does not pass `2` by width 128, the widest here (the paper: from 512 on)."),
        ({64: -1, 128: 0}, "Whether `1^8` passes `2` by width 128 is *undecided* (the paper: from 512 on)."),
    ],
)  # fmt: skip
def test_where_a_model_passes_a_larger_one(signs, sentence):
    assert passing(at_widths(signs)) == sentence


def test_a_pair_that_the_paper_has_not_passes_without_it():
    assert passing(at_widths({64: -1}, pair(model="1^3"))) == "`1^3` does not pass `2` by width 64, the widest here."


def losses(gaps, baseline=2.0):
    """`4^2` and `8` with these gaps by width and seed: above 0 `4^2` is behind."""
    cells = {}
    for width, by_seed in gaps.items():
        cells[Variant.of("8"), width] = {seed: baseline + 0.01 * seed for seed in range(len(by_seed))}
        cells[Variant.of("4^2"), width] = {seed: baseline + 0.01 * seed + gap for seed, gap in enumerate(by_seed)}
    return Losses(cells)


EQUAL = pair(EQUAL_DEPTH, "4^2", "8")


def test_a_gap_that_shrinks_with_the_width():
    found = trend(losses({64: (0.20, 0.21, 0.19), 128: (0.15, 0.17, 0.14), 256: (0.10, 0.11, 0.10)}), EQUAL)
    assert found.gain.mean == pytest.approx(((0.1 + 0.1 + 0.09) / 2) / 3)
    assert found.sentence().startswith(
        "With each doubling of the width `4^2` gains on `8` by 0.048 nats [0.041, 0.056]"
    )
    assert found.sentence().endswith(", 3 seeds (the paper: 0.029): the gap shrinks.")


def test_a_gap_that_grows_and_leads_that_grow_and_shrink():
    def end(gaps):
        return trend(losses(gaps), EQUAL).sentence().rpartition(": ")[2]

    assert end({64: (0.1, 0.1), 128: (0.2, 0.201)}) == "the gap grows."
    assert end({64: (-0.1, -0.1), 128: (-0.2, -0.201)}) == "its lead grows."
    assert end({64: (-0.2, -0.2), 128: (-0.1, -0.101)}) == "its lead shrinks."
    assert end({64: (-0.1, -0.1), 128: (0.1, 0.101)}).endswith("0.029).")  # which sees one pass the other


def test_a_gap_that_is_undecided_at_one_width_is_not_said_to_shrink():
    found = trend(losses({64: (0.20, 0.21, 0.19), 128: (0.01, 0.02, -0.02)}), EQUAL)
    assert found.gain.sign > 0
    assert "gap" not in found.sentence()
    assert "lead" not in found.sentence()


def test_a_trend_that_seeds_leave_open_is_undecided():
    found = trend(losses({64: (0.20, 0.10), 128: (0.15, 0.17)}), EQUAL)
    assert found.sentence().startswith("Whether `4^2` gains on `8` as models widen is *undecided*: with each doubling")
    one_seed = trend(losses({64: (0.20,), 128: (0.15,)}), EQUAL).sentence()
    assert "*undecided*: with each doubling of the width 0.050 nats, 1 seed" in one_seed


def test_one_width_has_no_trend():
    assert trend(losses({64: (0.2, 0.1)}), EQUAL) is None


def test_the_papers_numbers_answer_as_the_paper_does():
    first, depth, larger, gains = answers([], [])
    assert first.in_the_paper == "yes in 20 of 20"
    assert depth.in_the_paper == "no in 20 of 20"
    assert larger.in_the_paper == "yes in 3 of 10, no in 7 of 10"
    assert gains.in_the_paper == "yes in 4 of 4"
    assert [each.verdict for each in (first, depth, larger, gains)] == ["not tested"] * 4
    assert first.here == "—"


@pytest.mark.parametrize(
    ("ours", "expected", "verdict"),
    [
        ((1, 1), (1, 1), "**as in the paper**"),
        ((-1, -1), (-1, -1), "**as in the paper**"),
        ((1, 0), (1, 1), "**as in the paper** where decided"),
        ((-1, -1), (1, 1), "**other than in the paper**"),
        ((-1, 0), (1, 1), "**other than in the paper** where decided"),
        ((1, -1), (1, 1), "**in part**"),
        ((0, 0), (1, -1), "*undecided*"),
        ((), (), "not tested"),
    ],
)
def test_whether_it_is_as_in_the_paper(ours, expected, verdict):
    assert Answer("?", (1,), ours, expected).verdict == verdict


def test_a_tally_counts_what_is_undecided_too():
    assert tally((1, 1, -1, 0)) == "yes in 2 of 4, no in 1 of 4, *undecided* in 1 of 4"


def test_other_encodings_do_not_answer_for_the_paper():
    own = pair(EQUAL_PARAMETERS, "2^4", "2")
    other = Pair(EQUAL_PARAMETERS, Variant.of("2^4", "none"), Variant.of("2"))
    found = answers([*at_widths({64: 1}, own), *at_widths({64: -1}, other)], [])
    assert found[0].here == "yes in 1 of 1, at width 64"
