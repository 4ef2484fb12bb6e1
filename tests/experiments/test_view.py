import io

import pytest
from rich.console import Console

from frailt.experiments.grid import Grid
from frailt.experiments.task import State
from frailt.experiments.view import Shown, View, duration


def test_the_view_shows_what_is_done_runs_with_loss_and_time_left_and_failed():
    grid = Grid(layouts=["8", "2^4", "1^8"], widths=[64], seeds=[0, 1], learning_rates=[0.003])
    cells = list(grid)
    running = State(status="unfinished", steps=100, step=40, training_s=400.0, nats=2.345)
    shown = {cell: Shown(status="waiting") for cell in cells}
    shown[cells[0]] = Shown(status="finished", state=State(status="finished", nats=1.9351))
    shown[cells[1]] = Shown(status="running", state=running)
    shown[cells[2]] = Shown(status="failed")
    shown[cells[3]] = Shown(status="searching", trials=2)
    console = Console(file=io.StringIO(), width=100)
    console.print(View(cells, "a sweep").table(shown))
    text = console.file.getvalue()
    rows = [line for line in text.splitlines() if "seed" in line and "width" not in line]
    assert all(part in rows[0] for part in ("seed 0", "✓ 1.935", "40% 10 min", "✗")), rows[0]
    assert all(part in rows[1] for part in ("seed 1", "? 2 trials", "·")), rows[1]
    assert "1 finished, 1 running, 2 waiting, 1 searching their learning rate, 1 failed" in " ".join(text.split())


def test_of_more_rows_than_fit_those_are_shown_in_which_something_goes_on():
    grid = Grid(layouts=["8", "2^4"], widths=[64], seeds=list(range(30)), learning_rates=[0.003])
    cells = list(grid)
    shown = {cell: Shown(status="finished" if cell.seed < 10 else "waiting") for cell in cells}
    shown[cells[21]], shown[cells[41]] = Shown(status="running"), Shown(status="failed")  # of seeds 10 and 20
    console = Console(file=io.StringIO(), width=100)
    console.print(View(cells, "a sweep").table(shown, most_rows=4))
    text = console.file.getvalue()
    assert [int(line.split("seed")[1].split()[0]) for line in text.splitlines() if "lr" in line] == [10, 11, 12, 20]
    assert "20 finished, 1 running, 38 waiting, 1 failed; 26 more rows" in " ".join(text.split())


def test_the_caption_fits_into_a_low_terminal():
    cells = list(Grid(layouts=["8"], widths=[64], seeds=list(range(60)), learning_rates=[0.003]))
    view = View(cells, "a sweep")
    view.console = Console(file=io.StringIO(), width=80, height=24, force_terminal=True)
    with view:
        view.show({cell: Shown(status="waiting") for cell in cells})
    drawn = view.console.file.getvalue()
    assert "60 waiting; 44 more rows" in drawn
    assert "seed 15" in drawn
    assert "seed 16" not in drawn


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59, "59 s"), (600, "10 min"), (9000, "2.5 h"), (200000, "2.3 d")]
)
def test_times_have_two_figures(seconds, text):
    assert duration(seconds) == text
