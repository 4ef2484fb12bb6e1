"""How figures look, and how a layout looks in all of them.

Colour says how many unique blocks a layout has, so that models of equal parameters share one; the marker says its
depth, so that models of equal compute share one; the line says the family: solid and filled for standard models, broken
and hollow for looped ones, half filled where groups of several blocks loop as a whole. Encodings but the learned one
have lines and fillings of their own. The colours are Okabe and Ito's, which the colour-blind can tell apart.
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from frailt.report.cells import LEARNED, Variant

WIDTH_INCHES = 6.5
"""Of a column of a page; figures are drawn at the size that they are printed in."""
DOTS_PER_INCH = 300
FAINT = "#9a9a9a"

_COLOURS = {1: "#0072B2", 2: "#D55E00", 4: "#009E73", 8: "#000000"}
_OTHER_COLOURS = ("#CC79A7", "#56B4E9", "#E69F00")
_MARKERS = {1: "o", 2: "^", 4: "D", 8: "s"}
_OTHER_MARKERS = ("v", "P", "X", "p", "h")
_RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
_LINES = {LEARNED: (0, (4, 1.6)), "sinusoidal": (0, (4, 1.4, 1, 1.4)), "none": (0, (1, 1.4))}
_FILLINGS = {LEARNED: "white", "sinusoidal": "#d5d5d5", "none": "#8c8c8c"}

_SETTINGS: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8.5,
    "axes.titlesize": 9,
    "axes.labelsize": 8.5,
    "legend.fontsize": 8,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.6,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "lines.linewidth": 1.3,
    "lines.markersize": 5,
    "errorbar.capsize": 2,
    "legend.frameon": False,
    "legend.handlelength": 2.8,
    "figure.facecolor": "white",
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "frailt",  # the same figure is the same file
    "axes.unicode_minus": True,
}


Look = dict[str, Any]
"""How something is drawn, as matplotlib's arguments."""


@contextmanager
def styled() -> Iterator[None]:
    """Figures made and saved within look as they should, whatever matplotlib was set to before."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)
        yield


def settle(figure: Figure) -> Figure:
    """Lay a figure out, once for all files: matplotlib would do it anew for each, and a little differently."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a PNG or an SVG without a date or the name of what drew it."""
    nothing = {"Software": None} if path.suffix == ".png" else dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(path, dpi=DOTS_PER_INCH, metadata=nothing)


def figure_of(height_inches: float, rows: int = 1, columns: int = 1, **options: Any) -> tuple[Figure, list[Axes]]:
    """An empty figure and its axes, row by row."""
    figure = Figure(figsize=(WIDTH_INCHES, height_inches), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, **options)
    return figure, list(axes.flat)


def look(variant: Variant) -> Look:
    """Colour, marker and line of a layout."""
    blocks, depth, looped = variant.layout.unique_blocks, variant.layout.depth, variant.layout.is_looped
    whole_groups = any(shape.blocks > 1 and shape.iterations > 1 for shape in variant.layout.groups)
    filling = _FILLINGS.get(variant.encoding, _FILLINGS["none"])
    colour = _COLOURS.get(blocks) or _OTHER_COLOURS[blocks % len(_OTHER_COLOURS)]
    return {
        "color": colour,
        "marker": _MARKERS.get(depth) or _OTHER_MARKERS[depth % len(_OTHER_MARKERS)],
        "markerfacecolor": filling if looped else colour,
        "markerfacecoloralt": colour,
        "fillstyle": "top" if whole_groups else "full",
        "markeredgewidth": 1.2,
        "linestyle": _LINES.get(variant.encoding, _LINES["none"]) if looped else "-",
    }


def name(variant: Variant) -> str:
    """A layout with its exponents raised, as the paper prints it."""
    layout = re.sub(r"\^(\d+)", lambda found: found[1].translate(_RAISED), str(variant.layout))
    return layout if variant.encoding == LEARNED else f"{layout} {variant.encoding}"


def keys(variants: Iterable[Variant]) -> list[Line2D]:
    """What a legend shows of layouts."""
    return [Line2D([], [], label=name(variant), **look(variant)) for variant in variants]


def width_axis(axes: Axes, widths: Iterable[int]) -> None:
    """A logarithmic axis with a tick at each width that was trained."""
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator(list(widths)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}"))
    axes.set_xlabel("width (hidden size)")
