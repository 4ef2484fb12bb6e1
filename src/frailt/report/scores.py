"""Grades by layout, width and seed: means in which every beginning weighs the same, and differences by beginning."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from frailt.judge.prompt import CATEGORIES

from .cells import Variant
from .checkpoints import Checkpoint, Grading, Seed, Teller
from .comparisons import Pair
from .statistics import Estimate, estimate
from .words import counted, seeds

AVERAGE = "average"
"""Of the four categories, as in the paper's Table 5."""

KINDS = (*CATEGORIES, AVERAGE)

ByBeginning = Mapping[int, float]
"""The mean grade, or difference in it, of the stories from each beginning."""

_EQUAL = 1e-9
"""Grades that are apart by less are the same."""


@dataclass(frozen=True)
class Mean:
    """A mean grade, or a difference between two, with what its interval is over."""

    found: Estimate
    seeds: int
    """Whose stories were graded."""
    over_seeds: bool
    """Else the interval is over their beginnings."""

    @property
    def agrees(self) -> bool:
        """Whether several seeds have the very same mean, so that the interval is over beginnings."""
        return self.seeds > 1 and not self.over_seeds

    @property
    def basis(self) -> str:
        """What it rests on, such as 44 beginnings, or 3 seeds."""
        return seeds(self.seeds) if self.seeds > 1 else counted(self.found.seeds, "beginning")

    @property
    def over(self) -> str:
        """What its interval is over, in whole words: 44 beginnings of 1 seed, or 3 seeds."""
        return self.basis if self.over_seeds else f"{counted(self.found.seeds, 'beginning')} of {seeds(self.seeds)}"


@dataclass(frozen=True)
class Marks:
    """What one checkpoint was graded."""

    by_beginning: Mapping[str, ByBeginning]
    """By kind: the mean of its stories, and of the repeats of each, for every beginning with a graded story."""
    gradings: int
    """All that were asked for."""
    unscored: int
    nats: float | None = None


@dataclass(frozen=True)
class Scores:
    """The grades of trained models."""

    cells: Mapping[tuple[Variant, int], Mapping[Seed, Marks]]
    """By variant and width."""

    @classmethod
    def of(cls, checkpoints: Iterable[Checkpoint]) -> "Scores":
        """Those of graded checkpoints, of which no two are the same cell."""
        found: dict[tuple[Variant, int], dict[Seed, Marks]] = {}
        for each in checkpoints:
            found.setdefault((each.variant, each.width), {})[each.seed] = marks_of(each, each.nats)
        return cls(found)

    @property
    def variants(self) -> list[Variant]:
        """In the order of the paper's tables."""
        return sorted({variant for variant, _ in self.cells}, key=lambda variant: variant.order)

    @property
    def widths(self) -> list[int]:
        """From narrow to wide."""
        return sorted({width for _, width in self.cells})

    def mean(self, variant: Variant, width: int, kind: str) -> Mean | None:
        """Over seeds, or of a single one over beginnings; None without a grade."""
        by_seed = self._graded(variant, width)
        return mean_of([marks.by_beginning[kind] for marks in by_seed.values()])

    def lead(self, pair: Pair, width: int, kind: str) -> Mean | None:
        """How much higher the model is graded than the baseline, over the beginnings that both have.

        Over the seeds that both have, or over beginnings where that is one; None without such a seed.
        """
        model, baseline = self._graded(pair.model, width), self._graded(pair.baseline, width)
        by_seed = []
        for seed in [seed for seed in model if seed in baseline]:
            own, other = model[seed].by_beginning[kind], baseline[seed].by_beginning[kind]
            if shared := {beginning: own[beginning] - other[beginning] for beginning in own if beginning in other}:
                by_seed.append(shared)
        return mean_of(by_seed)

    def nats(self, variant: Variant, width: int) -> float | None:
        """The mean validation loss of the graded seeds; None where that of one is not known."""
        found = [marks.nats for marks in self._graded(variant, width).values()]
        known = [nats for nats in found if nats is not None]
        return fmean(known) if known and len(known) == len(found) else None

    def unscored(self, variant: Variant, width: int) -> tuple[int, int] | None:
        """How many gradings came to nothing, and of how many; None where nothing was asked for."""
        found = self.cells.get((variant, width), {}).values()
        return (sum(each.unscored for each in found), sum(each.gradings for each in found)) if found else None

    def _graded(self, variant: Variant, width: int) -> dict[Seed, Marks]:
        found = self.cells.get((variant, width), {})
        return {seed: marks for seed, marks in found.items() if marks.by_beginning[AVERAGE]}


def mean_of(by_seed: Sequence[ByBeginning]) -> Mean | None:
    """The mean of seeds' means, in each of which every beginning weighs the same; None of none.

    Its interval is over seeds where there are several. Where all of them happen to have the same mean, which whole
    grades make likely and which says nothing of the spread, and where there is one, it is over beginnings. Where these
    have the very same mean too, there is none.
    """
    if not by_seed:
        return None
    means = [fmean(each.values()) for each in by_seed]
    if max(means) - min(means) > _EQUAL:
        return Mean(estimate(means), len(by_seed), over_seeds=True)
    beginnings = dict.fromkeys(beginning for each in by_seed for beginning in each)
    values = [fmean(each[beginning] for each in by_seed if beginning in each) for beginning in beginnings]
    found = estimate(values)
    if max(values) - min(values) <= _EQUAL:
        found = replace(found, half_width=None)
    return Mean(found, len(by_seed), over_seeds=False)


def marks_of(teller: Teller, nats: float | None = None) -> Marks:
    """The grades of one checkpoint, or of a yardstick, by beginning."""
    told: dict[int, list[dict[str, float]]] = {}
    for story in teller.stories:
        if graded := [grading for grading in story.gradings if grading.grades is not None]:
            told.setdefault(story.prompt_id, []).append({kind: _mean_of(graded, kind) for kind in KINDS})
    gradings = [grading for story in teller.stories for grading in story.gradings]
    return Marks(
        by_beginning={
            kind: {prompt: fmean(story[kind] for story in stories) for prompt, stories in told.items()}
            for kind in KINDS
        },
        gradings=len(gradings),
        unscored=sum(grading.grades is None for grading in gradings),
        nats=nats,
    )


def _mean_of(gradings: Sequence[Grading], kind: str) -> float:
    """Of the repeats of one story."""
    kinds = CATEGORIES if kind == AVERAGE else (kind,)
    return fmean(fmean(grading.grades[each] for each in kinds) for grading in gradings if grading.grades is not None)
