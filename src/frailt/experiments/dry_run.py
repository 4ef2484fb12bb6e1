"""What a sweep would take: parameters, FLOPs, memory and time of each cell, before anything is started."""

from collections import defaultdict
from dataclasses import dataclass, replace

from frailt.planning.plan import Plan
from frailt.training.hardware import with_threads

from .grid import Cell
from .match import reference_of
from .room import planned
from .schedule import CannotRun, Schedule
from .view import duration


@dataclass(frozen=True, kw_only=True)
class _Line:
    """Cells that differ in their seeds alone."""

    plan: Plan
    cells: int
    finished: int
    tokens: int | None
    """Of each; None where they follow from rates that are not measured yet."""
    seconds: float
    """Of each."""
    measured: bool
    """Whether seconds are by what ran in this sweep."""


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
    rows, notes, left_s, rate, waiting = [], [], 0.0, None, False
    searched: set[str] = set()
    for kind, members in alike.items():
        try:
            line = _planned(schedule, members, rate, sharing)
            trials = {task.name for task in schedule.trials_due(kind)} - searched
        except (CannotRun, ValueError) as error:
            notes.append(f"cannot be trained: {members[0].name} and its other seeds: {error}")
            continue
        rate = line.plan.device.flops_per_s
        left_s += line.seconds * (line.cells - line.finished)
        waiting |= line.tokens is None
        search = schedule.grid.search
        if search is not None and line.finished < line.cells:
            searched |= trials
            left_s += line.seconds * search.share * len(trials)
        rows.append(_row(kind, line))
    head = ("layout", "width", "encoding", "cells", "parameters", "tokens", "training FLOPs", "tensors", "time each")
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    table = ["  ".join(text.rjust(width) for text, width in zip(row, widths, strict=True)) for row in [head, *rows]]
    notes.insert(0, f"about {duration(left_s / jobs)} with {jobs} at a time, trials and all; ~ is an estimate by FLOPs")
    if waiting:
        notes.insert(1, "tokens that are — follow from the rates of short runs, which come first")
    return "\n".join([*table, "", *notes])


def _planned(schedule: Schedule, cells: list[Cell], flops_per_s: float | None, sharing: float) -> _Line:
    config = schedule.config_for_plan(cells[0])
    found = planned(config, flops_per_s)
    tokens_per_s = schedule.tokens_per_s(cells[0])
    tokens: int | None = found.tokens or 0
    seconds = (found.tokens or 0) / (tokens_per_s or found.tokens_per_s / sharing)
    if schedule.waits_for_timing(cells[0]):  # and will train for the reference's time
        reference = _planned(schedule, [reference_of(schedule.grid, cells[0])], found.device.flops_per_s, sharing)
        tokens, seconds, tokens_per_s = None, reference.seconds, None
    return _Line(
        plan=found,
        cells=len(cells),
        finished=sum(schedule.is_finished(cell) for cell in cells),
        tokens=tokens,
        seconds=seconds,
        measured=tokens_per_s is not None,
    )


def _row(cell: Cell, line: _Line) -> tuple[str, ...]:
    finished = f", {line.finished} done" if line.finished else ""
    flops = "—" if line.tokens is None else f"{line.tokens * line.plan.costs.training_flops_per_token:.2e}"
    return (
        cell.layout,
        f"{line.plan.model.hidden_size}",
        cell.encoding if "^" in cell.layout else "—",
        f"{line.cells}{finished}",
        f"{line.plan.costs.parameters.total:,}",
        "—" if line.tokens is None else f"{line.tokens:,}",
        flops,
        f"{line.plan.peak.total / 2**30:.2f} GiB" + ("" if line.plan.fits else " (too much)"),
        ("" if line.measured else "~") + duration(line.seconds),
    )
