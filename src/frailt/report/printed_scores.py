"""The paper's grades, redrawn: Tables 4 and 5, Figures 6 and 7 with their laws, and what of it may be chance."""

from collections.abc import Sequence
from functools import cached_property
from math import inf, isinf, sqrt

from frailt.intervals import t_quantile

from . import paper, score_tables
from .comparisons import Pair, pairs
from .document import Block, Bullets, Heading, Paragraph, Table
from .gradings import DIGITS
from .laws import Law, above_the_cutoff, printed_laws
from .noise import (
    GRADES,
    HALF,
    SPREADS,
    Doubt,
    doubt,
    grades_of,
    multiples,
    printed,
    widths_of_ten,
)
from .score_sections import laws_and_figures
from .scores import KINDS
from .words import MISSING, number, series, signed

_NOTE = "Redrawn from the paper's Tables 2 to 5."
_CUTOFFS = (0.75, 0.85, 1.0, inf)


class PrintedScores:
    """What the paper's grades come to, with laws up to a loss of `cutoff`."""

    def __init__(self, cutoff: float) -> None:
        self.cutoff = cutoff
        self.laws: list[Law] = printed_laws(cutoff)

    @property
    def widths(self) -> list[int]:
        """Of the graded models."""
        return sorted({width for _, width in paper.graded()})

    @cached_property
    def doubts(self) -> list[Doubt]:
        """Every comparison of the paper's models, in every kind of grade."""
        variants = sorted({variant for variant, _ in paper.graded()}, key=lambda variant: variant.order)
        asked = [(pair, width, kind) for pair in pairs(variants) for width in self.widths for kind in KINDS]
        return [found for found in (doubt(*each) for each in asked) if found is not None]

    @property
    def of_loss(self) -> list[str]:
        """What holds between the paper's grades and losses, as sentences."""
        above = above_the_cutoff(self.laws)
        return [*([above] if above else []), *(line for law in self.laws for line in law.sentences())]

    def tables(self) -> list[Block]:
        """Tables 4 and 5."""
        return [
            Heading(2, "Tables 4 and 5"),
            Paragraph("**Table 4.** Grades by category, with the losses of Tables 2 and 3 and the average of Table 5."),
            score_tables.grades_as_printed(),
            Paragraph("**Table 5.** Average grades."),
            score_tables.averages_as_printed(),
        ]

    def power_laws(self) -> list[Block]:
        """Figures 6 and 7."""
        return [
            Heading(2, "Grades and loss: Figures 6 and 7"),
            Paragraph(
                f"Laws are fitted to the models of a loss up to {self.cutoff:g}, as in the paper's section 4.2. The "
                "paper gives no numbers of its own fits. Losses are those of Tables 2 and 3, which have a digit more "
                "than Table 4."
            ),
            Bullets(tuple(self.of_loss)),
            *laws_and_figures(self.laws, _NOTE),
            Paragraph(
                "**The same law at other cut-offs**: exponents of both families together. A power law has one exponent "
                f"wherever it is cut. {_bends()}"
            ),
            _at_other_cutoffs(),
        ]

    def chance(self) -> list[Block]:
        """How much of the paper's differences may be chance."""
        return [
            Heading(2, "What of the paper's differences may be chance"),
            Bullets(tuple(_of_how_many())),
            Paragraph(_spreads(self.laws)),
            Paragraph(
                f"How many of a pair's differences, one at each of {len(self.widths)} widths, are larger than chance "
                f"makes them in 19 of 20 cases: from a spread of {_spread(1)} points to one of {_spread(0)}. Among so "
                "many some are beyond it by chance all the same, 1 in 20."
            ),
            _counts(self.doubts),
            Paragraph(
                "Each difference, model less baseline, and its standard error with a spread of single grades of "
                f"{_spread(0)} and of {_spread(1)}. **Bold** is beyond chance with either, *italic* with neither."
            ),
            _differences(self.doubts),
        ]


def _at_other_cutoffs() -> Table:
    columns = []
    for cutoff in _CUTOFFS:
        fits = [(law, law.fit()) for law in printed_laws(cutoff)]
        columns.append([MISSING if found is None else score_tables.exponent(found) for _, found in fits])
    rows = tuple((kind, *cells) for kind, *cells in zip(KINDS, *columns, strict=True))
    header = ("grade", *("no cut-off" if isinf(cutoff) else f"loss up to {cutoff:g}" for cutoff in _CUTOFFS))
    return Table(header, rows)


def _bends() -> str:
    """Which kinds of grade have another exponent at the lowest cut-off than at the paper's."""
    low, own = _CUTOFFS[0], _CUTOFFS[2]
    pairs_of_fits = zip(printed_laws(low), printed_laws(own), strict=True)
    both = [(law.kind, law.fit(), other.fit()) for law, other in pairs_of_fits]
    apart = [kind for kind, a, b in both if a is not None and b is not None and (a.high < b.low or b.high < a.low)]
    kinds = f"of {series(apart)}, which bends" if apart else "of none"
    return f"The intervals up to {low:g} and up to {own:g} lie apart in the case {kinds}."


