import pytest

from frailt.report import paper
from frailt.report.cells import Matched, Variant
from frailt.report.comparisons import (
    ENCODING,
    EQUAL_DEPTH,
    EQUAL_PARAMETERS,
    LARGER,
    Comparison,
    Pair,
    compare,
    pairs,
)
from frailt.report.losses import Losses
from frailt.report.statistics import Estimate

from .synthetic import half_width


def variants(text):
    return [Variant.of(layout) for layout in text.split()]


def names(found, kind):
    return [(str(pair.model), str(pair.baseline)) for pair in found if pair.kind == kind]


def test_the_pairs_of_the_papers_layouts_are_those_that_it_compares():
    found = pairs(paper.losses().variants)
    assert names(found, EQUAL_PARAMETERS) == [("1^2", "1"), ("1^8", "1"), ("2^4", "2"), ("4^2", "4")]
    assert names(found, EQUAL_DEPTH) == [("1^2", "2"), ("1^8", "8"), ("2^4", "8"), ("4^2", "8")]
    assert names(found, LARGER) == [("1^8", "2"), ("2^4", "4")]
    assert not names(found, ENCODING)


def test_any_layout_finds_its_pairs():
    found = pairs(variants("4 5 10 1,(2)^4,1"))
    assert names(found, EQUAL_PARAMETERS) == [("1,(2)^4,1", "4")]
    assert names(found, EQUAL_DEPTH) == [("1,(2)^4,1", "10")]
    assert not names(found, LARGER)


def test_the_learned_encoding_is_held_against_the_others():
    found = pairs([*variants("2 2^4 1^8"), Variant.of("2^4", "none"), Variant.of("2^4", "sinusoidal")])
    assert names(found, ENCODING) == [("2^4", "2^4 none"), ("2^4", "2^4 sinusoidal")]
    assert ("2^4 none", "2") in names(found, EQUAL_PARAMETERS)


def test_in_a_matched_sweep_all_are_held_against_the_reference():
    matched = Matched("training FLOPs", Variant.of("8"))
    found = pairs(variants("2 8 2^4"), matched)
    assert names(found, "equal training FLOPs") == [("2", "8"), ("2^4", "8")]
    assert len(found) == 2
    assert pairs(variants("2 2^4"), matched) == []


def compared(model, baseline, kind=EQUAL_PARAMETERS, width=64):
    """`2^4` against `2` with these losses by seed."""
    pair = Pair(kind, Variant.of("2^4"), Variant.of("2"))
    (found,) = compare(Losses({(pair.model, width): model, (pair.baseline, width): baseline}), pair)
    return found


def test_a_model_that_beats_its_baseline():
    leads = (0.05, 0.07, 0.06, 0.062, 0.058)
    found = compared({s: 2.0 + 0.1 * s - lead for s, lead in enumerate(leads)}, {s: 2.0 + 0.1 * s for s in range(5)})
    half = half_width(leads)
    assert half < 0.061 / 3
    assert found.verdict == "beats"
    assert found.sentence() == (
        f"`2^4` beats `2` at width 64 by 0.060 nats [{0.06 - half:.3f}, {0.06 + half:.3f}], 5 seeds "
        f"(the paper: 0.061 ahead)."
    )


def test_a_model_that_loses_to_its_baseline():
    leads = (-0.05, -0.07, -0.06, -0.062, -0.058)
    found = compared({s: 2.0 - lead for s, lead in enumerate(leads)}, dict.fromkeys(range(5), 2.0))
    half = half_width(leads)
    assert found.verdict == "loses to"
    assert found.sentence() == (
        f"`2^4` loses to `2` at width 64 by 0.060 nats [{0.06 - half:.3f}, {0.06 + half:.3f}], 5 seeds "
        f"(the paper: 0.061 ahead)."
    )


def test_an_interval_that_holds_0_is_undecided():
    found = compared({0: 1.9, 1: 2.1, 2: 1.95}, dict.fromkeys(range(3), 2.0))
    assert found.verdict == "undecided"
    assert found.sentence().startswith("Whether `2^4` beats `2` at width 64 is *undecided*: a lead of 0.017 nats [−0.")
    assert found.sentence().endswith("], 3 seeds (the paper: 0.061 ahead).")


def test_one_seed_is_undecided_and_never_plus_or_minus_0():
    found = compared({0: 1.9}, {0: 2.0})
    assert found.verdict == "undecided"
    assert found.sentence() == (
        "Whether `2^4` beats `2` at width 64 is *undecided*: 0.100 nats ahead in 1 seed, which gives no interval "
        "(the paper: 0.061 ahead)."
    )


def test_an_interval_wider_than_a_third_of_the_papers_effect_leaves_the_size_undecided():
    leads = (0.05, 0.10, 0.15)
    found = compared({s: 2.0 - lead for s, lead in enumerate(leads)}, dict.fromkeys(range(3), 2.0), width=1024)
    assert found.verdict == "undecided"  # the half-width of three seeds is 0.124
    leads = (0.25, 0.30, 0.35)
    found = compared({s: 2.0 - lead for s, lead in enumerate(leads)}, dict.fromkeys(range(3), 2.0), width=1024)
    half = half_width(leads)
    assert half > 0.111 / 3
    assert (found.verdict, found.is_narrow) == ("beats", False)
    assert found.sentence().endswith(
        f"; by how much is *undecided*: the half-width is {half:.3f}, more than a third of the paper's effect."
    )
    assert found.seeds_needed == 10


@pytest.mark.parametrize(("half", "narrow"), [(0.0203, True), (0.0204, False)])
def test_a_third_is_a_third(half, narrow):
    pair = Pair(EQUAL_PARAMETERS, Variant.of("2^4"), Variant.of("2"))
    assert Comparison(pair, 64, Estimate(0.5, half, 5), 0.061).is_narrow is narrow


def test_without_a_number_of_the_paper_nothing_is_asked_of_the_width_of_the_interval():
    found = compared({0: 1.0, 1: 1.5, 2: 1.2}, dict.fromkeys(range(3), 3.0), width=96)
    assert (found.paper, found.is_narrow, found.seeds_needed) == (None, None, None)
    assert "the paper" not in found.sentence()


def test_models_without_a_seed_in_common_are_not_compared():
    found = compared({0: 1.9, 1: 1.9}, {2: 2.0, 3: 2.0})
    assert (found.lead, found.verdict) == (None, "undecided")
    assert "share no seed: *undecided*" in found.sentence()


def test_a_width_where_one_is_missing_has_no_comparison():
    pair = Pair(EQUAL_PARAMETERS, Variant.of("2^4"), Variant.of("2"))
    assert compare(Losses({(pair.model, 64): {0: 1.0}}), pair) == []


def test_what_is_matched_in_something_else_has_no_number_of_the_paper_beside_it():
    assert compared({0: 1.9, 1: 1.9}, {0: 2.0, 1: 2.1}, kind="equal training FLOPs").paper is None
