import re

import pytest

from frailt.report import paper
from frailt.report.cells import Variant
from frailt.report.laws import FRAILT, STANDARD, Law, Point, above_the_cutoff, printed_laws
from frailt.report.scores import AVERAGE, KINDS
from frailt.report.statistics import Estimate


def made_up(models, cutoff=1.0, kind="plot"):
    """A law over layouts, widths, losses and scores."""
    points = [
        Point(Variant.of(*layout.split()), width, loss, Estimate(score, None, 1))
        for layout, width, loss, score in models
    ]
    return Law(kind, cutoff, tuple(points))


def by_the_law(layout, losses, exponent=2.0, level=1.5, wobble=0.02):
    return [
        (layout, 64 * 2**i, loss, level * loss**-exponent * (1 + wobble * (-1) ** i)) for i, loss in enumerate(losses)
    ]


LOSSES = (0.95, 0.9, 0.8, 0.7, 0.6, 0.5)


def test_the_papers_laws_are_of_the_models_up_to_a_loss_of_1():
    for law in printed_laws(1.0):
        assert len(law.points) == 35
        used = law.fitted()
        assert len(used) == 22
        assert {(str(p.variant), p.width) for p in law.points} - {(str(p.variant), p.width) for p in used} == {
            *((layout, 64) for layout in ("1", "2", "4", "8", "1^8", "2^4", "4^2")),
            *((layout, 128) for layout in ("1", "2", "1^8", "2^4")), ("1", 256), ("1", 512),
        }  # fmt: skip
        assert (len(law.fitted(STANDARD)), len(law.fitted(FRAILT))) == (12, 10)


def test_a_point_of_the_paper_has_the_loss_of_tables_2_and_3():
    law = next(law for law in printed_laws(1.0) if law.kind == AVERAGE)
    point = next(p for p in law.points if (str(p.variant), p.width) == ("4^2", 512))
    assert (point.nats, point.score) == (0.601, Estimate(4.99, None, 1))


def test_points_above_the_cutoff_are_left_out_of_the_law():
    inside = by_the_law("8", LOSSES)
    outside = [("8", 4096, 1.2, 9.0), ("8", 8192, 1.0001, 9.0)]
    law = made_up([*inside, *outside])
    assert law.fit(STANDARD) == made_up(inside).fit(STANDARD)
    assert law.fit(STANDARD).exponent == pytest.approx(2.0, abs=0.15)
    assert [law.is_fitted(point) for point in law.points] == [True] * 6 + [False] * 2
    assert made_up([*inside, *outside], cutoff=1.2).fit(STANDARD).models == 8


def test_other_encodings_are_in_no_law():
    law = made_up([*by_the_law("2^4", LOSSES), ("2^4 none", 64, 0.7, 9.0)])
    assert law.fit(FRAILT).models == law.fit().models == 6
    assert not law.is_fitted(law.points[-1])


def test_a_law_over_two_families_is_said_with_its_test():
    law = made_up([*by_the_law("8", LOSSES), *by_the_law("2^4", LOSSES, level=1.52, wobble=-0.02)])
    first, second = law.sentences()
    assert re.fullmatch(
        r"Plot grows as 1\.5\d · loss\^−\d\.\d\d, the exponent within \[.*\]: 12 models, R²\s\d\.\d\d\.", first
    )
    assert re.fullmatch(
        r"Plot: one law serves both families as far as these models tell, F\(2, 8\) = \d+\.\d\d, p\s=\s0\.\d+ "
        r"\(p from 0\.\d+ to 0\.\d+ with one model left out\)\. Exponents are .* for standard models and .* for "
        r"FraiLT models; at equal loss FraiLT models are graded 1\s% higher \[.*\]\.",
        second,
    )


def test_families_apart_are_said_to_be():
    law = made_up([*by_the_law("8", LOSSES), *by_the_law("2^4", LOSSES, level=2.5, wobble=-0.02)])
    assert "one law does *not* serve both families" in law.sentences()[1]
    assert "p\u00a0<\u00a00.001" in law.sentences()[1]
    assert "FraiLT models are graded 67\u00a0% higher [+" in law.sentences()[1]


def test_fewer_than_four_models_have_no_law_and_the_sentence_says_so():
    assert made_up(by_the_law("8", LOSSES[:3])).sentences() == [
        "Plot: no law is fitted to models, for there are 3 of a loss up to 1 and it takes 4."
    ]
    one_family = made_up([*by_the_law("8", LOSSES), *by_the_law("2^4", LOSSES[:2])])
    assert one_family.fit(FRAILT) is None
    assert one_family.one_line is None
    assert one_family.sentences()[1] == (
        "Plot: no law is fitted to FraiLT models, for there are 2 of a loss up to 1 and it takes 4, so that it is not "
        "known whether one law serves both."
    )
    none = made_up([("8", 64, 1.8, 2.0)] * 4)
    assert none.sentences() == ["Plot: no law is fitted to models, for there are 0 of a loss up to 1 and it takes 4."]


def test_models_of_one_loss_have_no_law():
    law = made_up([("8", 64 * i, 0.7, 2.0 + i) for i in range(1, 5)])
    assert law.sentences() == ["Plot: no law is fitted to models, for all have the same loss."]


def test_above_the_cutoff_consistency_and_plot_are_near_the_lowest_grade():
    assert above_the_cutoff(printed_laws(1.0)) == (
        "Above a loss of 1, consistency is graded 1.20 at most and plot 1.05, over 13 models."
    )
    assert above_the_cutoff(printed_laws(2.0)) is None


def test_the_papers_average_is_that_of_its_categories():
    for variant, width in paper.graded():
        grades = [paper.score(variant, width, kind) for kind in KINDS[:-1]]
        assert paper.score(variant, width, AVERAGE) == pytest.approx(sum(grades) / 4, abs=0.00501)
