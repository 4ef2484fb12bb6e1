"""What holds of the paper's claims: its numbers and ours answer the same questions and are set side by side."""

from collections.abc import Sequence
from dataclasses import dataclass

from . import paper
from .comparisons import EQUAL_DEPTH, EQUAL_PARAMETERS, LARGER, Comparison, Pair, lead_by_width, pairs
from .widths import Trend
from .words import MISSING, series

QUESTIONS = {
    EQUAL_PARAMETERS: "At equal parameters, is the looped model ahead of the standard one?",
    EQUAL_DEPTH: "At equal depth, is the looped model ahead of the standard one?",
    LARGER: "Is the looped model ahead of the standard one with twice the blocks?",
}
GAINS = "At equal depth, does the looped model gain on the standard one as models widen?"

_SIGNS = {"beats": 1, "loses to": -1, "undecided": 0}


@dataclass(frozen=True)
class Answer:
    """What the paper and we answer to one question, each comparison by itself: 1 for yes, -1 for no, 0 undecided."""

    question: str
    printed: tuple[int, ...]
    """In the paper."""
    ours: tuple[int, ...]
    """Here, in the comparisons that the paper has too."""
    expected: tuple[int, ...]
    """The paper's, in the place of each of ours."""
    widths: tuple[int, ...] = ()
    """That ours are at; empty for what goes over all widths."""

    @property
    def in_the_paper(self) -> str:
        return tally(self.printed)

    @property
    def here(self) -> str:
        where = f", at width {series([str(width) for width in self.widths])}" if self.widths else ""
        return f"{tally(self.ours)}{where}"

    @property
    def verdict(self) -> str:
        """Whether our numbers say what the paper's do, comparison by comparison."""
        if not self.ours:
            return "not tested"
        agreed = [own == wanted for own, wanted in zip(self.ours, self.expected, strict=True) if own]
        if not agreed:
            return "*undecided*"
        word = "**as in the paper**" if all(agreed) else "**in part**" if any(agreed) else "**other than in the paper**"
        return word if len(agreed) == len(self.ours) else f"{word} where decided"


def tally(signs: Sequence[int]) -> str:
    """Such as: yes in 3 of 4, *undecided* in 1 of 4."""
    words = {"yes": signs.count(1), "no": signs.count(-1), "*undecided*": signs.count(0)}
    shown = [f"{word} in {count} of {len(signs)}" for word, count in words.items() if count]
    return ", ".join(shown) or MISSING


def answers(comparisons: Sequence[Comparison], trends: Sequence[Trend]) -> list[Answer]:
    """Ours beside the paper's, in the order of the questions."""
    found = []
    for kind, question in QUESTIONS.items():
        ours = [each for each in comparisons if each.pair.kind == kind and each.paper]
        found.append(
            Answer(
                question,
                printed=tuple(
                    sign(lead) for pair in _printed(kind) for lead in paper.leads(pair.model, pair.baseline).values()
                ),
                ours=tuple(_SIGNS[each.verdict] for each in ours),
                expected=tuple(sign(each.paper) for each in ours),
                widths=tuple(sorted({each.width for each in ours})),
            )
        )
    slopes = [lead_by_width(paper.losses(), pair) for pair in _printed(EQUAL_DEPTH)]
    gains = [each for each in trends if each.pair.kind == EQUAL_DEPTH and each.paper]
    found.append(
        Answer(
            GAINS,
            printed=tuple(sign(slope.mean) for slope in slopes if slope is not None),
            ours=tuple(each.gain.sign for each in gains),
            expected=tuple(sign(each.paper) for each in gains),
        )
    )
    return found


def sign(value: float | None) -> int:
    """1, -1, or 0 for nothing."""
    return 0 if not value else 1 if value > 0 else -1


def _printed(kind: str) -> list[Pair]:
    return [pair for pair in pairs(paper.losses().variants) if pair.kind == kind]
