"""The model that perplexity is taken under: a checkpoint of ours, or any causal language model of transformers."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from frailt.data.tokenizer import load_tokenizer
from frailt.data.whole_files import sha256
from frailt.training.checkpoint import about_run, checkpoint_folder, in_short, load_checkpoint, load_config

Record = dict[str, Any]


@dataclass(frozen=True)
class Evaluator:
    """A model in float32, with its tokenizer."""

    model: Any
    tokenizer: PreTrainedTokenizerFast
    context: int | None
    """Tokens that it takes; None where it takes any number."""


def evaluator_record(path: str) -> Record:
    """What records say of an evaluator, without loading its weights.

    Raises:
        FileNotFoundError: there is no such checkpoint.
        ValueError: it has a damaged config.json, or its run a damaged run.json.
    """
    folder = checkpoint_folder(path)
    weights = sorted(folder.glob("*.safetensors"))
    if not weights or not (folder / "config.json").is_file():
        raise FileNotFoundError(
            f"evaluator must be a checkpoint or run folder, with config.json and .safetensors files, got {path}"
        )
    config = _config(path)
    layout, run = getattr(config, "layout", None), about_run(path)
    return {
        "checkpoint": Path(path).name,
        "sha256": _sha256(weights),
        "model_type": config.model_type,
        "layout": None if layout is None else str(layout),
        "hidden_size": getattr(config, "hidden_size", None),
        "vocab_size": getattr(config, "vocab_size", None),
        "context": getattr(config, "max_position_embeddings", None),
        "data_hash": run.data_hash,
        "validation_nats_per_token": run.nats_per_token,
    }


def load_evaluator(path: str, device: torch.device) -> Evaluator:
    """Load model and tokenizer.

    Raises:
        ValueError: the checkpoint is damaged, or has no tokenizer that can be used.
    """
    folder, config = checkpoint_folder(path), _config(path)
    model: Any
    if config.model_type == "frailt":
        model, tokenizer = load_checkpoint(path, device=device)
    else:
        tokenizer = load_tokenizer(str(folder))
        try:
            model = AutoModelForCausalLM.from_pretrained(folder, use_safetensors=True, trust_remote_code=False)
            model.to(device)
        except Exception as error:  # unrelated kinds, several lines each
            raise ValueError(
                f"evaluator must be a causal language model that transformers loads, got {path}: {in_short(error)}"
            ) from error
    model.float().eval()
    return Evaluator(model, tokenizer, getattr(config, "max_position_embeddings", None))


def _config(path: str) -> Any:
    folder = checkpoint_folder(path)
    try:
        model_type = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
    except (ValueError, AttributeError) as error:
        raise ValueError(f"evaluator has a damaged config.json, got {folder}") from error
    if model_type == "frailt":
        return load_config(path)
    try:
        return AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # as above
        raise ValueError(
            f"evaluator must be of a model type that transformers knows, got {model_type!r} in {folder}"
        ) from error


def _sha256(weights: list[Path]) -> str:
    """Of the file, as records of completions have it; of several over the hashes of all."""
    hashes = [sha256(path) for path in weights]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("\n".join(hashes).encode()).hexdigest()
