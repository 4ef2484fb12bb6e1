"""What a model costs, in closed form: parameters, floating-point operations, key-value cache.

A multiplication and an addition are two FLOPs. Only matrix products are counted, as torch's own counter does, and
attention as eager attention computes it, the full T x T square; a kernel that skips the masked half does about half of
that part.
Looping changes FLOPs and cache, never parameters, but for the encodings.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .layout import Layout

if TYPE_CHECKING:
    from .configuration_frailt import FraiLTConfig


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """Unique parameters of each part."""

    embedding: int
    blocks: int
    iteration_encodings: int
    final_norm: int
    head: int
    """0 where the head is tied to the embedding."""

    @property
    def total(self) -> int:
        """All unique parameters: what is stored, loaded and optimised."""
        return self.embedding + self.blocks + self.iteration_encodings + self.final_norm + self.head


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Costs of one model at one context length."""

    layout: str
    depth: int
    """Block applications now."""
    context: int
    """Tokens attended over, T."""
    parameters: Parameters
    parameters_of_equal_depth: int
    """Unique parameters of the plain layout that does as many block applications."""
    forward_flops_per_token: int
    causal_forward_flops_per_token: int
    """With the masked half of the attention square left out."""
    training_flops_per_token: int
    """Forward and backward: three times the forward, for every product has two in the backward."""
    kv_cache_values_per_token: int
    """Numbers cached per token; times the bytes of one (4 in float32, 2 in bfloat16) they are bytes."""

    def kv_bytes_per_token(self, bytes_per_value: int = 4) -> int:
        """Key-value cache, bytes per token."""
        return self.kv_cache_values_per_token * bytes_per_value


def parameters(config: "FraiLTConfig") -> Parameters:
    """Count the unique parameters of `config`."""
    from .encodings import ENCODINGS  # here because it needs torch, and reading costs from a record does not

    encoding = ENCODINGS[config.iteration_encoding]
    hidden, vocab = config.hidden_size, config.vocab_size
    groups = Layout.parse(config.layout).groups
    return Parameters(
        embedding=vocab * hidden,
        blocks=sum(shape.blocks for shape in groups) * (_matrix_weights_per_block(config) + 2 * hidden),
        iteration_encodings=sum(
            shape.blocks * encoding.num_parameters(hidden, shape.iterations) for shape in groups if shape.iterations > 1
        ),
        final_norm=hidden,
        head=0 if config.tie_word_embeddings else vocab * hidden,
    )


def cost(config: "FraiLTConfig", context: int | None = None) -> Cost:
    """Count everything for sequences of `context` tokens (default: the longest, `max_position_embeddings`).

    Raises:
        ValueError: `context` below 1.
    """
    length = config.max_position_embeddings if context is None else context
    if length < 1:
        raise ValueError(f"context must be 1 token or more, got {length}")
    depth = config.num_hidden_layers
    unique = parameters(config)
    weights = depth * _matrix_weights_per_block(config) + config.vocab_size * config.hidden_size
    attention = 4 * depth * config.num_attention_heads * config.head_dim  # QK^T and AV, FLOPs per attended token
    return Cost(
        layout=str(Layout.parse(config.layout)),
        depth=depth,
        context=length,
        parameters=unique,
        parameters_of_equal_depth=unique.total
        - unique.blocks
        - unique.iteration_encodings
        + depth * (_matrix_weights_per_block(config) + 2 * config.hidden_size),
        forward_flops_per_token=2 * weights + attention * length,
        causal_forward_flops_per_token=2 * weights + attention * (length + 1) // 2,
        training_flops_per_token=3 * (2 * weights + attention * length),
        kv_cache_values_per_token=2 * depth * config.num_key_value_heads * config.head_dim,
    )


def application_flops(config: "FraiLTConfig", *, rows: int = 0, pairs: int = 0, projected: int = 0) -> int:
    """FLOPs of one block application, or of a part of it.

    Args:
        config: of the model.
        rows: tokens that the block is run on.
        pairs: of a query and a key, in attention; `rows` times the keys where every query is compared with all.
        projected: further tokens of which keys and values alone are computed.
    """
    attention = 4 * pairs * config.num_attention_heads * config.head_dim  # QK^T and AV
    return 2 * rows * _matrix_weights_per_block(config) + attention + 2 * projected * _key_and_value_weights(config)


def head_flops(config: "FraiLTConfig", rows: int) -> int:
    """FLOPs of the head on so many tokens."""
    return 2 * rows * config.vocab_size * config.hidden_size


def _matrix_weights_per_block(config: "FraiLTConfig") -> int:
    hidden = config.hidden_size
    query_and_output = 2 * hidden * config.num_attention_heads * config.head_dim
    return query_and_output + _key_and_value_weights(config) + 3 * hidden * config.intermediate_size


def _key_and_value_weights(config: "FraiLTConfig") -> int:
    return 2 * config.hidden_size * config.num_key_value_heads * config.head_dim
