"""The curve of loss over iterations as a figure."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from frailt.data.whole_files import write_file_whole
from frailt.model import Layout

from .curve import Curve

DOTS_PER_INCH = 200


def draw(curve: Curve, path: Path) -> None:
    """Write the figure, PNG or SVG by the file's name; the same curve is the same file."""
    with drawing(path, (4.5, 3.2)) as figure:
        axes = figure.subplots()
        counts = [point.iterations for point in curve.points]
        axes.plot(counts, [point.nats_per_token for point in curve.points], color="#0072B2", marker="o", markersize=4)
        for size in sorted({shape.iterations for shape in Layout.parse(curve.layout).groups if shape.iterations > 1}):
            axes.axvline(size, color="#555555", linestyle=":", linewidth=1.2, zorder=1)
        axes.set_xlabel("iterations (dotted: of the layout)")
        axes.set_ylabel(f"{curve.split} loss (nats per token)")
        axes.set_title(f"{curve.layout}, {curve.iteration_encoding}", fontsize=9)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        plain(axes)


def plain(axes: Axes) -> None:
    """A light grid, and no box."""
    axes.grid(color="#e4e4e4", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


@contextmanager
def drawing(path: Path, inches: tuple[float, float]) -> Iterator[Figure]:
    """A figure to draw, written at the end as PNG or SVG by the file's name; the same drawing is the same file."""
    settings: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": "frailt", "font.size": 9}
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=inches, layout="constrained")
        yield figure
        nothing = {"Software": None} if path.suffix == ".png" else dict.fromkeys(("Date", "Creator", "Format", "Type"))
        kind = path.suffix.removeprefix(".")
        write_file_whole(path, lambda to: figure.savefig(to, format=kind, dpi=DOTS_PER_INCH, metadata=nothing))
