"""A model against a baseline by their grades: how much higher it is graded, and how sure that is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from . import paper
from .comparisons import EQUAL_DEPTH, EQUAL_PARAMETERS, LARGER, Pair, pairs
from .scores import AVERAGE, KINDS, Mean, Scores
from .statistics import Estimate
from .words import MISSING, around, number, series, signed

DIGITS = 2
"""Of grades, as the paper prints them."""


@dataclass(frozen=True)
class Gradings:
    """A pair at one width, in every kind of grade."""

    pair: Pair
    width: int
    leads: Mapping[str, Mean | None]
    """How much higher the model is graded, by kind; None where the two share no seed."""
    printed: Mapping[str, float | None]
    """The paper's."""

    @property
    def basis(self) -> str:
        """What differences rest on, in words."""
        return next((each.basis for each in self.leads.values() if each is not None), MISSING)

    def sentence(self) -> str:
        """What was found, as one sentence of Markdown."""
        model, baseline, at = f"`{self.pair.model}`", f"`{self.pair.baseline}`", f"at width {self.width}"
        known = {kind: lead for kind, lead in self.leads.items() if lead is not None}
        if not known:
            return f"{model} and {baseline} {at} share no seed: *undecided*."
        over = ", or ".join(dict.fromkeys(lead.over for lead in sorted(known.values(), key=lambda lead: lead.agrees)))
        over += " where these agree" if ", or " in over else ""
        decided: list[str] = []
        for side, sign in (("above", 1), ("below", -1)):
            sizes = [_size(kind, lead.found) for kind, lead in known.items() if lead.found.sign == sign]
            if sizes:
                decided.append(f"{side} {'it' if decided else baseline} by {series(sizes)}")
        open_ones = series([_open(kind, lead.found) for kind, lead in known.items() if not lead.found.sign])
        if not decided:
            return f"Whether {model} is graded above {baseline} {at} is *undecided* {open_ones}; {over}."
        doubt = f"; *undecided* {open_ones}" if open_ones else ""
        return f"{model} is graded {', '.join(decided)} {at}{doubt}; {over}."


def gradings(scores: Scores) -> list[Gradings]:
    """Every pair at every width where both were graded; pairs are those that losses are compared by."""
    return [
        Gradings(
            pair,
            width,
            {kind: scores.lead(pair, width, kind) for kind in KINDS},
            {kind: _printed(pair, width, kind) for kind in KINDS},
        )
        for pair in pairs(scores.variants)
        for width in scores.widths
        if scores.mean(pair.model, width, KINDS[0]) and scores.mean(pair.baseline, width, KINDS[0])
    ]


def by_kind_of_pair(found: Sequence[Gradings]) -> dict[str, list[Gradings]]:
    """Grouped by what is equal, in their order."""
    groups: dict[str, list[Gradings]] = {}
    for each in found:
        groups.setdefault(each.pair.kind, []).append(each)
    return groups


def _printed(pair: Pair, width: int, kind: str) -> float | None:
    in_the_paper = pair.kind in (EQUAL_PARAMETERS, EQUAL_DEPTH, LARGER)
    return paper.score_lead(pair.model, pair.baseline, width, kind) if in_the_paper else None


def _size(kind: str, lead: Estimate) -> str:
    """Such as 0.41 for plot [0.10, 0.72]; its sign is in the sentence."""
    size = Estimate(abs(lead.mean), lead.half_width, lead.seeds)
    return f"{number(size.mean, DIGITS)} {_for(kind)}{around(size, DIGITS)}"


def _open(kind: str, lead: Estimate) -> str:
    """Such as: for plot (+0.10 [−0.20, 0.40])."""
    return f"{_for(kind)} ({signed(lead.mean, DIGITS)}{around(lead, DIGITS)})"


def _for(kind: str) -> str:
    return "on average" if kind == AVERAGE else f"for {kind}"
