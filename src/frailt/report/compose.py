"""A report on sweeps as a document: what holds first, then what it rests on."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from . import score_sections, sections, tables
from .cells import Cell, Variant
from .document import Block, Bullets, Document, Heading, Paragraph
from .figures import LOOKS, suffix_of
from .findings import Findings
from .judging import Judging
from .reading import Missing, Records
from .studies import studies
from .sweeps import Rate
from .told import NOTHING, Told
from .words import code, counted, plain, rate, seeds, series

_PARTS: tuple[tuple[str, Callable[[Findings, str], list[Block]]], ...] = (
    ("What holds of the paper's claims", lambda found, suffix: sections.what_holds(found)),
    ("Losses by width: Tables 2 and 3, Figures 4 and 5", sections.losses),
    ("Losses by cost", sections.costs),
    ("Differences", sections.differences),
    ("Learning curves", sections.learning),
    ("What a loop is worth", sections.loops),
    ("Cells", sections.cells),
)


def compose(records: Records | None, told: Told = NOTHING, cutoff: float = 1.0) -> Document:
    """The document; with several studies each part has them one after another.

    Args:
        records: of sweeps, if there are any.
        told: what models told, and how it was graded.
        cutoff: highest loss, in nats per token, that grades are fitted at.
    """
    judging = Judging(told, cutoff)
    beside = score_sections.blocks_of(judging)
    found = [Findings(study) for study in studies(records.cells)] if records is not None else []
    blocks, summary = _of_sweeps(records, found, beside) if records is not None else _of_stories(told, beside)
    left_out = [*(records.left_out if records is not None else ()), *told.left_out]
    left_out += [line for each in found for line in each.study.left_out]
    if left_out:
        blocks += [Heading(2, "Left out"), Bullets(tuple(map(plain, left_out)))]
    return Document(
        "FraiLT beside standard transformers",
        tuple(blocks),
        (*summary, *(judging.summary if told.graded else ())),
        tuple(score_sections.pages_of(told)),
    )


def _of_sweeps(records: Records, found: Sequence[Findings], beside: Sequence[Block]) -> tuple[list[Block], list[str]]:
    blocks: list[Block] = [Paragraph(_about(records, found))]
    for title, part in _PARTS:
        blocks.append(Heading(2, title))
        for each in found:
            several = len(found) > 1
            blocks += [Heading(3, each.study.title)] if several else []
            blocks += part(each, suffix_of(each.study.title) if several else "")
    blocks += beside
    rates = [*records.rates, *(rate for each in found for rate in each.study.rates)]
    blocks += [Heading(2, "Protocol"), tables.of_protocol(records.protocol, records.cells), *_rates(records, rates)]
    if records.missing:
        blocks += [Heading(2, "Missing"), *_missing(records.missing)]
    return blocks, [line for each in found for line in _summary(each, named=len(found) > 1)]


def _of_stories(told: Told, beside: Sequence[Block]) -> tuple[list[Block], list[str]]:
    layouts = series([f"`{v}`" for v in sorted({each.variant for each in told.checkpoints}, key=lambda v: v.order)])
    widths = series([str(width) for width in sorted({each.width for each in told.checkpoints})])
    tellers = [f"{counted(len(told.checkpoints), 'checkpoint')}: {layouts} at width {widths}"] if layouts else []
    tellers += [plain(each.name) for each in told.yardsticks]
    about = f"Told by {series(tellers)}. No number of the paper is in a column of ours; — is what there is not."
    return [Paragraph(about), *beside], []


def _summary(found: Findings, *, named: bool) -> list[str]:
    """The answers to the paper's questions, and every comparison at the width that has most of them."""
    lines = [f"{found.study.title}:"] if named else []
    if found.study.matched is None:
        lines += [
            f"{each.question} Here {each.here}; in the paper {each.in_the_paper}: {each.verdict}."
            for each in found.answers
        ]
    widths = [each.width for each in found.comparisons]
    most = max(widths, key=lambda width: (widths.count(width), width), default=None)
    return [*lines, *(each.sentence() for each in found.comparisons if each.width == most)]


