"""The tables of grades and of measures: the paper's 4 and 5 with ours beside it, differences, laws, measures."""

from collections.abc import Sequence

from frailt.judge.prompt import CATEGORIES

from . import paper
from .cells import Variant
from .checkpoints import Checkpoint, Teller
from .document import Table
from .gradings import DIGITS, Gradings
from .laws import FRAILT, STANDARD, Law
from .measures import Measure
from .powerlaw import Fit
from .scores import AVERAGE, KINDS, Mean, Scores
from .words import MISSING, code, interval, number, p_alone, percent, plain, signed, whole

AGREES = "†"
"""Marks an interval over beginnings because seeds have the very same mean."""

_THREE = ("ours", "paper", "diff.")
_MEASURES_IN_A_TABLE = 6


def of_grades(scores: Scores) -> Table:
    """Table 4: by width and layout ours, the paper's and the difference, ours minus the paper's."""
    rows = [
        (
            str(width),
            f"`{variant}`",
            number(scores.nats(variant, width)),
            _over(scores, variant, width),
            _unscored(scores, variant, width),
            *(cell for kind in CATEGORIES for cell in _beside(scores, variant, width, kind)),
        )
        for width, variant in _places(scores)
    ]
    groups = (("", 3), ("", 2), *((kind, 3) for kind in CATEGORIES))
    header = ("width", "layout", "loss", "interval over", "unscored", *_THREE * len(CATEGORIES))
    return Table(header, tuple(rows), labels=2, groups=groups)


def of_averages(scores: Scores) -> Table:
    """Table 5: the average of the four categories."""
    rows = [
        (str(width), f"`{variant}`", *_beside(scores, variant, width, AVERAGE), _over(scores, variant, width))
        for width, variant in _places(scores)
    ]
    return Table(("width", "layout", *_THREE, "interval over"), tuple(rows), labels=2)


def grades_as_printed() -> Table:
    """Table 4 as the paper has it, and Table 5 as its last column."""
    rows = [
        (
            str(width),
            f"`{variant}`",
            number(paper.loss(variant, width)),
            *(number(paper.score(variant, width, kind), DIGITS) for kind in KINDS),
        )
        for variant, width in paper.graded()
    ]
    return Table(("width", "layout", "loss", *KINDS), tuple(rows), labels=2)


def averages_as_printed() -> Table:
    """Table 5 as the paper has it."""
    variants = sorted({variant for variant, _ in paper.graded()}, key=lambda variant: variant.order)
    widths = sorted({width for _, width in paper.graded()})
    rows = [
        (str(width), *(number(paper.score(variant, width, AVERAGE), DIGITS) for variant in variants))
        for width in widths
    ]
    return Table(("width", *(f"`{variant}`" for variant in variants)), tuple(rows), labels=0)


def of_leads(found: Sequence[Gradings]) -> Table:
    """Every comparison of grades, ours and the paper's."""
    rows = [
        (
            each.pair.kind,
            f"`{each.pair.model}`",
            f"`{each.pair.baseline}`",
            str(each.width),
            each.basis,
            *(cell for kind in KINDS for cell in (_lead(each.leads[kind]), signed(each.printed[kind], DIGITS))),
        )
        for each in found
    ]
    header = ("comparison", "model", "baseline", "width", "interval over", *("ours", "paper") * len(KINDS))
    groups = (("", 5), *((kind, 2) for kind in KINDS))
    return Table(header, tuple(rows), labels=3, groups=groups)


def of_laws(found: Sequence[Law]) -> Table:
    """Exponents by kind of grade and family, and whether one law serves both."""
    rows = []
    for law in found:
        fits = law.fit(STANDARD), law.fit(FRAILT), law.fit()
        apart, both = law.one_line, law.fit()
        rows.append(
            (
                law.kind,
                *(exponent(each) for each in fits),
                MISSING if both is None else number(both.level, 2),
                MISSING if both is None else number(both.r_squared, 2),
                MISSING if both is None else number(both.scatter, 2),
                MISSING if apart is None else f"{number(apart.f, 2)} ({apart.freedom[0]}, {apart.freedom[1]})",
                MISSING if apart is None else p_alone(apart.p),
                MISSING
                if apart is None
                else f"{percent(apart.higher[0] - 1, signed=True)} "
                f"[{percent(apart.higher[1] - 1, signed=True)}, {percent(apart.higher[2] - 1, signed=True)}]",
            )
        )
    header = (
        "grade", STANDARD, FRAILT, "both", "at loss 1", "R²", "scatter", "F", "p", "FraiLT at equal loss",
    )  # fmt: skip
    groups = (("", 1), ("exponent:", 3), ("both:", 3), ("one law?", 3))
    return Table(header, tuple(rows), groups=groups)


