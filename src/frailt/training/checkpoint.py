"""Checkpoints: folders that stock transformers loads, with tokenizer, generation settings and a model card.

They appear whole or not at all, with the hashes of their files. Reading one touches safetensors and JSON only.
"""

import errno
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from torch import Tensor
from transformers import GenerationConfig, PreTrainedTokenizerFast
from transformers.utils import logging as transformers_logging

from frailt.data.packing import PreparedData
from frailt.data.tokenizer import load_tokenizer, save_tokenizer, story_token_ids, tokenizer_hash
from frailt.data.whole_files import write_folder_whole
from frailt.model import FraiLTConfig, FraiLTForCausalLM

from .hardware import choose_attention


def save_checkpoint(
    folder: Path,
    model: FraiLTForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    model_card: str,
    *,
    weights: dict[str, Tensor] | None = None,
    add: Callable[[Path], None] = lambda folder: None,
) -> None:
    """Write a checkpoint at `folder`, in place of one that may be there.

    Args:
        folder: where.
        model: the model.
        tokenizer: its tokenizer.
        model_card: the text of README.md.
        weights: the model's parameters by name, where they are not its own tensors, as when it is sharded.
        add: writes what else belongs into the folder.
    """

    def fill(partial: Path) -> None:
        try:
            model.save_pretrained(partial, state_dict=weights)
        except SafetensorError as error:
            raise OSError(errno.EIO, str(error), str(partial)) from error
        save_tokenizer(tokenizer, partial)
        (partial / "README.md").write_text(model_card, encoding="utf-8")
        add(partial)

    write_folder_whole(folder, fill)


def load_checkpoint(
    path: str | Path, *, device: torch.device | None = None, iterations: int | list[int] | None = None
) -> tuple[FraiLTForCausalLM, PreTrainedTokenizerFast]:
    """Load model and tokenizer from a checkpoint folder, or from a run folder, whose `last` is taken.

    Args:
        path: the folder.
        device: where the model shall be, with the attention kernel that is fastest there; by default the CPU.
        iterations: how often groups run; by default as the checkpoint says.

    Raises:
        FileNotFoundError: there is no checkpoint at `path`.
        ValueError: it is of another model type, or damaged.
    """
    load_config(path)  # so that what else is wrong is not of config.json
    folder = checkpoint_folder(path)
    try:
        overrides: dict[str, Any] = {} if iterations is None else {"iterations": iterations}
        loaded: Any = FraiLTForCausalLM.from_pretrained(
            folder, use_safetensors=True, output_loading_info=True, dtype="auto", **overrides
        )
        tokenizer = load_tokenizer(str(folder))
    except (SafetensorError, StrictDataclassError, OSError, RuntimeError, KeyError, TypeError) as error:
        raise ValueError(f"checkpoint {folder} is damaged or incomplete: {in_short(error)}") from error
    model, report = loaded
    missing = [*report["missing_keys"], *report["unexpected_keys"], *report["mismatched_keys"]]
    if missing:
        raise ValueError(
            f"checkpoint {folder} does not fit its own config.json: {len(missing)} weights, such as {missing[0]}"
        )
    device = device or torch.device("cpu")
    model.to(device)
    model.set_attn_implementation(choose_attention(device, model.config))
    return model, tokenizer


def load_config(path: str | Path) -> FraiLTConfig:
    """The configuration alone of the checkpoint that `load_checkpoint` would load.

    Raises:
        FileNotFoundError: there is no checkpoint at `path`.
        ValueError: it is of another model type, or its config.json is damaged.
    """
    folder = checkpoint_folder(path)
    file = folder / "config.json"
    if not file.is_file():
        raise FileNotFoundError(
            f"checkpoint must be a folder with a config.json, or a run folder with a last, got {path}"
        )
    try:
        model_type = json.loads(file.read_text(encoding="utf-8")).get("model_type")
        if model_type == "frailt":
            return FraiLTConfig.from_pretrained(folder)
    except (StrictDataclassError, OSError, ValueError, AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"checkpoint {folder} has a damaged config.json: {in_short(error)}") from error
    raise ValueError(f"checkpoint must be of model type frailt, got {model_type!r} in {folder}")


def in_short(error: Exception) -> str:
    """An error's message on one line, and no more of it than that."""
    return " ".join(str(error).split())[:200]


def checkpoint_folder(path: str | Path) -> Path:
    """The checkpoint that is meant: the folder itself, or `last` of a run folder."""
    folder = Path(path).expanduser()
    is_run = (folder / "run.json").is_file() and not (folder / "config.json").is_file()
    return folder / "last" if is_run else folder


@dataclass(frozen=True)
class AboutRun:
    """The run that a checkpoint is of; each None where it is not known."""

    seed: int | None = None
    source: str | None = None
    """The corpus by its name."""
    data_hash: str | None = None
    context: int | None = None
    """Tokens that it trained and validated with."""
    nats_per_token: float | None = None
    """Loss of this checkpoint on all of the validation split; only known of `last`."""
    trained_tokens: int | None = None
    """How much it was trained on; only known of `last`."""


def about_run(path: str | Path) -> AboutRun:
    """What run.json says of the run that the checkpoint at `path` is of; all None outside a run folder.

    Raises:
        ValueError: its run.json is damaged.
    """
    folder = checkpoint_folder(path).resolve()
    file = folder.parent / "run.json"
    if not file.is_file():
        return AboutRun()
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
        data, model, validation = (record.get(name, {}) for name in ("data", "model", "validation"))
        return AboutRun(
            seed=record.get("seed"),
            source=data.get("source"),
            data_hash=data.get("data_hash"),
            context=model.get("context"),
            nats_per_token=validation.get("nats_per_token") if folder.name == "last" else None,
            trained_tokens=record.get("tokens") if folder.name == "last" else None,
        )
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{file} is damaged: restore it, or copy {folder.name} to another folder") from error


def check_same_tokenizer(tokenizer: PreTrainedTokenizerFast, data: PreparedData, checkpoint: str | Path) -> None:
    """Raise a ValueError where `data` was prepared with another tokenizer than the checkpoint's."""
    if tokenizer_hash(tokenizer) != data.manifest.tokenizer_sha256:
        raise ValueError(
            f"data must be prepared with the checkpoint's tokenizer, got another vocabulary in {data.folder}: "
            f"run frailt prepare with --tokenizer {checkpoint_folder(checkpoint)}"
        )


def quiet_transformers() -> None:
    """No warnings and no bars for single files from transformers: commands show their own progress and errors."""
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()


def set_generation_defaults(model: FraiLTForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
    """Let `model.generate` stop at the end of a story, in this model and in what is saved of it."""
    bos, stops = story_token_ids(tokenizer)
    model.generation_config = GenerationConfig(
        bos_token_id=bos,
        eos_token_id=stops,
        pad_token_id=stops[-1],
        do_sample=True,
        temperature=0.8,
        top_p=0.95,
        top_k=0,
    )
