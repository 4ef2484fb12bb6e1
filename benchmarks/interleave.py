"""Contenders in processes of their own, which take turns: what the speed benchmarks have in common.

Measurements of one run are compared with each other only, round by round, so that what slows the machine for a while
slows all alike. No torch here: the processes need it, not the one that drives them.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

CHILD = Path(__file__).with_name("contenders.py")
PLAIN = "8"
"""The layout of the peers, and the depth of ours."""


@dataclass(frozen=True, kw_only=True)
class Contender:
    """Something that trains, and what it trains on.

    Args:
        kind: frailt (`frailt train`), trainer (plain transformers `Trainer` on a Llama) or loop (a hand-written loop on
            the same Llama, compiled).
        layout: of the model; the peers are always the plain 8.
        compile: TrainConfig's compile for frailt; off for trainer; torch.compile's mode for loop.
        precision: float32, bfloat16 or, for frailt, auto.
        hidden_size: width.
        rows: rows per step.
        context: tokens per row.
        data: prepared folder.
        device: cpu or cuda.
        threads: CPU threads.
        warm_up_steps: steps before the first one on the clock.
    """

    kind: str
    layout: str = PLAIN
    compile: str = "off"
    precision: str = "float32"
    hidden_size: int
    rows: int
    context: int
    data: str
    device: str
    threads: int
    warm_up_steps: int = 3

    @property
    def name(self) -> str:
        """Unique among those that are compared."""
        return f"{self.kind} {self.layout} {self.compile} {self.precision}"


class Process:
    """A contender at work, or waiting for its turn."""

    def __init__(self, contender: Contender, **environment: str) -> None:
        self.contender = contender
        self._log = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115 - open while it runs
        self._folder = tempfile.TemporaryDirectory()
        self._process = subprocess.Popen(
            [sys.executable, str(CHILD), json.dumps(asdict(contender)), self._folder.name],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True,
            env=os.environ | {"OMP_NUM_THREADS": str(contender.threads), "HF_HUB_OFFLINE": "1"} | environment,
        )  # fmt: skip

    def answer(self) -> dict[str, Any]:
        """The next line that it says.

        Raises:
            RuntimeError: it has ended, with its last words.
        """
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._log.seek(0)
            words = [line for line in self._log.read().splitlines() if line.strip()]
            raise RuntimeError(f"{self.contender.name}: {words[-1][:300] if words else 'killed'}")
        return json.loads(line)

    def train(self, steps: int) -> dict[str, Any]:
        """Let it train so many steps: `seconds`, and `peak_memory_bytes` so far."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # `answer` says why
            self._process.stdin.write(f"{steps}\n")
            self._process.stdin.flush()
        return self.answer()

    def kill(self) -> None:
        self._process.kill()

    def end(self) -> None:
        """Away with it, and what it wrote."""
        self.kill()
        self._process.communicate()
        self._log.close()
        self._folder.cleanup()


@contextmanager
def at_most(seconds: float | None, processes: list[Process]) -> Iterator[None]:
    """End `processes` when time is up, so that whoever waits for them learns it; and in any case afterwards."""
    timer = threading.Timer(seconds or 0, lambda: [process.kill() for process in processes])
    if seconds is not None:
        timer.start()
    try:
        yield
    finally:
        timer.cancel()
        for process in processes:
            process.end()


def compare(
    contenders: Sequence[Contender], *, rounds: int, steps: int, at_once: int = 1, seconds: float | None = None
) -> dict[str, dict[str, Any]]:
    """Train all in turn, `steps` each, for `rounds` rounds whose order rotates.

    Args:
        contenders: who.
        rounds: how many portions of each.
        steps: steps of a portion.
        at_once: how many set themselves up at the same time; 1 where times to the first step are to be compared.
        seconds: after so many all is ended, with an error.

    Returns:
        By name: what the contender says of itself and `seconds`, one number a round; or `error`.
    """
    processes: list[Process] = []
    found: dict[str, dict[str, Any]] = {}

    def attempt(process: Process, first: bool) -> None:
        name = process.contender.name
        try:
            if first:
                found[name] = asdict(process.contender) | process.answer() | {"seconds": []}
                found[name].pop("data")
            elif "error" not in found[name]:
                said = process.train(steps)
                found[name]["seconds"].append(round(said["seconds"], 4))
                found[name]["peak_memory_bytes"] = said["peak_memory_bytes"]
        except RuntimeError as error:
            found[name] = {"error": str(error)}
        _show(f"{name}: {found[name].get('error') or _progress(found[name])}")

    with at_most(seconds, processes):
        for start in range(0, len(contenders), at_once):
            processes += (some := [Process(contender) for contender in contenders[start : start + at_once]])
            for process in some:
                attempt(process, first=True)
        for number in range(rounds):
            shift = number % len(processes)
            for process in processes[shift:] + processes[:shift]:
                attempt(process, first=False)
    return {
        name: entry
        if "error" in entry
        else entry | {"steps_per_round": steps, "tokens_per_s": _tokens_per_s(entry, steps)}
        for name, entry in found.items()
    }


def peers(precision: str, loop_mode: str, **settings: Any) -> list[Contender]:
    """What `frailt train` is compared with."""
    return [
        Contender(kind="trainer", precision=precision, **settings),
        Contender(kind="loop", compile=loop_mode, precision=precision, **settings),
    ]


def _tokens_per_s(entry: dict[str, Any], steps: int) -> list[float]:
    return [round(steps * entry["rows"] * entry["context"] / seconds, 1) for seconds in entry["seconds"]]


def _progress(entry: dict[str, Any]) -> str:
    return f"{entry['seconds'][-1]:.2f} s" if entry["seconds"] else f"ready, first step {entry['first_step_s']:.1f} s"


def _show(line: str) -> None:
    print(f"  {line}", file=sys.stderr, flush=True)
