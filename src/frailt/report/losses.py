"""Losses by layout, width and seed: the one shape in which ours and the paper's numbers are compared and drawn."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .cells import Cell, Variant
from .statistics import Estimate, estimate

BySeed = Mapping[int, float]
"""Nats per token by seed."""


@dataclass(frozen=True)
class Losses:
    """Validation nats per token of trained models."""

    cells: Mapping[tuple[Variant, int], BySeed]
    """By variant and width."""

    @classmethod
    def of(cls, cells: Iterable[Cell]) -> "Losses":
        """Those of runs, of which no two have variant, width and seed in common."""
        found: dict[tuple[Variant, int], dict[int, float]] = {}
        for cell in cells:
            found.setdefault((cell.variant, cell.width), {})[cell.seed] = cell.nats
        return cls(found)

    @property
    def variants(self) -> list[Variant]:
        """In the order of the paper's tables."""
        return sorted({variant for variant, _ in self.cells}, key=lambda variant: variant.order)

    @property
    def widths(self) -> list[int]:
        """From narrow to wide."""
        return sorted({width for _, width in self.cells})

    def by_seed(self, variant: Variant, width: int) -> BySeed:
        """Empty where nothing was trained."""
        return self.cells.get((variant, width), {})

    def estimate(self, variant: Variant, width: int) -> Estimate | None:
        """The mean over seeds; None where nothing was trained."""
        found = self.by_seed(variant, width)
        return estimate(list(found.values())) if found else None
