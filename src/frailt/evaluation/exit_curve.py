"""What early exit costs and gives: the loss over mean iterations and FLOPs, beside fixed counts and other models."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from tqdm import tqdm

from frailt.data.packing import PackedRows
from frailt.model import EarlyExit, FraiLTConfig, FraiLTForCausalLM
from frailt.model.cost import cost
from frailt.training.validation import share_of_rows, validation_loss

from .written import in_json

FIXED = "fixed count"


@dataclass(frozen=True, kw_only=True)
class ExitPoint:
    """One way to run a model, and what it gives."""

    way: str
    """`fixed count`, a criterion and a rule for keys and values, or a checkpoint."""
    threshold: float | None
    """Of early exit."""
    mean_iterations: float | None
    """Iterations of a token, the mean over tokens and the blocks of loops; None of other checkpoints."""
    nats_per_token: float
    forward_flops_per_token: float
    """As `cost` counts them, less what was saved, as counted in the run."""
    below_fixed_nats: float | None
    """How far the loss is below the line through the fixed counts at the same FLOPs; None beyond its ends."""
    elapsed_s: float


_COLUMNS = {
    "way": "way",
    "threshold": "threshold",
    "mean_iterations": "iterations per token",
    "nats_per_token": "nats per token",
    "forward_flops_per_token": "forward FLOPs per token",
    "below_fixed_nats": "nats below fixed counts",
    "elapsed_s": "seconds",
}
_FORMATS = {"mean_iterations": ".2f", "nats_per_token": ".4f", "below_fixed_nats": "+.4f", "elapsed_s": ".1f"}


@dataclass(frozen=True, kw_only=True)
class ExitCurve:
    """What an evaluation of early exit found; printed as a Markdown table, or as JSON where that was asked for."""

    layout: str
    iterations: tuple[int, ...]
    minimum: int
    split: str
    context: int
    rows: int
    targets: int
    points: tuple[ExitPoint, ...]
    plot: str | None = None
    """The file that the curve was drawn to."""
    as_json: bool = False

    def __str__(self) -> str:
        if self.as_json:
            return in_json(self, "as_json")
        head = (
            f"Early exit of {self.layout}, groups run {' and '.join(map(str, self.iterations))} times, a token at "
            f"least {self.minimum}; {self.split}, {self.rows} rows of {self.context} tokens, {self.targets:,} targets."
        )
        cells = [list(_COLUMNS.values())]
        cells += [[_shown(name, getattr(point, name)) for name in _COLUMNS] for point in self.points]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = [f"| {' | '.join(map(str.rjust, row, widths))} |" for row in cells]
        rule = f"|{'|'.join('-' * (width + 1) + ':' for width in widths)}|"
        return "\n".join([head, "", lines[0], rule, *lines[1:], *(["", f"plot: {self.plot}"] if self.plot else [])])


def criteria_of(config: FraiLTConfig) -> list[str]:
    """The criteria that the model of `config` can have: kl where its last group is a loop."""
    return ["l2", "kl"] if config.iterations_per_group[-1] > 1 else ["l2"]


def measure_exits(
    model: FraiLTForCausalLM,
    rows: PackedRows,
    rules: Sequence[EarlyExit],
    *,
    against: Iterable[tuple[str, FraiLTForCausalLM]] = (),
    batch_rows: int,
    split: str,
    share: float = 1.0,
    as_json: bool = False,
) -> ExitCurve:
    """The loss at each fixed count up to the model's own, under each rule, and of each model of `against`.

    Args:
        model: in float32.
        rows: of the split.
        rules: with the same minimum.
        against: names and models.
        batch_rows: rows per forward pass.
        split: its name.
        share: of the rows, evenly spread.
        as_json: how it is printed.

    Raises:
        ValueError: a rule does not fit the model's loops.
    """
    counts = model.config.iterations_per_group
    for rule in rules:
        rule.groups(counts)
    blocks = {number: model.config.groups[number].blocks for number, count in enumerate(counts) if count > 1}
    indices, targets, points = share_of_rows(len(rows), share), 0, []

    def ways() -> Iterator[tuple[str, float | None, FraiLTForCausalLM]]:
        for most in range(1, max(counts) + 1):
            yield FIXED, None, model.with_iterations([min(count, most) for count in counts])
        for rule in rules:
            yield f"{rule.criterion}, {rule.kv}", rule.threshold, model.with_early_exit(rule)
        for name, other in against:
            yield name, None, other

    with tqdm(unit="row", desc=split, leave=False, disable=None) as bar:
        for number, (way, threshold, view) in enumerate(ways()):
            bar.set_postfix_str(f"{way} {'' if threshold is None else threshold}")
            began = time.perf_counter()
            nats, targets = _loss(view, rows, indices, batch_rows, bar.update)
            tally = view.exit_tally
            ran = dict(enumerate(view.config.iterations_per_group)) | (tally.mean_iterations if tally else {})
            own = number < max(counts) + len(rules)
            points.append(
                ExitPoint(
                    way=way,
                    threshold=threshold,
                    mean_iterations=sum(blocks[g] * ran[g] for g in blocks) / sum(blocks.values()) if own else None,
                    nats_per_token=nats,
                    forward_flops_per_token=cost(view.config, rows.context).forward_flops_per_token
                    - (tally.saved_flops_per_token if tally else 0),
                    below_fixed_nats=None,
                    elapsed_s=round(time.perf_counter() - began, 3),
                )
            )
    return ExitCurve(
        layout=str(model.config.layout),
        iterations=counts,
        minimum=rules[0].minimum,
        split=split,
        context=rows.context,
        rows=len(indices),
        targets=targets,
        points=tuple(_beside_fixed(points)),
        as_json=as_json,
    )


def _loss(
    model: FraiLTForCausalLM,
    rows: PackedRows,
    indices: Sequence[int],
    batch_rows: int,
    progress: Callable[[int], object],
) -> tuple[float, int]:
    """Nats per token and targets.

    What is left after full batches is a batch of its own: filled up, its filling would be counted as tokens.
    """
    full = len(indices) // batch_rows * batch_rows
    losses = [
        validation_loss(model, rows, indices=part, batch_rows=batch_rows, progress=progress)
        for part in (indices[:full], indices[full:])
        if part
    ]
    targets = sum(loss.targets for loss in losses)
    return sum(loss.nats_per_token * loss.targets for loss in losses) / targets, targets


def _beside_fixed(points: Sequence[ExitPoint]) -> Iterator[ExitPoint]:
    """The points, each with how far it is below the line through the fixed counts."""
    fixed = [(point.forward_flops_per_token, point.nats_per_token) for point in points if point.way == FIXED]
    flops, nats = zip(*fixed, strict=True)  # FLOPs rise with the count
    for point in points:
        at = point.forward_flops_per_token
        if point.way != FIXED and flops[0] <= at <= flops[-1]:
            point = replace(point, below_fixed_nats=float(np.interp(at, flops, nats)) - point.nats_per_token)
        yield point


def _shown(name: str, value: Any) -> str:
    if value is None:
        return "—"
    if name == "forward_flops_per_token":
        return f"{round(value):,}"
    return format(value, _FORMATS.get(name, ""))
