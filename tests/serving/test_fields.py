"""What requests may say, and how they are refused."""

import json

import pytest

from frailt.serving import fields
from frailt.serving.errors import Refused, as_json

TEXT = {"prompt": "Once"}
PART = {"type": "text", "text": "Hello"}
CHAT = {"messages": [{"role": "user", "content": "Hello"}]}


def nested(depth: int) -> list:
    """Lists in one another."""
    found: list = []
    for _ in range(depth):
        found = [found]
    return found


REFUSED_COMPLETIONS = [
    ({"prompt": None}, "prompt", 'prompt must be given; "" begins from nothing'),
    ({"prompt": 3}, "prompt", "prompt must be a text, token ids, or a list of either, none empty, got 3"),
    ({"prompt": []}, "prompt", "got []"),
    ({"prompt": [[]]}, "prompt", "got [[]]"),
    ({"prompt": ["a", 1]}, "prompt", 'got ["a", 1]'),
    ({"prompt": [True]}, "prompt", "got [true]"),
    ({"prompt": [[1], "a"]}, "prompt", "prompt must be"),
    ({"prompt": "\ud83e"}, "prompt", "prompt must be text that UTF-8 can hold"),
    ({"max_tokens": 0}, "max_tokens", "max_tokens must be a whole number, 1 or more, got 0"),
    ({"max_tokens": 1.0}, "max_tokens", "got 1.0"),
    ({"max_tokens": "16"}, "max_tokens", 'got "16"'),
    ({"max_tokens": True}, "max_tokens", "got true"),
    ({"temperature": -0.1}, "temperature", "temperature must be a number from 0 to 2, got -0.1"),
    ({"temperature": 2.1}, "temperature", "got 2.1"),
    ({"temperature": float("nan")}, "temperature", "got NaN"),
    ({"temperature": "hot"}, "temperature", 'got "hot"'),
    ({"temperature": 10**400}, "temperature", "temperature must be a number from 0 to 2"),
    ({"top_p": 0}, "top_p", "top_p must be a number above 0 and at most 1, got 0"),
    ({"top_p": 1.5}, "top_p", "got 1.5"),
    ({"n": 0}, "n", "n must be from 1 to 128, got 0"),
    ({"n": int("9" * 4300)}, "n", "n must be from 1 to 128, got 9999"),
    ({"stop": nested(5000)}, "stop", "a list, too deep to be shown"),
    ({"seed": 1.5}, "seed", "seed must be a whole number of 64 bits, got 1.5"),
    ({"seed": 2**64}, "seed", "seed must be a whole number of 64 bits"),
    ({"stop": ""}, "stop", 'stop must be a text or up to 4 of them, none empty, got ""'),
    ({"stop": []}, "stop", "got []"),
    ({"stop": ["a"] * 5}, "stop", "up to 4"),
    ({"stop": [1]}, "stop", "got [1]"),
    ({"stream": 1}, "stream", "stream must be true or false, got 1"),
    ({"echo": "yes"}, "echo", 'echo must be true or false, got "yes"'),
    ({"user": 7}, "user", "user must be a text, got 7"),
    ({"model": 7}, "model", "model must be a text, got 7"),
    ({"stream_options": {"include_usage": True}}, "stream_options", "must be left out where stream is false"),
    ({"stream": True, "stream_options": True}, "stream_options", "stream_options must be an object such as"),
    ({"stream": True, "stream_options": {"x": 1}}, "stream_options.x", "stream_options.x is no field"),
    ({"stream": True, "stream_options": {"include_obfuscation": True}}, "stream_options.include_obfuscation", "is not"),
    ({"stream": True, "stream_options": {"include_obfuscation": 0}}, "stream_options.include_obfuscation", "got 0"),
    ({"stream": True, "stream_options": {"include_usage": 1}}, "stream_options.include_usage", "true or false"),
    ({"best_of": 2}, "best_of", "best_of is not supported, got 2: leave it out"),
    ({"logprobs": 0}, "logprobs", "logprobs is not supported, got 0: leave it out"),
    ({"logit_bias": {"5": 1}}, "logit_bias", 'logit_bias is not supported, got {"5": 1}'),
    ({"suffix": "end"}, "suffix", 'suffix is not supported, got "end"'),
    ({"presence_penalty": 0.5}, "presence_penalty", "presence_penalty is not supported, got 0.5"),
    ({"frequency_penalty": -1}, "frequency_penalty", "frequency_penalty is not supported, got -1"),
    ({"best_of": True}, "best_of", "best_of is not supported, got true"),
    ({"top_k": 5}, "top_k", "top_k is no field of this request"),
    ({"messages": []}, "messages", "messages is no field of this request"),
    ({"\ud83e": 1}, "\ud83e", "is no field of this request"),
]
REFUSED_CHATS = [
    ({"messages": None}, "messages", "messages must be given"),
    ({"messages": []}, "messages", "messages must be a list of one message or more, got []"),
    ({"messages": ["hi"]}, "messages[0]", 'messages[0] must have a role and a content, and nothing else, got "hi"'),
    ({"messages": [{"role": "user"}]}, "messages[0].content", "messages[0].content must be a text, got null"),
    ({"messages": [CHAT["messages"][0] | {"tool_calls": []}]}, "messages[0]", "and nothing else"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content", "must be a text"),
    ({"messages": [{"role": "user", "content": [PART | {"cache_control": 1}]}]}, "messages[0].content", "nothing else"),
    ({"max_tokens": 5, "max_completion_tokens": 5}, "max_tokens", "only one of max_tokens and max_completion_tokens"),
    ({"logprobs": True}, "logprobs", "logprobs is not supported, got true"),
    ({"tools": [{}]}, "tools", "tools is not supported"),
    ({"prompt": "Once"}, "prompt", "prompt is no field of this request"),
]


@pytest.mark.parametrize(("changed", "field", "said"), REFUSED_COMPLETIONS)
def test_a_completion_with_a_wrong_field_is_refused_by_name_value_and_rule(changed, field, said):
    with pytest.raises(Refused) as refused:
        fields.completion(TEXT | changed)
    check(refused.value, field, said)


@pytest.mark.parametrize(("changed", "field", "said"), REFUSED_CHATS)
def test_a_chat_with_a_wrong_field_is_refused_by_name_value_and_rule(changed, field, said):
    with pytest.raises(Refused) as refused:
        fields.chat(CHAT | changed)
    check(refused.value, field, said)


def check(refused: Refused, field: str, said: str) -> None:
    assert said in refused.message
    assert refused.status == 400
    told = json.loads(as_json(refused.body()))["error"]
    assert told["param"] == field
    assert told["type"] == "invalid_request_error"
    assert set(told) == {"message", "type", "param", "code"}


@pytest.mark.parametrize(("body", "said"), [([], "[]"), ("text", '"text"'), (3, "3"), (None, "null")])
def test_a_body_that_is_no_object_is_refused(body, said):
    with pytest.raises(Refused) as refused:
        fields.completion(body)
    assert refused.value.message == f"the body must be a JSON object, got {said}"


@pytest.mark.parametrize(
    "more", [{"stop": ["a" * 500] * 5}, {"a" * 500: 1}, {"stream": True, "stream_options": {"a" * 500: 1}}]
)
def test_a_long_value_or_name_is_quoted_in_short(more):
    with pytest.raises(Refused) as refused:
        fields.completion(TEXT | more)
    assert len(json.dumps(refused.value.body())) < 300


def test_defaults_are_those_of_the_api():
    asked = fields.completion(TEXT)
    assert (asked.max_tokens, asked.temperature, asked.top_p, asked.n, asked.stop) == (16, 1.0, 1.0, 1, [])
    assert (asked.stream, asked.echo, asked.seed, asked.include_usage) == (False, False, None, False)
    assert fields.chat(CHAT).max_tokens is None


def test_null_is_as_good_as_leaving_a_field_out():
    names = [*fields._SHARED, "echo", "best_of", "suffix", "logprobs", "logit_bias", "presence_penalty"]
    assert fields.completion(TEXT | dict.fromkeys(names)) == fields.completion(TEXT)


def test_values_that_ask_for_nothing_are_accepted():
    nothing = {"best_of": 1, "suffix": "", "logit_bias": {}, "presence_penalty": 0, "frequency_penalty": 0.0}
    assert fields.completion(TEXT | nothing | {"user": "me"}) == fields.completion(TEXT)
    assert fields.chat(CHAT | {"tools": [], "logprobs": False}) == fields.chat(CHAT)
    plain = {"stream": True, "stream_options": {"include_obfuscation": False}}
    assert fields.completion(TEXT | plain) == fields.completion(TEXT | {"stream": True})


@pytest.mark.parametrize(
    ("prompt", "prompts"),
    [("a", ["a"]), ("", [""]), (["a", "b"], ["a", "b"]), ([5, 6], [[5, 6]]), ([[5], [6, 7]], [[5], [6, 7]])],
)
def test_a_prompt_may_be_text_or_ids_and_one_or_several(prompt, prompts):
    assert fields.completion({"prompt": prompt}).prompts == prompts


def test_tiny_temperatures_are_greedy_and_negative_seeds_seeds():
    asked = fields.completion(TEXT | {"temperature": 1e-9, "seed": -1})
    assert asked.temperature == 0
    assert asked.seed == 2**64 - 1


def test_parts_of_a_message_are_one_text():
    parts = [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]
    assert fields.chat({"messages": [{"role": "user", "content": parts}]}).messages == CHAT["messages"]
