"""The tables of a report: the paper's 2 and 3 with ours beside it, comparisons, rates, cells, protocol."""

import math
from collections.abc import Sequence
from statistics import fmean

from . import paper
from .cells import LEARNED, Cell, Variant
from .comparisons import Comparison
from .document import Table
from .losses import Losses
from .pareto import models_of, of_one_machine
from .protocol import Settings
from .sweeps import Rate
from .verdicts import Answer
from .words import MISSING, around, code, number, rate, signed, spread, whole
from .worth import Worth, layers


def beside_the_paper(ours: Losses, variants: Sequence[Variant]) -> Table:
    """Table 2 or 3: by width and layout ours and, where the paper has the layout, its loss and ours minus it."""
    widths = sorted({*ours.widths, *paper.losses().widths})
    printed_too = [any(paper.loss(variant, width) is not None for width in widths) for variant in variants]
    rows = []
    for width in widths:
        row = [str(width)]
        for variant, beside in zip(variants, printed_too, strict=True):
            own, printed = ours.estimate(variant, width), paper.loss(variant, width)
            both = None if own is None or printed is None else own.mean - printed
            row += [spread(own), number(printed), signed(both)] if beside else [spread(own)]
        rows.append(tuple(row))
    header = ["width"]
    for beside in printed_too:
        header += ["ours", "paper", "diff."] if beside else ["ours"]
    sizes = (3 if beside else 1 for beside in printed_too)
    groups = ((("", 1)), *((f"`{variant}`", size) for variant, size in zip(variants, sizes, strict=True)))
    return Table(tuple(header), tuple(rows), labels=0, groups=groups)


def losses_alone(losses: Losses, variants: Sequence[Variant]) -> Table:
    """Losses by width and layout, with nothing beside them."""
    rows = [(str(width), *(spread(losses.estimate(variant, width)) for variant in variants)) for width in losses.widths]
    return Table(("width", *(f"`{variant}`" for variant in variants)), tuple(rows), labels=0)


def as_printed(variants: Sequence[Variant]) -> Table:
    """Table 2 or 3 as the paper prints it."""
    losses = paper.losses()
    rows = [(str(width), *(number(paper.loss(variant, width)) for variant in variants)) for width in losses.widths]
    return Table(("width", *(f"`{variant}`" for variant in variants)), tuple(rows), labels=0)


def of_answers(answers: Sequence[Answer]) -> Table:
    """What the paper's numbers say, what ours say, and whether they agree."""
    rows = [(answer.question, answer.in_the_paper, answer.here, answer.verdict) for answer in answers]
    return Table(("question", "in the paper", "here", "verdict"), tuple(rows), labels=4)


def of_comparisons(comparisons: Sequence[Comparison]) -> Table:
    """Every comparison: lead, interval, the paper's lead, and the seeds that an interval of a third of it needs."""
    header = (
        "comparison", "model", "baseline", "width", "verdict", "lead [95 % interval]", "seeds", "paper",
        "seeds for a third",
    )  # fmt: skip
    rows = [
        (
            each.pair.kind,
            f"`{each.pair.model}`",
            f"`{each.pair.baseline}`",
            str(each.width),
            _verdict(each),
            MISSING if each.lead is None else f"{signed(each.lead.mean)}{around(each.lead)}",
            MISSING if each.lead is None else str(each.lead.seeds),
            signed(each.paper),
            MISSING if each.seeds_needed is None else str(each.seeds_needed),
        )
        for each in comparisons
    ]
    return Table(header, tuple(rows), labels=5)


def of_worth(fits: Sequence[Worth]) -> Table:
    """The exponent of a loop by width, its intervals, and how many layers each looped layout acts as."""
    looped = {str(v.layout): v for fit in fits for v, _, _ in fit.models if v.layout.is_looped}
    layouts = sorted(looped, key=lambda layout: looped[layout].order)
    known = ("width", "exponent", "over seeds", "by misfit", "misfit (nats)")
    rows = []
    for fit in fits:
        width = str(fit.widths[0]) if len(fit.widths) == 1 else "all"
        intervals = (MISSING if each is None else str(each) for each in (fit.by_seeds, fit.by_misfit))
        fitted = {str(variant.layout): layers(variant, fit.exponent) for variant, _, _ in fit.models}
        rows.append(
            (
                width if fit.encoding == LEARNED else f"{width} {fit.encoding}",
                number(fit.exponent, 2),
                *intervals,
                number(fit.misfit_nats),
                *(number(fitted.get(layout), 1) for layout in layouts),
            )
        )
    groups = (("", len(known)), ("acts as:", len(layouts)))
    return Table((*known, *(f"`{layout}`" for layout in layouts)), tuple(rows), groups=groups)


