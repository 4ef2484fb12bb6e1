"""The curve of loss over iterations as a figure."""

from pathlib import Path

from matplotlib.ticker import MaxNLocator

from frailt.model import Layout

from .curve import Curve
from .drawing import drawing, plain


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
