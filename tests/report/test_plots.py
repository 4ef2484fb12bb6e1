"""Figures show the numbers that they are given, and a layout looks the same in all of them."""

import numpy as np
import pytest
from matplotlib.colors import to_hex

from frailt.report import paper
from frailt.report.cells import Variant
from frailt.report.comparisons import compare, pairs
from frailt.report.curves import turns
from frailt.report.pareto import front, priced
from frailt.report.plots.against_cost import against_cost
from frailt.report.plots.as_layers import as_layers
from frailt.report.plots.by_width import by_width, deep, shallow
from frailt.report.plots.differences import differences
from frailt.report.plots.learning import learning
from frailt.report.plots.style import look, name, save, styled
from frailt.report.reading import read_records
from frailt.report.studies import studies
from frailt.report.worth import worth

from .synthetic import PAPERS, as_in_the_paper, half_width, write_run, write_sweep

LOSSES = paper.losses()


@pytest.fixture(autouse=True)
def _styled():
    with styled():
        yield


def drawn(axes):
    """What lines show, by the colour and marker of each: pairs of arrays."""
    return {(to_hex(line.get_color()), line.get_marker()): line.get_data() for line in axes.lines}


def as_drawn(layout):
    style = look(Variant.of(layout))
    return to_hex(style["color"]), style["marker"]


def study_of(*sweeps):
    return studies(read_records([str(sweep) for sweep in sweeps]).cells)[0]


def test_layouts_look_unlike_each_other_and_alike_where_they_are_alike():
    assert len({as_drawn(layout) for layout in PAPERS if "^" in layout}) == 4
    assert len({as_drawn(layout) for layout in PAPERS if "^" not in layout}) == 4
    colour = {layout: as_drawn(layout)[0] for layout in PAPERS}
    assert colour["1"] == colour["1^2"] == colour["1^8"] != colour["2"] == colour["2^4"]
    marker = {layout: as_drawn(layout)[1] for layout in PAPERS}
    assert marker["8"] == marker["1^8"] == marker["2^4"] == marker["4^2"] != marker["2"] == marker["1^2"]
    for layout in PAPERS:
        style = look(Variant.of(layout))
        assert (style["linestyle"] == "-") == (style["markerfacecolor"] == style["color"]) == ("^" not in layout)


@pytest.mark.parametrize("part", ["linestyle", "markerfacecolor"])
def test_encodings_are_told_apart(part):
    looks = [look(Variant.of("2^4", encoding))[part] for encoding in ("learned", "sinusoidal", "none")]
    assert len(set(looks)) == 3


def test_groups_that_loop_as_a_whole_are_told_from_blocks_that_do():
    assert as_drawn("(2)^4") == as_drawn("2^4")
    assert look(Variant.of("(2)^4"))["fillstyle"] != look(Variant.of("2^4"))["fillstyle"]


@pytest.mark.parametrize(
    ("layout", "shown"), [("2^4", "2⁴"), ("1,(2)^14,1", "1,(2)¹⁴,1"), ("8", "8"), ("1^2,2^12", "1²,2¹²")]
)
def test_exponents_are_raised(layout, shown):
    assert name(Variant.of(layout)) == shown


def test_figure_4_is_of_one_and_two_unique_blocks_and_figure_5_of_the_others():
    assert list(map(str, shallow(LOSSES.variants))) == ["1", "2", "1^2", "1^8", "2^4"]
    assert list(map(str, deep(LOSSES.variants))) == ["4", "8", "4^2"]


@pytest.mark.parametrize("chosen", [shallow, deep])
def test_figures_4_and_5_redrawn_show_the_papers_numbers(chosen):
    variants = chosen(LOSSES.variants)
    (axes,) = by_width(LOSSES, variants).axes
    assert len(axes.lines) == len(variants)
    for variant, line in zip(variants, axes.lines, strict=True):
        x, y = line.get_data()
        assert list(x) == [64, 128, 256, 512, 1024]
        assert list(y) == [paper.loss(variant, width) for width in x]


def test_points_have_the_intervals_of_their_seeds(sweep):
    loss = as_in_the_paper()
    losses = study_of(write_sweep(sweep, loss, layouts=["1^8"], widths=(64, 256, 512))).losses
    (axes,) = by_width(losses, losses.variants).axes
    heights = [np.ptp(segment[:, 1]) for bars in axes.collections for segment in bars.get_segments()]
    assert heights == pytest.approx([2 * half_width(loss("1^8", w, s) for s in range(5)) for w in (64, 256, 512)])


def test_one_width_is_a_point_for_each_layout(sweep):
    losses = study_of(write_sweep(sweep, as_in_the_paper(), layouts=["1", "2", "2^4"])).losses
    (axes,) = by_width(losses, losses.variants).axes
    assert [text.get_text() for text in axes.get_xticklabels()] == ["1", "2", "2⁴"]
    assert axes.get_title() == "width 64"


def test_two_widths_are_a_panel_each_with_the_layouts_that_it_has(sweep):
    write_sweep(sweep, as_in_the_paper(), layouts=["1", "2", "2^4"])
    write_sweep(sweep, as_in_the_paper(), layouts=["2^4"], widths=(128,), seeds=[0])
    losses = study_of(sweep).losses
    left, right = by_width(losses, losses.variants).axes
    assert [len(axes.get_xticklabels()) for axes in (left, right)] == [3, 1]
    assert not right.collections  # one seed has no interval


