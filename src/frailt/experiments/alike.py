"""How all cells of a sweep are computed alike, where the protocol leaves that to be found out.

A run that is told `auto` chooses by what it measures. Cells of a sweep would measure beside each other, or are short
and long, and could differ in more than their configuration: in precision, or in time by being compiled or not. So it
is chosen once, by the cell that takes longest, and kept in `grid.yaml`.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

from frailt.data.packing import PreparedData, TokenStream
from frailt.training.build import model_config
from frailt.training.choices import expected_seconds
from frailt.training.compiling import choose_compile
from frailt.training.config import TrainConfig
from frailt.training.depth import expected_training_flops
from frailt.training.hardware import choose_device, choose_precision, matmul_flops_per_s, with_threads

from .grid import Grid

AUTO = "auto"
ALIKE = ("precision", "compile")
"""Settings of the protocol that are `auto` by default and shall be the same for all cells."""


def began_alike(grid: Grid, began: Any) -> Grid:
    """The grid with what a sweep began with, as its `grid.yaml` says.

    That may be `auto`: on a cluster, whose nodes are not the machine that submits, each cell chooses.
    """
    protocol = began.get("protocol") if isinstance(began, dict) else None
    before = protocol if isinstance(protocol, dict) else {}
    return _settled(grid, {name: before.get(name, AUTO) for name in ALIKE})


def chosen_alike(grid: Grid, data: PreparedData, device: str, threads: int | None) -> Grid:
    """The grid with what is best for the cell that takes longest, on this machine."""
    if all(grid.protocol.get(name, AUTO) != AUTO for name in ALIKE):
        return grid
    longest = max(_configs(grid, data), key=lambda each: each[1], default=None)
    if longest is None:
        return grid
    (config, flops), where = longest, choose_device(device)
    with with_threads(threads):
        precision = choose_precision(config.precision, where, model_config(config, data.manifest.vocab_size))
        seconds = expected_seconds(flops, matmul_flops_per_s(where, precision))
    return _settled(grid, {"precision": precision, "compile": choose_compile(config.compile, where, seconds)})


def _configs(grid: Grid, data: PreparedData) -> Iterator[tuple[TrainConfig, float]]:
    """What each cell is told, and the FLOPs of its run; without those that cannot be trained, which say so later."""
    train = data.split("train")
    for cell in dict.fromkeys(replace(cell, seed=0, learning_rate=1.0) for cell in grid):
        with suppress(ValueError):
            config = grid.train_config(cell, "", "")
            rows = len(train.rows(config.context)) if isinstance(train, TokenStream) else None
            flops = expected_training_flops(config, model_config(config, data.manifest.vocab_size))
            yield config, config.steps_for(rows) * config.tokens_per_step * flops


def _settled(grid: Grid, chosen: dict[str, str]) -> Grid:
    found = {name: value for name, value in chosen.items() if grid.protocol.get(name, AUTO) == AUTO != value}
    return replace(grid, protocol={**grid.protocol, **found}) if found else grid
