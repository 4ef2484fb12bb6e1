"""Chats that cannot be read; what a server answers to the rest is in the tests of servers."""

from types import SimpleNamespace

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from frailt.serving.errors import Refused
from frailt.serving.prompts import Prompts


@pytest.fixture
def prompts() -> Prompts:
    """Of a model that knows two words and has room for 20 tokens."""
    backend = Tokenizer(models.WordLevel({"<unk>": 0, "<s>": 1, "</s>": 2, "a": 3, "b": 4}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    tokenizer.chat_template = "{% for message in messages %}{{ message.content }} {% endfor %}{{ more }}"
    return Prompts(tokenizer, 20, 5)


def chat(prompts: Prompts, *messages: dict[str, str]) -> list[list[int]]:
    return prompts.of_chat(SimpleNamespace(messages=list(messages)))


def test_a_chat_is_read_as_its_template_has_it(prompts):
    assert chat(prompts, {"role": "user", "content": "a b"}, {"role": "assistant", "content": "b"}) == [[1, 3, 4, 4]]


def test_what_the_tokenizer_does_not_know_is_refused(prompts):
    with pytest.raises(Refused, match="messages must be made of characters that the tokenizer knows"):
        chat(prompts, {"role": "user", "content": "a café"})


@pytest.mark.parametrize("messages", [[{"role": "u" * 1000, "content": "a"}], [{"role": "user", "content": ""}] * 300])
def test_roles_count_before_the_template_is_run(messages, prompts):
    prompts._tokenizer.chat_template = "{{ raise_exception('was run') }}"
    with pytest.raises(Refused, match=r"messages must leave room in the context of 20 tokens, got .* bytes"):
        chat(prompts, *messages)


def test_a_template_that_says_much_is_refused_before_it_is_cut_into_tokens(prompts):
    prompts._tokenizer.chat_template = "{{ 'a ' * 10000 }}"
    with pytest.raises(Refused, match="got 20000 bytes: shorten it"):
        chat(prompts, {"role": "user", "content": "a"})
