"""What a loss costs: unique parameters, training FLOPs, seconds; and which models nothing cheaper beats."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

from .cells import Cell, Variant
from .statistics import Estimate, estimate


@dataclass(frozen=True)
class Priced:
    """A model with its mean cost over seeds, and its loss."""

    variant: Variant
    width: int
    cost: float
    least: float
    greatest: float
    """Of the cost, over seeds."""
    loss: Estimate


def priced(cells: Sequence[Cell], cost: Callable[[Cell], float], paid: Sequence[Cell] | None = None) -> list[Priced]:
    """Every variant and width, with the loss of all its seeds.

    Args:
        cells: to be priced.
        cost: of each.
        paid: those whose cost compares, where not all do; a model without any of these is left out.
    """
    found = []
    for (variant, width), group in models_of(cells).items():
        costs = [cost(cell) for cell in group if paid is None or cell in paid]
        if costs:
            loss = estimate([cell.nats for cell in group])
            found.append(Priced(variant, width, fmean(costs), min(costs), max(costs), loss))
    return found


def models_of(cells: Sequence[Cell]) -> dict[tuple[Variant, int], list[Cell]]:
    """Cells by variant and width: those of one model, a seed each."""
    groups: dict[tuple[Variant, int], list[Cell]] = {}
    for cell in cells:
        groups.setdefault((cell.variant, cell.width), []).append(cell)
    return groups


def front(models: Sequence[Priced]) -> list[Priced]:
    """Those that have a lower mean loss than every model that costs as much or less, from cheap to dear."""
    found: list[Priced] = []
    for model in sorted(models, key=lambda model: (model.cost, model.loss.mean)):
        if not found or model.loss.mean < found[-1].loss.mean:
            found.append(model)
    return found


def of_one_machine(cells: Sequence[Cell]) -> tuple[str, list[Cell]]:
    """The machine and kernel that ran most cells, the first by name of those that ran as many, and its cells."""
    machines = [cell.timed_on for cell in cells]
    most = min(set(machines), key=lambda machine: (-machines.count(machine), machine))
    return most, [cell for cell in cells if cell.timed_on == most]
