import pytest

from frailt.report import paper
from frailt.report.cells import Variant

# Read off the paper by hand, once more.
TABLE_2 = {
    64: (1.685, 1.409, 1.212, 1.067),
    128: (1.401, 1.077, 0.923, 0.817),
    256: (1.209, 0.874, 0.739, 0.661),
    512: (1.071, 0.751, 0.632, 0.582),
    1024: (0.967, 0.670, 0.590, 0.524),
}
TABLE_3 = {
    64: (1.586, 1.522, 1.348, 1.190),
    128: (1.215, 1.136, 1.007, 0.895),
    256: (0.969, 0.887, 0.791, 0.716),
    512: (0.796, 0.712, 0.648, 0.601),
    1024: (0.681, 0.596, 0.559, 0.533),
}
CELLS = [
    (layout, width, loss)
    for table, layouts in ((TABLE_2, "1 2 4 8"), (TABLE_3, "1^2 1^8 2^4 4^2"))
    for width, row in table.items()
    for layout, loss in zip(layouts.split(), row, strict=True)
]


@pytest.mark.parametrize(("layout", "width", "loss"), CELLS)
def test_the_papers_losses_are_those_that_it_prints(layout, width, loss):
    assert paper.loss(Variant.of(layout), width) == loss


def test_there_are_no_others():
    assert len(paper.losses().cells) == len(CELLS) == 40
    assert paper.loss(Variant.of("2^4"), 96) is None
    assert paper.loss(Variant.of("2^4", "sinusoidal"), 64) is None
    assert [str(variant) for variant in paper.losses().variants] == ["1", "2", "4", "8", "1^2", "1^8", "2^4", "4^2"]


def test_the_papers_grades_are_of_35_models():
    scores = paper.tables()["judge_scores"]
    assert len(scores) == 35
    assert {row["source"] for row in scores} == {"Tables 4, 5"}


def test_a_lead_is_the_loss_of_the_baseline_less_that_of_the_model():
    model, baseline = Variant.of("2^4"), Variant.of("2")
    assert paper.lead(model, baseline, 64) == pytest.approx(1.409 - 1.348)
    assert list(paper.leads(model, baseline)) == [64, 128, 256, 512, 1024]
    assert paper.lead(model, Variant.of("3"), 64) is None
