"""What becomes of a comparison as models widen: does the model catch up, and from which width on is it ahead."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from . import paper
from .comparisons import Comparison, Pair, compare, lead_by_width
from .losses import Losses
from .statistics import Estimate
from .words import around, nats, number, seeds, series


@dataclass(frozen=True)
class Trend:
    """How the lead of a model over its baseline changes with each doubling of the width."""

    pair: Pair
    gain: Estimate
    """Nats per token; above 0 where the model gains on its baseline."""
    sides: tuple[int, ...]
    """At each width 1 where the model is ahead, -1 where it is behind, 0 where that is undecided."""
    paper: float | None
    """The gain over the widths of the paper."""

    def sentence(self) -> str:
        """What was found, as one sentence of Markdown."""
        model, baseline = f"`{self.pair.model}`", f"`{self.pair.baseline}`"
        against = "" if self.paper is None else f" (the paper: {number(self.paper)})"
        if not self.gain.sign:
            return (
                f"Whether {model} gains on {baseline} as models widen is *undecided*: with each doubling of the width "
                f"{number(self.gain.mean)} nats{around(self.gain)}, {seeds(self.gain.seeds)}{against}."
            )
        moves = "gains on" if self.gain.sign > 0 else "falls behind"
        return (
            f"With each doubling of the width {model} {moves} {baseline} by {nats(self.gain)}{against}"
            f"{self._consequence()}."
        )

    def _consequence(self) -> str:
        changes = "grows", "shrinks"
        if all(side > 0 for side in self.sides):
            return f": its lead {changes[self.gain.sign < 0]}"
        if all(side < 0 for side in self.sides):
            return f": the gap {changes[self.gain.sign > 0]}"
        return ""


def trend(losses: Losses, pair: Pair) -> Trend | None:
    """The trend of a pair; None where it has not two widths with a seed in common."""
    gain, printed = lead_by_width(losses, pair), lead_by_width(paper.losses(), pair)
    if gain is None:
        return None
    sides = tuple(each.lead.sign for each in compare(losses, pair) if each.lead is not None)
    return Trend(pair, gain, sides, None if printed is None else printed.mean)


def passing_width(leads: Mapping[int, float]) -> int | None:
    """The least width from which on a lead is above 0 at every width; None where it is not so at the widest."""
    found = None
    for width in sorted(leads, reverse=True):
        if leads[width] <= 0:
            break
        found = width
    return found


def passing(comparisons: Sequence[Comparison]) -> str:
    """At which width a model passes its baseline, as one sentence of Markdown.

    Args:
        comparisons: of one pair, from narrow widths to wide ones; at least one.
    """
    pair, widest = comparisons[0].pair, comparisons[-1]
    model, baseline = f"`{pair.model}`", f"`{pair.baseline}`"
    against = _as_printed(pair)
    signs = {each.width: {"beats": 1.0, "loses to": -1.0, "undecided": 0.0}[each.verdict] for each in comparisons}
    from_width = passing_width(signs)
    if from_width is None and widest.verdict == "undecided":
        return f"Whether {model} passes {baseline} by width {widest.width} is *undecided*{against}."
    if from_width is None:
        return f"{model} does not pass {baseline} by width {widest.width}, the widest here{against}."
    open_widths = [str(width) for width, sign in signs.items() if width < from_width and sign == 0]
    doubt = f"; at {series(open_widths)} it is *undecided*" if open_widths else ""
    if from_width == comparisons[0].width:
        return f"{model} is past {baseline} at width {from_width} already, the narrowest here{against}."
    return f"{model} passes {baseline} from width {from_width} on{doubt}{against}."


def _as_printed(pair: Pair) -> str:
    printed = paper.leads(pair.model, pair.baseline)
    if not printed:
        return ""
    width = passing_width(printed)
    return f" (the paper: {'not' if width is None else f'from {width} on'})"
