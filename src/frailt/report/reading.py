"""From sweep folders to cells that may be compared: of one protocol, each once, with what was left out and why."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from frailt.experiments.grid import Cell as Place
from frailt.experiments.records import Run

from .cells import Cell, Matched, Variant, cell_of, has_halves, in_words
from .protocol import Settings, departure, protocol_of
from .sweeps import Fault, Rate, Sweep, read_sweep

NAMED = 3
"""At most so many cells are named in one line."""


@dataclass(frozen=True)
class Missing:
    """A cell that a grid asks for and no finished run is of."""

    name: str
    variant: Variant
    width: int
    budget: str
    matched: Matched | None
    learning_rate: float | None
    """None where a search finds it."""
    seed: int
    reason: str | None
    """Why it failed, where it did."""


@dataclass(frozen=True)
class Records:
    """All that a report is made of."""

    cells: tuple[Cell, ...]
    protocol: Settings
    halves: bool
    """Whether losses are of the stories of odd number, learning rates being chosen on the others."""
    rules: tuple[str, ...]
    """How learning rates were chosen, in the words of the searches."""
    rates: tuple[Rate, ...]
    left_out: tuple[str, ...]
    """One line each, as plain text."""
    missing: tuple[Missing, ...]
    wanted: int
    """How many cells the grids ask for; 0 where there is none."""


def read_records(folders: Sequence[str]) -> Records:
    """Read sweeps, together one experiment.

    Runs must agree in their data and in every setting that is no axis of a grid, and in whether stories of even and of
    odd number were told apart; what most runs have is the protocol, and others are left out, as is what is damaged or
    not finished, with a line each.

    Raises:
        FileNotFoundError: a folder is no sweep.
        ValueError: no run is left.
    """
    names = _names(folders)
    sweeps = [read_sweep(folder, name) for folder, name in zip(folders, names, strict=True)]
    faults = [fault for sweep in sweeps for fault in sweep.faults]
    runs = {_label(sweep, name, sweeps): (run, sweep, name) for sweep in sweeps for name, run in sweep.runs.items()}
    protocol = protocol_of({label: run for label, (run, _, _) in runs.items()})

    fitting: dict[str, tuple[Run, Sweep, str]] = {}
    for label, (run, sweep, name) in runs.items():
        if why := departure(run, protocol):
            faults.append(Fault(sweep.name, name, why))
        else:
            fitting[label] = (run, sweep, name)
    with_halves = sum(has_halves(run) for run, _, _ in fitting.values())
    halves = with_halves > 0 and 2 * with_halves >= len(fitting)

    cells: dict[tuple, Cell] = {}
    for label, (run, sweep, name) in fitting.items():
        if halves and not has_halves(run):
            why = "validation must have even_stories and odd_stories as in most cells, got one without"
            faults.append(Fault(sweep.name, name, why))
            continue
        try:
            cell = cell_of(run, label, halves=halves, **sweep.place_of(name))
        except ValueError as error:
            faults.append(Fault(sweep.name, name, f"its record is damaged: {error}"))
            continue
        first = cells.setdefault(_identity(cell), cell)
        if first is not cell:
            faults.append(Fault(sweep.name, name, f"it repeats {first.name}"))
    if not cells:
        reasons = "".join(f"; {line}" for line in _lines(faults, sweeps)[:1])
        raise ValueError(f"sweeps must hold at least one finished run, got none in {', '.join(folders)}{reasons}")
    asked = {(sweep.matched, name): (sweep, place) for sweep in sweeps for name, place in sweep.places.items()}
    done = {(sweep.matched, name) for _, sweep, name in fitting.values()}
    return Records(
        cells=tuple(cells.values()),
        protocol=protocol,
        halves=halves,
        rules=tuple(dict.fromkeys(sweep.rule for sweep in sweeps if sweep.rule)),
        rates=tuple(dict.fromkeys(rate for sweep in sweeps for rate in sweep.rates)),
        left_out=tuple(_lines(faults, sweeps)),
        missing=tuple(_missing(*where) for key, where in asked.items() if key not in done),
        wanted=len(asked),
    )


def _missing(sweep: Sweep, place: Place) -> Missing:
    return Missing(
        name=place.name,
        variant=Variant.of(place.layout, place.encoding),
        width=place.width,
        budget=in_words(place.unit, place.amount),
        matched=sweep.matched,
        learning_rate=place.learning_rate,
        seed=place.seed,
        reason=sweep.failures.get(place.name),
    )


def _identity(cell: Cell) -> tuple:
    return (cell.variant, cell.width, cell.budget, cell.matched, cell.learning_rate, cell.seed)


def _names(folders: Sequence[str]) -> list[str]:
    """Sweeps by the names of their folders, numbered where two are called the same."""
    bare = [Path(folder).expanduser().resolve().name for folder in folders]
    return [f"{name} ({bare[: i + 1].count(name)})" if bare.count(name) > 1 else name for i, name in enumerate(bare)]


def _label(sweep: Sweep, name: str, sweeps: Sequence[Sweep]) -> str:
    return name if len(sweeps) == 1 else f"{sweep.name}/{name}"


def _lines(faults: Sequence[Fault], sweeps: Sequence[Sweep]) -> list[str]:
    """One line for each sweep and reason, with the cells it holds of."""
    lines = []
    ordered = sorted(faults, key=lambda fault: (fault.sweep, fault.why, fault.what))
    for (sweep, why), alike in groupby(ordered, key=lambda fault: (fault.sweep, fault.why)):
        names = [fault.what if len(sweeps) == 1 else f"{sweep}/{fault.what}" for fault in alike]
        shown = ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
        lines.append(" ".join(f"{shown}: {why}".split()))
    return lines
