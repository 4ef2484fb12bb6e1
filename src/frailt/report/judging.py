"""What a judge's grades come to, worked out once: sections, tables and figures only show it."""

from dataclasses import dataclass
from functools import cached_property

from .gradings import Gradings, gradings
from .laws import Law, above_the_cutoff, laws
from .scores import Scores
from .told import Told


@dataclass(frozen=True)
class Judging:
    """Of the graded checkpoints."""

    told: Told
    cutoff: float
    """The highest loss, in nats per token, that laws are fitted to."""

    @cached_property
    def scores(self) -> Scores:
        return Scores.of(self.told.graded)

    @cached_property
    def gradings(self) -> list[Gradings]:
        """Every pair at every width."""
        return gradings(self.scores)

    @cached_property
    def laws(self) -> list[Law]:
        return laws(self.scores, self.cutoff)

    @property
    def of_loss(self) -> list[str]:
        """What holds between grades and loss, as sentences."""
        above = above_the_cutoff(self.laws)
        return [*([above] if above else []), *(line for law in self.laws for line in law.sentences())]

    @property
    def summary(self) -> list[str]:
        """What a command prints: comparisons at the width that has most of them, and laws."""
        widths = [each.width for each in self.gradings]
        most = max(widths, key=lambda width: (widths.count(width), width), default=None)
        return [*(each.sentence() for each in self.gradings if each.width == most), *self.of_loss]
