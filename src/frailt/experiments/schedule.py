"""What is to run next for each cell of a grid, read from what has run."""

import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import torch

from frailt.data.packing import PreparedData, TokenStream
from frailt.data.whole_files import write_whole
from frailt.training.build import model_config
from frailt.training.compiling import missing_for_compile
from frailt.training.config import TrainConfig
from frailt.training.hardware import choose_device

from .grid import Cell, Grid
from .match import changes, reference_of
from .records import at, is_positive, steady_s
from .search import best_rate, next_rates, trial
from .task import State, Task

TIMING_STEPS, TIMING_SHARE = 50, 0.05
"""Optimiser steps of a run that measures a rate, to match time: at least so many, and so much of the reference's."""


class CannotRun(ValueError):
    """A cell cannot be trained; the reason in one line."""


class Schedule:
    """The runs of a grid: each cell's own, and the trials it needs first.

    Args:
        grid: cells and protocol.
        data: prepared corpus.
        out: folder of the sweep.
        device: for each run.
        threads: CPU threads of each run; None leaves it to torch.
    """

    def __init__(self, grid: Grid, data: PreparedData, out: Path, *, device: str, threads: int | None) -> None:
        self.grid, self.data, self.out = grid, data, out
        self.where, self.threads = {"device": device, "threads": threads}, threads
        train = data.split("train")
        context = grid.train_config(_any_rate(next(iter(grid))), "", "").context
        self.rows = len(train.rows(context)) if isinstance(train, TokenStream) else None
        self._finished: dict[str, State] = {}
        self._solved: dict[tuple[Cell, tuple[float, float] | None], dict[str, Any]] = {}

    def due(self, cell: Cell) -> list[Task]:
        """What must run now so that `cell` gets on: trials, or its own run; nothing where that is finished.

        Raises:
            CannotRun: its sizes do not fit, nothing matches, training diverged, or its folder holds another run.
        """
        try:
            cell, trials = self._with_rate(cell)
            if not trials:
                trials, task = self._task(cell)
                if task is not None:
                    state = self.state(task)
                    if state.status == "diverged":
                        raise CannotRun(state.reason)
                    return [task] if state.status == "unfinished" else []
            return trials
        except CannotRun:
            raise
        except ValueError as error:
            raise CannotRun(" ".join(str(error).split())) from error

    def task(self, cell: Cell) -> Task | None:
        """The cell's own run; None as long as its learning rate or its budget waits for trials."""
        cell, trials = self._with_rate(cell)
        return None if trials else self._task(cell)[1]

    def state(self, task: Task) -> State:
        """As of the task; what is finished is read once.

        Raises:
            CannotRun: its folder holds another run, or a damaged one.
        """
        if task.name in self._finished:
            return self._finished[task.name]
        state = task.state()
        if state.status in ("finished", "diverged"):
            self._finished[task.name] = state
        if state.status == "failed":
            raise CannotRun(state.reason)
        return state

    def _with_rate(self, cell: Cell) -> tuple[Cell, list[Task]]:
        """The cell with its learning rate, or the trials that are still needed to find it."""
        search = self.grid.search
        if search is None:
            return cell, []
        losses = self._tried(cell)
        rates = next_rates(search, losses)
        if rates:
            return cell, [self._trial(cell, rate) for rate in rates]
        rate = best_rate(losses)
        if rate is None:
            raise CannotRun(f"training diverged at every learning rate tried: {sorted(losses)}")
        return replace(cell, learning_rate=rate), []

    def _tried(self, cell: Cell) -> dict[float, float]:
        """The loss by rate of the trials that have ended, infinite where training diverged."""
        assert self.grid.search is not None
        losses: dict[float, float] = {}
        while rates := next_rates(self.grid.search, losses):
            ended = {}
            for rate in rates:
                state = self.state(self._trial(cell, rate))
                if state.status in ("finished", "diverged"):
                    ended[rate] = state.chosen_on_nats
            losses |= ended
            if len(ended) < len(rates):
                break
        return losses

    def _trial(self, cell: Cell, rate: float) -> Task:
        assert self.grid.search is not None
        tried = trial(self.grid.search, cell, rate)
        _, task = self._task(tried, folder="trials")
        assert task is not None
        return task

    def _task(self, cell: Cell, folder: str = "cells") -> tuple[list[Task], Task | None]:
        """The run of a cell that has its rate; or, to match time, the runs first that measure how fast it goes."""
        rates: tuple[float, float] | None = None
        if self.grid.match == "time" and cell.layout != self.grid.reference and folder == "cells":
            own, reference = (self._timing(each) for each in (cell, reference_of(self.grid, cell)))
            if waiting := [task for task in (own, reference) if self.state(task).status == "unfinished"]:
                return waiting, None
            rates = _steady_rate(own), _steady_rate(reference)
        changed = self._changes(cell, rates) if self.grid.match != "time" or rates is not None else {}
        return [], self._run(cell, self.out / folder / cell.name, **changed)

    def _changes(self, cell: Cell, rates: tuple[float, float] | None = None) -> dict[str, Any]:
        """What matching changes, which is the same for every seed and is solved once."""
        key = replace(cell, seed=0), rates
        if key not in self._solved:
            self._solved[key] = changes(self.grid, cell, self.data.manifest.vocab_size, self.rows, rates)
        return dict(self._solved[key])

    def _timing(self, cell: Cell) -> Task:
        """The run that measures how fast cells like this one go: at any learning rate alike, so at the first."""
        rate = (self.grid.search.rates if self.grid.search else self.grid.learning_rates or [1.0])[0]
        steps = self.grid.train_config(_any_rate(reference_of(self.grid, cell)), "", "").steps_for(self.rows)
        steps = max(TIMING_STEPS, round(TIMING_SHARE * steps))
        timed = replace(cell, seed=0, unit="steps", amount=steps, searched=False, learning_rate=rate)
        return self._run(timed, self.out / "trials" / timed.name, evaluations=1)

    def _run(self, cell: Cell, folder: Path, **changed: Any) -> Task:
        config = self.grid.train_config(cell, str(self.data.folder), str(folder), **self.where, **changed)
        if self.grid.match == "time" and config.compile == "auto":  # or short timings would go another way than cells
            device = choose_device("auto") if config.device == "auto" else torch.device(config.device)
            config = replace(config, compile="off" if missing_for_compile(device) else "block")
        model_config(config, self.data.manifest.vocab_size)  # raises where sizes do not fit
        return Task(cell=cell, folder=folder, config=config, data_hash=self.data.data_hash)

    # What a plan asks

    def config_for_plan(self, cell: Cell) -> TrainConfig:
        """The cell's run, at any learning rate where none is found yet; while it waits for timings with its own budget.

        Raises:
            ValueError: its sizes do not fit, or nothing matches.
        """
        cell = _any_rate(cell)
        _, task = self._task(cell)
        return (task or self._run(cell, self.out / "cells" / cell.name)).config

    def waits_for_timing(self, cell: Cell) -> bool:
        """Whether its budget follows from rates that are not measured yet."""
        return self._task(_any_rate(cell))[1] is None

    def trials_due(self, cell: Cell) -> list[Task]:
        """The trials that are to run before its learning rate is found, as far as is known now."""
        return self._with_rate(cell)[1]

    def is_finished(self, cell: Cell) -> bool:
        """Whether the cell is trained."""
        try:
            task = self.task(cell)
            return task is not None and self.state(task).status == "finished"
        except ValueError:
            return False

    def tokens_per_s(self, cell: Cell) -> float | None:
        """As measured in runs of the same layout, width and encoding in this sweep: the median; None without any."""
        rates = []
        for path in self.out.glob(f"*/{cell.width}_{cell.layout.replace(',', '+')}_*/run.json"):
            with suppress(OSError, ValueError):
                record = json.loads(path.read_text(encoding="utf-8"))
                rate, encoding = (at(record, name) for name in ("tokens_per_s", "model.iteration_encoding"))
                if at(record, "status") == "finished" and encoding == cell.encoding and is_positive(rate):
                    rates.append(rate)
        return median(rates) if rates else None

    # Records beside the runs

    def write_rates(self) -> None:
        """Write `rates.json`: the rates that were searched to the end, with all trials."""
        search = self.grid.search
        if search is None:
            return
        chosen: dict[str, dict[str, Any]] = {}
        for cell in self.grid:
            key = {"layout": cell.layout, "width": cell.width, "encoding": cell.encoding, cell.unit: cell.amount}
            if str(key) in chosen:
                continue
            try:
                losses = self._tried(cell)
            except ValueError:
                continue
            if not losses or next_rates(search, losses):
                continue
            trials = [{"learning_rate": rate, "nats_per_token": _finite(losses[rate])} for rate in sorted(losses)]
            chosen[str(key)] = {**key, "learning_rate": best_rate(losses), "trials": trials}
        rule = (
            f"trials of {search.share:g} of the budget, seed {search.seed}; lowest loss on the validation stories of "
            f"even number; up to {search.widen} rates beyond {search.rates} where the best one was at an edge"
        )
        write_whole(
            self.out / "rates.json", json.dumps({"rule": rule, "chosen": list(chosen.values())}, indent=1) + "\n"
        )


def _any_rate(cell: Cell) -> Cell:
    return replace(cell, learning_rate=cell.learning_rate or 1.0)


def _steady_rate(task: Task) -> float:
    """Tokens per second of a run once it goes: without the first step, in which blocks are compiled.

    Raises:
        ValueError: its record lacks what that takes.
    """
    record, folder = task.record(), task.folder
    for name in ("training_s", "tokens", "steps"):
        if not is_positive(record.get(name)):
            raise ValueError(
                f"{folder} must hold a run.json with {name} above 0, got {record.get(name)!r}: move it away"
            )
    seconds, steps = steady_s(record["training_s"], record.get("first_step_s")), record["steps"]
    left_out = seconds < record["training_s"]
    return record["tokens"] * (steps - left_out) / steps / seconds


def _finite(value: float) -> float | None:
    return value if value < float("inf") else None
