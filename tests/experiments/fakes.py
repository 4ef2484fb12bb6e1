"""Jobs that train nothing: they leave the records that a run would, at once, with a loss that the test makes up."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import yaml

from frailt.cli import _parse
from frailt.data.packing import PreparedData
from frailt.training.config import TrainConfig

DIVERGED = float("inf")


class FakeJob:
    ends_when_stopped = True

    def __init__(self, code: int) -> None:
        self.code = code

    def exit_code(self) -> int:
        return self.code

    def stop(self) -> None: ...


class FakeJobs:
    """Parses each command as `frailt train` does, and leaves what such a run leaves.

    Args:
        loss: nats per token of a run; DIVERGED, or a text for an error that ends it.
        slots: how many at a time.
    """

    def __init__(self, loss: Callable[[TrainConfig], float | str], slots: int = 1) -> None:
        self.loss, self.slots = loss, slots
        self.started: list[str] = []
        self.configs: dict[str, TrainConfig] = {}

    def find(self, name: str) -> None:
        return None

    def start(self, name: str, command: list[str], log: Path) -> FakeJob:
        assert command[1:4] == ["-m", "frailt", "train"]
        config = _parse("train", command[4:])
        self.started.append(name)
        self.configs[name] = config
        loss = self.loss(config)
        if isinstance(loss, str):
            log.write_text(f"starting\nfrailt train: error: {loss}\n")
            return FakeJob(2)
        leave_run(config, loss)
        return FakeJob(0 if loss < DIVERGED else 2)


def leave_run(config: TrainConfig, loss: float, **more) -> None:
    """The record of a finished run; with an infinite loss that of one that diverged."""
    folder = Path(config.out)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(asdict(config), sort_keys=False))
    steps, step_s = config.steps or 7, 0.1 * len(config.model.layout)
    record = {
        "status": "finished" if loss < DIVERGED else "stopped",
        "data": {"data_hash": PreparedData.open(config.data).data_hash},
        "model": {"layout": config.model.layout, "iteration_encoding": config.model.iteration_encoding},
        "steps": steps,
        "tokens": 100 * steps,
        "first_step_s": 20.0,
        "training_s": 20 + (steps - 1) * step_s,
        "tokens_per_s": 100 * steps / (20 + (steps - 1) * step_s),
    }
    if loss < DIVERGED:
        halves = {"even_stories": {"nats_per_token": loss}, "odd_stories": {"nats_per_token": loss + 0.1}}
        record["validation"] = {"nats_per_token": loss + 0.05, **halves}
    else:
        record["error"] = "FloatingPointError: loss became nan at step 3"
    (folder / "run.json").write_text(json.dumps(record | more))
