"""What a sweep would take: parameters, FLOPs, memory and time of each cell, before anything is started."""

from collections import defaultdict
from dataclasses import dataclass, fields, replace

from frailt.planning.config import PlanConfig
from frailt.planning.plan import Plan, plan
from frailt.training.config import TrainConfig
from frailt.training.hardware import with_threads

from .grid import Cell
from .schedule import CannotRun, Schedule
from .search import trial
from .view import duration


@dataclass(frozen=True, kw_only=True)
class _Line:
    """Cells that differ in their seeds alone."""

    plan: Plan
    cells: int
    finished: int
    tokens_per_s: float
    measured: bool


def dry_run(schedule: Schedule, cells: list[Cell], jobs: int, gpus: int = 0) -> str:
    """The plan as a table, and in total; a cell that cannot be trained is named with the reason.

    Args:
        schedule: what is due.
        cells: those wanted.
        jobs: how many run at a time.
        gpus: among how many GPUs of this machine; 0 where they do not run on such.
    """
    with with_threads(schedule.threads):  # as each cell will, beside the others
        return _dry_run(schedule, cells, jobs, max(1.0, jobs / gpus) if gpus else 1.0)


def _dry_run(schedule: Schedule, cells: list[Cell], jobs: int, sharing: float) -> str:
    alike: dict[Cell, list[Cell]] = defaultdict(list)
    for cell in cells:
        alike[replace(cell, seed=0)].append(cell)
    rows, notes, left_s, rate = [], [], 0.0, None
    searched: set[Cell] = set()
    for kind, members in alike.items():
        try:
            line = _planned(schedule, members, rate, sharing)
        except (CannotRun, ValueError) as error:
            notes.append(f"cannot be trained: {members[0].name} and its other seeds: {error}")
            continue
        rate = line.plan.device.flops_per_s
        each_s = (line.plan.tokens or 0) / line.tokens_per_s
        left_s += each_s * (line.cells - line.finished)
        search = schedule.grid.search
        if search is not None:
            trials = {trial(search, kind, rate) for rate in search.rates} - searched
            searched |= trials
            left_s += each_s * search.share * len(trials) * (line.finished < line.cells)
        rows.append(_row(kind, line, each_s))
    head = ("layout", "width", "encoding", "cells", "parameters", "tokens", "training FLOPs", "tensors", "time each")
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    table = ["  ".join(text.rjust(width) for text, width in zip(row, widths, strict=True)) for row in [head, *rows]]
    notes.insert(0, f"about {duration(left_s / jobs)} with {jobs} at a time, trials and all; ~ is an estimate by FLOPs")
    return "\n".join([*table, "", *notes])


def _planned(schedule: Schedule, cells: list[Cell], flops_per_s: float | None, sharing: float) -> _Line:
    config = schedule.config_for_plan(cells[0])
    settings = {field.name: getattr(config, field.name) for field in fields(TrainConfig)}
    planned = plan(PlanConfig(**settings, flops_per_s=flops_per_s))
    measured = schedule.tokens_per_s(cells[0])
    return _Line(
        plan=planned,
        cells=len(cells),
        finished=sum(schedule.is_finished(cell) for cell in cells),
        tokens_per_s=measured or planned.tokens_per_s / sharing,
        measured=measured is not None,
    )


def _row(cell: Cell, line: _Line, each_s: float) -> tuple[str, ...]:
    tokens = line.plan.tokens or 0
    finished = f", {line.finished} done" if line.finished else ""
    return (
        cell.layout,
        f"{line.plan.model.hidden_size}",
        cell.encoding if "^" in cell.layout else "—",
        f"{line.cells}{finished}",
        f"{line.plan.costs.parameters.total:,}",
        f"{tokens:,}",
        f"{tokens * line.plan.costs.training_flops_per_token:.2e}",
        f"{line.plan.peak.total / 2**30:.2f} GiB" + ("" if line.plan.fits else " (too much)"),
        ("" if line.measured else "~") + duration(each_s),
    )
