import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import DynamicCache

from frailt import FraiLTConfig, FraiLTForCausalLM
from frailt.model.cost import cost, parameters

from .tiny import LOOPED, tiny_config, tiny_model, tokens

CONFIGS = [
    *[tiny_config(layout) for layout in ["1", "3", *LOOPED]],
    *[tiny_config("1,(2)^3", iteration_encoding=kind) for kind in ("sinusoidal", "none")],
    *[tiny_config("2^3", num_key_value_heads=kv) for kv in (1, 2, 6)],
    tiny_config("1,(2)^3", tie_word_embeddings=False),
    tiny_config("1,(2)^3", head_dim=10),
    tiny_config("1,(2)^3", iterations=1),
    tiny_config("2^3", iterations=[5, 2], tie_word_embeddings=False),
    tiny_config("3", iterations=[4]),
]
IDS = [
    f"{c.layout} at {c.iterations} {c.iteration_encoding} kv{c.num_key_value_heads} tied{c.tie_word_embeddings}"
    for c in CONFIGS
]
each_config = pytest.mark.parametrize("config", CONFIGS, ids=IDS)


def eager(config: FraiLTConfig) -> FraiLTForCausalLM:
    return FraiLTForCausalLM(FraiLTConfig(**config.to_dict(), attn_implementation="eager"))


@each_config
def test_parameters_are_those_of_the_model_part_by_part(config):
    model, counted = FraiLTForCausalLM(config), parameters(config)

    def count(*parts: str) -> int:
        return sum(p.numel() for name, p in model.named_parameters() if any(part in name for part in parts))

    assert counted.embedding == count("embed_tokens")
    assert counted.blocks == count(".blocks.")
    assert counted.iteration_encodings == count(".encodings.")
    assert counted.final_norm == count("model.norm")
    assert counted.head == count("lm_head")
    assert counted.total == sum(weight.numel() for weight in model.parameters())


@each_config
def test_flops_forward_and_backward_are_those_torch_counts(config):
    model, counted = eager(config), cost(config, context=7)
    with FlopCounterMode(display=False) as forward:
        loss = model(tokens(1), labels=tokens(1), use_cache=False).loss
    with FlopCounterMode(display=False) as backward:
        loss.backward()
    assert 7 * counted.forward_flops_per_token == forward.get_total_flops()
    assert 7 * counted.training_flops_per_token == forward.get_total_flops() + backward.get_total_flops()


@each_config
def test_cached_values_are_those_in_the_cache(config):
    cache = DynamicCache(config=config)
    FraiLTForCausalLM(config)(tokens(1), past_key_values=cache)
    counted = cost(config)
    assert len(cache) == counted.depth == config.num_hidden_layers
    values = sum(layer.keys.numel() + layer.values.numel() for layer in cache.layers)
    assert 7 * counted.kv_cache_values_per_token == values
    assert 7 * counted.kv_bytes_per_token() == 4 * values
    assert 7 * counted.kv_bytes_per_token(2) == 2 * values


@each_config
def test_parameters_of_equal_depth_are_those_of_the_plain_layout(config):
    overrides = {"layout": str(config.num_hidden_layers), "iterations": None}
    plain = FraiLTForCausalLM(FraiLTConfig(**(config.to_dict() | overrides)))
    assert cost(config).parameters_of_equal_depth == sum(weight.numel() for weight in plain.parameters())


@pytest.mark.parametrize("context", [1, 2, 7, 12])
def test_causal_flops_leave_out_the_masked_half_of_the_square(context):
    config = tiny_config("1,(2)^3")
    counted = cost(config, context)
    allowed = torch.ones(context, context).tril().sum().item()  # attended pairs of tokens
    per_pair = 4 * counted.depth * config.num_attention_heads * config.head_dim
    skipped = context * (counted.forward_flops_per_token - counted.causal_forward_flops_per_token)
    assert skipped == per_pair * (context**2 - allowed)


def test_looping_adds_flops_and_cache_but_only_encodings_as_parameters():
    once, looped = cost(tiny_config("2")), cost(tiny_config("2^4"))
    assert looped.parameters.total - once.parameters.total == 2 * 4 * 48
    assert looped.kv_cache_values_per_token == 4 * once.kv_cache_values_per_token
    assert looped.parameters_of_equal_depth == cost(tiny_config("8")).parameters.total


def test_the_context_is_the_longest_unless_it_is_given():
    config = tiny_config("2^4")
    assert cost(config).context == 31
    assert cost(config) == cost(config, 31)
    assert cost(config, 30).forward_flops_per_token < cost(config).forward_flops_per_token
    for context in (0, -1):
        with pytest.raises(ValueError, match=f"context must be 1 token or more, got {context}"):
            cost(config, context)


def test_the_cost_of_a_loaded_model_is_that_of_its_config(tmp_path):
    model = tiny_model("1,(2)^3")
    assert cost(model.config).parameters.total == model.num_parameters()
