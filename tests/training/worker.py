"""One process of a distributed run, for test_processes.py: python worker.py CONFIG.yaml [die RANK STEP | check]."""

import os
import signal
import sys
from pathlib import Path

import yaml
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel
from transformers import TrainerCallback

from frailt.cli import main
from frailt.training import fit as fit_module
from frailt.training import train as train_module


class Die(TrainerCallback):
    """SIGKILL for one rank, or all (-1), after a step."""

    def __init__(self, rank: int, step: int) -> None:
        self.rank, self.step = rank, step

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step and self.rank in (-1, int(os.environ.get("RANK", "0"))):
            os.kill(os.getpid(), signal.SIGKILL)


class Check(TrainerCallback):
    """What was asked for is what runs."""

    def __init__(self, parallel: str) -> None:
        self.parallel = parallel

    def on_step_end(self, args, state, control, model=None, optimizer=None, **kwargs):
        sharded = {isinstance(parameter, DTensor) for parameter in model.parameters()}
        moments = {isinstance(s["exp_avg"], DTensor) for s in optimizer.optimizer.state.values()}
        assert sharded == moments == {self.parallel == "fsdp"}, (sharded, moments)
        wrapped = fit_module.FraiLTTrainer.running.model_wrapped
        assert isinstance(wrapped, DistributedDataParallel) == (self.parallel == "ddp")


if __name__ == "__main__":
    file, action, *more = sys.argv[1:]
    settings = yaml.safe_load(Path(file).read_text())
    callback = Die(*map(int, more)) if action == "die" else Check(settings["parallel"])
    train, init = train_module.train, fit_module.FraiLTTrainer.__init__

    def remembering(self, **arguments):
        fit_module.FraiLTTrainer.running = self
        init(self, **arguments)

    fit_module.FraiLTTrainer.__init__ = remembering
    train_module.train = lambda config: train(config, [callback])
    sys.exit(main(["train", "--config", file]))
