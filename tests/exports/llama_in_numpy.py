"""What llama.cpp does with a GGUF file of architecture `llama`, in numpy: its forward pass and its tokenizer."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import gguf
import numpy as np


def read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray], dict[str, str]]:
    """Metadata, tensors in float32, and each tensor's type."""
    reader = gguf.GGUFReader(path)
    fields = {name: field.contents() for name, field in reader.fields.items()}
    tensors = {t.name: gguf.quants.dequantize(t.data, t.tensor_type).astype(np.float32) for t in reader.tensors}
    return fields, tensors, {t.name: t.tensor_type.name for t in reader.tensors}


def logits(fields: dict[str, Any], tensors: dict[str, np.ndarray], ids: Sequence[int]) -> np.ndarray:
    """(T, V) in float64. RoPE turns channels 2i and 2i + 1 of a head together, where Hugging Face turns i, i + K/2."""
    sizes = {name.removeprefix("llama."): value for name, value in fields.items() if name.startswith("llama.")}
    heads, kv_heads = sizes["attention.head_count"], sizes["attention.head_count_kv"]
    width, eps = sizes["attention.key_length"], sizes["attention.layer_norm_rms_epsilon"]
    scale = 1 / sizes.get("rope.scaling.factor", 1.0)
    assert sizes["rope.dimension_count"] == width
    frequencies = sizes["rope.freq_base"] ** (-np.arange(0, width, 2) / width)
    angles = np.arange(len(ids))[:, None] * scale * frequencies  # (T, K / 2)

    def norm(x, name):
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + eps) * tensors[name]

    def project(x, name):
        y = x @ tensors[f"{name}.weight"].T.astype(np.float64)
        return y + tensors[f"{name}.bias"] if f"{name}.bias" in tensors else y

    def turn(x):  # (T, H, K)
        even, odd, cos, sin = x[..., ::2], x[..., 1::2], np.cos(angles)[:, None], np.sin(angles)[:, None]
        return np.stack([even * cos - odd * sin, even * sin + odd * cos], axis=-1).reshape(x.shape)

    x = tensors["token_embd.weight"][list(ids)].astype(np.float64)
    length = len(ids)
    for layer in range(sizes["block_count"]):
        block = f"blk.{layer}."
        h = norm(x, block + "attn_norm.weight")
        query = turn(project(h, block + "attn_q").reshape(length, heads, width))
        key = turn(project(h, block + "attn_k").reshape(length, kv_heads, width))
        value = project(h, block + "attn_v").reshape(length, kv_heads, width)
        key, value = (np.repeat(each, heads // kv_heads, axis=1) for each in (key, value))
        scores = np.einsum("thk,shk->hts", query, key) / np.sqrt(width)
        scores = np.where(np.tri(length, dtype=bool), scores, -np.inf)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        attended = np.einsum("hts,shk->thk", weights, value).reshape(length, heads * width)
        x = x + project(attended, block + "attn_output")
        h = norm(x, block + "ffn_norm.weight")
        gate = project(h, block + "ffn_gate")
        x = x + project(gate / (1 + np.exp(-gate)) * project(h, block + "ffn_up"), block + "ffn_down")
    head = tensors.get("output.weight", tensors["token_embd.weight"])
    return norm(x, "output_norm.weight") @ head.T.astype(np.float64)


def ids_of(fields: dict[str, Any], text: str) -> list[int]:
    """Of the vocabulary `llama`: the best-scored pair is merged first, the leftmost of equals; the rest is bytes."""
    assert fields["tokenizer.ggml.model"] == "llama"
    scores = dict(zip(fields["tokenizer.ggml.tokens"], fields["tokenizer.ggml.scores"], strict=True))
    known = {token: i for i, token in enumerate(fields["tokenizer.ggml.tokens"])}
    if text and fields["tokenizer.ggml.add_space_prefix"]:
        text = " " + text
    symbols = list(text.replace(" ", "▁"))
    while True:
        pairs = [(scores[a + b], -i) for i, (a, b) in enumerate(pairwise(symbols)) if a + b in known]
        if not pairs:
            break
        i = -max(pairs)[1]
        symbols[i : i + 2] = [symbols[i] + symbols[i + 1]]
    found = [fields["tokenizer.ggml.bos_token_id"]] if fields["tokenizer.ggml.add_bos_token"] else []
    for symbol in symbols:
        found += [known[symbol]] if symbol in known else [known[f"<0x{byte:02X}>"] for byte in symbol.encode()]
    return found
