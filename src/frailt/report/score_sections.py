"""The sections of a report on what models told: grades, grades and loss, measures without a judge, the stories."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from . import paper, score_tables
from .checkpoints import Teller
from .comparisons import HEADINGS
from .document import Block, Bullets, Heading, Link, Page, Paragraph, Picture
from .gradings import by_kind_of_pair
from .judging import Judging
from .laws import Law
from .measures import IDENTITY
from .plots.by_loss import by_loss
from .powerlaw import LEAST_POINTS
from .scores import AVERAGE, KINDS, marks_of, mean_of
from .stories import STORIES, shown, stories_page
from .told import Told
from .words import MISSING, around, code, counted, number, plain, series, short, whole

_ASSUMED = (
    "A law is a straight line by least squares in log grade over log loss, score = c · loss^−k, of which k is the "
    "exponent. *One law* is asked by Chow's F test: does a law for each family leave less than one law for both? It "
    "takes models to be independent of each other, residuals in log grade to be normal and of one size in both "
    "families, and losses to be exact; models of one layout at several widths, or graded on the same beginnings, are "
    "not quite independent. A large p is no proof of one law: what differences it would miss, the interval of FraiLT's "
    "grades at equal loss says. Each kind of grade is tested by itself, and they rise and fall together. Scatter is "
    "the standard deviation of grades about the law, in points."
)


def blocks_of(judging: Judging) -> list[Block]:
    """All sections that there is something for."""
    told = judging.told
    blocks: list[Block] = []
    if told.graded:
        blocks += [Heading(2, "Grades: Tables 4 and 5"), *grades(judging)]
        blocks += [Heading(2, "Grades and loss: Figures 6 and 7"), *of_loss(judging)]
    if told.measured:
        blocks += [Heading(2, "Measures without a judge"), *measures(told)]
    if chosen := shown(told.checkpoints):
        about = (
            f"What {counted(len(chosen), 'model')} made of the same beginnings: of each beginning the first story that "
            "was drawn, of each model the first seed, nothing picked."
        )
        blocks += [Heading(2, "Stories"), Paragraph(about), Link("The stories, side by side", STORIES)]
    return blocks


def pages_of(told: Told) -> list[Page]:
    """What is written beside the report."""
    return [Page(STORIES, partial(stories_page, told))] if shown(told.checkpoints) else []


def grades(judging: Judging) -> list[Block]:
    """Sentences, Tables 4 and 5, and every difference."""
    blocks: list[Block] = [Paragraph(_about(judging.told))]
    for kind, found in by_kind_of_pair(judging.gradings).items():
        lead = HEADINGS.get(kind, f"At {kind}")
        blocks += [Paragraph(f"**{lead}.**"), Bullets(tuple(each.sentence() for each in found))]
    yardsticks = [_yardstick(each) for each in judging.told.yardsticks if each.is_graded]
    if yardsticks:
        blocks += [Paragraph("**Yardsticks**, from beginnings of their own."), Bullets(tuple(yardsticks))]
    blocks += [
        Paragraph(
            "**Table 4.** Grades from 1 to 10: mean ± half-width; unscored of all gradings. "
            f"{score_tables.AGREES} is over beginnings, for seeds have the very same mean, which says nothing of their "
            "spread."
        ),
        score_tables.of_grades(judging.scores),
        Paragraph("**Table 5.** The average of the four categories."),
        score_tables.of_averages(judging.scores),
    ]
    if judging.gradings:
        about = (
            "**Differences**, model less baseline, on the beginnings that both have and paired by them, or by seeds "
            "where they share several; the paper's have no interval."
        )
        blocks += [Paragraph(about), score_tables.of_leads(judging.gradings)]
    return blocks


def of_loss(judging: Judging) -> list[Block]:
    """Sentences, the laws as a table, Figures 6 and 7."""
    if not any(law.points for law in judging.laws):
        return [Paragraph("Of no graded model the validation loss is known.")]
    about = (
        "A point is a layout at a width, its loss and grade means over seeds; losses are nats per token of all "
        f"validation stories, as the records of the completions have them. Laws are fitted to losses up to "
        f"{judging.cutoff:g}, where there are {LEAST_POINTS} models of a family or more."
    )
    return [
        Paragraph(about),
        Bullets(tuple(judging.of_loss)),
        *laws_and_figures(judging.laws, "Bars are 95 % intervals; a point has none where all beginnings are alike."),
    ]


def laws_and_figures(laws: Sequence[Law], note: str) -> list[Block]:
    """The table of laws with what it assumes, then Figures 6 and 7."""
    fitted = [law for law in laws if law.fit() is not None]
    blocks: list[Block] = [Paragraph(_ASSUMED), score_tables.of_laws(fitted)] if fitted else []
    average = [law for law in laws if law.kind == AVERAGE]
    others = [law for law in laws if law.kind != AVERAGE]
    shown_as = ((6, average, "The average grade"), (7, others, "Each category"))
    for which, chosen, what in shown_as:
        caption = (
            f"{what} against validation loss, both logarithmic. {_drawn(chosen)} Colour says how many unique blocks a "
            f"layout has, the marker its depth; looped models are hollow. {note}"
        )
        draw = partial(by_loss, chosen)
        blocks.append(Picture(f"figure-{which}", f"Figure {which}", caption.strip(), draw))
    return blocks


def measures(told: Told) -> list[Block]:
    """The table, and what each measure is."""
    found = score_tables.measures_of(told.measured)
    explained = [
        f"{code(name)} ({plain(each.unit)}; n {_counts(told, name)}): {plain(each.about)}"
        for name, each in found.items()
    ]
    rests = [f"{name}: {_settings(record)}" for name in IDENTITY if (record := _basis(told, name))]
    lead = "Computed from the stories themselves, with no language model as a judge: no GPT-Eval. Mean [95 % interval]."
    return [Paragraph(lead), *score_tables.of_measures(told.measured), Bullets(tuple(explained + rests))]


def _drawn(laws: Sequence[Law]) -> str:
    if not any(law.fit(family) for law in laws for family in ("standard", "FraiLT")):
        return "There is no law, for there are too few models."
    grey = (
        " Grey points are left out of fits: their loss is above the dotted line, or their encoding is not the paper's."
        if any(not law.is_fitted(point) for law in laws for point in law.points)
        else ""
    )
    return f"Lines are the power laws of each family, bands where they lie with 95 % confidence.{grey}"


def _about(told: Told) -> str:
    assert told.judge is not None
    settings, first = told.judge.settings, told.graded[0]
    beginnings = len({story.prompt_id for story in first.stories})
    temperature = settings.get("temperature")
    order = "" if settings.get("orders") != "rotated" else ", the order of categories turned with each repeat"
    drawn = ", ".join(
        f"{name} {code(first.telling[key])}"
        for key, name in (("temperature", "temperature"), ("top_p", "top p"), ("top_k", "top k"))
        if first.telling.get(key) is not None
    )
    judged_by = (
        "the paper's judge"
        if told.judge.model == paper.JUDGE
        else f"another judge than the paper's {code(paper.JUDGE)}"
    )
    tokens = first.telling["trained_tokens"]
    trained = f" by models trained on {whole(tokens)} tokens" if isinstance(tokens, int) else ""
    return (
        f"Graded by {code(told.judge.model)} at {code(settings.get('endpoint'))}, {judged_by}, "
        f"{'with no temperature set' if temperature is None else f'at temperature {code(temperature)}'}{order}. "
        f"{counted(beginnings, 'beginning')}, {code(first.telling['samples'])} told of each{trained} "
        f"({drawn}, up to {code(first.telling['max_new_tokens'])} tokens). Every beginning weighs the same. ± is half "
        "of a 95 % interval by Student's t: over training seeds where there are several, else over beginnings, which "
        "says nothing of how other seeds would do; there is none where all are graded alike. A story without a valid "
        "grade is unscored: it enters no mean and is counted. *Undecided* is what an interval around 0 leaves open; "
        "each interval holds by itself. The paper's "
        f"beginnings and sampling are not known, so its columns compare in order rather than in level; {MISSING} is "
        "what was not graded."
    )


def _basis(told: Told, name: str) -> dict[str, Any]:
    """What the records of all folders say of an evaluator or a corpus; empty where there was none."""
    all_of_them = [each.measures.basis[name] for each in told.measured if each.measures is not None]
    records = [record for record in all_of_them if record is not None]
    return {
        key: value
        for key, value in (records[0] if records else {}).items()
        if all(record.get(key) == value for record in records)
    }


def _counts(told: Told, name: str) -> str:
    """How many values a measure is over, in words."""
    taken = [each.measures.by_name.get(name) for each in told.measured if each.measures is not None]
    counts = [each.n for each in taken if each is not None]
    least, most = min(counts), max(counts)
    return f"{least:,}" if least == most else f"from {least:,} to {most:,}"


def _settings(settings: dict[str, Any]) -> str:
    """A record in one line."""
    named = {name: value for name, value in settings.items() if isinstance(value, str | int | float)}
    return series([f"{plain(name)} {code(short(value))}" for name, value in named.items()]) if named else MISSING


def _yardstick(teller: Teller) -> str:
    """How stories were graded that no model told, as a sentence."""
    marks = marks_of(teller)
    means = {kind: mean_of([marks.by_beginning[kind]]) for kind in KINDS if marks.by_beginning[kind]}
    grades = [f"{kind} {number(m.found.mean, 2)}{around(m.found, 2)}" for kind, m in means.items() if m is not None]
    count = f"{marks.unscored} of {counted(marks.gradings, 'grading')} unscored"
    return f"{plain(teller.name)}: {series(grades)}; {count}." if grades else f"{plain(teller.name)}: {count}."
