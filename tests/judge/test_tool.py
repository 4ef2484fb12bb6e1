import json

import pytest

from frailt.judge.prompt import CATEGORIES
from frailt.judge.tool import parameters, read_reply

from .server import GRADES, call, graded, message


def body(answer, finish_reason="tool_calls", **changed):
    choices = [{"index": 0, "message": answer, "finish_reason": finish_reason}]
    return json.dumps({"choices": choices, "usage": {"prompt_tokens": 11, "completion_tokens": 7}} | changed)


def test_a_valid_call_gives_its_words_and_numbers_and_the_tokens():
    reply = read_reply(body(graded()))
    assert reply.grade.assessment == "A story."
    assert reply.grade.grades == {"grammar": 7, "creativity": 6, "consistency": 8, "plot": 5}
    assert (reply.reason, reply.prompt_tokens, reply.completion_tokens) == (None, 11, 7)


@pytest.mark.parametrize("value", [1, 10])
def test_the_ends_of_the_range_are_grades(value):
    assert read_reply(body(graded(plot=value))).grade.grades["plot"] == value


def test_the_first_field_is_the_assessment_and_the_rest_follow_the_order():
    assert list(parameters()) == ["assessment", *CATEGORIES]
    assert list(parameters(CATEGORIES[::-1])) == ["assessment", *CATEGORIES[::-1]]


INVALID = [
    (body(graded(plot=0)), "plot must be from 1 to 10, got 0"),
    (body(graded(plot=11)), "plot must be from 1 to 10, got 11"),
    (body(graded(grammar=7.5)), "grammar must be a whole number, got 7.5"),
    (body(graded(grammar=7.0)), "grammar must be a whole number, got 7.0"),
    (body(graded(grammar="7")), 'grammar must be a whole number, got "7"'),
    (body(graded(grammar=True)), "grammar must be a whole number, got true"),
    (body(graded(grammar=None)), "grammar must be a whole number, got null"),
    (body(graded(assessment="  ")), "assessment was no text"),
    (
        body(message(tool_calls=[call(arguments={"assessment": "x", "grammar": 3})])),
        "missing: creativity, consistency, plot",
    ),
    (body(message(tool_calls=[call(arguments='{"grammar": 7,')])), "the arguments were not JSON"),
    (body(message(tool_calls=[call(arguments='{"grammar": 7,')]), "length"), "the call was cut off: raise max_tokens"),
    (body(message(tool_calls=[call(arguments='{"plot": 7, "plot": 9}')])), "a field was given twice"),
    (body(message(tool_calls=[call(arguments="[7, 7, 7, 7]")])), "the arguments were no JSON object"),
    (body(message(tool_calls=[call(), call(number=1)])), "2 calls instead of one"),
    (body(message(tool_calls=[call("search")])), "another tool was called: 'search'"),
    (body(message(content=json.dumps(GRADES)), "stop"), "words instead of a call"),
    (body(message(refusal="I cannot."), "stop"), "refusal: 'I cannot.'"),
    (body(message(content=""), "content_filter"), "refusal by the content filter"),
    (body(message(content="It"), "length"), "raise max_tokens"),
    (body(graded(), choices=[]), "no chat completion with one choice"),
    (body(graded(), choices=[{"message": graded()}] * 2), "no chat completion with one choice"),
    (body(graded(), choices=[{"message": None}]), "no chat completion with one choice"),
    ("null", "no chat completion with one choice"),
    ("<html>", "the reply was not JSON"),
    ("[" * 100_000, "the reply was not JSON"),
]


@pytest.mark.parametrize(("text", "reason"), INVALID, ids=[reason for _, reason in INVALID])
def test_what_is_no_valid_call_is_no_grade_and_says_why(text, reason):
    reply = read_reply(text)
    assert reply.grade is None
    assert reason in reply.reason


def test_an_invalid_call_is_paid_for_all_the_same():
    reply = read_reply(body(graded(plot=11)))
    assert (reply.prompt_tokens, reply.completion_tokens) == (11, 7)


@pytest.mark.parametrize("usage", [None, {}, {"prompt_tokens": -1, "completion_tokens": "7"}, [1]])
def test_a_count_of_tokens_that_is_none_is_unknown_and_not_0(usage):
    reply = read_reply(body(graded(), usage=usage))
    assert reply.grade is not None
    assert (reply.prompt_tokens, reply.completion_tokens) == (None, None)
