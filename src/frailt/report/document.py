"""A report before it is written anywhere: blocks, whose texts are a little Markdown.

Texts know `code`, *emphasis*, **strength** and backslashes before what is meant literally; whatever comes from records
passes through `words.code` or `words.plain` first.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Heading:
    """A section's name; level 2 for sections, 3 within them."""

    level: int
    text: str

    @property
    def anchor(self) -> str:
        """What links to it name, by the rule of GitHub: lower case, hyphens for spaces, nothing but words."""
        return re.sub(r"[^\w\- ]", "", self.text.lower()).replace(" ", "-")


@dataclass(frozen=True)
class Paragraph:
    """Running text."""

    text: str


@dataclass(frozen=True)
class Bullets:
    """A list."""

    items: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """Rows of cells under a header; the first `labels` columns are words, the others numbers."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    labels: int = 1
    groups: tuple[tuple[str, int], ...] = ()
    """Names over the columns, each with how many it is over, where there are any; they fill the width."""

    def __post_init__(self) -> None:
        widths = {len(row) for row in self.rows} | {len(self.header)}
        assert len(widths) == 1, f"rows must be as wide as the header, got {sorted(widths)}"
        assert not self.groups or sum(span for _, span in self.groups) == len(self.header)


@dataclass(frozen=True)
class Picture:
    """A figure, drawn when it is written."""

    name: str
    """Of its files, without folder and suffix."""
    title: str
    caption: str
    draw: "Callable[[], Figure]"


@dataclass(frozen=True)
class Link:
    """A line that leads to another file of the report."""

    text: str
    target: str
    """Its name beside the report."""


@dataclass(frozen=True)
class Page:
    """A file beside the report, made when it is written."""

    name: str
    render: "Callable[[], str]"


Block = Heading | Paragraph | Bullets | Table | Picture | Link


@dataclass(frozen=True)
class Document:
    """A report."""

    title: str
    blocks: tuple[Block, ...]
    summary: tuple[str, ...] = ()
    """What a command prints of it: the verdicts, a line each."""
    pages: tuple[Page, ...] = ()
    """What is written beside it."""

    @property
    def pictures(self) -> list[Picture]:
        return [block for block in self.blocks if isinstance(block, Picture)]

    @property
    def sections(self) -> list[Heading]:
        """What a table of contents lists."""
        return [block for block in self.blocks if isinstance(block, Heading) and block.level == 2]
