"""One process of a distributed run, for test_processes.py.

torchrun ... -m tests.training.worker die RANK STEP CONFIG.yaml
torchrun ... -m tests.training.worker check CONFIG.yaml ...          one run after another: starting takes longest
"""

import gc
import os
import sys
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import yaml
from accelerate.state import AcceleratorState
from torch._dynamo.testing import CompileCounterWithBackend
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel
from transformers import TrainerCallback

from frailt.cli import main
from frailt.training import choices, compiling
from frailt.training import fit as fit_module
from frailt.training import train as train_module

from .faults import BreakGradient, Die

SPOILT_STEP = 8
RANK = int(os.environ.get("RANK", "0"))


class Check(TrainerCallback):
    """What was asked for is what runs, and the processes stay equal."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings, self.mlp_passes = settings, 0

    def on_train_begin(self, args, state, control, model=None, **kwargs):
        def count(mlp, *args):
            self.mlp_passes += mlp.training

        if self.settings["compile"] == "off":
            model.model.groups[-1].blocks[-1].mlp.register_forward_pre_hook(count)

    def on_step_end(self, args, state, control, model=None, optimizer=None, **kwargs):
        parallel, passes = self.settings["parallel"], self.settings["accumulation_steps"]
        sharded = {isinstance(parameter, DTensor) for parameter in model.parameters()}
        moments = {isinstance(s["exp_avg"], DTensor) for s in optimizer.optimizer.state.values()}
        assert sharded == moments == {parallel == "fsdp"}, (sharded, moments)
        trainer = fit_module.FraiLTTrainer.running
        assert isinstance(trainer.model_wrapped, DistributedDataParallel) == (parallel == "ddp")
        if parallel == "ddp":
            own = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
            assert all(torch.equal(own, other) for other in trainer.processes.gathered(own))
        if self.settings["compile"] == "off":
            iterations = trainer.schedule.at(state.global_step) or model.config.iterations_per_group[-1]
            expected = passes * iterations * (1 + self.settings["gradient_checkpointing"])
            assert self.mlp_passes == expected, (self.mlp_passes, expected)
            self.mlp_passes = 0


def check(file: str) -> int:
    """A run under `Check`; compiled by a backend that takes no time, and a nan in one process alone where one may be
    skipped."""
    settings = yaml.safe_load(Path(file).read_text())
    torch._dynamo.reset()
    counter, compile_ = CompileCounterWithBackend("eager"), torch.compile
    compiling.torch.compile = lambda function: compile_(function, backend=counter)
    spoil = [BreakGradient(SPOILT_STEP)] * (settings["on_nonfinite"] == "skip" and RANK == 1)
    try:
        code = run(file, Check(settings), *spoil)
    finally:
        compiling.torch.compile = compile_
    assert bool(counter.graphs) == (settings["compile"] != "off")
    if counter.graphs:
        nodes = [node for graph in counter.graphs for node in graph.graph.nodes]
        assert any("checkpoint" in str(node.target) for node in nodes) == settings["gradient_checkpointing"]
    return code


def run(file: str, *callbacks: TrainerCallback) -> int:
    train, init = train_module.train, fit_module.FraiLTTrainer.__init__

    def remembering(self, **arguments):
        fit_module.FraiLTTrainer.running = self
        init(self, **arguments)

    fit_module.FraiLTTrainer.__init__ = remembering
    train_module.train = lambda config: train(config, callbacks)
    try:
        return main(["train", "--config", file])
    finally:
        train_module.train, fit_module.FraiLTTrainer.__init__ = train, init


def join_again(number: int) -> None:
    """Join the processes for another run, where none of the last one's addresses are left to be read."""
    AcceleratorState._reset_state(reset_partial_state=True)
    address, port, world = (os.environ[name] for name in ("MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE"))
    store = dist.PrefixStore(f"run {number}", dist.TCPStore(address, int(port), is_master=False))
    dist.init_process_group("gloo", store=store, rank=RANK, world_size=int(world))


if __name__ == "__main__":
    action, *arguments = sys.argv[1:]
    if action == "die":
        rank, step, file = arguments
        sys.exit(run(file, Die(int(rank), int(step))))
    choices.matmul_flops_per_s = cache(choices.matmul_flops_per_s)
    gc.freeze()  # as in conftest.py
    for number, file in enumerate(arguments):
        if number:
            join_again(number)
        if code := check(file):
            sys.exit(code)