def of_measures(tellers: Sequence[Teller]) -> list[Table]:
    """A column for each measure, whatever its name, a few to a table; a row for each checkpoint and yardstick."""
    names = list(measures_of(tellers))
    tables = []
    for start in range(0, len(names), _MEASURES_IN_A_TABLE):
        some = names[start : start + _MEASURES_IN_A_TABLE]
        rows = [
            (*_who(each), *(_measure(each.measures.by_name.get(name)) for name in some))
            for each in tellers
            if each.measures is not None
        ]
        tables.append(Table(("layout", "width", "seed", *map(code, some)), tuple(rows)))
    return tables


def measures_of(tellers: Sequence[Teller]) -> dict[str, Measure]:
    """One measure of each name, in the order in which they come: for unit and explanation."""
    found: dict[str, Measure] = {}
    for each in tellers:
        for name, measure in each.measures.by_name.items() if each.measures is not None else ():
            found.setdefault(name, measure)
    return found


def figures(value: float) -> str:
    """A measure of any size, with some three significant digits: 0.0312, 1.940, 31.20, 1,935."""
    size = abs(value)
    if size >= 1000:
        return whole(value)
    if 0 < size < 0.0001:
        return f"{value:.1e}"
    digits = 1 if size >= 100 else 2 if size >= 10 else 3 if size >= 0.1 or size == 0 else 4 if size >= 0.001 else 5
    return number(value, digits)


def exponent(found: Fit | None) -> str:
    """Such as 1.96 [1.55, 2.37] (22), the last being the models."""
    if found is None:
        return MISSING
    return f"{number(found.exponent, 2)} {interval(found.low, found.high, 2)} ({found.models})"


def _places(scores: Scores) -> list[tuple[int, Variant]]:
    """Widths and layouts, ours and the paper's."""
    return sorted(
        {(width, variant) for variant, width in [*scores.cells, *paper.graded()]},
        key=lambda place: (place[0], place[1].order),
    )


def _beside(scores: Scores, variant: Variant, width: int, kind: str) -> tuple[str, str, str]:
    own, printed = scores.mean(variant, width, kind), paper.score(variant, width, kind)
    both = None if own is None or printed is None else own.found.mean - printed
    return _mean(own), number(printed, DIGITS), signed(both, DIGITS)


def _mean(mean: Mean | None) -> str:
    if mean is None:
        return MISSING
    return number(mean.found.mean, DIGITS) + _half(mean)


def _lead(lead: Mean | None) -> str:
    if lead is None:
        return MISSING
    return signed(lead.found.mean, DIGITS) + _half(lead)


def _half(mean: Mean) -> str:
    """Half of its interval, marked where it is over beginnings though there are several seeds."""
    half = mean.found.half_width
    return "" if half is None else f" ± {number(half, DIGITS)}{AGREES if mean.agrees else ''}"


def _over(scores: Scores, variant: Variant, width: int) -> str:
    mean = scores.mean(variant, width, AVERAGE)
    return MISSING if mean is None else mean.basis


def _unscored(scores: Scores, variant: Variant, width: int) -> str:
    found = scores.unscored(variant, width)
    return MISSING if found is None else f"{whole(found[0])} of {whole(found[1])}"


def _measure(found: Measure | None) -> str:
    if found is None:
        return MISSING
    if found.low is None or found.high is None:
        return figures(found.mean)
    return f"{figures(found.mean)} [{figures(found.low)}, {figures(found.high)}]"


def _who(teller: Teller) -> tuple[str, str, str]:
    """Layout, width and seed of a checkpoint; what a yardstick is called."""
    if not isinstance(teller, Checkpoint):
        return plain(teller.name), MISSING, MISSING
    return f"`{teller.variant}`", str(teller.width), MISSING if teller.seed is None else str(teller.seed)
