"""Loss against what it costs, with the Pareto front."""

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter, NullLocator

from frailt.report.pareto import Priced, front

from .by_width import NATS, bar
from .style import FAINT, Look, figure_of, keys, look

_FRONT: Look = {"color": FAINT, "linewidth": 1.0, "zorder": 1}
_ON_FRONT: Look = {"color": "#F0E442", "marker": "o", "markersize": 12, "linestyle": "", "zorder": 0}


def against_cost(models: Sequence[Priced], label: str) -> Figure:
    """A point for each layout and width on a logarithmic axis of cost; lines join the widths of a layout.

    Models on the Pareto front lie on a yellow disc. The grey steps are the least loss to be had at each cost.

    Args:
        models: what to draw.
        label: of the cost.
    """
    figure, (axes,) = figure_of(3.7)
    best = front(models)
    places = [model.cost for model in best], [model.loss.mean for model in best]
    axes.plot(*places, **_ON_FRONT)
    axes.plot(*places, drawstyle="steps-post", **_FRONT)
    variants = sorted({model.variant for model in models}, key=lambda variant: variant.order)
    for variant in variants:
        own = sorted((model for model in models if model.variant == variant), key=lambda model: model.width)
        axes.plot([model.cost for model in own], [model.loss.mean for model in own], **look(variant))
        for model in own:
            bar(axes, model.cost, model.loss, look(variant)["color"])
            if model.least < model.greatest:
                axes.plot([model.least, model.greatest], [model.loss.mean] * 2, color=look(variant)["color"], lw=1)
    _cost_axis(axes, [cost for model in models for cost in (model.least, model.greatest)], label)
    axes.set_ylabel(NATS)
    pareto = [
        Line2D([], [], label="Pareto front", **_ON_FRONT | {"markersize": 9}),
        Line2D([], [], label="lowest loss\nat the cost", **_FRONT),
    ]
    figure.legend(handles=[*keys(variants), *pareto], loc="outside right upper")
    return figure


def _cost_axis(axes: Axes, costs: Sequence[float], label: str) -> None:
    decades = math.log10(max(costs) / min(costs))
    axes.set_xscale("log")
    margin = 10 ** max(0.08 * decades, 0.16)  # so that even a single cost has a tick beside it
    axes.set_xlim(min(costs) / margin, max(costs) * margin)
    steps = (1, 2, 3, 5, 7) if decades < 0.8 else (1, 2, 5) if decades < 2 else (1,)
    axes.xaxis.set_major_locator(LogLocator(subs=steps, numticks=20))
    axes.xaxis.set_major_formatter(EngFormatter())
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel(label)