def _of_how_many() -> list[str]:
    """What the grades say of the number of stories, as sentences."""
    twentieths, tens = multiples(5, printed()), widths_of_ten()
    others = series([number(each, DIGITS) for each in twentieths.others])
    rest = f", all but {others}" if twentieths.others else ""
    found = [
        f"{twentieths.are} of the {twentieths.all} grades that the paper prints by category are multiples of "
        f"{number(twentieths.of, 2)}{rest}. Means of {GRADES} whole grades are such multiples, so {GRADES} stories a "
        "model is the likely number; the paper does not name it."
    ]
    for width in tens:
        own = multiples(10, printed(width))
        above = sum(each > 1 for each in printed(width))
        found.append(
            f"At width {width} all {own.all} are multiples of {number(own.of, 1)}, {above} of them above 1.00; of "
            f"{GRADES} grades about half would not be. There {HALF} stories a model are likely, and are taken."
        )
    found += _equal_rows()
    return found


def _equal_rows() -> list[str]:
    """Models of one width with the same grade in every category."""
    rows: dict[tuple, list[str]] = {}
    for variant, width in paper.graded():
        grades = tuple(paper.score(variant, width, kind) for kind in KINDS)
        rows.setdefault((width, *grades), []).append(f"`{variant}`")
    return [
        f"At width {width} {series(names)} have the same grade in all categories."
        for (width, *_), names in rows.items()
        if len(names) > 1
    ]


def _spreads(laws: Sequence[Law]) -> str:
    of_mean = [number(spread / sqrt(GRADES), 2) for spread in SPREADS]
    of_difference = [number(spread * sqrt(2 / GRADES), 2) for spread in SPREADS]
    reach = [number(t_quantile(2 * GRADES - 2) * spread * sqrt(2 / GRADES), 2) for spread in SPREADS]
    fitted = [(law.kind, found.scatter) for law in laws if (found := law.fit()) is not None]
    implied = [f"{number(scatter * sqrt(GRADES), 1)} points for {kind}" for kind, scatter in fitted[:1]]
    implied += [f"{number(scatter * sqrt(GRADES), 1)} for {kind}" for kind, scatter in fitted[1:]]
    upper = (
        "The laws above bound it: were chance all that moves grades off them, single grades would spread by "
        f"{series(implied)}; as a law is never quite true, these are upper ends rather than estimates. "
        if implied
        else ""
    )
    return (
        "How much single grades spread is not in the paper, so that its errors can only be given for a spread that is "
        f"assumed: a standard deviation of {_spread(0)} and of {_spread(1)} points. A mean of {GRADES} grades then has "
        f"a standard error of {of_mean[0]} and {of_mean[1]}, a difference between two of {of_difference[0]} and "
        f"{of_difference[1]}, and chance reaches {reach[0]} and {reach[1]} in 19 of 20 cases. {upper}Near the lowest "
        "grade the errors are smaller, for whole grades from 1 to 10 with a mean of 1.1 cannot spread by a point; no "
        "more and no less is taken than whole grades of a mean can spread. Stories are taken to be independent: if all "
        "models told the same beginnings, differences are surer than this by as much as beginnings matter. Other "
        "training seeds come on top, of which the paper has none."
    )


def _counts(doubts: Sequence[Doubt]) -> Table:
    """For each pair and kind, over widths: how many differences are beyond chance, with the greater and less spread."""
    rows = []
    for pair in dict.fromkeys(each.pair for each in doubts):
        own = [each for each in doubts if each.pair == pair]
        by_kind = ([each for each in own if each.kind == kind] for kind in KINDS)
        rows.append((pair.kind, f"`{pair.model}`", f"`{pair.baseline}`", *map(_beyond, by_kind)))
    return Table(("comparison", "model", "baseline", *KINDS), tuple(rows), labels=3)


def _beyond(doubts: Sequence[Doubt]) -> str:
    """Such as: 3 to 4 of 5 above."""
    found = []
    for word, sign in (("above", 1), ("below", -1)):
        surely, perhaps = (
            sum(sign * each.difference > 0 and each.is_beyond_chance(place) for each in doubts) for place in (1, 0)
        )
        if perhaps:
            found.append(f"{surely} {word}" if surely == perhaps else f"{surely} to {perhaps} {word}")
    return ", ".join(found) or "0"


def _differences(doubts: Sequence[Doubt]) -> Table:
    places: dict[tuple[Pair, int], dict[str, Doubt]] = {}
    for each in doubts:
        places.setdefault((each.pair, each.width), {})[each.kind] = each
    rows = [
        (
            pair.kind,
            f"`{pair.model}`",
            f"`{pair.baseline}`",
            str(width),
            str(grades_of(width)),
            *(cell for kind in KINDS for cell in _doubt(by_kind[kind])),
        )
        for (pair, width), by_kind in places.items()
    ]
    header = ("comparison", "model", "baseline", "width", "stories", *("diff.", "SE") * len(KINDS))
    groups = (("", 5), *((kind, 2) for kind in KINDS))
    return Table(header, tuple(rows), labels=3, groups=groups)


def _doubt(each: Doubt) -> tuple[str, str]:
    text = signed(each.difference, DIGITS)
    marked = f"**{text}**" if each.is_beyond_chance(1) else text if each.is_beyond_chance(0) else f"*{text}*"
    low, high = (number(error, DIGITS) for error in each.errors)
    return marked, low if low == high else f"{low}–{high}"


def _spread(place: int) -> str:
    return f"{SPREADS[place]:g}"
