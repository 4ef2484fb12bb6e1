"""Figures that are whole files, the same for the same drawing. No torch."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from frailt.data.whole_files import write_file_whole

DOTS_PER_INCH = 200


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
