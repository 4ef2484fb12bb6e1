"""Exports that are folders: a stock Llama, or a FraiLT that brings its code along."""

import json
import shutil
from copy import deepcopy
from pathlib import Path
from typing import Any, cast

from transformers import GenerationConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.dynamic_module_utils import get_relative_import_files

from frailt.data.tokenizer import story_token_ids
from frailt.model import FraiLTForCausalLM, configuration_frailt, modeling_frailt
from frailt.training.checkpoint import save_checkpoint

AUTO_MAP = {
    "AutoConfig": "configuration_frailt.FraiLTConfig",
    "AutoModel": "modeling_frailt.FraiLTModel",
    "AutoModelForCausalLM": "modeling_frailt.FraiLTForCausalLM",
}
"""All three: transformers itself would leave out `AutoModel`, which vLLM and SGLang load."""


def write_llama(folder: Path, llama: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, card: str) -> None:
    """Write an unrolled model so that stock transformers loads it."""
    save_checkpoint(folder, cast(Any, llama), tokenizer, card)


def write_with_code(folder: Path, model: FraiLTForCausalLM, tokenizer: PreTrainedTokenizerFast, card: str) -> None:
    """Write a model with its modelling files, which transformers runs where it is told to trust them."""

    def add_code(partial: Path) -> None:
        for file in code_files():
            shutil.copyfile(file, partial / file.name)
        path = partial / "config.json"
        config = json.loads(path.read_text(encoding="utf-8")) | {"auto_map": AUTO_MAP}
        path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")

    save_checkpoint(folder, model, tokenizer, card, add=add_code)


def code_files() -> list[Path]:
    """The files that the model is made of, by the rule that transformers' loader collects them by."""
    entries = [Path(cast(str, module.__file__)) for module in (configuration_frailt, modeling_frailt)]
    return sorted({*entries, *(Path(file) for entry in entries for file in get_relative_import_files(entry))})


def generation_settings(model: FraiLTForCausalLM, tokenizer: PreTrainedTokenizerFast) -> GenerationConfig:
    """The checkpoint's settings of generation, ending where a story does: at EOS, or at the next one's BOS."""
    bos, stops = story_token_ids(tokenizer)
    settings = deepcopy(model.generation_config)
    settings.bos_token_id, settings.eos_token_id, settings.pad_token_id = bos, stops, stops[-1]
    return settings
