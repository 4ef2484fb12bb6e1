"""A model against a baseline: which pairs are compared, by how much one is ahead, and how sure that is."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from frailt.model.layout import GroupShape, Layout

from . import paper
from .cells import LEARNED, Matched, Variant
from .losses import Losses
from .statistics import Estimate, difference, paired, seeds_needed, slope
from .words import around, nats, number, seeds

EQUAL_PARAMETERS = "equal parameters"
EQUAL_DEPTH = "equal depth"
LARGER = "twice the blocks"
ENCODING = "another encoding"
HEADINGS = {
    EQUAL_PARAMETERS: "At equal parameters",
    EQUAL_DEPTH: "At equal depth",
    LARGER: "Against twice the blocks",
    ENCODING: "Learned against other encodings",
}

Verdict = Literal["beats", "loses to", "undecided"]
SHARE_OF_EFFECT = 3
"""An interval is narrow enough where its half-width is at most the paper's effect divided by this."""


@dataclass(frozen=True)
class Pair:
    """A model, mostly a looped one, and the baseline that it is held against, mostly a standard one."""

    kind: str
    model: Variant
    baseline: Variant


def pairs(variants: Sequence[Variant], matched: Matched | None = None) -> list[Pair]:
    """The pairs among `variants`, in the order of tables.

    Each looped layout is held against the standard ones with as many unique blocks (equal parameters), with as many
    block applications (equal depth), and with twice the unique blocks where that is another: for the paper's layouts
    `1^2` and `1^8` against `1`, and so on. The learned encoding is held against the others. In a matched sweep all
    layouts are held against its reference.
    """
    if matched is not None:
        others = [variant for variant in variants if variant != matched.reference]
        return [Pair(str(matched), other, matched.reference) for other in others if matched.reference in variants]
    found = []
    for kind in (EQUAL_PARAMETERS, EQUAL_DEPTH, LARGER):
        for looped in variants:
            blocks, depth = looped.layout.unique_blocks, looped.layout.depth
            wanted = {EQUAL_PARAMETERS: blocks, EQUAL_DEPTH: depth, LARGER: 2 * blocks}[kind]
            standard = Variant(Layout((GroupShape(wanted, 1),)))
            if looped.layout.is_looped and standard in variants and not (kind == LARGER and wanted == depth):
                found.append(Pair(kind, looped, standard))
    learned = {variant.layout: variant for variant in variants if variant.encoding == LEARNED}
    found += [
        Pair(ENCODING, learned[variant.layout], variant)
        for variant in variants
        if variant.encoding != LEARNED and variant.layout in learned
    ]
    return found


@dataclass(frozen=True)
class Comparison:
    """A pair at one width."""

    pair: Pair
    width: int
    lead: Estimate | None
    """By how many nats per token the model is ahead, paired by seed; below 0 where it is behind. None where
    they share no seed."""
    paper: float | None
    """The lead in the paper's tables."""

    @property
    def verdict(self) -> Verdict:
        """Which is ahead; undecided where the interval holds 0, or one seed gives none."""
        sign = self.lead.sign if self.lead is not None else 0
        return "beats" if sign > 0 else "loses to" if sign < 0 else "undecided"

    @property
    def wanted_half_width(self) -> float | None:
        """A third of the paper's effect: so narrow shall the interval be."""
        return None if self.paper is None else abs(self.paper) / SHARE_OF_EFFECT

    @property
    def is_narrow(self) -> bool | None:
        """Whether the interval is so narrow; None where there is nothing to tell it by."""
        if self.lead is None or self.wanted_half_width is None:
            return None
        return self.lead.half_width is not None and self.lead.half_width <= self.wanted_half_width

    @property
    def seeds_needed(self) -> int | None:
        """How many seeds would make it so narrow; None where that is not known."""
        if self.lead is None or not self.wanted_half_width:
            return None
        return seeds_needed(self.lead, self.wanted_half_width)

    def sentence(self) -> str:
        """What was found, as one sentence of Markdown."""
        model, baseline = f"`{self.pair.model}`", f"`{self.pair.baseline}`"
        against = "" if self.paper is None else f" (the paper: {_ahead(self.paper)})"
        if self.lead is None:
            return f"{model} and {baseline} at width {self.width} share no seed: *undecided*{against}."
        if self.lead.half_width is None:
            found = f"{_ahead(self.lead.mean, ' nats')} in {seeds(self.lead.seeds)}, which gives no interval"
        elif self.verdict == "undecided":
            found = f"a lead of {number(self.lead.mean)} nats{around(self.lead)}, {seeds(self.lead.seeds)}"
        else:
            return (
                f"{model} {self.verdict} {baseline} at width {self.width} by {nats(self.lead)}{against}{self._doubt()}."
            )
        return f"Whether {model} beats {baseline} at width {self.width} is *undecided*: {found}{against}."

    def _doubt(self) -> str:
        if self.lead is None or self.is_narrow is not False:
            return ""
        return (
            f"; by how much is *undecided*: the half-width is {number(self.lead.half_width)}, more than a third of the "
            f"paper's effect"
        )


def compare(losses: Losses, pair: Pair) -> list[Comparison]:
    """A pair at every width where both were trained.

    The paper's effect stands beside it, but for matched sweeps, where something else is equal.
    """
    printed = pair.kind in (EQUAL_PARAMETERS, EQUAL_DEPTH, LARGER)
    return [
        Comparison(
            pair,
            width,
            paired(losses.by_seed(pair.baseline, width), losses.by_seed(pair.model, width)),
            paper.lead(pair.model, pair.baseline, width) if printed else None,
        )
        for width in losses.widths
        if losses.by_seed(pair.baseline, width) and losses.by_seed(pair.model, width)
    ]


def lead_by_width(losses: Losses, pair: Pair) -> Estimate | None:
    """How much of a lead the model gains with each doubling of the width, in nats per token."""
    leads = {
        width: difference(losses.by_seed(pair.baseline, width), losses.by_seed(pair.model, width))
        for width in losses.widths
    }
    return slope({width: by_seed for width, by_seed in leads.items() if by_seed})


def _ahead(lead: float, unit: str = "") -> str:
    return f"{number(abs(lead))}{unit} {'ahead' if lead > 0 else 'behind'}"