def of_rates(rates: Sequence[Rate]) -> Table:
    """What was tried for each layout and width; the best in bold, and whether it is at the edge of what was tried."""
    tried = sorted({value for each in rates for value, _ in each.trials})
    header = ("layout", "budget", "width", "chosen", "at an edge", *map(rate, tried))
    rows = []
    for each in sorted(rates, key=lambda each: (each.budget, each.width, each.variant.order)):
        losses = dict(each.trials)
        cells = [_trial(losses.get(value), value == each.chosen) for value in tried]
        edge = MISSING if each.chosen is None else "yes" if each.at_edge else "no"
        chosen = MISSING if each.chosen is None else rate(each.chosen)
        rows.append((f"`{each.variant}`", each.budget, str(each.width), chosen, edge, *cells))
    return Table(header, tuple(rows), labels=2)


def of_cells(cells: Sequence[Cell]) -> Table:
    """Every layout and width: what it costs, and the loss of each seed; seconds are means over runs alike in kernel."""
    seeds = sorted({cell.seed for cell in cells})
    header = (
        "layout", "width", "depth", "parameters", "training FLOPs/token", "learning rate", "tokens", "training s",
        "tokens/s", *(f"seed {seed}" for seed in seeds),
    )  # fmt: skip
    _, timed = of_one_machine(cells)
    rows = []
    for (variant, width), group in sorted(models_of(cells).items(), key=lambda item: (item[0][1], item[0][0].order)):
        clocked = [cell for cell in group if cell in timed]
        by_seed = {cell.seed: cell.nats for cell in group}
        rows.append(
            (
                f"`{variant}`",
                str(width) if group[0].hidden_size == width else f"{width} (own {group[0].hidden_size})",
                str(variant.layout.depth),
                whole(group[0].unique_parameters),
                whole(group[0].training_flops_per_token),
                rate(group[0].learning_rate),
                whole(group[0].tokens),
                whole(fmean(cell.training_s for cell in clocked)) if clocked else MISSING,
                whole(fmean(cell.tokens_per_s for cell in clocked)) if clocked else MISSING,
                *(number(by_seed.get(seed), 4) for seed in seeds),
            )
        )
    return Table(header, tuple(rows))


def of_protocol(protocol: Settings, cells: Sequence[Cell]) -> Table:
    """What all cells share, as records have it."""
    sources = sorted({cell.source for cell in cells})
    rows = [("data", ", ".join(map(code, sources)))]
    rows += [(code(name), code(value)) for name, value in protocol.items() if value is not None]
    for name, values in (
        ("computed in", {cell.precision for cell in cells}),
        ("ran on", {cell.machine for cell in cells}),
        ("attention kernel", {cell.attention for cell in cells}),
        ("compiled", {cell.compiled for cell in cells}),
        ("made by frailt", {cell.version for cell in cells}),
    ):
        rows.append((name, ", ".join(map(code, sorted(values)))))
    if skipped := [cell for cell in cells if cell.skipped_steps]:
        named = ", ".join(f"{code(cell.name)} {cell.skipped_steps}" for cell in skipped)
        rows.append(("steps left out, their loss or gradient being no finite number", named))
    if any(cell.version.endswith("+") for cell in cells):
        rows.append(("", "`+` stands for changes that were not committed"))
    return Table(("setting", "value"), tuple(rows), labels=2)


def _verdict(each: Comparison) -> str:
    if each.verdict == "undecided":
        return "*undecided*"
    side = "ahead" if each.verdict == "beats" else "behind"
    return f"{side}, size *undecided*" if each.is_narrow is False else side


def _trial(nats: float | None, is_chosen: bool) -> str:
    if nats is None:
        return MISSING
    text = number(nats) if math.isfinite(nats) else "diverged"
    return f"**{text}**" if is_chosen else text
