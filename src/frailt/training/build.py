"""The model that a run begins with: new, or from a checkpoint of another run."""

from dataclasses import asdict
from typing import Any

from transformers import PreTrainedTokenizerFast
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from frailt.data.packing import PreparedData
from frailt.model import FraiLTConfig, FraiLTForCausalLM
from frailt.model.cost import cost

from .checkpoint import check_same_tokenizer, load_checkpoint, set_generation_defaults
from .config import TrainConfig


def build_model(config: TrainConfig, data: PreparedData, tokenizer: PreTrainedTokenizerFast) -> FraiLTForCausalLM:
    """The model that `config` describes, in float32, with weights as torch's generator gives them or of a checkpoint.

    Raises:
        ValueError: the checkpoint does not fit data or context, or the model's settings do not fit each other.
    """
    if config.from_checkpoint is not None:
        model, own_tokenizer = load_checkpoint(config.from_checkpoint)
        check_same_tokenizer(own_tokenizer, data, config.from_checkpoint)
        check_context(config, model.config)
        return model.float()  # a checkpoint may hold bfloat16; precision is what the forward pass computes in
    manifest = data.manifest
    model = FraiLTForCausalLM(
        model_config(
            config, manifest.vocab_size, bos_token_id=manifest.bos_token_id, eos_token_id=manifest.stop_token_ids
        )
    )
    set_generation_defaults(model, tokenizer)
    return model


def check_context(config: TrainConfig, model: FraiLTConfig) -> None:
    """Raise a ValueError where a checkpoint's model was not made for as many tokens."""
    if config.context > model.max_position_embeddings:
        raise ValueError(
            f"context must be at most the checkpoint's {model.max_position_embeddings} tokens, got {config.context}"
        )


def model_config(config: TrainConfig, vocab_size: int, **more: Any) -> FraiLTConfig:
    """The configuration of the new model that `config` describes; `more` goes into it as it is."""
    settings = asdict(config.model)
    theta, other = settings.pop("rope_theta"), settings.pop("rope_parameters")
    rope = {"rope_type": "default", **(other or {}), "rope_theta": theta}
    settings |= {"vocab_size": vocab_size, "max_position_embeddings": config.context, **more}
    if other is None:
        return FraiLTConfig(**settings, rope_parameters=rope)
    known = ("default", *ROPE_INIT_FUNCTIONS)
    if rope["rope_type"] not in known:
        raise ValueError(f"rope_parameters must have a rope_type of {', '.join(known)}, got {rope['rope_type']!r}")
    factor = rope.get("factor", 1.0)
    if isinstance(factor, bool) or not isinstance(factor, int | float) or not 1 <= factor < float("inf"):
        raise ValueError(f"rope_parameters must have a factor of 1 or more, got {factor!r}")
    try:
        model = FraiLTConfig(**settings, rope_parameters=dict(rope))
        LlamaRotaryEmbedding(model)  # type: ignore[arg-type]  # it has all that this reads
    except (KeyError, TypeError, RuntimeError) as error:
        raise ValueError(
            f"rope_parameters must be what rope_type {rope['rope_type']} needs, got {rope}: "
            f"{' '.join(str(error).split())}"
        ) from error
    return model


def model_record(model: FraiLTForCausalLM, context: int, training_flops: float | None = None) -> dict[str, Any]:
    """What `run.json` says of the model; `training_flops` per token where other iteration counts are trained too."""
    costs = cost(model.config, context)
    return {
        "hidden_size": model.config.hidden_size,
        "iteration_encoding": model.config.iteration_encoding,
        **asdict(costs),
        "training_flops_per_token": costs.training_flops_per_token if training_flops is None else round(training_flops),
        "parameters": {**asdict(costs.parameters), "total": costs.parameters.total},
    }
