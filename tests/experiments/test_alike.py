"""What all cells of a sweep compute alike; measurements are made up."""

import pytest
import torch

from frailt.data.packing import PreparedData
from frailt.experiments import alike
from frailt.experiments.alike import began_alike, chosen_alike
from frailt.experiments.grid import Grid

PROTOCOL = {"context": 47, "batch_rows": 8, "model": {"num_attention_heads": 2}}


def grid(**protocol) -> Grid:
    return Grid(
        layouts=["1", "2^3"], widths=[16, 32, 7], budgets=[{"steps": 8}], learning_rates=[0.01, 0.02],
        protocol=PROTOCOL | protocol,
    )  # fmt: skip


@pytest.fixture
def asked(monkeypatch) -> list:
    """What was measured for, and with how many threads."""
    asked = []

    def choose_precision(wanted, device, config):
        asked.append((str(config.groups and config.layout), config.hidden_size, torch.get_num_threads()))
        return "bfloat16" if wanted == "auto" else wanted

    monkeypatch.setattr(alike, "choose_precision", choose_precision)
    monkeypatch.setattr(alike, "matmul_flops_per_s", lambda device, precision: 1.0)  # so slow that all is long
    monkeypatch.setattr("frailt.training.compiling.missing_for_compile", lambda device: "")
    return asked


def settled(grid: Grid) -> tuple:
    return grid.protocol.get("precision"), grid.protocol.get("compile")


def test_the_longest_cell_that_can_be_trained_decides_for_all(prepared, asked):
    threads = torch.get_num_threads()
    chosen = chosen_alike(grid(), PreparedData.open(prepared), "cpu", 1)
    assert settled(chosen) == ("bfloat16", "block")
    assert asked == [("2^3", 32, 1)]  # 7 is no width that two heads can share
    assert torch.get_num_threads() == threads


def test_what_the_protocol_says_is_kept(prepared, asked):
    data = PreparedData.open(prepared)
    assert settled(chosen_alike(grid(precision="float32"), data, "cpu", 1)) == ("float32", "block")
    assert settled(chosen_alike(grid(compile="off"), data, "cpu", 1)) == ("bfloat16", "off")
    asked.clear()
    given = grid(precision="float32", compile="off")
    assert chosen_alike(given, data, "cpu", 1) == given
    assert asked == []


def test_a_sweep_that_is_there_goes_on_as_it_began(prepared, asked):
    chosen = chosen_alike(grid(), PreparedData.open(prepared), "cpu", 1)
    asked.clear()
    assert began_alike(grid(), chosen.settings()) == chosen
    assert began_alike(grid(), grid().settings()) == grid(), "on a cluster, say"
    for damaged in (None, {}, {"protocol": 3}, "text"):
        assert began_alike(grid(), damaged) == grid()
    assert asked == []


def test_without_a_cell_that_can_be_trained_nothing_is_chosen(prepared, asked):
    impossible = Grid(layouts=["1"], widths=[7], learning_rates=[0.01], protocol=PROTOCOL)
    assert chosen_alike(impossible, PreparedData.open(prepared), "cpu", 1) == impossible
