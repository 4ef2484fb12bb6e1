"""Nats of completions, against one forward pass a text and transformers' own loss."""

import math

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from frailt import FraiLTConfig, FraiLTForCausalLM
from frailt.measures.evaluator import evaluator_record, load_evaluator
from frailt.measures.likelihood import Asked, Likelihood, ask, nats, windows
from frailt.training.checkpoint import load_checkpoint

CONTEXT = 31


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    sizes = {"hidden_size": 24, "num_attention_heads": 6, "vocab_size": 61, "max_position_embeddings": CONTEXT}
    return FraiLTForCausalLM(FraiLTConfig(layout="2^3", initializer_range=0.3, **sizes)).eval()


def asked(*lengths_and_firsts) -> list[Asked]:
    generator = torch.Generator().manual_seed(4)
    return [
        Asked(torch.randint(1, 61, (length,), generator=generator).tolist(), first)
        for length, first in lengths_and_firsts
    ]


def by_hand(model, text: Asked) -> float:
    """One text alone, its tokens that do not count masked out, by the loss that transformers computes."""
    ids = torch.tensor([text.ids])
    labels = ids.clone()
    labels[:, : text.first] = -100
    with torch.no_grad():
        return model(input_ids=ids, labels=labels).loss.item() * text.tokens


@pytest.mark.parametrize("batch_size", [1, 2, 16])
def test_nats_are_those_of_each_text_alone(model, batch_size):
    texts = asked((5, 2), (CONTEXT, 7), (17, 1), (9, 8), (CONTEXT - 1, 29))
    found = nats(model, texts, context=CONTEXT, batch_size=batch_size)
    assert found == pytest.approx([by_hand(model, text) for text in texts], rel=1e-5)


def test_nats_of_a_beginning_and_of_what_follows_add_up(model):
    [whole] = asked((20, 1))
    parts = [Asked(whole.ids[:9], 1), Asked(whole.ids, 9)]
    assert sum(nats(model, parts, context=CONTEXT)) == pytest.approx(nats(model, [whole], context=CONTEXT)[0], rel=1e-5)


@pytest.mark.parametrize("context", [None, 1, 2, 7, 8, 31])
@pytest.mark.parametrize(("length", "first"), [(2, 1), (8, 1), (9, 1), (40, 1), (40, 39), (33, 12), (100, 60)])
def test_windows_ask_for_every_token_once_from_half_a_context_at_least(length, first, context):
    found = list(windows(length, first, context))
    assert [token for _, start, end in found for token in range(start, end + 1)] == list(range(first, length))
    for begin, start, end in found:
        assert 0 <= begin < start <= end
        assert end - begin <= (context or length)
        assert begin == 0 or start - begin >= (context or length) // 2


def test_a_text_beyond_the_context_is_read_in_windows(model):
    [text] = asked((2 * CONTEXT, 3))
    total = 0.0
    for begin, first, end in windows(len(text.ids), 3, CONTEXT):
        total += by_hand(model, Asked(text.ids[begin : end + 1], first - begin))
    assert nats(model, [text], context=CONTEXT)[0] == pytest.approx(total, rel=1e-5)


def test_a_text_that_fills_context_and_one_more_takes_one_window(model):
    [text] = asked((CONTEXT + 1, 3))
    with torch.no_grad():
        log = model(input_ids=torch.tensor([text.ids[:-1]])).logits[0].double().log_softmax(-1)
    expected = -log.gather(-1, torch.tensor(text.ids[1:])[:, None])[2:].sum().item()
    assert nats(model, [text], context=CONTEXT)[0] == pytest.approx(expected, rel=1e-5)


def test_bits_per_byte_are_of_the_text():
    found = Likelihood(nats=30 * math.log(2), tokens=4, utf8_bytes=10)
    assert found.bits_per_byte == pytest.approx(3.0)
    assert found.nats_per_token == pytest.approx(7.5 * math.log(2))


# What counts


def test_the_tokens_of_the_completion_count_and_not_those_of_the_beginning(byte_tokenizer):
    [text] = ask(byte_tokenizer, ["Tom"], [" sat."])
    assert text.ids[0] == byte_tokenizer.bos_token_id
    assert byte_tokenizer.decode(text.ids[text.first :]) == " sat."
    assert text.tokens == 5


def test_a_token_over_the_seam_counts(run):
    _, tokenizer = load_checkpoint(run)
    prompt, completion = "Once upon a ti", "me there"
    [text] = ask(tokenizer, [prompt], [completion])
    assert tokenizer.decode(text.ids[1:]) == prompt + completion
    said = tokenizer.decode(text.ids[text.first :])
    assert (prompt + completion).endswith(said.strip())
    assert len(said.strip()) >= len(completion)
    assert prompt.startswith(tokenizer.decode(text.ids[1 : text.first]))


def test_nothing_counts_of_an_empty_completion(byte_tokenizer):
    assert [text.tokens for text in ask(byte_tokenizer, ["Tom", ""], ["", ""])] == [0, 0]


# Evaluators


def test_any_causal_language_model_of_transformers_is_an_evaluator(byte_tokenizer, tmp_path):
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 2, "num_hidden_layers": 2}
    llama = LlamaForCausalLM(LlamaConfig(**sizes, vocab_size=258, max_position_embeddings=43)).eval()
    llama.bfloat16().save_pretrained(tmp_path)
    byte_tokenizer.save_pretrained(tmp_path)
    record = evaluator_record(str(tmp_path))
    assert (record["model_type"], record["layout"], record["context"]) == ("llama", None, 43)
    evaluator = load_evaluator(str(tmp_path), torch.device("cpu"))
    texts = ask(evaluator.tokenizer, ["Tom", "A"], [" sat.", " cat ran"])
    found = nats(evaluator.model, texts, context=evaluator.context)
    assert found == pytest.approx([by_hand(llama.float(), text) for text in texts], rel=1e-5)


def test_a_run_is_recorded_with_its_hash_and_loss(run):
    record = evaluator_record(str(run))
    assert (record["checkpoint"], record["layout"], record["context"]) == ("2^2", "2^2", 47)
    assert record["validation_nats_per_token"] > 0
    assert record["sha256"] == evaluator_record(str(run / "last"))["sha256"]


@pytest.mark.parametrize("text", ["{", "[]", '{"model_type": "unheard of"}', "{}"])
def test_a_folder_without_a_usable_config_is_one_line(text, tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"")
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError, match="evaluator") as error:
        evaluator_record(str(tmp_path))
    assert "\n" not in str(error.value)
