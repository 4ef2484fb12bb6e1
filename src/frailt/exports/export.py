"""`frailt export`: a checkpoint for other programs; what is unrolled is compared with it before it is written."""

from copy import deepcopy
from pathlib import Path

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

import frailt
from frailt.data.whole_files import HASHES, damage
from frailt.model import FraiLTForCausalLM
from frailt.model.convert import unroll
from frailt.training.checkpoint import (
    about_run,
    checkpoint_folder,
    load_checkpoint,
    load_config,
    quiet_transformers,
)

from .card import exported_card, front_matter, read_card
from .config import ExportConfig
from .folders import AUTO_MAP, code_files, generation_settings, write_llama, write_with_code
from .gguf_file import check_can_be_written, check_installed, write_gguf
from .gguf_vocabulary import check_vocabulary, departures
from .hub import check_can_push, push

TOLERANCE = 1e-4
"""Of the largest logit, in float32: well above rounding, well below what a missing encoding does."""
Rows = list[tuple[str, str]]


def export(config: ExportConfig) -> str:
    """Write what is asked for.

    Returns:
        What was written, with its sizes.

    Raises:
        FileExistsError: there is something at `out`.
        ImportError: gguf is asked for and not installed.
        ValueError, FileNotFoundError: the checkpoint cannot be used, or not be what is asked for.
    """
    out = Path(config.out).expanduser()
    if out.exists() or out.is_symlink():
        raise FileExistsError(f"out must be new, and there is something at {out}: choose another, or remove it")
    if config.to == "gguf":
        check_installed()
    token = None if config.push is None else check_can_push(config.push)
    quiet_transformers()
    load_config(config.checkpoint)  # so that a folder which is no checkpoint is not said to be damaged
    folder = checkpoint_folder(config.checkpoint)
    if (folder / HASHES).is_file() and (wrong := damage(folder)) is not None:
        raise ValueError(f"checkpoint {folder} is damaged: {wrong}")
    model, tokenizer = load_checkpoint(config.checkpoint, iterations=config.iterations)
    model.eval()
    model.generation_config = generation_settings(model, tokenizer)

    rows: Rows = [("written", str(out))]
    write = {"llama": _write_llama, "gguf": _write_gguf, "hub": _write_with_code}[config.to]
    rows += write(config, out, folder, model, tokenizer)
    rows.append(("bytes of weights", f"{_weight_bytes(folder):,} in the checkpoint, {_weight_bytes(out):,} exported"))
    if config.push is not None and token is not None:
        rows.append(("pushed", push(out, config.push, token)))
    return "\n".join(f"{name:<18} {value}" for name, value in rows)


def _write_with_code(
    config: ExportConfig, out: Path, folder: Path, model: FraiLTForCausalLM, tokenizer: PreTrainedTokenizerFast
) -> Rows:
    code = ", ".join(file.name for file in code_files())
    about = (
        f"Exported by frailt {frailt.__version__} with the code of its model ({code}): read it, then trust it. It "
        f"loads through {', '.join(AUTO_MAP)}, in transformers 5.16 or newer."
    )
    write_with_code(out, model, tokenizer, _card(config, folder, model, about, remote_code=True))
    return [("model", f"FraiLT {_layout(model)}"), ("code", code), ("parameters", f"{model.num_parameters():,}")]


def _write_llama(
    config: ExportConfig, out: Path, folder: Path, model: FraiLTForCausalLM, tokenizer: PreTrainedTokenizerFast
) -> Rows:
    llama, rows = _unrolled(model)
    about = (
        f"{_unrolled_from(model, llama)}, with {llama.num_parameters():,} parameters; exported by frailt "
        f"{frailt.__version__}."
    )
    if llama.config.mlp_bias:
        about += (
            " What tells iterations apart are biases of its MLPs (`mlp_bias`): an engine that drops them, as SGLang's "
            "own Llama does, tells other stories; there, `--model-impl transformers` keeps them."
        )
    write_llama(out, llama, tokenizer, _card(config, folder, model, about, remote_code=False))
    return rows


