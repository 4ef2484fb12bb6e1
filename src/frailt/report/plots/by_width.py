"""Figures 4 and 5: the final validation loss against the width, a line for each layout."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from frailt.report.cells import Variant
from frailt.report.losses import Losses
from frailt.report.statistics import Estimate

from .style import figure_of, keys, look, name, width_axis

NATS = "validation loss (nats per token)"
FEW = 2
"""Up to so many widths no line is drawn over them."""


def shallow(variants: Sequence[Variant]) -> list[Variant]:
    """Those of Figure 4: 1 or 2 unique blocks. Its caption speaks of 1 and 2-layer models, looped or not."""
    return [variant for variant in variants if variant.layout.unique_blocks <= 2]


def deep(variants: Sequence[Variant]) -> list[Variant]:
    """Those of Figure 5: more than 2 unique blocks."""
    return [variant for variant in variants if variant.layout.unique_blocks > 2]


def by_width(losses: Losses, variants: Sequence[Variant]) -> Figure:
    """Mean loss over width with 95 % intervals; at one or two widths a panel each, with a point for each layout."""
    widths = [width for width in losses.widths if any(losses.by_seed(variant, width) for variant in variants)]
    if len(widths) > FEW:
        figure, (axes,) = figure_of(3.4)
        _lines(axes, losses, variants)
        axes.set_ylabel(NATS)
        return figure
    trained = [[variant for variant in variants if losses.by_seed(variant, width)] for width in widths]
    figure, panels = figure_of(3.2, columns=len(widths), width_ratios=[len(each) + 1 for each in trained])
    for axes, width, found in zip(panels, widths, trained, strict=True):
        _points(axes, losses, found, width)
    panels[0].set_ylabel(NATS)
    return figure


def _lines(axes: Axes, losses: Losses, variants: Sequence[Variant]) -> None:
    for variant in variants:
        found = {width: losses.estimate(variant, width) for width in losses.widths}
        known = {width: each for width, each in found.items() if each is not None}
        axes.plot(list(known), [each.mean for each in known.values()], **look(variant))
        for width, each in known.items():
            bar(axes, width, each, look(variant)["color"])
    width_axis(axes, losses.widths)
    axes.legend(handles=keys(variants))


def _points(axes: Axes, losses: Losses, variants: Sequence[Variant], width: int) -> None:
    for place, variant in enumerate(variants):
        each = losses.estimate(variant, width)
        assert each is not None
        axes.plot(place, each.mean, **look(variant))
        bar(axes, place, each, look(variant)["color"])
        above = (each.half_width or 0.0) + each.mean
        axes.annotate(
            f"{each.mean:.3f}", (place, above), xytext=(0, 5), textcoords="offset points", ha="center", fontsize=7
        )
    axes.set_xticks(range(len(variants)), [name(variant).replace(" ", "\n") for variant in variants])
    axes.set_xlim(-0.7, len(variants) - 0.3)
    axes.grid(axis="x", visible=False)
    axes.margins(y=0.12)
    axes.set_title(f"width {width}")


def bar(axes: Axes, x: float, found: Estimate, color: str) -> None:
    """The interval of a point; none where it has none."""
    if found.half_width is not None:
        axes.errorbar(x, found.mean, yerr=found.half_width, color=color, linewidth=1, fmt="none", zorder=1.9)
