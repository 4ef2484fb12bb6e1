"""Figures 6 and 7: grades against validation loss, both logarithmic, so that a power law is a straight line."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from frailt.report.laws import FAMILIES, FRAILT, STANDARD, Law

from .by_width import bar
from .style import FAINT, Look, figure_of, keys, look

_LINES: dict[str, Look] = {
    STANDARD: {"color": "#333333", "linewidth": 1.1},
    FRAILT: {"color": "#8a3a8f", "linewidth": 1.1, "linestyle": (0, (4, 1.6))},
}
_LEFT_OUT: Look = {"color": "#b4b4b4", "markeredgewidth": 0.9, "zorder": 1.5}
_LOSSES = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1, 1.2, 1.4, 1.7, 2, 2.5, 3, 4, 5, 7, 10)
_GRADES = (1, 1.5, 2, 3, 4, 5, 6, 8, 10)


def by_loss(laws: Sequence[Law]) -> Figure:
    """A panel for each kind of grade: every model, and the law of each family with its 95 % band.

    What no law is fitted to is grey.
    """
    columns = 1 if len(laws) == 1 else 2
    rows = -(-len(laws) // columns)
    figure, panels = figure_of(3.4 if rows == 1 else 2.75 * rows, rows, columns, sharex=True, sharey=True)
    for axes, law in zip(panels, laws, strict=False):
        _panel(axes, law)
        axes.set_title(law.kind)
    for axes in panels[len(laws) :]:
        axes.set_visible(False)
    for axes in panels[-columns:]:
        axes.set_xlabel("validation loss (nats per token)")
    for axes in panels[::columns]:
        axes.set_ylabel("grade")
    _scales(panels[0], laws)
    figure.legend(handles=_legend(laws), loc="outside right upper")
    return figure


def _panel(axes: Axes, law: Law) -> None:
    for family in FAMILIES:
        found = law.fit(family)
        if found is None:
            continue
        losses = [each.nats for each in law.fitted(family)]
        x = np.geomspace(min(losses), max(losses), 60)
        band = [found.band(float(each)) for each in x]
        axes.plot(x, [found.at(float(each)) for each in x], **_LINES[family], zorder=1.7)
        axes.fill_between(
            x,
            [low for low, _ in band],
            [high for _, high in band],
            color=_LINES[family]["color"],
            alpha=0.13,
            linewidth=0,
            zorder=1.2,
        )
    for point in law.points:
        style = look(point.variant) | {"linestyle": ""}
        if not law.is_fitted(point):
            hollow = style["markerfacecolor"] != style["color"]
            style |= _LEFT_OUT | {"markerfacecolor": "white" if hollow else _LEFT_OUT["color"]}
        axes.plot(point.nats, point.score.mean, **style)
        bar(axes, point.nats, point.score, style["color"])
    if any(point.nats > law.cutoff for point in law.points):
        axes.axvline(law.cutoff, color=FAINT, linewidth=0.8, linestyle=(0, (1, 2)), zorder=1)


def _scales(axes: Axes, laws: Sequence[Law]) -> None:
    """Both logarithmic, with ticks at plain numbers; panels share them."""
    losses = [point.nats for law in laws for point in law.points]
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(min(losses) / 1.06, max(losses) * 1.06)
    points = [point for law in laws for point in law.points]
    ends = [point.score.mean + side * (point.score.half_width or 0) for point in points for side in (-1, 1)]
    ends += [found.at(point.nats) for law in laws for point in law.fitted() if (found := law.fit(point.family))]
    low, high = max(0.8, min(0.93, min(ends) / 1.05)), min(11, max(ends) * 1.15)
    axes.set_ylim(low, high)
    for axis, ticks, least, most in ((axes.xaxis, _LOSSES, *axes.get_xlim()), (axes.yaxis, _GRADES, low, high)):
        axis.set_major_locator(FixedLocator([tick for tick in ticks if least <= tick <= most]))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _legend(laws: Sequence[Law]) -> list[Line2D]:
    points = [point for law in laws for point in law.points]
    shown = keys(sorted({point.variant for point in points}, key=lambda variant: variant.order))
    for key in shown:
        key.set_linestyle("")  # lines are laws here
    fitted = [family for family in FAMILIES if any(law.fit(family) is not None for law in laws)]
    shown += [Line2D([], [], label=f"{family}: law", **_LINES[family]) for family in fitted]
    if any(not law.is_fitted(point) for law in laws for point in law.points):
        shown.append(Line2D([], [], label="left out", marker="o", linestyle="", **_LEFT_OUT))
    return shown
