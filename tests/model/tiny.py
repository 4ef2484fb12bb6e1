"""Tiny models for these tests: sizes that differ from one another, weights far from their starting values."""

import torch
from torch import Tensor, nn

from frailt import FraiLTConfig, FraiLTForCausalLM

VOCAB, BATCH, LENGTH = 97, 2, 7
LOOPED = ["1^2", "1^8", "2^4", "4^2", "(2)^4", "1,(2)^4,1", "3^2,(2)^3"]


def tiny_config(layout: str = "1,(2)^3,1^2", **overrides) -> FraiLTConfig:
    """Six heads of eight, three of them for keys and values; generation stops at nothing."""
    sizes = {
        "vocab_size": VOCAB,
        "hidden_size": 48,
        "num_attention_heads": 6,
        "num_key_value_heads": 3,
        "intermediate_size": 67,
        "max_position_embeddings": 31,
        "initializer_range": 0.2,
        "eos_token_id": None,
    }
    return FraiLTConfig(layout=layout, **(sizes | overrides))


def tiny_model(layout: str = "1,(2)^3,1^2", seed: int = 0, **overrides) -> FraiLTForCausalLM:
    """In evaluation mode. Norm weights differ from 1 and from each other, so that a mixed-up norm is seen."""
    torch.manual_seed(seed)
    return vary_norms(FraiLTForCausalLM(tiny_config(layout, **overrides))).eval()


def vary_norms(model: nn.Module) -> nn.Module:
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "norm" in name:
                weight.uniform_(0.5, 1.5)
    return model


def tokens(batch: int = BATCH, length: int = LENGTH, seed: int = 1) -> Tensor:
    """Random ids (B, T), none of them 0, 1 or 2."""
    return torch.randint(3, VOCAB, (batch, length), generator=torch.Generator().manual_seed(seed))
