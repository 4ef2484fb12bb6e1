"""GGUF files of architecture `llama`, written from an unrolled model.

llama.cpp takes a bias of the down projection, where there is one, and a head apart from the embedding, so the unrolled
Llama needs nothing more. Its q and k rows are in interleaved RoPE order, where Hugging Face's are in halves.
"""

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from transformers import LlamaForCausalLM, PreTrainedConfig, PreTrainedTokenizerFast

from frailt.data.whole_files import write_file_whole

from .config import Numbers
from .gguf_vocabulary import add_vocabulary

BLOCK = 32
"""Numbers that q8_0 keeps under one scale; rows are made of whole blocks."""


def check_installed() -> None:
    """Raise an ImportError that names the extra where the `gguf` package is missing."""
    if importlib.util.find_spec("gguf") is None:
        raise ImportError("a gguf file needs the gguf package: pip install 'frailt[gguf]'")


def check_can_be_written(config: PreTrainedConfig) -> None:
    """Raise a ValueError where llama.cpp's `llama` computes something else than a model of this configuration."""
    way_out = "export --to llama instead"
    if config.hidden_act != "silu":
        raise ValueError(f"hidden_act must be silu in a gguf file, got {config.hidden_act}: {way_out}")
    kind = (config.rope_parameters or {}).get("rope_type", "default")
    if kind not in ("default", "linear"):
        raise ValueError(f"rope_type must be default or linear in a gguf file written here, got {kind}: {way_out}")


def write_gguf(
    path: Path,
    llama: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    dtype: Numbers = "float32",
    *,
    name: str,
    description: str = "",
    license: str = "",
    dataset: str = "",
) -> list[str]:
    """Write a GGUF file that appears whole.

    Vectors stay float32 whatever `dtype` is, as in llama.cpp's own files.

    Args:
        path: the file.
        llama: the model.
        tokenizer: its tokenizer.
        dtype: numbers of the matrices.
        name: what engines call the model.
        description: what it is, in a sentence; like the next two left out where it is empty.
        license: its licence.
        dataset: what it was trained on.

    Returns:
        Matrices that are float16 although q8_0 was asked for, since their rows are no whole blocks.

    Raises:
        ValueError: the model, its tokenizer or a number in it cannot be written so.
    """
    import gguf

    check_can_be_written(llama.config)
    writer = gguf.GGUFWriter(None, "llama")
    kinds, left = set(), []
    for tensor_name, tensor in tensors(llama):
        array, kind = _as_stored(tensor, tensor_name, dtype)
        writer.add_tensor(tensor_name, array, raw_dtype=kind)
        if tensor.ndim > 1:
            kinds.add(kind)
            left += [tensor_name] if dtype == "q8_0" and kind != gguf.GGMLQuantizationType.Q8_0 else []
    writer.add_type("model")
    writer.add_name(name)
    writer.add_description(description)  # neither this nor the licence is written where it is empty
    writer.add_license(license)
    if dataset:
        writer.add_dataset_count(1)
        writer.add_dataset_name(0, dataset)
    _add_sizes(writer, llama.config)
    writer.add_file_type(_file_type(kinds))
    if gguf.GGMLQuantizationType.Q8_0 in kinds:
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    add_vocabulary(writer, tokenizer, llama.config.vocab_size)

    def fill(partial: Path) -> None:
        try:
            writer.write_header_to_file(partial)
            writer.write_kv_data_to_file()
            writer.write_tensors_to_file()
        finally:
            writer.close()

    path.parent.mkdir(parents=True, exist_ok=True)
    write_file_whole(path, fill)
    return left


def tensors(llama: LlamaForCausalLM) -> Iterator[tuple[str, Tensor]]:
    """The model's tensors by their names in GGUF, q and k in interleaved order.

    Left out are a head that is the embedding, and biases of the gate and up projections, which an unrolled FraiLT has
    only since `mlp_bias` gives all three.
    """
    import gguf

    config: Any = llama.config
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    for name, tensor in llama.state_dict().items():
        if name.endswith(("gate_proj.bias", "up_proj.bias")):
            assert not tensor.any(), name
            continue
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        if name.endswith("q_proj.weight"):
            tensor = interleaved(tensor, config.num_attention_heads)
        elif name.endswith("k_proj.weight"):
            tensor = interleaved(tensor, config.num_key_value_heads)
        found = names.get_name(name, try_suffixes=(".weight", ".bias"))
        assert found is not None, name
        yield found, tensor


def interleaved(weight: Tensor, heads: int) -> Tensor:
    """Reorder rows (H * K, D) from RoPE in two halves, Hugging Face's, to pairs, Llama's own and llama.cpp's."""
    rows, dim = weight.shape
    return weight.view(heads, 2, rows // heads // 2, dim).transpose(1, 2).reshape(rows, dim)


def _as_stored(tensor: Tensor, name: str, dtype: Numbers) -> tuple[np.ndarray, Any]:
    import gguf

    kinds = gguf.GGMLQuantizationType
    array = tensor.detach().float().cpu().contiguous().numpy()
    if array.ndim == 1 or dtype == "float32":
        return array, kinds.F32
    if dtype == "q8_0" and array.shape[-1] % BLOCK == 0:
        return gguf.quants.quantize(array, kinds.Q8_0), kinds.Q8_0
    if np.abs(array).max() > np.finfo(np.float16).max:
        raise ValueError(f"{name} has numbers that float16 cannot hold, up to {np.abs(array).max():.3g}: use float32")
    return array.astype(np.float16), kinds.F16


def _file_type(kinds: set[Any]) -> int:
    """What most matrices are; float16 where q8_0 fitted none."""
    import gguf

    if gguf.GGMLQuantizationType.Q8_0 in kinds:
        return gguf.LlamaFileType.MOSTLY_Q8_0
    if gguf.GGMLQuantizationType.F16 in kinds:
        return gguf.LlamaFileType.MOSTLY_F16
    return gguf.LlamaFileType.ALL_F32


def _add_sizes(writer: Any, config: Any) -> None:
    import gguf

    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(float(config.rope_parameters["rope_theta"]))
    if config.rope_parameters.get("rope_type", "default") == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(float(config.rope_parameters["factor"]))