def test_costs_have_every_model_and_discs_on_the_pareto_front(sweep):
    study = study_of(write_sweep(sweep, as_in_the_paper(), widths=(64, 128, 256)))
    models = priced(study.cells, lambda cell: cell.unique_parameters)
    (axes,) = against_cost(models, "unique parameters").axes
    disc = next(line for line in axes.lines if line.get_markersize() == 12)
    assert list(zip(*disc.get_data(), strict=True)) == [(each.cost, each.loss.mean) for each in front(models)]
    assert drawn(axes)[as_drawn("2^4")][1] == pytest.approx(
        [study.losses.estimate(Variant.of("2^4"), width).mean for width in (64, 128, 256)]
    )
    assert axes.get_xscale() == "log"


def test_differences_are_looped_minus_standard_with_a_line_at_0():
    comparisons = [each for pair in pairs(LOSSES.variants) for each in compare(LOSSES, pair)]
    panels = differences(comparisons).axes
    assert [axes.get_title() for axes in panels] == ["equal parameters", "equal depth", "twice the blocks"]
    _, y = drawn(panels[0])[as_drawn("4^2")]
    assert y == pytest.approx([1.190 - 1.212, 0.895 - 0.923, 0.716 - 0.739, 0.601 - 0.632, 0.533 - 0.590])
    for axes in panels:
        assert any(list(line.get_ydata()) == [0, 0] for line in axes.lines)


def test_differences_at_one_width_name_each_pair_and_show_the_papers_beside_ours(sweep):
    losses = study_of(write_sweep(sweep, as_in_the_paper(), layouts=["2", "8", "2^4"])).losses
    comparisons = [each for pair in pairs(losses.variants) for each in compare(losses, pair)]
    panels = differences(comparisons).axes
    assert [axes.get_title() for axes in panels] == ["equal parameters, width 64", "equal depth, width 64"]
    assert [text.get_text() for axes in panels for text in axes.get_yticklabels()] == ["2⁴ − 2", "2⁴ − 8"]
    lines = [line for axes in panels for line in axes.lines]
    ours = [line.get_xdata()[0] for line in lines if line.get_marker() == "s"]
    printed = [line.get_xdata()[0] for line in lines if line.get_marker() == "d"]
    assert ours == pytest.approx([-each.lead.mean for each in comparisons])
    assert printed == pytest.approx([1.348 - 1.409, 1.348 - 1.067])


def test_a_kind_of_difference_that_a_width_has_not_leaves_no_empty_panel(sweep):
    losses = study_of(write_sweep(sweep, as_in_the_paper(), layouts=["2", "8", "2^4"], widths=(64, 128))).losses
    comparisons = [each for pair in pairs(losses.variants) for each in compare(losses, pair)]
    kept = [each for each in comparisons if each.width == 64 or each.pair.kind == "equal parameters"]
    panels = {axes.get_title(): axes for axes in differences(kept).axes}
    assert [title for title, axes in panels.items() if not axes.get_visible()] == ["equal depth, width 128"]
    labelled = [title for title, axes in panels.items() if axes.get_xlabel() and axes.get_visible()]
    assert labelled == ["equal parameters, width 128", "equal depth, width 64"]


def test_learning_curves_are_means_over_seeds_within_their_range(sweep):
    for seed, last in ((0, 1.6), (1, 1.8)):
        write_run(sweep / "cells" / str(seed), seed=seed, curve=(3.0, 1.5, last))
    study = study_of(sweep)
    left, right = learning(study.cells, turns(study.cells)).axes
    assert drawn(left)[as_drawn("2^4")][1] == pytest.approx([3.0, 1.5, 1.7])
    (band,) = left.collections
    heights = band.get_paths()[0].vertices[:, 1]
    assert (heights.min(), heights.max()) == pytest.approx((1.5, 3.0))
    turned = next(line for line in left.lines if line.get_markersize() == 9)
    assert list(turned.get_data()[1]) == [1.5]
    assert len(right.lines) == 1


def test_loops_stand_at_the_layers_that_they_act_as():
    found = worth(LOSSES, "learned", [64])
    (axes,) = as_layers([found]).axes
    places = {(to_hex(line.get_color()), line.get_marker()): line.get_xdata()[0] for line in axes.lines}
    assert places[as_drawn("8")] == 8 or places[as_drawn("8")] == pytest.approx(8)
    looped = [line for line in axes.lines if line.get_markerfacecolor() == "white"]
    assert [line.get_xdata()[0] for line in looped] == pytest.approx(
        [n * m**found.exponent for n, m in ((1, 2), (1, 8), (2, 4), (4, 2))]
    )


def test_pictures_are_sharp_in_print_text_is_text_and_nothing_dates_them(tmp_path):
    for suffix in ("png", "svg"):
        for copy in ("a", "b"):
            save(by_width(LOSSES, shallow(LOSSES.variants)), tmp_path / f"{copy}.{suffix}")
        assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()
    png = (tmp_path / "a.png").read_bytes()
    assert int.from_bytes(png[16:20], "big") == 6.5 * 300
    svg = (tmp_path / "a.svg").read_text()
    assert ">validation loss (nats per token)</text>" in svg
    assert "<metadata" not in svg
    assert "dc:date" not in svg
