"""Where the cells of a sweep run: as processes on this machine, or on a cluster through submitit."""

import json
import os
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from frailt.data.whole_files import write_whole


class Job(Protocol):
    """A command that was started."""

    def exit_code(self) -> int | None:
        """None while it runs or waits."""

    def stop(self) -> None:
        """Ask it to save and to end."""

    ends_when_stopped: bool
    """Whether it then ends soon."""


class Jobs(Protocol):
    """A place where commands run."""

    slots: int
    """How many may run or wait there at a time."""

    def start(self, name: str, command: Sequence[str], log: Path) -> Job:
        """Start a command that appends what it prints to `log`."""

    def find(self, name: str) -> Job | None:
        """The job of that name that another process started and that has not ended, where the place knows of one."""


class LocalJobs:
    """Processes on this machine, `slots` at a time; GPUs are shared out among them.

    Args:
        slots: how many at a time.
        threads: CPU threads of each.
        gpus: GPUs of this machine that may be used.
    """

    def __init__(self, slots: int, threads: int, gpus: int = 0) -> None:
        self.slots, self.threads, self.gpus = slots, threads, gpus
        self._running: dict[int, LocalJob] = {}

    def start(self, name: str, command: Sequence[str], log: Path) -> "LocalJob":
        """Start a process in a session of its own: an interrupt from the keyboard is the sweep's to pass on."""
        slot = next(i for i in range(self.slots) if i not in self._running or self._running[i].exit_code() is not None)
        environment = os.environ | {"OMP_NUM_THREADS": str(self.threads)}
        if self.gpus > 1:  # of those that this process may use
            visible = [gpu.strip() for gpu in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if gpu.strip()]
            environment["CUDA_VISIBLE_DEVICES"] = (visible or list(map(str, range(self.gpus))))[slot % self.gpus]
        with log.open("ab") as output:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment, start_new_session=True
            )
        self._running[slot] = LocalJob(process)
        return self._running[slot]

    def find(self, name: str) -> None:
        """None: what trains here is known by the lock on its folder."""


class LocalJob:
    """A process on this machine."""

    ends_when_stopped = True

    def __init__(self, process: subprocess.Popen) -> None:
        self.process = process

    def exit_code(self) -> int | None:
        """As of the process; negative where a signal ended it."""
        return self.process.poll()

    def stop(self) -> None:
        """SIGTERM: training saves and ends."""
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)


class ClusterJobs:
    """Jobs on a cluster, through submitit.

    Args:
        folder: for submitit's files; on a file system that the nodes share.
        slots: how many to have queued or running at a time.
        parameters: for `submitit.AutoExecutor.update_parameters`, such as {timeout_min: 240, gpus_per_node: 1,
            slurm_partition: name}.
        cluster: slurm; submitit's local and debug are for trying it out.

    Raises:
        ImportError: submitit is not installed.
        ValueError: submitit does not know a parameter, or finds no cluster.
    """

    def __init__(self, folder: Path, slots: int, parameters: dict[str, Any], cluster: str = "slurm") -> None:
        try:
            import submitit
        except ImportError as error:
            raise ImportError("running on a cluster needs submitit: pip install 'frailt[cluster]'") from error
        self.slots, self.folder, self._known = slots, folder, folder / "jobs.json"
        self._job_class = submitit.SlurmJob if cluster == "slurm" else submitit.LocalJob
        try:
            self._executor = submitit.AutoExecutor(folder=str(folder), cluster=cluster)
            self._executor.update_parameters(**parameters)
        except (RuntimeError, TypeError, NameError, ValueError, AssertionError) as error:
            raise ValueError(f"slurm must be settings of submitit on a cluster: {error}") from error

    def start(self, name: str, command: Sequence[str], log: Path) -> "ClusterJob":
        """Submit one job."""
        self._executor.update_parameters(name=name.replace("/", "_"))
        job = self._executor.submit(_run, list(command), str(log.absolute()))
        write_whole(self._known, json.dumps(self._ids() | {name: job.job_id}, indent=1) + "\n")
        return ClusterJob(job)

    def find(self, name: str) -> "ClusterJob | None":
        """The job that was submitted last under that name, if it has not ended."""
        if (number := self._ids().get(name)) is None:
            return None
        job = ClusterJob(self._job_class(folder=self.folder, job_id=number))
        return job if job.exit_code() is None else None

    def _ids(self) -> dict[str, str]:
        try:
            return json.loads(self._known.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}


class ClusterJob:
    """A job that submitit watches."""

    ends_when_stopped = False

    def __init__(self, job: Any) -> None:
        self.job = job

    def exit_code(self) -> int | None:
        """As of the command; 1 where the job died around it."""
        if not self.job.done():
            return None
        return 1 if self.job.exception() is not None else self.job.result()

    def stop(self) -> None:
        """Leave it be: a job on a cluster outlives the sweep, which finds its run when it is started again."""


def _run(command: list[str], log: str) -> int:
    """On the node: the command, its output appended to `log`, and signals passed on to it.

    SIGUSR2 is how submitit says that the job's time is nearly over; training saves on SIGUSR1, and ends with the exit
    code that says that the same command goes on.
    """
    with open(log, "ab") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    passed_on = {
        signal.SIGTERM: signal.SIGTERM, signal.SIGUSR1: signal.SIGUSR1, signal.SIGUSR2: signal.SIGUSR1
    }  # fmt: skip
    for number in passed_on:
        signal.signal(number, lambda got, frame: process.send_signal(passed_on[signal.Signals(got)]))
    return process.wait()
