"""Loss over mean iterations and over FLOPs under early exit, beside fixed counts and other models, as a figure."""

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from .drawing import drawing, plain
from .exit_curve import FIXED, ExitCurve

_AXES = {"mean_iterations": "iterations per token", "forward_flops_per_token": "forward FLOPs per token"}
_STYLES: dict[str, dict[str, Any]] = {
    FIXED: {"color": "#555555", "marker": "D", "linestyle": ":"},
    "l2, copy": {"color": "#0072B2", "marker": "o", "linestyle": "-"},
    "l2, project": {"color": "#56B4E9", "marker": "s", "linestyle": "--"},
    "kl, copy": {"color": "#D55E00", "marker": "o", "linestyle": "-"},
    "kl, project": {"color": "#E69F00", "marker": "s", "linestyle": "--"},
}


def draw_exits(curve: ExitCurve, path: Path) -> None:
    """Write the figure, PNG or SVG by the file's name; the same curve is the same file."""
    with drawing(path, (8.0, 3.4)) as figure:
        left, right = figure.subplots(1, 2, sharey=True)
        _draw(left, curve, "mean_iterations")
        _draw(right, curve, "forward_flops_per_token")
        left.set_ylabel(f"{curve.split} loss (nats per token)")
        figure.suptitle(f"{curve.layout}, early exit", fontsize=9)
        handles, labels = right.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside right upper", fontsize=8, frameon=False)


def _draw(axes: Axes, curve: ExitCurve, over: str) -> None:
    for way in dict.fromkeys(point.way for point in curve.points):
        places = [(getattr(point, over), point.nats_per_token) for point in curve.points if point.way == way]
        places = sorted(place for place in places if place[0] is not None)
        if places:
            style = _STYLES.get(way, {"color": "black", "marker": "x", "linestyle": ""})
            axes.plot(*zip(*places, strict=True), label=Path(way).name, markersize=4, linewidth=1.2, **style)
    axes.set_xlabel(_AXES[over])
    plain(axes)
