"""Learning curves: loss over training tokens, the mean over seeds within their range."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from frailt.report.cells import Cell, Curve, Variant
from frailt.report.curves import Band, Turn, band, smooth

from .style import figure_of, keys, look


def learning(cells: Sequence[Cell], turns: Sequence[Turn]) -> Figure:
    """The cells of one width: their loss on the validation share, and beside it on what they are trained on.

    A training loss is the mean since the evaluation before. A disc is where a validation curve turns before its end.
    """
    figure, (left, right) = figure_of(3.1, columns=2, sharey=True, sharex=True)
    variants = sorted({cell.variant for cell in cells}, key=lambda variant: variant.order)
    top = 0.0
    for variant in variants:
        own = [cell for cell in cells if cell.variant == variant]
        validation = band([cell.validation for cell in own])
        training = band([_since(cell) for cell in own])
        for axes, points in ((left, validation), (right, training)):
            _draw(axes, points, variant)
        top = max([top, *(high for _, _, high in list(validation.values())[:1])])
        for turn in turns:
            if turn.variant == variant and turn.is_before_the_end:
                left.plot(turn.tokens, validation[turn.tokens][0], marker="o", markersize=9, color="#F0E442", zorder=0)
    left.set_ylim(top=1.02 * top)  # what comes before the first evaluation is steep and the same for all
    left.set_ylabel("loss (nats per token)")
    for axes, title in ((left, "validation share"), (right, "training")):
        axes.set_title(title)
        axes.set_xlabel("training tokens")
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    right.legend(handles=keys(variants), ncols=2)
    return figure


def _since(cell: Cell) -> Curve:
    return smooth(cell.training, sorted(cell.validation))


def _draw(axes: Axes, points: Band, variant: Variant) -> None:
    style = look(variant) | {"markevery": 0.2, "markersize": 4}
    tokens = list(points)
    axes.plot(tokens, [mean for mean, _, _ in points.values()], **style)
    axes.fill_between(
        tokens,
        [low for _, low, _ in points.values()],
        [high for _, _, high in points.values()],
        color=style["color"],
        alpha=0.15,
        linewidth=0,
    )
