"""What a layout costs, as text: `frailt info`."""

from dataclasses import asdict, dataclass

import frailt
from frailt.model.cost import cost
from frailt.training.config import ModelConfig, TrainConfig


@dataclass(kw_only=True)
class InfoConfig:
    """What `frailt info` shows; the defaults are those of `frailt train`, which are the paper's (Table 1).

    Args:
        layout: groups of blocks.
        hidden_size: width of the residual stream.
        intermediate_size: width of the MLP; by default two thirds of 4 * hidden_size, rounded up to 32.
        num_attention_heads: attention heads.
        num_key_value_heads: key-value heads; by default as many as attention heads.
        vocab_size: vocabulary, in tokens.
        context: tokens per sequence.
        iterations: how often groups run; by default as the layout says. One number, or one per group.
        iteration_encoding: learned, sinusoidal or none.
        tie_word_embeddings: whether the head is the transposed embedding.
    """

    layout: str
    hidden_size: int = ModelConfig.hidden_size
    intermediate_size: int | None = ModelConfig.intermediate_size
    num_attention_heads: int = ModelConfig.num_attention_heads
    num_key_value_heads: int | None = ModelConfig.num_key_value_heads
    vocab_size: int = 512
    context: int = TrainConfig.context
    iterations: int | list[int] | None = None
    iteration_encoding: str = ModelConfig.iteration_encoding
    tie_word_embeddings: bool = ModelConfig.tie_word_embeddings


def info(config: InfoConfig) -> str:
    """The costs of a layout, as a table.

    Raises:
        ValueError: sizes that do not fit.
    """
    from frailt.model.encodings import ENCODINGS  # loads torch: here, so that help need not wait for it

    settings = asdict(config)
    context = settings.pop("context")
    model = frailt.FraiLTConfig(**settings, max_position_embeddings=max(context, 1))
    costs = cost(model, context)
    beyond = ENCODINGS[model.iteration_encoding].beyond
    looped = any(shape.iterations > 1 for shape in model.groups)
    parts, depth = costs.parameters, costs.depth
    groups = ", ".join(
        f"{shape.blocks} block{'s' * (shape.blocks > 1)} x {count}"
        for shape, count in zip(model.groups, model.iterations_per_group, strict=True)
    )
    rows = [
        ("layout", model.layout),
        ("groups", groups),
        ("depth", f"{depth} block applications"),
        ("unique parameters", f"{parts.total:,}"),
        ("  embedding", f"{parts.embedding:,}"),
        ("  blocks", f"{parts.blocks:,}"),
        ("  iteration encodings", f"{parts.iteration_encodings:,}"),
        ("  final norm", f"{parts.final_norm:,}"),
        ("  head", f"{parts.head:,}" if parts.head else "0 (tied to the embedding)"),
        ("of a plain model as deep", f"{costs.parameters_of_equal_depth:,}"),
        *([("encoding beyond M", beyond)] if looped else []),
        (f"FLOPs per token at {context}", f"{costs.forward_flops_per_token:,} forward"),
        ("", f"{costs.causal_forward_flops_per_token:,} forward, without the masked half of attention"),
        ("", f"{costs.training_flops_per_token:,} training"),
        ("KV cache per token", f"{costs.kv_bytes_per_token(4):,} bytes in float32"),
        ("", f"{costs.kv_bytes_per_token(2):,} bytes in bfloat16"),
    ]
    return "\n".join(f"{name:<26} {value}" for name, value in rows)
