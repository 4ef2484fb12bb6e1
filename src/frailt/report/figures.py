"""The figures of a report with their captions; drawn when they are written."""

import re
from collections.abc import Sequence
from functools import partial

from .cells import LEARNED
from .document import Picture
from .findings import Findings
from .losses import Losses
from .pareto import Priced, front, of_one_machine, priced
from .plots.against_cost import against_cost
from .plots.as_layers import as_layers
from .plots.by_width import by_width, deep, shallow
from .plots.differences import differences
from .plots.learning import learning
from .words import code, counted, series

ERROR_BARS = "Bars are 95 % intervals over seeds; a point without one is of one seed."
LOOKS = (
    "In the figures colour says how many unique blocks a layout has and the marker its depth; looped models are "
    "hollow, half filled where groups of several blocks loop, grey where their encoding is not the learned one, and "
    "their lines are broken."
)


def figures_4_and_5(losses: Losses, suffix: str, note: str) -> list[Picture]:
    """The paper's, of any losses; one that would be empty is left out."""
    found = []
    for number, chosen, which in ((4, shallow, "1 and 2"), (5, deep, "more than 2")):
        variants = chosen(losses.variants)
        if variants:
            caption = f"Final validation loss by width, layouts of {which} unique blocks. {note}"
            draw = partial(by_width, losses, variants)
            found.append(Picture(f"figure-{number}{suffix}", f"Figure {number}", caption, draw))
    return found


def figures_of_costs(found: Findings, suffix: str) -> list[Picture]:
    """Loss against unique parameters, training FLOPs and wall-clock."""
    cells = found.study.cells
    machine, timed = of_one_machine(cells)
    compiled = sum(cell.is_compiled for cell in timed)
    others = (
        f"; the seconds of {counted(len(cells) - len(timed), 'run')} on other machines or kernels left out"
        if len(timed) < len(cells)
        else ""
    )
    return [
        _against("parameters", "unique parameters", priced(cells, lambda cell: cell.unique_parameters), suffix),
        _against(
            "flops", "training FLOPs", priced(cells, lambda cell: cell.training_flops), suffix, "Full attention square."
        ),
        _against(
            "time",
            "training time in seconds",
            priced(cells, lambda cell: cell.training_s, timed),
            suffix,
            f"On {code(machine)}{others}; without validation and the first step. Blocks were compiled in {compiled} of "
            f"{counted(len(timed), 'run')}. How fast a run goes depends on what runs beside it: bars across are from "
            "the least to the greatest.",
        ),
    ]


def _against(name: str, cost: str, models: Sequence[Priced], suffix: str, note: str = "") -> Picture:
    best = series([f"`{model.variant}` at {model.width}" for model in front(models)])
    numbers = {model.loss.seeds for model in models}
    unlike = " Models have different seeds, and means over them are compared all the same." if len(numbers) > 1 else ""
    widths = " Each line joins the widths of a layout." if len({model.width for model in models}) > 1 else ""
    caption = f"{note}{widths} On the Pareto front, by mean loss: {best}.{unlike} {ERROR_BARS}".strip()
    return Picture(f"loss-by-{name}{suffix}", f"Loss against {cost}", caption, partial(against_cost, models, cost))


def figure_of_differences(found: Findings, suffix: str) -> list[Picture]:
    """Looped minus standard, by width."""
    if not any(each.lead is not None for each in found.comparisons):
        return []
    caption = (
        "Loss of the model less that of its baseline, paired by seed; below 0 the model is better. Axes differ. "
        f"Grey diamonds are the paper's. {ERROR_BARS}"
    )
    draw = partial(differences, found.comparisons)
    return [Picture(f"differences{suffix}", "Differences by width", caption, draw)]


def figures_of_learning(found: Findings, suffix: str) -> list[Picture]:
    """Learning curves, a figure for each width."""
    pictures = []
    for width in found.losses.widths:
        cells = [cell for cell in found.study.cells if cell.width == width and cell.validation]
        if cells:
            caption = (
                "Left the loss on the share of the validation rows that is measured while training, right that of "
                "training, averaged since the evaluation before. Lines are means over seeds, bands reach from the "
                "least to the greatest. A yellow disc is where a validation curve is lowest before its end."
            )
            draw = partial(learning, cells, [turn for turn in found.turns if turn.width == width])
            pictures.append(Picture(f"learning-{width}{suffix}", f"Learning curves at width {width}", caption, draw))
    return pictures


def figure_of_worth(found: Findings, suffix: str) -> list[Picture]:
    """Looped models on the standard ones' curves."""
    fits = [fit for fit in found.fits if len(fit.widths) == 1 and fit.encoding == LEARNED]
    if not fits:
        return []
    caption = (
        "Looped models stand at the layers that they act as, by the exponent fitted at their width; a stem joins each "
        "model to the curve of its width."
    )
    return [Picture(f"worth{suffix}", "What a loop is worth", caption, partial(as_layers, fits))]


def suffix_of(title: str) -> str:
    """What the names of a study's figures end in: its title, as file names may be."""
    return "-" + re.sub(r"[^a-z0-9.]+", "-", title.lower()).strip("-")
