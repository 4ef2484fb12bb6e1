"""The sections of a report on sweeps, each from the findings of one study to blocks."""

from collections.abc import Callable, Sequence

from frailt.experiments.grid import WITHIN

from . import figures, paper, tables
from .cells import Cell, Variant
from .comparisons import HEADINGS, LARGER, Comparison
from .curves import overfitting
from .document import Block, Bullets, Paragraph
from .figures import ERROR_BARS
from .findings import Findings
from .pareto import of_one_machine, priced
from .widths import passing
from .words import MISSING, code, counted, series, signed, whole
from .worth import FIELD_EXPONENT


def what_holds(found: Findings) -> list[Block]:
    """The paper's claims and ours, then a sentence for each comparison."""
    blocks: list[Block] = []
    if found.study.matched is None:
        blocks.append(tables.of_answers(found.answers))
    for kind in dict.fromkeys(pair.kind for pair in found.pairs):
        sentences = [each.sentence() for each in found.comparisons if each.pair.kind == kind]
        sentences += [each.sentence() for each in found.trends if each.pair.kind == kind]
        if kind == LARGER:
            sentences += [passing(own) for own in _by_pair(found.comparisons, kind)]
        blocks += _listed(HEADINGS.get(kind, f"At {kind}"), sentences)
    blocks += _listed("Overfitting", overfitting(found.turns, found.pairs))
    blocks += _listed("What a loop is worth", [fit.sentence() for fit in found.fits])
    if len(blocks) < 2:
        blocks.append(
            Paragraph("There is nothing to compare yet: it takes a looped and a standard layout at one width.")
        )
    return blocks


def losses(found: Findings, suffix: str) -> list[Block]:
    """Tables 2 and 3, Figures 4 and 5; in a matched sweep, where the paper has none, the losses alone."""
    ours = found.losses
    pictures = figures.figures_4_and_5(ours, suffix, ERROR_BARS)
    if found.study.matched is not None:
        about = f"Widths are those of the reference `{found.study.matched.reference}`, to which all are matched."
        return [Paragraph(about + _reached(found)), tables.losses_alone(ours, ours.variants), *pictures]
    blocks: list[Block] = []
    for number, name, looped in ((2, "standard", False), (3, "FraiLT", True)):
        variants = _of_family(looped, ours.variants, paper.losses().variants)
        blocks += [
            Paragraph(
                f"**Table {number}.** Validation loss of {name} models, in nats per token: mean ± half-width (seeds). "
                f"{_trained_on(found)}"
            ),
            tables.beside_the_paper(ours, variants),
        ]
    return [*blocks, *pictures]


def costs(found: Findings, suffix: str) -> list[Block]:
    """Loss against what it costs."""
    return list(figures.figures_of_costs(found, suffix))


def differences(found: Findings, suffix: str) -> list[Block]:
    """Every comparison, as a figure and a table."""
    if not found.comparisons:
        return [Paragraph("There is nothing to compare yet.")]
    about = (
        "A lead is the baseline's loss less the model's, paired by seed: above 0 the model is ahead. The last column "
        "is how many seeds would bring the interval's half-width to a third of the paper's lead, if they spread as "
        "these."
    )
    return [*figures.figure_of_differences(found, suffix), Paragraph(about), tables.of_comparisons(found.comparisons)]


def learning(found: Findings, suffix: str) -> list[Block]:
    """Learning curves."""
    return list(figures.figures_of_learning(found, suffix)) or [Paragraph("No run was evaluated while training.")]


def loops(found: Findings, suffix: str) -> list[Block]:
    """What a loop is worth."""
    about = (
        "The loss of standard models falls with their layers L as c + b L^−a, and a group of n blocks that is run m "
        "times is taken to act as n m^φ layers. φ is fitted by least squares, at each width and at all together. Its "
        "interval is found twice: by leaving out one seed at a time, and by how far the law is from the models; the "
        "sentences above go by the wider one. A scaling law over 116 runs of looped models (arXiv 2604.21106) has "
        f"{FIELD_EXPONENT}, in unique parameters."
    )
    if not found.fits:
        return [Paragraph(f"Not known: {reason}.") for reason in found.unfitted or ["no looped layout was trained"]]
    missing = _listed("Not known", [f"{reason[0].upper()}{reason[1:]}." for reason in found.unfitted])
    return [Paragraph(about), tables.of_worth(found.fits), *missing, *figures.figure_of_worth(found, suffix)]


def cells(found: Findings, suffix: str) -> list[Block]:
    """Every layout and width with its costs and the loss of each seed."""
    machine, timed = of_one_machine(found.study.cells)
    compiled = sum(cell.is_compiled for cell in timed)
    about = (
        f"Seconds and tokens/s are means over the {counted(len(timed), 'run')} on {code(machine)}, {compiled} of them "
        f"with compiled blocks; {MISSING} where there is none."
    )
    return [Paragraph(about), tables.of_cells(found.study.cells)]


_COSTS: dict[str, Callable[[Cell], float]] = {
    "parameters": lambda cell: cell.unique_parameters,
    "training FLOPs": lambda cell: cell.training_flops,
    "training time": lambda cell: cell.training_s,
}
"""What a matched sweep holds equal."""


def _reached(found: Findings) -> str:
    """How near the models of a matched sweep came to their references."""
    matched = found.study.matched
    assert matched is not None
    cells = found.study.cells
    timed = of_one_machine(cells)[1] if matched.what == "training time" else None
    costs = {(each.variant, each.width): each.cost for each in priced(cells, _COSTS[matched.what], timed)}
    off = {
        (variant, width): cost / costs[matched.reference, width] - 1
        for (variant, width), cost in costs.items()
        if variant != matched.reference and (matched.reference, width) in costs
    }
    if not off:
        return ""
    ends = dict.fromkeys(_percent(each) for each in (min(off.values()), max(off.values())))
    said = f" Their {matched.what} is off the reference's by {' to '.join(ends)}"
    far = [f"`{variant}` at {width} ({_percent(by)})" for (variant, width), by in off.items() if abs(by) > WITHIN]
    return f"{said}; more than {100 * WITHIN:g} % off: {series(far)}." if far else f"{said}."


def _percent(by: float) -> str:
    return f"{signed(100 * by, 1)} %"


def _trained_on(found: Findings) -> str:
    """What the difference from the paper's numbers may come of."""
    tokens = sorted({cell.tokens for cell in found.study.cells})
    many = whole(tokens[0]) if len(tokens) == 1 else f"{whole(tokens[0])} to {whole(tokens[-1])}"
    return f"Ours trained on {many} tokens; a difference is also one of budget, data and recipe."


def _listed(lead: str, sentences: Sequence[str]) -> list[Block]:
    return [Paragraph(f"**{lead}.**"), Bullets(tuple(sentences))] if sentences else []


def _of_family(looped: bool, *lists: Sequence[Variant]) -> list[Variant]:
    found = {variant for variants in lists for variant in variants if variant.layout.is_looped == looped}
    return sorted(found, key=lambda variant: variant.order)


def _by_pair(comparisons: Sequence[Comparison], kind: str) -> list[list[Comparison]]:
    groups: dict[object, list[Comparison]] = {}
    for each in comparisons:
        if each.pair.kind == kind:
            groups.setdefault(each.pair, []).append(each)
    return list(groups.values())
