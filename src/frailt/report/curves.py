"""Learning curves over seeds, and where overfitting begins: where the validation loss turns before training ends."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from .cells import Cell, Curve, Variant
from .comparisons import EQUAL_DEPTH, EQUAL_PARAMETERS, Pair
from .statistics import Estimate, estimate, paired
from .words import around, nats, number, seeds

Band = dict[int, tuple[float, float, float]]
"""Mean, least and greatest nats per token over seeds, by tokens trained on."""


def smooth(curve: Curve, at: Sequence[int]) -> Curve:
    """The mean of a noisy curve since the point before, at each of the points `at` that it reaches."""
    found, left = {}, dict(curve)
    for tokens in at:
        passed = [left.pop(each) for each in list(left) if each <= tokens]
        if passed:
            found[tokens] = fmean(passed)
    return found


def band(curves: Sequence[Curve]) -> Band:
    """Curves of several seeds as one, at the points that all have."""
    shared = sorted(set.intersection(*map(set, curves))) if curves else []
    return {
        tokens: (
            fmean(curve[tokens] for curve in curves),
            min(curve[tokens] for curve in curves),
            max(curve[tokens] for curve in curves),
        )
        for tokens in shared
    }


@dataclass(frozen=True)
class Turn:
    """Where the mean validation curve of a model is lowest, and how far it rises from there to the end."""

    variant: Variant
    width: int
    tokens: int
    """Trained on at the lowest point."""
    end_tokens: int
    rises: Mapping[int, float]
    """By seed: nats per token at the end less those where the mean of the other seeds' curves is lowest, so that a dip
    of chance is no rise; of a single seed, where its own is. All 0 where the mean of all is lowest at the end."""

    @property
    def rise(self) -> Estimate:
        return estimate(list(self.rises.values()))

    @property
    def is_before_the_end(self) -> bool:
        return self.tokens < self.end_tokens

    def sentence(self) -> str:
        """What was found, as one sentence of Markdown."""
        name, where = f"`{self.variant}` at width {self.width}", f"{self.tokens:,} of {self.end_tokens:,} tokens"
        if self.rise.sign > 0:
            return f"{name} overfits from {where} on: its validation loss then rises by {nats(self.rise)}."
        return (
            f"Whether {name} overfits is *undecided*: its mean validation loss is lowest after {where}; from where the "
            f"other seeds are lowest to the end each changes by {number(self.rise.mean)} nats{around(self.rise)}, "
            f"{seeds(self.rise.seeds)}."
        )


def turns(cells: Sequence[Cell]) -> list[Turn]:
    """The turn of every variant and width whose runs were measured while training."""
    groups: dict[tuple[Variant, int], dict[int, Curve]] = {}
    for cell in cells:
        if cell.validation:
            groups.setdefault((cell.variant, cell.width), {})[cell.seed] = cell.validation
    found = []
    for (variant, width), by_seed in groups.items():
        mean = {tokens: point[0] for tokens, point in band(list(by_seed.values())).items()}
        if mean:
            lowest, end = min(mean, key=lambda tokens: (mean[tokens], -tokens)), max(mean)
            lows = {seed: end if lowest == end else _lowest_of_others(by_seed, seed, mean) for seed in by_seed}
            rises = {seed: curve[end] - curve[lows[seed]] for seed, curve in by_seed.items()}
            found.append(Turn(variant, width, lowest, end, rises))
    return found


def _lowest_of_others(by_seed: Mapping[int, Curve], seed: int, points: Iterable[int]) -> int:
    """Where the mean curve of the other seeds is lowest; of the seed itself where there is no other."""
    others = [curve for other, curve in by_seed.items() if other != seed] or [by_seed[seed]]
    return min(points, key=lambda tokens: (fmean(curve[tokens] for curve in others), -tokens))


def overfitting(found: Sequence[Turn], pairs: Sequence[Pair]) -> list[str]:
    """Which models overfit, and which of a pair does so more, as sentences of Markdown.

    Pairs are those of equal parameters and of equal depth. The rise of a model that does not turn counts as 0.
    """
    turned = [turn for turn in found if turn.is_before_the_end]
    if not turned:
        none = "No mean validation curve ends above its lowest point, where it was measured."
        return [none] if found else []
    by_place = {(turn.variant, turn.width): turn for turn in found}
    sentences = [turn.sentence() for turn in turned]
    for pair in pairs:
        for width in sorted({turn.width for turn in found}) if pair.kind in (EQUAL_PARAMETERS, EQUAL_DEPTH) else []:
            model, baseline = by_place.get((pair.model, width)), by_place.get((pair.baseline, width))
            if model is None or baseline is None or not (model.is_before_the_end or baseline.is_before_the_end):
                continue
            less = paired(baseline.rises, model.rises)
            if less is not None:
                sentences.append(_compared(pair, width, less))
    return sentences


def _compared(pair: Pair, width: int, less: Estimate) -> str:
    model, baseline = f"`{pair.model}`", f"`{pair.baseline}`"
    if not less.sign:
        return (
            f"Whether {model} overfits less than {baseline} ({pair.kind}) at width {width} is *undecided*: "
            f"{number(less.mean)} nats less{around(less)}, {seeds(less.seeds)}."
        )
    more_or_less = "less" if less.sign > 0 else "more"
    return f"{model} overfits {more_or_less} than {baseline} ({pair.kind}) at width {width}, by {nats(less)}."
