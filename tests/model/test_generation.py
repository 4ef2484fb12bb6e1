import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, ContinuousBatchingConfig, DynamicCache, GenerationConfig, StaticCache

from frailt import FraiLTForCausalLM

from .test_equivalence import states_by_hand
from .tiny import VOCAB, tiny_model, tokens

LAYOUTS = ["3", "1^3", "2^2", "1,(2)^3,1^2"]
NEW = 9


def greedy(model: FraiLTForCausalLM, ids: Tensor, **options) -> Tensor:
    return model.generate(ids, max_new_tokens=NEW, do_sample=False, pad_token_id=0, **options)


def greedy_by_hand(model: FraiLTForCausalLM, ids: Tensor) -> Tensor:
    """The whole text anew for every token, without cache or generate."""
    for _ in range(NEW):
        ids = torch.cat([ids, model(ids, use_cache=False).logits[:, -1:].argmax(-1)], dim=1)
    return ids


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    "options",
    [{}, {"use_cache": False}, {"cache_implementation": "static"}],
    ids=["dynamic", "none", "static"],
)
def test_greedy_tokens_are_the_same_with_every_cache(layout, options):
    model = tiny_model(layout)
    got = greedy(model, tokens(), **options)
    assert torch.equal(got, greedy_by_hand(model, tokens()))
    assert len({tuple(row) for row in got[:, -NEW:].tolist()}) == 2  # the prompts matter


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("encoding", ["learned", "sinusoidal"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("kind", ["dynamic", "static"])
def test_logits_token_by_token_are_those_of_the_whole_text(layout, encoding, attention, kind):
    model = tiny_model(layout, iteration_encoding=encoding, attn_implementation=attention)
    ids = tokens(length=11)
    if kind == "dynamic":
        cache = DynamicCache(config=model.config)
    else:
        cache = StaticCache(config=model.config, max_cache_len=13)
    pieces = [model(ids[:, a:b], past_key_values=cache).logits for a, b in [(0, 5), (5, 6), (6, 9), (9, 11)]]
    torch.testing.assert_close(torch.cat(pieces, dim=1), model(ids).logits, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_cache_has_one_entry_of_its_own_per_block_application(layout):
    model = tiny_model(layout)
    cache = model(tokens(), use_cache=True).past_key_values
    assert len(cache) == model.config.num_hidden_layers
    keys = [layer.keys for layer in cache.layers]
    assert all(key.shape == (2, 3, 7, 8) for key in keys)
    assert all(not torch.equal(a, b) for i, a in enumerate(keys) for b in keys[:i])


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_left_padded_text_is_the_text_alone(layout, attention):
    model = tiny_model(layout, attn_implementation=attention)
    texts = [tokens(1, n, seed=n)[0] for n in (3, 7, 5)]
    ids = torch.stack([torch.cat([torch.zeros(7 - len(text), dtype=torch.long), text]) for text in texts])
    mask = torch.stack([torch.arange(7) >= 7 - len(text) for text in texts]).long()
    logits = model(ids, attention_mask=mask, position_ids=(mask.cumsum(-1) - 1).clamp(min=0)).logits
    together = greedy(model, ids, attention_mask=mask)
    for row, text in enumerate(texts):
        alone = model(text[None]).logits[0]
        torch.testing.assert_close(logits[row, -len(text) :], alone, atol=1e-5, rtol=1e-5)
        assert torch.equal(together[row, -NEW:], greedy(model, text[None])[0, -NEW:])


@pytest.mark.parametrize("encoding", ["learned", "sinusoidal", "none"])
@pytest.mark.parametrize(
    ("iterations", "counts"), [(1, [1, 1, 1]), (2, [1, 2, 2]), (5, [1, 5, 5]), ([2, 4, 1], [2, 4, 1])]
)
def test_a_model_loaded_with_other_iterations_is_its_blocks_run_as_often_by_hand(
    encoding, iterations, counts, tmp_path
):
    tiny_model("1,(2)^3,1^2", iteration_encoding=encoding).save_pretrained(tmp_path)
    model = AutoModelForCausalLM.from_pretrained(tmp_path, iterations=iterations)
    depth = counts[0] + 2 * counts[1] + counts[2]
    assert len(model.model.slots) == model.config.num_hidden_layers == depth
    out = model(tokens(), use_cache=True)
    assert len(out.past_key_values) == depth
    wanted, _ = states_by_hand(model, tokens(), counts)
    torch.testing.assert_close(out.logits, wanted, atol=2e-5, rtol=1e-5)
    wanted_tokens = greedy_by_hand(model, tokens())
    assert torch.equal(greedy(model, tokens()), wanted_tokens)
    assert torch.equal(greedy(model, tokens(), cache_implementation="static"), wanted_tokens)


def test_a_loop_run_once_keeps_its_encoding(tmp_path):
    tiny_model("1^3").save_pretrained(tmp_path)
    model = AutoModelForCausalLM.from_pretrained(tmp_path, iterations=1)
    with_encoding = model(tokens()).logits
    with torch.no_grad():
        model.model.groups[0].encodings[0].weight.zero_()
    assert not torch.allclose(model(tokens()).logits, with_encoding, atol=1e-2)


def test_a_learned_encoding_repeats_its_last_vector_beyond_the_trained_iterations():
    encoding = tiny_model("1^3", iterations=6).model.groups[0].encodings[0]
    rows = [encoding(m) for m in range(6)]
    assert all(torch.equal(rows[m], encoding.weight[min(m, 2)]) for m in range(6))
    assert encoding.weight.shape == (3, 48)


def test_a_sinusoidal_encoding_goes_on_beyond_the_trained_iterations():
    encoding = tiny_model("1^3", iterations=50, iteration_encoding="sinusoidal").model.groups[0].encodings[0]
    rows = [encoding(m) for m in range(50)]
    assert all(not torch.allclose(a, b, atol=1e-3) for i, a in enumerate(rows) for b in rows[:i])
    for m in (0, 2, 49):
        half = torch.arange(24, dtype=torch.float64)
        angles = m * 10000.0 ** (-half / 24)
        wanted = 0.2 * torch.cat([angles.sin(), angles.cos()])
        torch.testing.assert_close(rows[m].double(), wanted, atol=1e-5, rtol=0)


@pytest.mark.parametrize("stop", [1, 2])
def test_generation_stops_at_bos_and_at_eos(stop):
    """Renames the fifth token that is generated to BOS or EOS: the same model, and it stops there."""
    model = tiny_model("1^3", eos_token_id=[1, 2])
    model.generation_config.eos_token_id = None
    endless = greedy(model, tokens(1))[0, 7:].tolist()
    fifth = next(i for i in range(4, NEW) if endless[i] not in endless[:i])
    if endless[fifth] != stop:
        order = torch.arange(VOCAB)
        order[[stop, endless[fifth]]] = order[[endless[fifth], stop]]
        with torch.no_grad():
            model.model.embed_tokens.weight.copy_(model.model.embed_tokens.weight[order])
        ids = order[tokens(1)]
    else:
        ids = tokens(1)
    model.generation_config = GenerationConfig.from_model_config(model.config)
    got = greedy(model, ids)[0, 7:].tolist()
    assert got[-1] == stop
    assert len(got) == fifth + 1


def test_a_fresh_model_is_set_to_stop_at_bos_and_eos(tmp_path):
    model = tiny_model("1^2", eos_token_id=[1, 2])
    assert model.generation_config.eos_token_id == [1, 2]
    model.save_pretrained(tmp_path)
    assert AutoModelForCausalLM.from_pretrained(tmp_path).generation_config.eos_token_id == [1, 2]


def test_continuous_batching_gives_the_tokens_of_one_prompt_alone():
    model = tiny_model("1,(2)^3,1^2")
    prompts = [tokens(1, n, seed=n) for n in (3, 7, 5)]
    outputs = model.generate_batch(
        [prompt[0].tolist() for prompt in prompts],
        generation_config=GenerationConfig(max_new_tokens=NEW, do_sample=False, eos_token_id=-1, pad_token_id=0),
        continuous_batching_config=ContinuousBatchingConfig(page_size=16, num_blocks=8, max_batch_tokens=32),
    )
    got = [outputs[name].generated_tokens for name in sorted(outputs)]
    assert got == [greedy_by_hand(model, prompt)[0, -NEW:].tolist() for prompt in prompts]


def test_sampling_is_a_function_of_the_seed():
    model = tiny_model("1^3")

    def sample(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return model.generate(tokens(), max_new_tokens=NEW, do_sample=True, pad_token_id=0)

    assert torch.equal(sample(3), sample(3))
    assert not torch.equal(sample(3), sample(4))
