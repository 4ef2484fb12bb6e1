"""Several processes that train one model: who they are, what they must agree on, and how the model is shared.

Data parallel (DDP) is accelerate's. Sharding (FSDP2) is torch's `fully_shard`, applied here to the model before the
Trainer sees it: the same code then runs on CPUs, where accelerate gives plain DDP without a word, and on GPUs.
"""

import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any, cast

import torch
import torch.distributed as dist
from accelerate import PartialState
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel
from transformers import Trainer

from frailt.model import FraiLTForCausalLM

from .stopping import ProcessLost

_SHARDED_BY_OTHERS = ("FSDP", "DEEPSPEED", "MEGATRON_LM")
_OURS_TO_SAY = {"MIXED_PRECISION": "--precision", "DYNAMO_BACKEND": "--compile"}


def _check_accelerate(device: torch.device) -> None:
    """Raise a ValueError where accelerate's configuration would have the Trainer do what `frailt train` was not told.

    `accelerate launch` passes it on in the environment, and the Trainer follows without a word.
    """

    def told(name: str) -> str:
        return os.environ.get(f"ACCELERATE_{name}", "").lower()

    for engine in _SHARDED_BY_OTHERS:
        if told(f"USE_{engine}") in ("true", "1"):
            raise ValueError(
                f"accelerate's configuration must leave out {engine.lower()}, got it switched on: "
                "frailt shards by --parallel fsdp, on CPUs too"
            )
    for name, option in _OURS_TO_SAY.items():
        if told(name) not in ("", "no"):
            raise ValueError(
                f"accelerate's {name.lower()} must be no, got {told(name)}: what runs is for {option} of frailt to say"
            )
    if told("USE_CPU") in ("true", "1") and device.type != "cpu":
        raise ValueError(f"accelerate's use_cpu must be off on {device.type}, got it switched on: give --device cpu")


