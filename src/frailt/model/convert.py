"""To and from Llama checkpoints: transformers' `LlamaForCausalLM`, and the legacy `.bin` files of llama2.c.

A layout with no loop is a Llama: the same weights under other names give equal logits. A looped one unrolls into a
Llama with a layer for every block application.
"""

import re
from copy import deepcopy
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedConfig, PreTrainedModel

from .configuration_frailt import FraiLTConfig
from .layout import Application, Layout
from .modeling_frailt import FraiLTForCausalLM

Model = TypeVar("Model", bound=PreTrainedModel)

_SHARED_FIELDS = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "hidden_act",
    "max_position_embeddings",
    "initializer_range",
    "rms_norm_eps",
    "attention_dropout",
    "rope_parameters",
    "tie_word_embeddings",
    "pad_token_id",
    "bos_token_id",
    "eos_token_id",
)


def to_llama(model: FraiLTForCausalLM) -> LlamaForCausalLM:
    """A `LlamaForCausalLM` with a copy of the weights of a model whose layout has no loop.

    Raises:
        ValueError: the layout loops, or is run other than once.
    """
    config = model.config
    if Layout.parse(config.layout).is_looped or set(config.iterations_per_group) != {1}:
        raise ValueError(
            f"layout must have no loop, and run once, to be a Llama with the same weights, "
            f"got {config.layout} run {' and '.join(map(str, config.iterations_per_group))} times"
        )
    return unroll(model)


def unroll(model: FraiLTForCausalLM) -> LlamaForCausalLM:
    """A `LlamaForCausalLM` with a layer for every block application that the model runs now, and equal logits.

    The vector that is added to the input of application k + 1 goes to the end of layer k, as the bias of its down
    projection (`mlp_bias`); that of the first goes into the embedding, which a tied head then no longer shares.
    Whatever an encoding gives beyond its trained M is taken as it is.

    Raises:
        ValueError: the encoding does not add one vector per iteration.
    """
    config = model.config
    applications = Layout.parse(config.layout).applications(config.iterations)
    added = [_added_vector(model, application) for application in applications]
    biased = any(vector is not None for vector in added[1:])
    unrolled = LlamaConfig(
        num_hidden_layers=len(applications),
        mlp_bias=biased,
        attn_implementation=config._attn_implementation,
        **_shared_fields(config) | ({} if added[0] is None else {"tie_word_embeddings": False}),
    )
    own = model.state_dict()
    state = {name: own[name] for name in ("model.embed_tokens.weight", "model.norm.weight", "lm_head.weight")}
    if added[0] is not None:
        state["model.embed_tokens.weight"] = state["model.embed_tokens.weight"] + added[0]
    for layer, (group, _, block) in enumerate(applications):
        prefix = f"model.groups.{group}.blocks.{block}."
        target = f"model.layers.{layer}."
        state |= {target + name.removeprefix(prefix): own[name] for name in own if name.startswith(prefix)}
        if biased:
            following = added[layer + 1] if layer + 1 < len(added) else None
            zeros = own["model.norm.weight"].new_zeros
            state |= {
                target + "mlp.gate_proj.bias": zeros(config.intermediate_size),
                target + "mlp.up_proj.bias": zeros(config.intermediate_size),
                target + "mlp.down_proj.bias": zeros(config.hidden_size) if following is None else following,
            }
    return _with_copies(LlamaForCausalLM, unrolled, state, model)


def from_llama(llama: LlamaForCausalLM) -> FraiLTForCausalLM:
    """A FraiLT of layout `n`, n the number of layers, with a copy of the weights.

    Raises:
        ValueError: the Llama has biases, which Llama-2 and FraiLT have not.
    """
    config = llama.config
    if config.attention_bias or config.mlp_bias:
        raise ValueError(
            f"attention_bias and mlp_bias must be false, got {config.attention_bias} and {config.mlp_bias}: "
            f"a FraiLT block has no biases"
        )
    plain = FraiLTConfig(
        layout=str(config.num_hidden_layers),
        attn_implementation=config._attn_implementation,
        **_shared_fields(config) | {"attention_dropout": config.attention_dropout or 0.0},
    )
    state = {_from_llama_name(name): value for name, value in llama.state_dict().items()}
    return _with_copies(FraiLTForCausalLM, plain, state, llama)


