"""A document as Markdown."""

import re
from itertools import chain, repeat

from .document import Block, Bullets, Document, Heading, Link, Paragraph, Picture, Table

FIRST_LINE = "<!-- written by frailt report, from records -->"


def markdown(document: Document) -> str:
    """The whole of it; the same records give the same bytes."""
    contents = Bullets(tuple(f"[{section.text}](#{section.anchor})" for section in document.sections))
    parts = [FIRST_LINE, f"# {document.title}", *map(_block, (*document.blocks[:1], contents, *document.blocks[1:]))]
    return "\n\n".join(parts) + "\n"


def _block(block: Block) -> str:
    match block:
        case Heading():
            return f"{'#' * block.level} {block.text}"
        case Paragraph():
            return block.text
        case Link():
            return f"[{block.text}]({block.target})"
        case Bullets():
            return "\n".join(f"- {item}" for item in block.items)
        case Table():
            return _table(block)
        case Picture():
            return f"![{block.title}](figures/{block.name}.png)\n\n**{block.title}.** {block.caption}"


def _table(table: Table) -> str:
    """A pipe table; names over several columns, for which Markdown has no place, are put before each column's."""
    over = chain.from_iterable(repeat(name, span) for name, span in table.groups) if table.groups else repeat("")
    header = [f"{group} {name}".strip() for group, name in zip(over, table.header, strict=False)]
    rows = [[_within_a_table(cell) for cell in row] for row in (header, *table.rows)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if i < table.labels else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append(f"| {' | '.join(cells)} |")
    rule = [f"{'-' * (width + 1)}{'-' if i < table.labels else ':'}" for i, width in enumerate(widths)]
    return "\n".join([lines[0], f"|{'|'.join(rule)}|", *lines[1:]])


def _within_a_table(cell: str) -> str:
    """A bar would end the cell, even in code."""
    return re.sub(r"(?<!\\)\|", r"\\|", cell)