class Processes:
    """Who this process is among those that `torchrun` or `accelerate launch` started; one alone where there are none.

    Args:
        device: the kind of device that they compute on; it decides how they talk, over gloo or NCCL.

    Raises:
        ValueError: accelerate's configuration asks for what would not run here as asked.
        ProcessLost: the others did not come.
    """

    def __init__(self, device: torch.device) -> None:
        _check_accelerate(device)
        self.count = int(os.environ.get("WORLD_SIZE", "1"))
        self.device = device
        self.rank = 0
        self._agreement: dist.ProcessGroup | None = None
        if self.count > 1:
            # As long as transformers' Trainer would wait for a process: one may have much data to look through.
            try:
                state = PartialState(cpu=device.type == "cpu", timeout=timedelta(minutes=30))
            except RuntimeError as error:
                raise ProcessLost(
                    f"the {self.count} processes did not find each other: start all of them with one address and port "
                    f"({' '.join(str(error).split())[:120]})"
                ) from error
            self.rank = state.process_index
            # A group of its own on the CPU, so that agreeing never waits for a GPU.
            self._agreement = dist.new_group(backend="gloo")

    def part(self) -> None:
        """End what joins the processes, before they exit one by one."""
        if self.count > 1:
            dist.destroy_process_group()
            # Held on to, its threads would outlive the interpreter, and may abort the process as it exits.
            self._agreement = None
            PartialState._reset_state()

    @property
    def first(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def told_by_first(self, value: Any) -> Any:
        """`value` of the first process, in all."""
        if self.count == 1:
            return value
        held = [value]
        dist.broadcast_object_list(held, src=0, group=self._agreement)
        return held[0]

    def first_does(self, action: Callable[[], object]) -> None:
        """Let the first process do something and the others wait; where it fails, all end, and the first says why."""
        error: BaseException | None = None
        if self.first:
            try:
                action()
            except BaseException as found:
                error = found
        failed = self.told_by_first(error is not None)
        if error is not None:
            raise error
        if failed:
            raise SystemExit(2)

    def first_of_each_node_does(self, action: Callable[[], object]) -> None:
        """As `first_does`, where what is done depends on the node's own files; a process that fails says why."""
        error: BaseException | None = None
        if int(os.environ.get("LOCAL_RANK", "0")) == 0:
            try:
                action()
            except BaseException as found:
                error = found
        (failed,) = self.raised_anywhere(error is not None)
        if error is not None:
            raise error
        if failed:
            raise SystemExit(2)

    def raised_anywhere(self, *flags: bool) -> tuple[bool, ...]:
        """Each flag: whether it is raised in some process."""
        if self.count == 1:
            return flags
        raised = torch.tensor(flags, dtype=torch.int32)
        dist.all_reduce(raised, op=dist.ReduceOp.MAX, group=self._agreement)
        return tuple(bool(flag) for flag in raised)

    def total(self, *values: float) -> list[float]:
        """The sum of each value over all processes, in double precision."""
        if self.count == 1:
            return list(values)
        sums = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(sums, group=self._agreement)
        return sums.tolist()

    def gathered(self, tensor: Tensor) -> list[Tensor]:
        """The CPU tensors of all processes, equal in shape, by rank."""
        if self.count == 1:
            return [tensor]
        held = [torch.empty_like(tensor) for _ in range(self.count)]
        dist.all_gather(held, tensor, group=self._agreement)
        return held


def shard(model: FraiLTForCausalLM, processes: Processes) -> None:
    """Shard parameters, gradients and optimiser state over `processes`, block by block, with FSDP2.

    A block that a loop applies again stays gathered until `settle`, before the optimiser's step, or it would be
    gathered M times forward and M times backward; the others are given up after each use.

    Raises:
        ValueError: there is one process, transformers' Trainer cannot take a sharded model, or parameters are not
            sharded after all.
    """
    if processes.count == 1:
        raise ValueError("parallel fsdp needs several processes: torchrun --nproc_per_node N -m frailt train ...")
    if not hasattr(Trainer, "_defer_fsdp_gradient_reduction"):
        raise ValueError("parallel fsdp needs transformers 5.23 or later, whose Trainer takes sharded models")
    mesh = init_device_mesh(processes.device.type, (processes.count,))
    for group in model.model.groups:
        for block in group.blocks:
            fully_shard(block, mesh=mesh, reshard_after_forward=group.iterations == 1)
            if group.iterations > 1:
                cast(FSDPModule, block).set_reshard_after_backward(False)
    fully_shard(model, mesh=mesh, reshard_after_forward=False)
    whole = [name for name, parameter in model.named_parameters() if not isinstance(parameter, DTensor)]
    if whole:
        raise ValueError(
            f"parallel must be what runs, got fsdp and {len(whole)} parameters that are whole, such as {whole[0]}: "
            "use ddp"
        )


def settle(model: torch.nn.Module) -> None:
    """Give up what is gathered: from here on the model's parameters are the sharded ones that the optimiser knows."""
    for part in model.modules():
        if isinstance(part, FSDPModule):
            part.reshard()


def whole(tensor: Tensor, keep: bool = True) -> Tensor | None:
    """The unsharded tensor on the CPU, None without `keep`; every process must ask, but not every one need keep it."""
    full = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
    return full.detach().cpu() if keep else None


def like(full: Tensor, parameter: Tensor) -> Tensor:
    """`full` as `parameter` is held: sharded as it is, or on its device."""
    if isinstance(parameter, DTensor):
        return distribute_tensor(full.to(parameter.device), parameter.device_mesh, parameter.placements)
    return full.to(parameter.device)


def check_wrapped(model: torch.nn.Module, processes: Processes) -> None:
    """Raise a ValueError where several processes would train a model that nothing keeps equal among them."""
    if processes.count > 1 and not is_sharded(model) and not isinstance(model, DistributedDataParallel):
        raise ValueError(
            f"parallel must be what runs, got {processes.count} processes and a bare {type(model).__name__}: "
            "start them with torchrun"
        )


def is_sharded(model: torch.nn.Module) -> bool:
    """Whether FSDP2 holds the model."""
    return isinstance(model, FSDPModule)