def load_llama2c(path: str | Path) -> FraiLTForCausalLM:
    """Read a legacy float32 checkpoint of llama2.c as a plain FraiLT.

    Seven int32 (dim, hidden dim, layers, heads, key-value heads, vocabulary, length), then float32 arrays: embedding,
    attention norms, wq, wk, wv, wo, FFN norms, w1, w2, w3, final norm, RoPE tables, and the head unless it is tied,
    which a positive vocabulary says (export.py, `legacy_export`, of that project).

    Raises:
        FileNotFoundError: no such file.
        ValueError: sizes out of range, or a file shorter or longer than its header says.
    """
    data = Path(path).read_bytes()
    if len(data) < 28:
        raise ValueError(
            f"{path} must begin with a header of 28 bytes, got {len(data)} bytes: not a llama2.c checkpoint"
        )
    dim, hidden, layers, heads, kv_heads, vocab, length = (int(n) for n in np.frombuffer(data, "<i4", count=7))
    tied, vocab = vocab > 0, abs(vocab)
    header = (dim, hidden, layers, heads, kv_heads, vocab, length)
    if min(header) < 1 or max(header) > 1 << 24 or dim % heads or heads % kv_heads:
        raise ValueError(f"{path} must hold positive sizes in its header, got {header}: not a llama2.c checkpoint")
    try:
        config = FraiLTConfig(
            layout=str(layers),
            vocab_size=vocab,
            hidden_size=dim,
            intermediate_size=hidden,
            num_attention_heads=heads,
            num_key_value_heads=kv_heads,
            max_position_embeddings=length,
            rms_norm_eps=1e-5,
            tie_word_embeddings=tied,
        )
    except ValueError as error:
        raise ValueError(f"{path} has sizes in its header that no FraiLT can have: {error}") from error
    width = config.head_dim
    shapes = {
        "embed": (vocab, dim),
        "attention_norm": (layers, dim),
        "wq": (layers, heads * width, dim),
        "wk": (layers, kv_heads * width, dim),
        "wv": (layers, kv_heads * width, dim),
        "wo": (layers, dim, heads * width),
        "ffn_norm": (layers, dim),
        "w1": (layers, hidden, dim),
        "w2": (layers, dim, hidden),
        "w3": (layers, hidden, dim),
        "norm": (dim,),
        "rope": (2, length, width // 2),
    } | ({} if tied else {"head": (vocab, dim)})
    wanted = 28 + 4 * sum(int(np.prod(shape, dtype=np.int64)) for shape in shapes.values())
    if len(data) != wanted:
        raise ValueError(
            f"{path} must have {wanted} bytes for its header {header}, got {len(data)}: truncated or another format"
        )
    arrays, offset = {}, 28
    for name, shape in shapes.items():
        count = int(np.prod(shape, dtype=np.int64))
        arrays[name] = torch.from_numpy(np.frombuffer(data, "<f4", count=count, offset=offset).reshape(shape).copy())
        offset += 4 * count

    state = {"model.embed_tokens.weight": arrays["embed"], "model.norm.weight": arrays["norm"]}
    state["lm_head.weight"] = arrays["embed"] if tied else arrays["head"]
    for layer in range(layers):
        block = f"model.groups.0.blocks.{layer}."
        state |= {
            block + "input_layernorm.weight": arrays["attention_norm"][layer],
            block + "post_attention_layernorm.weight": arrays["ffn_norm"][layer],
            block + "self_attn.q_proj.weight": _rope_halves(arrays["wq"][layer], heads),
            block + "self_attn.k_proj.weight": _rope_halves(arrays["wk"][layer], kv_heads),
            block + "self_attn.v_proj.weight": arrays["wv"][layer],
            block + "self_attn.o_proj.weight": arrays["wo"][layer],
            block + "mlp.gate_proj.weight": arrays["w1"][layer],
            block + "mlp.down_proj.weight": arrays["w2"][layer],
            block + "mlp.up_proj.weight": arrays["w3"][layer],
        }
    model = FraiLTForCausalLM(config)
    model.load_state_dict(state, strict=True)
    return model.eval()


def _rope_halves(weight: Tensor, heads: int) -> Tensor:
    """Reorder rows (H * K, D) from interleaved RoPE pairs, Llama's own order, to Hugging Face's two halves."""
    rows, dim = weight.shape
    return weight.view(heads, rows // heads // 2, 2, dim).transpose(1, 2).reshape(rows, dim)


@torch.no_grad()
def _added_vector(model: FraiLTForCausalLM, application: Application) -> Tensor | None:
    """What is added to the input of a block application (D,), as the block adds it; None for nothing."""
    encoding = model.model.groups[application.group].encodings[application.block]
    vector = encoding(application.iteration)
    if vector is None:
        return None
    if vector.shape != (model.config.hidden_size,):
        raise ValueError(
            f"iteration_encoding must add one vector per iteration for its model to be a Llama, "
            f"got {model.config.iteration_encoding}, which gives shape {tuple(vector.shape)}"
        )
    return vector.to(model.dtype)


def _from_llama_name(name: str) -> str:
    return re.sub(r"^model\.layers\.", "model.groups.0.blocks.", name)


def _shared_fields(config: PreTrainedConfig) -> dict[str, Any]:
    return {name: deepcopy(getattr(config, name)) for name in _SHARED_FIELDS}


def _with_copies(kind: type[Model], config: PreTrainedConfig, state: dict[str, Tensor], source: Any) -> Model:
    """A model with copies of the tensors of `state`, in their type and place, and of the rotations of `source`.

    It generates as the source does, up to the same stop tokens. Rotations are in no state dict. Nothing is drawn first,
    which would take longer than all the rest.
    """
    with torch.device("meta"):
        model = kind(config)
    model.load_state_dict({name: value.detach().clone() for name, value in state.items()}, strict=True, assign=True)
    model.tie_weights()
    for name, buffer in source.model.rotary_emb.named_buffers():
        setattr(model.model.rotary_emb, name, buffer.clone())
    model.generation_config = deepcopy(source.generation_config)
    return model.train(source.training)
