"""The model that a run trains: new, from another checkpoint, or as its own checkpoint left it."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from transformers import PreTrainedTokenizerFast

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
        if config.context > model.config.max_position_embeddings:
            raise ValueError(
                f"context must be at most the checkpoint's {model.config.max_position_embeddings} tokens, "
                f"got {config.context}"
            )
        return model.float()  # a checkpoint may hold bfloat16; precision is what the forward pass computes in
    settings = asdict(config.model)
    theta, more = settings.pop("rope_theta"), settings.pop("rope_parameters")
    rope = {"rope_type": "default", **(more or {}), "rope_theta": theta}
    model = FraiLTForCausalLM(
        FraiLTConfig(
            **settings,
            rope_parameters=rope,
            vocab_size=data.manifest.vocab_size,
            max_position_embeddings=config.context,
            bos_token_id=data.manifest.bos_token_id,
            eos_token_id=data.manifest.stop_token_ids,
        )
    )
    set_generation_defaults(model, tokenizer)
    return model


def load_weights(model: FraiLTForCausalLM, folder: Path) -> None:
    """Give the model the float32 weights of a checkpoint of the same run."""
    weights: dict[str, Any] = {}
    for file in sorted(folder.glob("model*.safetensors")):
        weights |= load_file(file)
    for name, parameter in model.named_parameters():
        parameter.data.copy_(weights[name])


def model_record(model: FraiLTForCausalLM, context: int) -> dict[str, Any]:
    """What `run.json` says of the model."""
    costs = cost(model.config, context)
    return {
        "hidden_size": model.config.hidden_size,
        "iteration_encoding": model.config.iteration_encoding,
        **asdict(costs),
        "parameters": {**asdict(costs.parameters), "total": costs.parameters.total},
    }
