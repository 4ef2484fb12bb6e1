"""Training runs as Slurm jobs through submitit: one job per layout, one process per GPU.

    python examples/cluster/submitit_train.py --config examples/cluster/train.yaml --layouts '2^4' 8 --out runs/array

Where time is short or the job is preempted, submitit calls `checkpoint`, and puts the job back into the queue; the same
command then goes on. `--cluster local` runs the jobs on this machine, `--cluster debug` in this process.
"""

import argparse
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

import submitit
from submitit.helpers import Checkpointable, DelayedSubmission, TorchDistributedEnvironment

RUN_AGAIN = 75
"""Exit code of `frailt train` after a signal: a checkpoint is saved, and the same command goes on from it."""


class Training(Checkpointable):
    """One process of one run.

    Args:
        command: what to run; `frailt train` with its options.
    """

    def __init__(self, command: list[str]) -> None:
        self.command = command
        self.pid = 0

    def __call__(self) -> int:
        """Run to the end, or until the run asks to be run again: 0 or 75.

        Raises:
            RuntimeError: it ended otherwise.
        """
        if submitit.JobEnvironment().num_tasks > 1:
            TorchDistributedEnvironment().export(set_cuda_visible_devices=False, overwrite=True)
        # In a session of its own: what is signalled is this process, and it passes on what the run shall know.
        self.pid = os.posix_spawnp(self.command[0], self.command, os.environ, setsid=True)
        code = self._ended()
        if code not in (0, RUN_AGAIN):
            raise RuntimeError(f"{' '.join(self.command)} ended with exit code {code}")
        return code

    def checkpoint(self) -> DelayedSubmission:
        """Let the run save, then submit the same again; submitit calls this in the process of rank 0.

        One process told is enough: they agree on the step after which all of them stop.
        """
        with suppress(ProcessLookupError, ChildProcessError):  # it has just ended by itself
            os.kill(self.pid, signal.SIGUSR1)
            self._ended()
        return DelayedSubmission(Training(self.command))

    def _ended(self) -> int:
        # Not subprocess, whose wait holds a lock that `checkpoint`, called in the midst of it, would wait for.
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def parser() -> argparse.ArgumentParser:
    """The options of this script; what it does not know goes to `frailt train`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, help="YAML file of frailt train")
    parser.add_argument("--layouts", nargs="+", default=["2^4", "8"])
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs, and of submitit's logs")
    parser.add_argument("--cluster", help="local or debug; by default Slurm where there is one")
    parser.add_argument("--partition", help="Slurm's partition")
    parser.add_argument("--nodes", type=int, default=1)
    parser.add_argument("--gpus_per_node", type=int, default=8)
    parser.add_argument("--processes_per_node", type=int, help="by default as many as GPUs, 1 without any")
    parser.add_argument("--cpus_per_process", type=int, default=8)
    parser.add_argument("--hours", type=float, default=8)
    parser.add_argument("--at_once", type=int, default=4, help="jobs that run at the same time")
    return parser


def main() -> None:
    options, more = parser().parse_known_args()
    executor = submitit.AutoExecutor(options.out / "submitit", cluster=options.cluster)
    executor.update_parameters(
        name="frailt",
        nodes=options.nodes,
        tasks_per_node=options.processes_per_node or max(1, options.gpus_per_node),
        gpus_per_node=options.gpus_per_node,
        cpus_per_task=options.cpus_per_process,
        timeout_min=round(60 * options.hours),
        slurm_signal_delay_s=300,
        slurm_array_parallelism=options.at_once,
        **({"slurm_partition": options.partition} if options.partition else {}),
    )
    train = [sys.executable, "-m", "frailt", "train", "--config", options.config, *more]
    with executor.batch():  # one Slurm array
        jobs = [
            executor.submit(Training([*train, f"--model.layout={layout}", f"--out={options.out / layout}"]))
            for layout in options.layouts
        ]
    for layout, job in zip(options.layouts, jobs, strict=True):
        print(f"{layout}: job {job.job_id}, log {job.paths.stdout}", flush=True)
    if executor.cluster != "slurm":  # Slurm's run on without us; the others end with this process
        for job in jobs:
            job.results()


if __name__ == "__main__":
    main()
