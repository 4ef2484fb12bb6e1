"""`frailt complete`: completions of story beginnings by several checkpoints, kept as records.

OUT/CHECKPOINT/completions.json   the checkpoint, its model, how was drawn; written last, so that it says finished
OUT/CHECKPOINT/completions.jsonl  a line per beginning and sample
"""

import hashlib
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from frailt.data.tokenizer import story_token_ids
from frailt.data.whole_files import sha256, write_whole
from frailt.training.build import model_record
from frailt.training.checkpoint import about_run, checkpoint_folder, load_checkpoint, quiet_transformers
from frailt.training.hardware import choose_device
from frailt.training.run_folder import versions

from .config import CompleteConfig
from .decoding import Decoder
from .drawing import Sampling
from .generate import continuation, encode
from .prompts import read_prompts
from .threads import choose_threads

_RECORD, _LINES = "completions.json", "completions.jsonl"


def complete(config: CompleteConfig) -> str:
    """Complete all beginnings with each checkpoint that has not done so.

    Returns:
        A line per checkpoint.

    Raises:
        ValueError, FileNotFoundError, FileExistsError: checkpoints or prompts cannot be used, or a folder holds
            completions of other settings.
    """
    device, prompts = choose_device(config.device), read_prompts(config.prompts)
    quiet_transformers()
    lines, most_threads = [], torch.get_num_threads()
    for checkpoint, name in zip(config.checkpoints, _names(config.checkpoints), strict=True):
        folder = Path(config.out).expanduser() / name
        settings = _settings(config, checkpoint, prompts)
        if (found := _finished(folder)) is not None:
            _check_same(found, settings, folder)
            lines.append(f"{folder}: finished before")
            continue
        torch.set_num_threads(most_threads)  # each model has a number that is its best
        lines.append(_complete_one(config, checkpoint, prompts, settings, folder, device))
    return "\n".join(lines)


def _complete_one(
    config: CompleteConfig,
    checkpoint: str,
    prompts: Sequence[str],
    settings: dict[str, Any],
    folder: Path,
    device: torch.device,
) -> str:
    run = about_run(checkpoint)
    model, tokenizer = load_checkpoint(checkpoint, device=device, iterations=config.iterations)
    model.eval()
    context = model.config.max_position_embeddings
    _, stops = story_token_ids(tokenizer)
    asked = [(i, sample) for i in range(len(prompts)) for sample in range(config.samples)]
    encoded = [encode(tokenizer, prompt, context) for prompt in prompts]
    sampling = Sampling(temperature=config.temperature, top_p=config.top_p, top_k=config.top_k)
    if chosen := choose_threads(model, min(len(asked), config.batch_size), config.threads):
        print(f"frailt complete: {chosen}", file=sys.stderr)
    decoder = Decoder(model, config.compile)
    began = time.perf_counter()
    with tqdm(total=len(asked), unit="story", desc=folder.name, leave=False, disable=None) as bar:
        found = decoder.decode(
            [encoded[i] for i, _ in asked],
            sampling.choice(model, [(config.seed, i, sample) for i, sample in asked]),
            stops=stops,
            max_new_tokens=config.max_new_tokens,
            batch_size=config.batch_size,
            progress=bar.update,
        )
    elapsed_s, tokens = time.perf_counter() - began, sum(len(each.tokens) for each in found)
    rows = [
        {
            "prompt_id": i,
            "sample": sample,
            "prompt": prompts[i],
            "completion": continuation(tokenizer, encoded[i], each.tokens),
            "ended": each.ended,
            "new_tokens": len(each.tokens),
        }
        for (i, sample), each in zip(asked, found, strict=True)
    ]
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / _LINES, "".join(json.dumps(row) + "\n" for row in rows))
    record = {
        **settings,
        "lines_sha256": sha256(folder / _LINES),
        "seed": run.seed,
        "data_hash": run.data_hash,
        "trained_tokens": run.trained_tokens,
        "validation_nats_per_token": run.nats_per_token,
        "model": model_record(model, context),
        "iterations": list(model.config.iterations_per_group),
        "device": str(device),
        "threads": torch.get_num_threads(),
        "compiled": decoder.step.compiled,
        "tokens": tokens,
        "tokens_per_s": round(tokens / elapsed_s, 1),
        "versions": versions(),
        "status": "finished",
    }
    write_whole(folder / _RECORD, json.dumps(record, indent=1) + "\n")
    ended = sum(each.ended for each in found)
    return f"{folder}: {len(rows)} completions, {ended} ended by the model, {tokens / elapsed_s:,.0f} tokens/s"


def _names(checkpoints: Sequence[str]) -> list[str]:
    """Each by the last part of its path, with more of it where two are called the same."""
    paths = [Path(checkpoint).expanduser().resolve() for checkpoint in checkpoints]
    for parts in range(1, max(len(path.parts) for path in paths)):
        names = ["+".join(path.parts[-parts:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    raise ValueError(f"checkpoints must differ from each other, got {', '.join(checkpoints)}")


def _settings(config: CompleteConfig, checkpoint: str, prompts: Sequence[str]) -> dict[str, Any]:
    """What a finished record must agree in."""
    folder = checkpoint_folder(checkpoint)
    if not (folder / "model.safetensors").is_file():
        raise FileNotFoundError(f"checkpoints must be checkpoint or run folders with weights, got {checkpoint}")
    sampling = {
        name: getattr(config, name) for name in ("samples", "max_new_tokens", "temperature", "top_p", "top_k", "seed")
    }
    return {
        "checkpoint": Path(checkpoint).name,
        "checkpoint_sha256": sha256(folder / "model.safetensors"),
        "sampling": {**sampling, "iterations": config.iterations},
        "prompts": len(prompts),
        "prompts_sha256": hashlib.sha256(json.dumps(list(prompts)).encode()).hexdigest(),
    }


def _finished(folder: Path) -> dict[str, Any] | None:
    path = folder / _RECORD
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        lines = sha256(folder / _LINES)
        if found.get("lines_sha256", lines) == lines:  # which records of earlier versions have not
            return found
    except (OSError, ValueError, AttributeError):
        pass
    print(f"frailt complete: {path} or {_LINES} beside it is damaged, and both are written anew", file=sys.stderr)
    return None


def _check_same(found: dict[str, Any], settings: dict[str, Any], folder: Path) -> None:
    for name, value in settings.items():
        if found.get(name) != value:
            raise FileExistsError(
                f"out holds completions with another {name} in {folder}: choose another out, or remove it"
            )
