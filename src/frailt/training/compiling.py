"""torch.compile, of the block: one graph serves every block, iteration and depth, so compiling costs the same for all.

Modes: `off`; `block` compiles the code of the block and, apart, of head and loss; `whole` compiles the model as one
graph, which grows with depth; `auto` is `block` where a run is long enough to repay it and the compiler can work, else
`off`.
"""

import shutil
import sysconfig
from importlib.util import find_spec
from os import environ
from pathlib import Path
from types import MethodType

import torch

from frailt.model import FraiLTForCausalLM

REPAYS_AFTER_S = {"cpu": 600, "cuda": 120}
"""Expected seconds of training from which on `auto` compiles; compiling takes some tens of them."""


def choose_compile(wanted: str, device: torch.device, expected_s: float) -> str:
    """`off`, `block` or `whole`, for a run of some `expected_s` seconds.

    Raises:
        ValueError: compiling was asked for, and what it needs is not here.
    """
    if wanted == "off":
        return wanted
    missing = missing_for_compile(device)
    if wanted == "auto":
        return "block" if not missing and expected_s >= REPAYS_AFTER_S.get(device.type, float("inf")) else "off"
    if missing:
        raise ValueError(f"compile must be off where {missing} is missing, got {wanted}: install it")
    return wanted


def compile_model(model: FraiLTForCausalLM, mode: str, counts: int = 1) -> None:
    """Let `model` run compiled from its next pass on, in place; weights and their names stay as they are.

    Args:
        model: the model.
        mode: off, block or whole.
        counts: how many iteration counts it will run with; `whole` makes a graph for each, `block` the same for all.
    """
    if mode == "whole":
        # Past its limit torch would leave the other counts uncompiled without a word.
        torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, 2 * counts)
        model.forward = MethodType(torch.compile(type(model).forward), model)
    elif mode == "block":
        blocks = [block for group in model.model.groups for block in group.blocks]
        # Not FraiLTBlock's: FSDP2 gives blocks a class of their own, whose `forward` alone does gradient checkpointing.
        forward = torch.compile(type(blocks[0]).forward)
        for block in blocks:
            block.forward = MethodType(forward, block)
        model.head = MethodType(torch.compile(type(model).head), model)  # type: ignore[method-assign]


def missing_for_compile(device: torch.device) -> str:
    """What torch.compile needs and does not find; empty where all is there."""
    if device.type == "cuda":
        return "" if find_spec("triton") else "triton"
    if not any(shutil.which(compiler) for compiler in (environ.get("CXX", "g++"), "g++", "clang++")):
        return "a C++ compiler"
    return "" if (Path(sysconfig.get_paths()["include"]) / "Python.h").is_file() else "Python.h of this Python"
