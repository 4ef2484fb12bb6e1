"""The loss of a looped model minus that of the standard one beside it, paired by seed, with its interval."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from frailt.report.comparisons import Comparison, Pair

from .by_width import FEW
from .style import FAINT, Look, figure_of, look, name, width_axis

LABEL = "difference in loss (nats per token)"
_PRINTED: Look = {"color": FAINT, "marker": "d", "markersize": 4.5, "linestyle": "", "zorder": 1.8}
_BELOW = 0.3
"""Of the distance between two lines of text."""


def differences(comparisons: Sequence[Comparison]) -> Figure:
    """By width, a panel for each kind of comparison; at one or two widths a panel for each, with a row for each pair.

    Below 0 the model is better than its baseline. Grey diamonds are the paper's differences.
    """
    known = [each for each in comparisons if each.lead is not None]
    widths = sorted({each.width for each in known})
    return _in_rows(known, widths) if len(widths) <= FEW else _over_widths(known, widths)


def title(pair: Pair) -> str:
    """Such as: 2⁴ − 2."""
    return f"{name(pair.model)} − {name(pair.baseline)}"


def _in_rows(comparisons: Sequence[Comparison], widths: Sequence[int]) -> Figure:
    """A panel for each kind and width, a row in it for each pair; each kind has an axis that suits its differences."""
    kinds: dict[str, list[Pair]] = {}
    for each in comparisons:
        if each.pair not in kinds.setdefault(each.pair.kind, []):
            kinds[each.pair.kind].append(each.pair)
    rows = [len(pairs) for pairs in kinds.values()]
    height = 0.4 + 0.23 * sum(rows) + 0.55 * len(rows)
    ratios = [count + 0.6 for count in rows]
    figure, panels = figure_of(height, len(kinds), len(widths), sharex="row", sharey="row", height_ratios=ratios)
    lowest: dict[int, Axes] = {}
    for number, axes in enumerate(panels):
        kind, width = list(kinds)[number // len(widths)], widths[number % len(widths)]
        own = [each for each in comparisons if each.width == width and each.pair.kind == kind]
        _rows(axes, own, kinds[kind])
        axes.set_title(f"{kind}, width {width}")
        axes.set_visible(bool(own))
        lowest |= {width: axes} if own else {}
    for axes in lowest.values():
        axes.set_xlabel(LABEL)
    if any(each.paper is not None for each in comparisons):
        figure.legend(handles=[Line2D([], [], label="the paper", **_PRINTED)], loc="outside upper right")
    return figure


def _rows(axes: Axes, comparisons: Sequence[Comparison], pairs: Sequence[Pair]) -> None:
    for each in comparisons:
        place = pairs.index(each.pair)
        _point(axes, each, place, across=True)
        if each.paper is not None:
            axes.plot(-each.paper, place + _BELOW, **_PRINTED)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.grid(axis="y", visible=False)
    axes.set_yticks(range(len(pairs)), [title(pair) for pair in pairs])
    axes.set_ylim(len(pairs) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)


def _over_widths(comparisons: Sequence[Comparison], widths: Sequence[int]) -> Figure:
    kinds = list(dict.fromkeys(each.pair.kind for each in comparisons))
    columns = 3 if len(kinds) == 3 else min(len(kinds), 2)
    rows = -(-len(kinds) // columns)
    figure, panels = figure_of(4.0 * rows, rows, columns, sharex=True)
    for axes, kind in zip(panels, kinds, strict=False):
        _panel(axes, [each for each in comparisons if each.pair.kind == kind])
        width_axis(axes, widths)
        axes.set_title(kind)
        axes.tick_params(labelbottom=True)
    for axes in panels[len(kinds) :]:
        axes.set_visible(False)
    for axes in panels[::columns]:
        axes.set_ylabel(LABEL)
    return figure


def _panel(axes: Axes, comparisons: Sequence[Comparison]) -> None:
    pairs = list(dict.fromkeys(each.pair for each in comparisons))
    for number, pair in enumerate(pairs):
        shift = 2 ** (0.09 * (number - (len(pairs) - 1) / 2))  # beside each other, not one on the other
        own = [each for each in comparisons if each.pair == pair]
        places = [each.width * shift for each in own]
        axes.plot(places, [-each.lead.mean for each in own if each.lead is not None], **look(pair.model))
        for each, place in zip(own, places, strict=True):
            _point(axes, each, place, across=False, marked=False)
            if each.paper is not None:
                axes.plot(place, -each.paper, **_PRINTED)
    axes.axhline(0, color="black", linewidth=0.8)
    shown = [Line2D([], [], label=title(pair), **look(pair.model)) for pair in pairs]
    shown += (
        [Line2D([], [], label="the paper", **_PRINTED)] if any(each.paper is not None for each in comparisons) else []
    )
    axes.legend(handles=shown, loc="upper center", bbox_to_anchor=(0.5, -0.16))


def _point(axes: Axes, each: Comparison, place: float, *, across: bool, marked: bool = True) -> None:
    assert each.lead is not None
    style = look(each.pair.model) | {"linestyle": "", "markersize": 4}
    error: Look = {"xerr" if across else "yerr": each.lead.half_width}
    x, y = (-each.lead.mean, place) if across else (place, -each.lead.mean)
    if each.lead.half_width is not None:
        axes.errorbar(x, y, **error, color=style["color"], linewidth=1, fmt="none", zorder=1.9)
    if marked:
        axes.plot(x, y, **style)
