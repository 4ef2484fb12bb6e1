"""The loss of one checkpoint over iteration counts."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from tqdm import tqdm

from frailt.data.packing import PackedRows
from frailt.model import FraiLTConfig, FraiLTForCausalLM, Layout
from frailt.model.cost import cost
from frailt.model.encodings import ENCODINGS
from frailt.training.validation import validation_loss

from .written import in_json


@dataclass(frozen=True, kw_only=True)
class Point:
    """The loss at one count, which all looped groups have."""

    iterations: int
    depth: int
    """Block applications."""
    nats_per_token: float
    perplexity: float
    bits_per_byte: float
    forward_flops_per_token: int
    elapsed_s: float


_COLUMNS = ("iterations", "depth", "nats_per_token", "perplexity", "bits_per_byte", "forward_flops_per_token")


@dataclass(frozen=True, kw_only=True)
class Curve:
    """What an evaluation at several counts found; printed as a table, or as JSON where that was asked for."""

    layout: str
    iteration_encoding: str
    beyond: str
    """What the encoding gives past the layout's M, the size of its table."""
    split: str
    context: int
    targets: int
    points: tuple[Point, ...]
    plot: str | None = None
    """The file that the curve was drawn to."""
    as_json: bool = False

    def __str__(self) -> str:
        if self.as_json:
            return in_json(self, "as_json")
        head = {
            "layout": self.layout,
            "encoding": f"{self.iteration_encoding}; beyond the layout's counts it {self.beyond}",
            "split": f"{self.split}, {self.targets:,} targets, context {self.context}",
        }
        rows = [_COLUMNS, *(tuple(_shown(getattr(point, name)) for name in _COLUMNS) for point in self.points)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        table = ["  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True)) for row in rows]
        lines = [f"{name:<9} {value}" for name, value in head.items()] + ["", *table]
        return "\n".join(lines + (["", f"plot      {self.plot}"] if self.plot else []))


def check_loops(config: FraiLTConfig, counts: Sequence[int]) -> None:
    """Raise a ValueError where the model of `config` cannot run at each of `counts`."""
    layout = Layout.parse(config.layout or "")
    if not layout.is_looped:
        raise ValueError(f"iterations must be left out where the layout has no loop, got several for layout {layout}")
    for count in counts:
        layout.iterations(count)


def measure_curve(
    model: FraiLTForCausalLM,
    rows: PackedRows,
    counts: Sequence[int],
    *,
    batch_rows: int,
    split: str,
    utf8_bytes: int,
    as_json: bool = False,
) -> Curve:
    """The loss on all rows at each count, by one function and with one set of weights.

    Args:
        model: in float32.
        rows: of the split.
        counts: each for all looped groups.
        batch_rows: rows per forward pass.
        split: its name.
        utf8_bytes: of its stories.
        as_json: how it is printed.
    """
    points, targets = [], 0
    with tqdm(total=len(rows) * len(counts), unit="row", desc=split, leave=False, disable=None) as bar:
        for count in counts:
            view = model.with_iterations(count)
            bar.set_postfix_str(f"{count} iterations")
            began = time.perf_counter()
            loss = validation_loss(view, rows, batch_rows=batch_rows, progress=bar.update)
            costs, targets = cost(view.config, rows.context), loss.targets
            points.append(
                Point(
                    iterations=count,
                    depth=costs.depth,
                    nats_per_token=loss.nats_per_token,
                    perplexity=loss.perplexity,
                    bits_per_byte=loss.bits_per_byte(utf8_bytes),
                    forward_flops_per_token=costs.forward_flops_per_token,
                    elapsed_s=round(time.perf_counter() - began, 3),
                )
            )
    encoding = model.config.iteration_encoding
    return Curve(
        layout=str(model.config.layout),
        iteration_encoding=encoding,
        beyond=ENCODINGS[encoding].beyond,
        split=split,
        context=rows.context,
        targets=targets,
        points=tuple(points),
        as_json=as_json,
    )


def _shown(value: float) -> str:
    return f"{value:.4f}" if isinstance(value, float) else f"{value:,}"
