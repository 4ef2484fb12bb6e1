"""The page `docs/power-laws.md`: `python -m frailt.report.power_laws` prints it, so that no figure in it can drift."""

from .document import Document, Paragraph
from .markdown import FIRST_LINE, markdown
from .printed_scores import PrintedScores

_WRITTEN = "<!-- written by python -m frailt.report.power_laws -->"

CUTOFF = 1.0
"""The paper's, section 4.2."""


def power_laws() -> str:
    """The page, from the numbers that the paper prints."""
    found = PrintedScores(CUTOFF)
    about = Paragraph(
        "The paper says that grades follow a power law of the validation loss, the same for standard and FraiLT models "
        "(section 4.2, Figures 6 and 7), and prints no numbers of it. Here they are, from its own Tables 2 to 5, with "
        "intervals and a test. `frailt report --paper --out FOLDER` draws the figures; with `--judged` the same is "
        "done for models of one's own. Intervals are at 95 %."
    )
    blocks = (about, *found.power_laws(), *found.chance())
    kept = tuple(block for block in blocks if type(block).__name__ != "Picture")
    return markdown(Document("Power laws of the paper's grades", kept)).replace(FIRST_LINE, _WRITTEN, 1)


if __name__ == "__main__":
    print(power_laws(), end="")
