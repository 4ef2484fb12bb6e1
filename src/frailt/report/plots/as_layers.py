"""How many layers a loop is worth: looped models placed on the curve of the standard ones."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from frailt.report.worth import Worth, layers

from .by_width import NATS
from .style import FAINT, figure_of, keys, look

_APART = 0.045
"""Of the height of the axes, between two labels."""


def as_layers(fits: Sequence[Worth]) -> Figure:
    """Loss over layers, for fits of one width each.

    Standard models stand at their layers, looped ones at those that they act as; a curve is the law fitted to both, and
    a stem joins each model to its own.
    """
    figure, (axes,) = figure_of(3.4)
    models = [(variant, layers(variant, fit.exponent), nats) for fit in fits for variant, _, nats in fit.models]
    x = np.geomspace(min(place for _, place, _ in models) * 0.95, max(place for _, place, _ in models) * 1.05, 200)
    ends: dict[int, float] = {}
    for fit in fits:
        for width, curve in fit.curves.items():
            axes.plot(x, [curve(each) for each in x], color=FAINT, linewidth=1, zorder=1)
            ends[width] = curve(x[-1])
    for fit in fits:
        for variant, width, nats in fit.models:
            place = layers(variant, fit.exponent)
            stem = [nats, fit.curves[width](place)]  # says which curve a point belongs to
            axes.plot([place, place], stem, color=look(variant)["color"], linewidth=0.8, zorder=1.5)
            axes.plot(place, nats, **look(variant) | {"markersize": 4})
    low, high = axes.get_ylim()
    for width, place in _apart(ends, _APART * (high - low)).items():
        axes.annotate(
            f"width {width}", (x[-1], place), xytext=(5, 0), textcoords="offset points", va="center", color="#606060"
        )
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(LogLocator(base=2))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlabel("layers, or what loops act as")
    axes.set_ylabel(NATS)
    law = Line2D([], [], color=FAINT, linewidth=1, label="fitted law")
    variants = sorted({variant for variant, _, _ in models}, key=lambda variant: variant.order)
    figure.legend(handles=[*keys(variants), law], loc="outside right upper")
    return figure


def _apart(places: dict[int, float], least: float) -> dict[int, float]:
    """Places moved up where they are nearer to the one below than `least`."""
    moved: dict[int, float] = {}
    for key in sorted(places, key=places.__getitem__):
        below = max(moved.values(), default=-np.inf)
        moved[key] = max(places[key], below + least)
    return moved
