"""Checkpoints to go on from: `checkpoints/step-N/`, each a checkpoint that transformers loads, and the training state.

    step-00000120/  config.json, model.safetensors, tokenizer, ...    as in best/ and last/
                    optimizer.safetensors                             AdamW's state by parameter name
                    random.safetensors                                random generators, by rank
                    state.json, trainer_state.json                    step, schedule, logs, data position
                    files.json                                        the hash of every file, written last

Nothing in it depends on the number of processes or on how they shared the model, and nothing is a pickle.
"""

import errno
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from frailt.data.whole_files import damage

from .processes import Processes, like, whole

FOLDER = "checkpoints"
STATE = "state.json"
_OPTIMIZER = "optimizer.safetensors"
_RANDOM = "random.safetensors"
_NAME = re.compile(r"step-(\d{8,})")


def step_folder(run: Path, step: int) -> Path:
    """Where the checkpoint of `step` goes."""
    return run / FOLDER / f"step-{step:08d}"


def checkpoints(run: Path) -> list[Path]:
    """The checkpoint folders of a run, the latest first; nothing is said of whether they are good."""
    found = (run / FOLDER).iterdir() if (run / FOLDER).is_dir() else ()
    return sorted((path for path in found if _NAME.fullmatch(path.name)), reverse=True)


def last_good(run: Path) -> tuple[Path | None, list[str]]:
    """The latest checkpoint whose files all have their hashes, and a line on each later one that is damaged.

    Raises:
        ValueError: there are checkpoints, and not one is good.
    """
    complaints: list[str] = []
    for folder in checkpoints(run):
        if (wrong := damage(folder)) is None:
            return folder, complaints
        complaints.append(f"checkpoint {folder} is damaged, {wrong}: left out")
    if complaints:
        raise ValueError(
            f"no checkpoint in {run / FOLDER} is good ({complaints[0]}): remove that folder to begin the run again"
        )
    return None, complaints


def prune(run: Path, keep: int | None) -> None:
    """Remove all but the latest `keep` checkpoints, once the latest is known to be good."""
    stale = checkpoints(run)[keep:] if keep is not None else []
    if stale and damage(checkpoints(run)[0]) is None:
        for folder in stale:
            remove(folder)


def remove(folder: Path) -> None:
    """Remove a checkpoint so that a kill on the way leaves nothing that looks like one."""
    going = folder.with_name(f".{folder.name}.removed")
    folder.rename(going)
    shutil.rmtree(going)


def remove_all(run: Path) -> None:
    """Remove the checkpoints of a run that is finished."""
    for folder in checkpoints(run):
        remove(folder)
    shutil.rmtree(run / FOLDER, ignore_errors=True)


def save_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    """Write safetensors; a full disk is an OSError, as for any other file."""
    try:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    except SafetensorError as error:
        raise OSError(errno.ENOSPC if "No space" in str(error) else errno.EIO, str(error), str(path)) from error


# The optimiser, by parameter name


def optimizer_tensors(model: nn.Module, optimizer: Optimizer, processes: Processes) -> dict[str, Tensor]:
    """The optimiser's state, unsharded on the CPU of the first process, as `name|key`; every process must ask."""
    found = {
        f"{name}|{key}": whole(value, keep=processes.first)
        for name, parameter in model.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
    }
    return {label: tensor for label, tensor in found.items() if tensor is not None}


def restore_optimizer(model: nn.Module, optimizer: Optimizer, folder: Path) -> None:
    """Give every parameter the state that `optimizer_tensors` found, sharded as the parameter is."""
    saved: dict[str, dict[str, Tensor]] = {}
    for label, tensor in load_file(folder / _OPTIMIZER).items():
        name, _, key = label.rpartition("|")
        saved.setdefault(name, {})[key] = tensor
    names = {parameter: name for name, parameter in model.named_parameters()}
    if saved and (missing := set(names.values()) - set(saved)):
        raise ValueError(f"{folder} lacks the optimiser's state of {len(missing)} parameters, such as {min(missing)}")
    packed = optimizer.state_dict()
    ordered = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    packed["state"] = {
        index: {key: like(t, parameter) if t.shape == parameter.shape else t for key, t in saved[name].items()}
        for index, parameter in enumerate(ordered)
        if (name := names[parameter]) in saved
    }
    optimizer.load_state_dict(packed)


# Random generators, by rank


def random_tensors(processes: Processes) -> dict[str, Tensor]:
    """The states of torch's generators of all processes; every process must ask."""
    states = {"cpu": torch.get_rng_state()}
    if processes.device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(processes.device)
    return {
        f"{kind}.{rank}": state for kind, own in states.items() for rank, state in enumerate(processes.gathered(own))
    }


def restore_random(processes: Processes, folder: Path, seed: int, step: int) -> None:
    """Set this process's generators as they were; one of a rank that was not there starts from (seed, step, rank)."""
    states = load_file(folder / _RANDOM)
    if f"cpu.{processes.rank}" not in states:
        drawn = np.random.SeedSequence([seed, step, processes.rank]).generate_state(1, np.uint64)
        torch.manual_seed(int(drawn[0]))
        return
    torch.set_rng_state(states[f"cpu.{processes.rank}"])
    if processes.device.type == "cuda" and f"cuda.{processes.rank}" in states:
        torch.cuda.set_rng_state(states[f"cuda.{processes.rank}"], processes.device)


# All of it


def write_training_state(
    folder: Path, optimizer: dict[str, Tensor], random: dict[str, Tensor], state: dict[str, Any]
) -> None:
    """Add the training state to a checkpoint that is being written."""
    save_tensors(optimizer, folder / _OPTIMIZER)
    save_tensors(random, folder / _RANDOM)
    (folder / STATE).write_text(json.dumps(state, indent=1) + "\n", encoding="utf-8")


def read_state(folder: Path) -> dict[str, Any]:
    """What `state.json` says."""
    return json.loads((folder / STATE).read_text(encoding="utf-8"))