def _about(records: Records, found: Sequence[Findings]) -> str:
    sources = series(sorted({code(cell.source) for cell in records.cells}))
    budgets = series(list(dict.fromkeys(each.study.title for each in found)))
    stories = "of the validation stories of odd number" if records.halves else "of all validation stories"
    if records.rates or any(each.study.rates for each in found):
        by = "on the others" if records.halves else "perhaps on some of the same"
        stories += f", learning rates having been chosen {by}"
    left = len(records.cells) - (records.wanted - len(records.missing))
    asked = f" of the {records.wanted} that the grid asks for" if records.wanted else ""
    asked += f" and {counted(left, 'other')}" if records.wanted and left > 0 else ""
    finished = counted(len(records.cells) - (max(left, 0) if records.wanted else 0), "finished run")
    return (
        f"{finished}{asked}: {_trained(records.cells)}, {budgets} over {sources}. Losses are nats per token {stories}. "
        "Intervals are Student's over seeds, 95 % each: one in twenty misses. They leave out what the choice of "
        "learning rates and of validation stories adds; differences are paired by seed. "
        "*Undecided* is what an interval around 0, or a single seed, leaves open; the size of an effect is "
        "called so where the half-width is above a third of the paper's. "
        f"No number of the paper is in a column of ours; — is what was not run. {LOOKS}"
    )


def _trained(cells: Sequence[Cell]) -> str:
    """Such as: `2` and `2^4` at width 64 and 128, `8` at width 64, 2 to 5 seeds."""
    runs = Counter((cell.variant, cell.width, cell.budget, cell.matched, cell.learning_rate) for cell in cells)
    at: dict[Variant, set[int]] = {}
    for variant, width, *_ in runs:
        at.setdefault(variant, set()).add(width)
    alike: dict[tuple[int, ...], list[str]] = {}
    for variant in sorted(at, key=lambda variant: variant.order):
        alike.setdefault(tuple(sorted(at[variant])), []).append(f"`{variant}`")
    named = [f"{series(names)} at width {series(list(map(str, widths)))}" for widths, names in alike.items()]
    least, most = min(runs.values()), max(runs.values())
    return f"{', '.join(named)}, {seeds(most) if least == most else f'{least} to {seeds(most)}'}"


def _missing(missing: Sequence[Missing]) -> list[Block]:
    """What is missing, in one sentence by width and layout, then why cells failed."""
    places: dict[str, dict[str, list[str]]] = {}
    for each in missing:
        study = each.budget if each.matched is None else f"{each.budget}, {each.matched}"
        model = f"`{each.variant}`" + ("" if each.learning_rate is None else f" at rate {rate(each.learning_rate)}")
        places.setdefault(f"{study}, width {each.width}", {}).setdefault(model, []).append(str(each.seed))
    lines = [
        f"{place}: " + ", ".join(f"{model} seed{'s' * (len(of) > 1)} {series(of)}" for model, of in models.items())
        for place, models in places.items()
    ]
    failed = tuple(f"{code(each.name)} failed: {plain(each.reason)}" for each in missing if each.reason)
    return [Paragraph(f"Asked for and not finished. {'; '.join(lines)}."), *([Bullets(failed)] if failed else [])]


def _rates(records: Records, rates: Sequence[Rate]) -> Iterable[Block]:
    if not rates:
        used = sorted({cell.learning_rate for cell in records.cells})
        said = f"one for all, {rate(used[0])}" if len(used) == 1 else f"given, {series(list(map(rate, used)))}"
        return [Paragraph(f"**Learning rates** were not searched: {said}.")]
    rules = " ".join(plain(rule) for rule in records.rules)
    about = (
        "**Learning rates**, and the nats per token of the trials that they were chosen by; the chosen one in bold. "
        f"One at an edge has nothing tried beyond it. {rules}"
    )
    return [Paragraph(about.strip()), tables.of_rates(rates)]
