"""What the cells of one study come to, worked out once: sections, tables and figures only show it."""

from dataclasses import dataclass
from functools import cached_property

from .cells import LEARNED
from .comparisons import EQUAL_DEPTH, EQUAL_PARAMETERS, Comparison, Pair, compare, pairs
from .curves import Turn, turns
from .losses import Losses
from .studies import Study
from .verdicts import Answer, answers
from .widths import Trend, trend
from .worth import Worth, worth


@dataclass(frozen=True)
class Findings:
    """Of one study."""

    study: Study

    @cached_property
    def losses(self) -> Losses:
        return self.study.losses

    @cached_property
    def pairs(self) -> list[Pair]:
        return pairs(self.losses.variants, self.study.matched)

    @cached_property
    def comparisons(self) -> list[Comparison]:
        """Every pair at every width."""
        return [each for pair in self.pairs for each in compare(self.losses, pair)]

    @cached_property
    def trends(self) -> list[Trend]:
        """Over widths, of the pairs of equal depth and of equal parameters."""
        found = [trend(self.losses, pair) for pair in self.pairs if pair.kind in (EQUAL_DEPTH, EQUAL_PARAMETERS)]
        return [each for each in found if each is not None]

    @cached_property
    def answers(self) -> list[Answer]:
        """To the paper's questions."""
        return answers(self.comparisons, self.trends)

    @cached_property
    def turns(self) -> list[Turn]:
        return turns(self.study.cells)

    @cached_property
    def _fitted(self) -> tuple[list[Worth], list[str]]:
        if self.study.matched is not None:  # the law is one of layers at one width and one budget
            return [], ["in a matched sweep widths or budgets differ by layout"]
        trained: dict[str, set[int]] = {}  # widths of each encoding
        for variant, width in self.losses.cells:
            if variant.layout.is_looped:
                trained.setdefault(variant.encoding, set()).add(width)
        fits, faults = list[Worth](), list[str]()
        for encoding in sorted(trained, key=lambda encoding: (encoding != LEARNED, encoding)):
            widths = []
            for width in sorted(trained[encoding]):
                try:
                    fits.append(worth(self.losses, encoding, [width]))
                    widths.append(width)
                except ValueError as error:
                    faults.append(str(error) if encoding == LEARNED else f"{error} (encoding {encoding})")
            if len(widths) > 1:
                fits.append(worth(self.losses, encoding, widths))
        return fits, faults

    @property
    def fits(self) -> list[Worth]:
        """What a loop is worth: at each width, then at all of them together."""
        return self._fitted[0]

    @property
    def unfitted(self) -> list[str]:
        """Why it is not known at some widths."""
        return self._fitted[1]
