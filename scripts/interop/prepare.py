"""Export a checkpoint in every way, and write down what transformers makes of it, as the reference for other engines.

    python scripts/interop/prepare.py CHECKPOINT FOLDER

Runs in this package's own environment.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from agreement import Checks, agreement, agrees
from transformers import AutoModelForCausalLM

from frailt.data.builtin import stories
from frailt.data.tokenizer import encode_stories, story_token_ids
from frailt.exports.config import ExportConfig
from frailt.exports.export import export
from frailt.inference.decoding import Decoder
from frailt.inference.drawing import Greedy
from frailt.inference.generate import continuation
from frailt.model.layout import Layout
from frailt.training.checkpoint import checkpoint_folder, load_checkpoint, quiet_transformers

BEGINNINGS = ["", "One sunny morning,", "Once upon a time, there was a little girl named Lily. She", "Tom and Mia"]
"""And whole stories, which have only to be ended."""
WHOLE = 2
AWKWARD = ["Two  spaces, then\n\nlines.", " A 🦊 and 1234 é", "naïve, 北京; <s> </s>", "", "\tTabs ", "▁x"]
"""Texts that tokenizers are of different minds about."""
DTYPES = ("float32", "float16", "q8_0")
UNSEEN = 424242
"""A seed that no corpus here was made with."""


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    folder: Path = options.folder
    folder.mkdir(parents=True)
    torch.set_num_threads(1)
    quiet_transformers()
    checks = Checks("frailt", "torch", "transformers", "tokenizers", "sentencepiece", "gguf")

    model, tokenizer = load_checkpoint(options.checkpoint)
    config = model.eval().config
    export(ExportConfig(checkpoint=options.checkpoint, to="llama", out=str(folder / "llama")))
    export(ExportConfig(checkpoint=options.checkpoint, to="hub", out=str(folder / "hub")))
    for dtype in DTYPES:
        path = str(folder / f"{dtype}.gguf")
        export(ExportConfig(checkpoint=options.checkpoint, to="gguf", out=path, dtype=dtype))

    texts = [*stories(200, seed=UNSEEN), *AWKWARD]
    ids = encode_stories(tokenizer, texts)
    whole = [text for text, of in zip(texts, ids, strict=True) if 99 < len(of) < config.max_position_embeddings]
    prompts = [*BEGINNINGS, *whole[:WHOLE]]
    beginnings = encode_stories(tokenizer, prompts)
    stops = story_token_ids(tokenizer)[1]
    told = Decoder(model).decode(beginnings, Greedy(), stops=stops)
    sequences = [begin + new.tokens for begin, new in zip(beginnings, told, strict=True)] + ids[:4]
    sequences = [sequence[: config.max_position_embeddings - 1] for sequence in sequences]  # vLLM wants room for one

    logits = of_sequences(model, sequences)
    np.savez(folder / "logits.npz", *logits)
    llama = AutoModelForCausalLM.from_pretrained(folder / "llama").eval()
    found = agreement(logits, of_sequences(llama, sequences))
    checks.told("greedy stories", told=len(told), ended_before_the_context=sum(new.ended for new in told))
    checks.must("transformers' own Llama, unrolled: logits", agrees(found), **found)
    if Layout.parse(config.layout).is_looped:
        more = [count + 1 if count > 1 else 1 for count in config.iterations_per_group]
        path = str(folder / "more.gguf")
        export(ExportConfig(checkpoint=options.checkpoint, to="gguf", out=path, iterations=more))
        longer, _ = load_checkpoint(options.checkpoint, iterations=more)
        np.savez(folder / "more.npz", *of_sequences(longer.eval(), sequences))

    reference = {
        "model": {
            "layout": config.layout,
            "hidden_size": config.hidden_size,
            "heads": config.num_attention_heads,
            "key_value_heads": config.num_key_value_heads,
            "head_width": config.head_dim,
            "vocab_size": config.vocab_size,
            "context": config.max_position_embeddings,
            "parameters": model.num_parameters(),
            "parameters_unrolled": llama.num_parameters(),
            "bytes_of_gguf": {dtype: (folder / f"{dtype}.gguf").stat().st_size for dtype in DTYPES},
            "validation_nats_per_token": loss(checkpoint_folder(options.checkpoint).parent / "run.json"),
        },
        "checkpoint": str(checkpoint_folder(options.checkpoint).resolve()),
        "stops": stops,
        "stories": [
            {"prompt": prompt, "prompt_ids": begin, "new_ids": new.tokens, "ended": new.ended}
            | {"text": prompt + continuation(tokenizer, begin, new.tokens)}
            for prompt, begin, new in zip(prompts, beginnings, told, strict=True)
        ],
        "texts": [{"text": text, "ids": of} for text, of in zip(texts, ids, strict=True)],
        "sequences": sequences,
    }
    (folder / "reference.json").write_text(json.dumps(reference) + "\n", encoding="utf-8")
    checks.write(folder / "transformers.json")


@torch.no_grad()
def of_sequences(model: Any, sequences: list[list[int]]) -> list[np.ndarray]:
    """Logits of each, (T, V), without a cache."""
    return [model(torch.tensor([ids]), use_cache=False).logits[0].float().numpy() for ids in sequences]


def loss(run: Path) -> float | None:
    """Of a finished run, on its validation stories."""
    if not run.is_file():
        return None
    return (json.loads(run.read_text(encoding="utf-8")).get("validation") or {}).get("nats_per_token")


if __name__ == "__main__":
    main()
