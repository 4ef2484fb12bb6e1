"""Running what is due, a few runs at a time, until nothing is left."""

import json
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from frailt.data.whole_files import write_whole
from frailt.training.config import TrainConfig
from frailt.training.stopping import RUN_AGAIN, Stopped, StopRequest

from .grid import Cell
from .jobs import Job, Jobs
from .schedule import CannotRun, Schedule
from .task import Task, in_use
from .view import Shown, View

POLL_S = 1.0

Refuse = Callable[[TrainConfig], str | None]


class SomeFailed(ValueError):
    """Runs of a sweep failed; the others are done."""


class Runner:
    """Runs what is due, a few at a time, until nothing is left.

    Args:
        schedule: what is due.
        cells: those wanted.
        jobs: where they run.
        refuse: says why a run is not to be started, if it is not.
    """

    def __init__(self, schedule: Schedule, cells: list[Cell], jobs: Jobs, refuse: Refuse | None = None) -> None:
        self.schedule, self.cells, self.jobs, self.out = schedule, cells, jobs, schedule.out
        self.refuse = refuse
        self.view = View(cells, f"{self.out}, {jobs.slots} at a time")
        self.failed: dict[str, str] = {}
        """The reason by task or cell."""
        self._running: dict[str, tuple[Task, Job | None]] = {}
        """By the task's name; without a job where a killed sweep's process still trains it."""
        self._shown: dict[Cell, Shown] = {}

    def run(self) -> None:
        """Run all.

        Raises:
            SomeFailed: runs failed; the rest is done.
            Stopped: SIGTERM or SIGUSR1 came; what ran has a checkpoint.
        """
        with StopRequest() as stop, self.view:
            try:
                self._run(stop)
            except BaseException:
                self._stop_jobs()
                raise
        if self.failed:
            first, reason = next(iter(self.failed.items()))
            raise SomeFailed(
                f"{len(self.failed)} of the runs failed, listed in {self.out}/failures.json: {first}: {reason}"
            )

    def _run(self, stop: StopRequest) -> None:
        changed, queue = True, list[Task]()
        while True:
            changed |= self._collect()
            if stop:
                raise Stopped(f"stopped by {stop.signal.name if stop.signal else 'a signal'}: the same command goes on")
            if changed:
                queue = list(self._due())
                self._write_notes()
                self._shown = {cell: self._shown_as(cell) for cell in self.cells}
            while queue and len(self._running) < self.jobs.slots:
                self._start(queue.pop(0))
            self._refresh()
            self.view.show(self._shown)
            if not self._running and not queue:
                return
            changed = False
            time.sleep(POLL_S)

    def _due(self) -> Iterator[Task]:
        """What may start now, in the order of the cells."""
        names = set(self._running)
        for cell in self.cells:
            for task in self._due_for(cell):
                if task.name not in names:
                    names.add(task.name)
                    yield task

    def _due_for(self, cell: Cell) -> list[Task]:
        if cell.name in self.failed:
            return []
        try:
            due = self.schedule.due(cell)
        except CannotRun as error:
            self._fail(cell.name, str(error))
            return []
        for task in due:
            if task.name in self.failed:
                if task.folder.parent.name == "trials":
                    self._fail(cell.name, f"{task.name} failed")
                return []
        return due

    def _start(self, task: Task) -> None:
        job = self.jobs.find(task.name)
        if job is None and not in_use(task.folder):
            if self.refuse is not None and (why := self.refuse(task.config)) is not None:
                self._fail(task.name, why)
                return
            log = self._log(task)
            try:
                log.parent.mkdir(parents=True, exist_ok=True)
                job = self.jobs.start(task.name, command_of(task), log)
            except OSError as error:
                self._fail(task.name, str(error))
                return
            self.view.tell(f"{task.name} started")
        else:
            self.view.tell(f"{task.name} is under way already, started before")
        self._running[task.name] = task, job

    def _log(self, task: Task) -> Path:
        return self.out / "logs" / f"{task.name.replace('/', '_')}.log"

    def _collect(self) -> bool:
        """Take note of what has ended; whether something has."""
        before = len(self._running)
        for name, (task, job) in list(self._running.items()):
            code = job.exit_code() if job is not None else (None if in_use(task.folder) else RUN_AGAIN)
            if code is None:
                continue
            del self._running[name]
            state = task.state()
            if state.status == "finished":
                self.view.tell(f"{name} finished: {state.nats:.4f} nats per token")
            elif state.status == "diverged" and task.folder.parent.name == "trials":
                self.view.tell(f"{name} diverged: {state.reason}")
            elif code != RUN_AGAIN:  # else it is due again, from its last checkpoint
                self._fail(name, state.reason or self._last_words(task, code))
        return len(self._running) < before

    def _fail(self, name: str, reason: str) -> None:
        self.failed[name] = reason
        self.view.tell(f"{name} failed: {reason}")

    def _last_words(self, task: Task, code: int) -> str:
        """The line in which a run said why it ended, or where to look."""
        log = self._log(task)
        try:
            last = log.read_text(encoding="utf-8", errors="replace").rstrip().splitlines()[-1]
        except (OSError, IndexError):
            last = ""
        _, found, said = last.partition("error: ")
        if found:
            return said
        if code < 0:
            name = signal.Signals(-code).name
            return f"{name} ended it{', as for want of memory' if name == 'SIGKILL' else ''}, see {log}"
        return f"exit code {code}, see {log}"

    def _stop_jobs(self) -> None:
        """Ask what runs to save and end, and wait for it."""
        jobs = [job for _, job in self._running.values() if job is not None]
        if jobs:
            self.view.tell(f"stopping {len(jobs)} runs; each saves a checkpoint")
        for job in jobs:
            job.stop()
        while any(job.exit_code() is None for job in jobs if job.ends_when_stopped):
            time.sleep(POLL_S)

    def _write_notes(self) -> None:
        """`rates.json` and `failures.json`; a disk that takes none shall not end the sweep."""
        try:
            self.schedule.write_rates()
            file = self.out / "failures.json"
            failed = self._failed_of_others(file) | self.failed
            if failed or file.exists():
                write_whole(file, json.dumps(failed, indent=1) + "\n")
        except OSError as error:
            self.view.tell(f"no notes in {self.out}: {error}")

    def _failed_of_others(self, file: Path) -> dict[str, str]:
        """What failed before among the cells that are not wanted now."""
        others = {cell.name for cell in self.schedule.grid} - {cell.name for cell in self.cells}
        try:
            before = json.loads(file.read_text(encoding="utf-8"))
            kept = {name: str(why) for name, why in before.items() if name.removeprefix("cells/") in others}
            causes = {name: str(why) for name, why in before.items() if f"{name} failed" in kept.values()}
            return causes | kept
        except (OSError, ValueError, AttributeError):
            return {}

    def _shown_as(self, cell: Cell) -> Shown:
        if cell.name in self.failed or f"cells/{cell.name}" in self.failed:
            return Shown(status="failed")
        try:
            task = self.schedule.task(cell)
            if task is not None:
                state = self.schedule.state(task)
                return Shown(status="finished" if state.status == "finished" else "waiting", state=state)
            trials = sum(task.name in self._running for task in self.schedule.due(cell))
            return Shown(status="searching" if trials else "waiting", trials=trials)
        except ValueError:
            return Shown(status="failed")

    def _refresh(self) -> None:
        """Look how far the running cells are; the others change when something ends."""
        for task, _ in self._running.values():
            for cell in self.cells:
                if task.name == f"cells/{cell.name}":
                    self._shown[cell] = Shown(status="running", state=task.progress())


def command_of(task: Task) -> list[str]:
    """`frailt train` for a task, with every setting that is not its default."""

    def options(given: Any, usual: Any, prefix: str) -> Iterator[str]:
        for name in (field.name for field in fields(usual)):
            value = getattr(given, name)
            if is_dataclass(value):
                yield from options(value, getattr(usual, name), f"{prefix}{name}.")
            elif value != getattr(usual, name):
                yield f"--{prefix}{name}={value if isinstance(value, str) else json.dumps(value)}"

    return [sys.executable, "-m", "frailt", "train", *options(task.config, TrainConfig(data="", out=""), "")]
