"""Another way through a model that is there: a view with slots and caches of its own and the same weights."""

from collections.abc import Sequence
from copy import copy, deepcopy
from typing import TypeVar

import torch
from torch import nn
from transformers import PreTrainedModel

from .early_exit import EarlyExit
from .exiting import let_exit
from .layout import Layout

Model = TypeVar("Model", bound=PreTrainedModel)

_MODES = ("training", "gradient_checkpointing", "_gradient_checkpointing_func")
"""Attributes by which transformers keeps how a module runs."""


def view_of(model: Model, iterations: int | Sequence[int] | None, early_exit: EarlyExit | None = None) -> Model:
    """A model of the same class with other iteration counts, which has the very modules of `model` that own tensors.

    Raises:
        ValueError: counts or early exit do not fit the layout, or the model is spread over devices.
    """
    counts = list(iterations) if isinstance(iterations, Sequence) else iterations
    per_group = Layout.parse(model.config.layout).iterations(counts)
    wanted = counts
    if early_exit is not None and early_exit.capped(per_group) != list(per_group):
        counts = early_exit.capped(per_group)
    places = set((getattr(model, "hf_device_map", None) or {}).values())
    if len(places) > 1 or any(hasattr(parameter, "device_mesh") for parameter in model.parameters()):
        raise ValueError("iterations of a model that is spread over devices are chosen when it is loaded")
    config = deepcopy(model.config)
    config.iterations = counts
    with torch.device("meta"):  # its own tensors are never made
        view = type(model)(config)
    _share(view, model)
    if model.can_generate():
        view.generation_config = deepcopy(model.generation_config)
    if early_exit is not None:
        let_exit(view, early_exit)
        view.counts_before_exit = (wanted,)  # type: ignore[assignment]
    return view


def _share(own: nn.Module, other: nn.Module) -> None:
    """Give `own` the modules of `other` that own tensors, or that somebody put in the place of ours."""
    own.__dict__.update({name: other.__dict__[name] for name in _MODES if name in other.__dict__})
    for name, child in own._modules.items():
        theirs = other._modules.get(name)
        if child is None or theirs is None:  # a slot that `other` has not
            if child is not None:
                child.training = other.training
        elif type(theirs) is not type(child):
            own._modules[name] = _in_a_mode_of_its_own(theirs)
        elif _owns_tensors(theirs):  # no mode matters to these
            own._modules[name] = theirs
        else:
            _share(child, theirs)


def _in_a_mode_of_its_own(module: nn.Module) -> nn.Module:
    """A module with the very tensors of another, whose training mode, and that of all in it, is its own.

    What somebody put in the place of ours, such as LoRA's layers, may have dropout.
    """
    twin = copy(module)  # both have the same dictionaries of parameters and buffers
    twin._modules = {
        name: child if child is None else _in_a_mode_of_its_own(child) for name, child in module._modules.items()
    }
    return twin


def _owns_tensors(module: nn.Module) -> bool:
    return any(True for _ in module.parameters(recurse=False)) or any(True for _ in module.buffers(recurse=False))
