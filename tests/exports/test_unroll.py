"""A looped model is, layer by layer, a Llama with biases."""

import pytest
import torch
from transformers import LlamaForCausalLM

from frailt.exports.export import compare_logits
from frailt.model.convert import from_llama, unroll
from frailt.model.encodings import ENCODINGS, IterationEncoding, LearnedEncoding

from ..model.tiny import LOOPED, tiny_model, tokens


@pytest.mark.parametrize(
    ("layout", "encoding", "tied"),
    [
        *((layout, "learned", True) for layout in [*LOOPED, "3"]),
        ("1,(2)^4,1", "sinusoidal", False),
        ("1,(2)^4,1", "none", True),
        ("2^4", "sinusoidal", True),
        ("2^4", "learned", False),
        ("3", "learned", False),
    ],
)
@torch.no_grad()
def test_an_unrolled_model_gives_the_same_logits(layout, encoding, tied):
    model = tiny_model(layout, iteration_encoding=encoding, tie_word_embeddings=tied)
    llama = unroll(model)
    assert type(llama) is LlamaForCausalLM
    assert llama.config.num_hidden_layers == model.config.num_hidden_layers
    ids = tokens(length=31)
    wanted = model(ids).logits
    assert wanted.std() > 0.3
    torch.testing.assert_close(llama(ids).logits, wanted, atol=1e-5, rtol=0)
    assert compare_logits(model, llama)[0] < 1e-5
    # In float64 nothing is left but the last digits: what there was is rounding.
    model = model.double()
    torch.testing.assert_close(unroll(model)(ids).logits, model(ids).logits, atol=1e-12, rtol=0)


@pytest.mark.parametrize("encoding", ["learned", "sinusoidal"])
@pytest.mark.parametrize("iterations", [1, 5, [1, 7, 2], [2, 3, 2]])
@torch.no_grad()
def test_iterations_other_than_trained_unroll_by_the_rule_of_their_encoding(iterations, encoding):
    model = tiny_model("1,(2)^3,1^2", iteration_encoding=encoding, iterations=iterations)
    torch.testing.assert_close(unroll(model)(tokens()).logits, model(tokens()).logits, atol=1e-5, rtol=0)


def test_the_vector_of_an_application_is_the_bias_of_the_layer_before():
    model = tiny_model("1,(2)^2")
    first, second = (encoding.weight for encoding in model.model.groups[1].encodings)
    llama = unroll(model)
    biases = [layer.mlp.down_proj.bias for layer in llama.model.layers]
    for bias, wanted in zip(biases, [first[0], second[0], first[1], second[1], torch.zeros(48)], strict=True):
        assert torch.equal(bias, wanted)
    assert not any(layer.mlp.up_proj.bias.any() or layer.mlp.gate_proj.bias.any() for layer in llama.model.layers)
    assert torch.equal(llama.model.embed_tokens.weight, model.model.embed_tokens.weight)
    assert llama.lm_head.weight is llama.model.embed_tokens.weight  # the first block has no encoding


def test_the_first_vector_is_part_of_an_untied_embedding():
    model = tiny_model("1^2")
    [encoding] = model.model.groups[0].encodings
    llama = unroll(model)
    assert not llama.config.tie_word_embeddings
    assert torch.equal(llama.model.embed_tokens.weight, model.model.embed_tokens.weight + encoding.weight[0])
    assert torch.equal(llama.lm_head.weight, model.model.embed_tokens.weight)


@pytest.mark.parametrize(("layout", "encoding"), [("3", "learned"), ("1,(2)^3", "none")])
def test_without_encodings_nothing_is_added_and_the_llama_converts_back(layout, encoding):
    model = tiny_model(layout, iteration_encoding=encoding)
    llama = unroll(model)
    assert not llama.config.mlp_bias
    assert llama.config.tie_word_embeddings
    again = from_llama(llama)
    assert again.config.layout == str(model.config.num_hidden_layers)
    assert torch.equal(again(tokens()).logits, llama(tokens()).logits)


def test_an_unrolled_model_shares_nothing_with_the_model_nor_its_layers_with_each_other():
    model = tiny_model("1^2", eos_token_id=[1, 2])
    before = model(tokens()).logits
    llama = unroll(model)
    with torch.no_grad():
        for tensor in llama.model.layers[0].parameters():
            tensor.zero_()
        assert llama.model.layers[1].mlp.up_proj.weight.any()
        for tensor in llama.parameters():
            tensor.zero_()
    assert torch.equal(model(tokens()).logits, before)


@torch.no_grad()
def test_a_model_in_bfloat16_unrolls_up_to_rounding_and_exactly_in_float32():
    model = tiny_model("2^4").to(torch.bfloat16)
    llama = unroll(model)
    assert {tensor.dtype for tensor in llama.parameters()} == {torch.bfloat16}
    wanted = model(tokens()).logits.float()
    assert (llama(tokens()).logits.float() - wanted).norm() < 0.05 * wanted.norm()
    assert compare_logits(model, llama)[0] < 1e-5


class Scaling(IterationEncoding):
    """One number per iteration."""

    def forward(self, m):
        return torch.ones(1)


class Changing(LearnedEncoding):
    """Another vector each time."""

    def forward(self, m):
        return torch.randn(self.weight.shape[1])


def test_an_encoding_that_adds_no_vector_is_refused_with_the_reason(monkeypatch):
    monkeypatch.setitem(ENCODINGS, "odd", Scaling)
    with pytest.raises(ValueError, match=r"must add one vector per iteration .*, got odd, which gives shape \(1,\)"):
        unroll(tiny_model("2^4", iteration_encoding="odd"))


def test_a_model_that_is_not_what_it_unrolls_into_is_refused(monkeypatch):
    monkeypatch.setitem(ENCODINGS, "odd", Changing)
    model = tiny_model("2^4", iteration_encoding="odd")
    with pytest.raises(ValueError, match=r"their logits differ by \S+: its iteration encoding odd does more than add"):
        compare_logits(model, unroll(model))


def test_a_model_that_gives_no_numbers_is_not_blamed_on_its_encoding():
    model = tiny_model("2^4")
    with torch.no_grad():
        model.model.norm.weight[3] = torch.nan
    with pytest.raises(ValueError, match="the checkpoint must give finite logits"):
        compare_logits(model, unroll(model))
