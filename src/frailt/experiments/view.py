"""What a sweep shows while it runs: the grid, live in a terminal, or a line per event elsewhere."""

import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from .grid import Cell
from .task import State

SIGNS = {
    "finished": "[green]✓[/]", "running": "[cyan]▶[/]", "waiting": "[dim]·[/]", "searching": "[cyan]?[/]",
    "failed": "[red]✗[/]",
}  # fmt: skip
_URGENT = ("running", "searching", "failed", "waiting", "finished")
_AROUND_THE_ROWS = 8
"""Lines of title, head, frame and caption."""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A cell as it is shown."""

    status: str
    """One of SIGNS."""
    state: State | None = None
    trials: int = 0
    """Trials under way for it."""


class View:
    """Shows cells by layout (columns) and the rest of their axes (rows), while this context is open."""

    def __init__(self, cells: Iterable[Cell], title: str) -> None:
        self.cells, self.title = list(cells), title
        self.layouts = list(dict.fromkeys(cell.layout for cell in self.cells))
        self.console = Console(file=sys.stderr)
        self._live: Live | None = None

    def __enter__(self) -> "View":
        if self.console.is_terminal:
            self._live = Live(console=self.console, refresh_per_second=2, transient=False)
            self._live.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        if self._live is not None:
            self._live.__exit__(None, None, None)

    def show(self, shown: Mapping[Cell, Shown]) -> None:
        """Draw the grid anew; only in a terminal."""
        if self._live is not None:
            self._live.update(self.table(shown, max(1, self.console.height - _AROUND_THE_ROWS)))

    def tell(self, line: str) -> None:
        """One line that stays."""
        self.console.print(f"frailt sweep: {escape(line)}", highlight=False, soft_wrap=True)

    def table(self, shown: Mapping[Cell, Shown], most_rows: int | None = None) -> Table:
        """The grid as a table; of too many rows first those where something goes on, then what waits, then the rest."""
        rows: dict[str, dict[str, str]] = {}
        urgency: dict[str, int] = {}
        for cell in self.cells:
            row = _row(cell)
            rows.setdefault(row, {}).setdefault(cell.layout, _in_words(shown[cell]))
            urgency[row] = min(urgency.get(row, len(_URGENT)), _URGENT.index(shown[cell].status))
        kept = sorted(rows, key=urgency.__getitem__)[:most_rows]  # stable, so in their order otherwise
        left_out = len(rows) - len(kept)
        caption = _counts(shown.values()) + (f"; {left_out} more rows" if left_out else "")
        table = Table(title=self.title, caption=caption, title_justify="left", caption_justify="left")
        table.add_column("width, seed")
        for layout in self.layouts:
            table.add_column(layout, justify="right")
        for row in (row for row in rows if row in kept):
            table.add_row(row, *(rows[row].get(layout, "") for layout in self.layouts))
        return table


def _row(cell: Cell) -> str:
    parts = [f"{cell.width}", f"{cell.amount:g} {cell.unit}"]
    if cell.encoding != "learned":
        parts.append(cell.encoding)
    if not cell.searched:
        parts.append(f"lr {cell.learning_rate:g}")
    return ", ".join([*parts, f"seed {cell.seed}"])


def _in_words(shown: Shown) -> str:
    sign, state = SIGNS[shown.status], shown.state
    if shown.status == "searching":
        return f"{sign} {shown.trials} trials"
    if state is None or state.nats is None:
        return sign
    if shown.status == "finished":
        return f"{sign} {state.nats:.3f}"
    left = "" if state.left_s is None else f" {duration(state.left_s)}"
    share = f" {state.step / state.steps:.0%}" if state.steps else ""
    return f"{sign} {state.nats:.2f}{share}{left}"


def _counts(shown: Iterable[Shown]) -> str:
    counts = Counter(each.status for each in shown)
    words = {"searching": "searching their learning rate"}
    return ", ".join(f"{counts[status]} {words.get(status, status)}" for status in SIGNS if counts[status])


def duration(seconds: float) -> str:
    """Two figures or so: 45 s, 12 min, 3.4 h, 2.1 d."""
    for unit, length in (("d", 86400.0), ("h", 3600.0)):
        if seconds >= 1.5 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
