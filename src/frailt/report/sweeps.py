"""A sweep folder: its grid, the learning rates that were searched, and its runs; each part as far as it can be read."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from frailt.experiments.grid import Cell as Place
from frailt.experiments.grid import Grid
from frailt.experiments.records import Run

from .cells import Matched, Variant, budget_of, in_words

_MATCHED = {"params": "parameters", "flops": "training FLOPs", "time": "training time"}


@dataclass(frozen=True)
class Rate:
    """A learning rate that was chosen for a layout, width and encoding, and the rates it was chosen from."""

    variant: Variant
    width: int
    budget: str
    """In words; that of the cells, of which trials may get a share."""
    chosen: float | None
    """None where training diverged at all of them."""
    trials: tuple[tuple[float, float], ...]
    """Rate, and nats per token it came to: infinite where training diverged. From low rates to high ones."""

    @property
    def at_edge(self) -> bool:
        """Whether nothing was tried beyond the chosen rate, so that the best may lie there."""
        tried = [rate for rate, _ in self.trials]
        return self.chosen is not None and (not tried or not min(tried) < self.chosen < max(tried))


@dataclass(frozen=True)
class Fault:
    """What could not be used, and why, in words."""

    sweep: str
    what: str
    why: str


@dataclass(frozen=True)
class Sweep:
    """A sweep folder as it is now."""

    name: str
    runs: dict[str, Run]
    """Finished runs by their folder's name, in the order of names."""
    places: dict[str, Place]
    """The cells that the grid asks for, by name; none where there is no grid."""
    matched: Matched | None
    rule: str
    """How learning rates were chosen, in the words of the search."""
    rates: tuple[Rate, ...]
    failures: dict[str, str]
    """Why cells failed, by name."""
    faults: tuple[Fault, ...]

    def place_of(self, name: str) -> dict[str, Any]:
        """What the grid says of a matched cell, in the terms of `cell_of`; of others their own record says it."""
        place = self.places.get(name)
        if place is None or self.matched is None:
            return {}
        return {"width": place.width, "budget": in_words(place.unit, place.amount), "matched": self.matched}


def read_sweep(folder: str | Path, name: str) -> Sweep:
    """Read a sweep folder; what is damaged in it becomes a fault.

    Args:
        folder: of the sweep.
        name: what its faults call it.

    Raises:
        FileNotFoundError: it is no sweep.
    """
    folder = Path(folder).expanduser()
    if not (folder / "cells").is_dir():
        raise FileNotFoundError(f"sweeps must be folders made by frailt sweep, got {str(folder)!r} without cells/")
    faults: list[Fault] = []
    try:
        grid = Grid.read(folder / "grid.yaml") if (folder / "grid.yaml").is_file() else None
    except (ValueError, TypeError) as error:
        why = str(error).replace(f"{folder}/", "")
        faults.append(Fault(name, "grid.yaml", f"which cells were asked for is not known: {why}"))
        grid = None
    places = {place.name: place for place in grid} if grid is not None else {}
    runs: dict[str, Run] = {}
    for path in sorted(path for path in (folder / "cells").iterdir() if path.is_dir()):
        if path.name in places and not (path / "run.json").is_file():
            continue  # it is among those that are missing
        try:
            runs[path.name] = _run(path)
        except ValueError as error:
            faults.append(Fault(name, path.name, str(error)))
    try:
        rule, rates = _rates(folder / "rates.json")
    except (ValueError, TypeError, KeyError) as error:
        why = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        faults.append(Fault(name, "rates.json", f"how learning rates were chosen is not known: {why}"))
        rule, rates = "", ()
    return Sweep(
        name=name,
        runs=runs,
        places=places,
        matched=_matched(grid),
        rule=rule,
        rates=rates,
        failures=_failures(folder / "failures.json"),
        faults=tuple(faults),
    )


def _run(path: Path) -> Run:
    if not (path / "run.json").is_file():
        raise ValueError("it has no run.json: it was not begun")
    run = Run.read(path, name="it")
    if not run.config:
        raise ValueError("it must hold config.yaml, which says what was trained")
    return run


def _matched(grid: Grid | None) -> Matched | None:
    if grid is None or grid.match is None or grid.reference is None:
        return None
    return Matched(_MATCHED[grid.match], Variant.of(grid.reference))


def _failures(path: Path) -> dict[str, str]:
    """By cell; nothing where there is no such file, or it is damaged: cells are missing all the same."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {str(name).removeprefix("cells/"): str(why) for name, why in found.items()}
    except (OSError, ValueError, AttributeError):
        return {}


def _rates(path: Path) -> tuple[str, tuple[Rate, ...]]:
    if not path.is_file():
        return "", ()
    found = json.loads(path.read_text(encoding="utf-8"))
    rates = [
        Rate(
            variant=Variant.of(str(entry["layout"]), str(entry["encoding"])),
            width=int(entry["width"]),
            budget=budget_of(entry),
            chosen=None if entry["learning_rate"] is None else float(entry["learning_rate"]),
            trials=tuple(sorted((float(each["learning_rate"]), _nats(each)) for each in entry["trials"])),
        )
        for entry in found["chosen"]
    ]
    return str(found.get("rule", "")), tuple(rates)


def _nats(trial: dict[str, Any]) -> float:
    nats = trial.get("nats_per_token")
    return math.inf if nats is None or not math.isfinite(nats) else float(nats)
