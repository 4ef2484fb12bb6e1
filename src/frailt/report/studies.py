"""Studies: the cells of one budget, or of one matching, with the learning rate that was best for each."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from .cells import Cell, Matched, Variant
from .losses import Losses
from .sweeps import Rate


@dataclass(frozen=True)
class Study:
    """Cells that are comparable with one another: only layout, encoding, width and seed tell them apart."""

    budget: str
    matched: Matched | None
    cells: tuple[Cell, ...]
    rates: tuple[Rate, ...]
    """Chosen here, where cells were trained at several rates."""
    left_out: tuple[str, ...] = ()
    """What is not compared, with the reason."""

    @property
    def losses(self) -> Losses:
        return Losses.of(self.cells)

    @property
    def title(self) -> str:
        """Such as 1 pass, or: 1 pass, equal training FLOPs."""
        return self.budget if self.matched is None else f"{self.budget}, {self.matched}"


def studies(cells: Iterable[Cell]) -> list[Study]:
    """The studies that cells make up; those that are not matched first, then those of the most cells."""
    groups: dict[tuple[str, Matched | None], list[Cell]] = {}
    for cell in cells:
        groups.setdefault((cell.budget, cell.matched), []).append(cell)
    found = [_study(budget, matched, group) for (budget, matched), group in groups.items()]
    return sorted(found, key=lambda study: (study.matched is not None, -len(study.cells), study.title))


def _study(budget: str, matched: Matched | None, cells: Sequence[Cell]) -> Study:
    groups: dict[tuple[Variant, int], list[Cell]] = {}
    for cell in cells:
        groups.setdefault((cell.variant, cell.width), []).append(cell)
    kept, rates, left_out = [], [], list[str]()
    for (variant, width), group in sorted(groups.items(), key=lambda item: (item[0][1], item[0][0].order)):
        seeds = _by_rate(group)
        shared = set.intersection(*map(set, seeds.values()))
        # Rates compare over the seeds that all of them have. Without any the best mean would be a choice among seeds.
        trials = {rate: fmean(by[seed] for seed in shared or by) for rate, by in seeds.items()}
        chosen = min(trials, key=lambda rate: (0 if shared else -len(seeds[rate]), trials[rate], rate))
        if not shared:
            left_out += [
                f"{cell.name}: its learning rate has no seed in common with {chosen:g}, which more seeds have"
                for cell in group
                if cell.learning_rate != chosen
            ]
        kept += sorted((cell for cell in group if cell.learning_rate == chosen), key=lambda cell: cell.seed)
        if len(trials) > 1 and shared:
            rates.append(Rate(variant, width, budget, chosen, tuple(sorted(trials.items()))))
    return Study(budget, matched, tuple(kept), tuple(rates), tuple(left_out))


def _by_rate(cells: Sequence[Cell]) -> dict[float, dict[int, float]]:
    """What rates are chosen by, for each seed of each."""
    seeds: dict[float, dict[int, float]] = {}
    for cell in cells:
        seeds.setdefault(cell.learning_rate, {})[cell.seed] = cell.chosen_by
    return seeds
