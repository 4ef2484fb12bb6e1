"""The report on the paper's own numbers: its tables and figures redrawn, and what the numbers themselves say."""

from collections.abc import Mapping

from . import paper, tables
from .comparisons import EQUAL_DEPTH, LARGER, Comparison, Pair, lead_by_width, pairs
from .document import Block, Bullets, Document, Heading, Paragraph, Picture
from .figures import LOOKS, figures_4_and_5
from .plots.as_layers import as_layers
from .plots.differences import differences
from .printed_scores import PrintedScores
from .statistics import Estimate
from .widths import passing_width
from .words import number, series
from .worth import worth


def printed(cutoff: float = 1.0) -> Document:
    """The whole of it; each number stands for one run, so nothing has an interval but what is fitted to many.

    Args:
        cutoff: highest loss, in nats per token, that grades are fitted at.
    """
    losses, graded = paper.losses(), PrintedScores(cutoff)
    held = pairs(losses.variants)
    fits = [worth(losses, "learned", widths) for widths in (*([width] for width in losses.widths), losses.widths)]
    standard = [variant for variant in losses.variants if not variant.layout.is_looped]
    looped = [variant for variant in losses.variants if variant.layout.is_looped]
    says = tuple(_says(pair) for pair in held)
    note = "Redrawn from the paper's Tables 2 and 3."
    leads = [
        Comparison(pair, width, Estimate(lead, None, 1), None)
        for pair in held
        for width, lead in paper.leads(pair.model, pair.baseline).items()
    ]
    blocks: list[Block] = [
        Paragraph(
            "What the paper prints, losses in its Tables 2 and 3 and grades in Tables 4 and 5, drawn and compared by "
            "what draws and compares ours. The paper tells of no seeds: each number stands for one run, and a "
            f"difference between two has no interval. {LOOKS}"
        ),
        Heading(2, "What the paper's numbers say"),
        Bullets(says),
        Bullets(tuple(fit.sentence() for fit in fits)),
        Heading(2, "Tables 2 and 3"),
        Paragraph("**Table 2.** Validation loss of standard models, in nats per token."),
        tables.as_printed(standard),
        Paragraph("**Table 3.** Validation loss of FraiLT models, in nats per token."),
        tables.as_printed(looped),
        Heading(2, "Figures 4 and 5"),
        *figures_4_and_5(losses, "", note),
        Heading(2, "Differences"),
        Picture(
            "differences",
            "Differences by width",
            "Loss of the looped model less that of the standard one; below 0 the looped model is better.",
            lambda: differences(leads),
        ),
        Heading(2, "What a loop is worth"),
        tables.of_worth(fits),
        Picture(
            "worth",
            "What a loop is worth",
            "Looped models stand at the layers that they act as, by the exponent fitted at their width.",
            lambda: as_layers(fits[:-1]),
        ),
        *graded.tables(),
        *graded.power_laws(),
        *graded.chance(),
    ]
    return Document("The paper's numbers, redrawn", tuple(blocks), (*says, *graded.of_loss))


def _says(pair: Pair) -> str:
    model, baseline = f"`{pair.model}`", f"`{pair.baseline}`"
    leads = paper.leads(pair.model, pair.baseline)
    text = f"{model} against {baseline}, {pair.kind}: {_sides(leads)}"
    if pair.kind == LARGER:
        width = passing_width(leads)
        text += "; it does not pass" if width is None else f"; it passes from width {width} on"
    gain = lead_by_width(paper.losses(), pair)
    if pair.kind == EQUAL_DEPTH and gain is not None:
        text += f"; it gains {number(gain.mean)} nats with each doubling of the width"
    return f"{text}."


def _sides(leads: Mapping[int, float]) -> str:
    """Such as: ahead at width 512 (0.039) and 1024 (0.074)."""
    sides = []
    for word, sign in (("ahead", 1), ("behind", -1)):
        found = [f"{width} ({number(sign * lead)})" for width, lead in leads.items() if sign * lead > 0]
        if found:
            sides.append(f"{word} at width {series(found)}")
    return ", ".join(sides)