def _write_gguf(
    config: ExportConfig, out: Path, folder: Path, model: FraiLTForCausalLM, tokenizer: PreTrainedTokenizerFast
) -> Rows:
    check_can_be_written(model.config)
    check_vocabulary(tokenizer, model.config.vocab_size)
    llama, rows = _unrolled(model.float())  # so that the first encoding is added in float32, whatever is written
    left = write_gguf(
        out,
        llama,
        tokenizer,
        config.dtype or "float32",
        name=f"FraiLT {model.config.layout} {model.config.hidden_size}",
        description=_unrolled_from(model, llama),
        license=str(front_matter(read_card(folder)).get("license", "")),
        dataset=about_run(folder).source or "",
    )
    if left:
        rows.append(("float16, not q8_0", f"{', '.join(left)}: their rows are no multiple of 32"))
    return rows + [("note", line) for line in departures(tokenizer, model.config.vocab_size)]


def _unrolled(model: FraiLTForCausalLM) -> tuple[LlamaForCausalLM, Rows]:
    llama = unroll(model)
    llama.config.eos_token_id = deepcopy(model.generation_config.eos_token_id)
    difference, largest = compare_logits(model, llama)
    return llama, [
        ("model", _unrolled_from(model, llama)),
        ("parameters", f"{model.num_parameters():,} unique, {llama.num_parameters():,} unrolled"),
        ("logits", f"differ by at most {difference:.1e} from the checkpoint's, which go up to {largest:.1f} (float32)"),
    ]


@torch.no_grad()
def compare_logits(model: FraiLTForCausalLM, llama: LlamaForCausalLM) -> tuple[float, float]:
    """The greatest difference of logits between a model and what it was unrolled into, on random tokens; and the
    largest of the model's own.

    In narrower numbers than float32 rounding would hide what is wrong: there a copy of the model in float32 is unrolled
    and compared.

    Raises:
        ValueError: they are not the same model, or it gives no numbers.
    """
    if model.dtype != torch.float32:
        model = deepcopy(model).float()
        llama = unroll(model)
    size = (2, min(64, model.config.max_position_embeddings))
    tokens = torch.randint(model.config.vocab_size, size, generator=torch.Generator().manual_seed(0))
    wanted = model(tokens, use_cache=False).logits
    if not wanted.isfinite().all():
        raise ValueError(
            "the checkpoint must give finite logits, got others: its weights are damaged, or training diverged"
        )
    difference = (llama(tokens, use_cache=False).logits - wanted).abs().max().item()
    largest = wanted.abs().max().item()
    if not difference <= TOLERANCE * max(1.0, largest):  # nor where it is no number
        raise ValueError(
            f"the model must be what it unrolls into, but their logits differ by {difference:.2g}: its iteration "
            f"encoding {model.config.iteration_encoding} does more than add one vector per iteration; export --to hub"
        )
    return difference, largest


def _card(config: ExportConfig, folder: Path, model: FraiLTForCausalLM, about: str, *, remote_code: bool) -> str:
    """The checkpoint's card, whose figures are true of the export only where that runs as often."""
    ran, run = load_config(folder).iterations_per_group, model.config.iterations_per_group
    if ran != run:
        about += (
            f" Its groups run {_times(run)}; figures on this card, such as the loss, are of the checkpoint, where they "
            f"ran {_times(ran)}."
        )
    return exported_card(read_card(folder), about, place=config.push or "PATH", remote_code=remote_code)


def _unrolled_from(model: FraiLTForCausalLM, llama: LlamaForCausalLM) -> str:
    return f"A Llama of {llama.config.num_hidden_layers} layers, unrolled from a FraiLT {_layout(model)}"


def _layout(model: FraiLTForCausalLM) -> str:
    counts = model.config.iterations_per_group
    if counts == tuple(shape.iterations for shape in model.config.groups):
        return str(model.config.layout)
    return f"{model.config.layout} whose groups run {_times(counts)}"


def _times(counts: tuple[int, ...]) -> str:
    return f"{', '.join(map(str, counts))} times"


def _weight_bytes(place: Path) -> int:
    files = [place] if place.is_file() else place.glob("model*.safetensors")
    return sum(file.stat().st_size for file in files)
