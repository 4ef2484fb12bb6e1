"""The one tool that the judge has to call, and what counts as a valid call. A number is never read out of prose."""

import json
from dataclasses import dataclass
from typing import Any

from .prompt import ASPECTS, CATEGORIES

NAME = "grade"
ABOUT = "Give the assessment and the four grades of the student's completion."
LOWEST, HIGHEST = 1, 10


@dataclass(frozen=True)
class Grade:
    """A valid call: words, then whole numbers from 1 to 10 by category."""

    assessment: str
    grades: dict[str, int]


@dataclass(frozen=True)
class Reply:
    """What a body of status 200 comes to: a grade, or the reason why there is none; and the tokens it reports."""

    grade: Grade | None
    reason: str | None
    prompt_tokens: int | None
    completion_tokens: int | None


def parameters(order: tuple[str, ...] = CATEGORIES) -> dict[str, dict[str, str]]:
    """The tool's fields as JSON schema, in this order: the assessment first, so that grades follow from words."""
    fields = {"assessment": {"type": "string", "description": "General assessment, in two or three sentences."}}
    for name in order:
        question = ASPECTS[name].partition(": ")[2]
        fields[name] = {"type": "integer", "description": f"{question} A whole number from {LOWEST} to {HIGHEST}."}
    return fields


def read_reply(body: str) -> Reply:
    """Read the body of a chat completion; whatever it is, this raises nothing."""
    try:
        reply = json.loads(body)
    except (ValueError, RecursionError):
        return Reply(None, "the reply was not JSON", None, None)
    usage = reply.get("usage") if isinstance(reply, dict) else None
    usage = usage if isinstance(usage, dict) else {}
    tokens = [_count(usage.get(name)) for name in ("prompt_tokens", "completion_tokens")]
    found = _grade_of(reply)
    grade, reason = (found, None) if isinstance(found, Grade) else (None, found)
    return Reply(grade, reason, *tokens)


def _grade_of(reply: Any) -> Grade | str:
    """The grade, or why there is none."""
    try:
        (choice,) = reply["choices"]
        message = choice["message"]
        calls = message.get("tool_calls") or []
        named = [(call["function"]["name"], call["function"]["arguments"]) for call in calls]
    except (KeyError, TypeError, ValueError, AttributeError, IndexError):
        return "the reply was no chat completion with one choice"
    if not named:
        return _why_no_call(choice, message)
    if len(named) > 1:
        return f"{len(named)} calls instead of one"
    name, arguments = named[0]
    if name != NAME:
        return f"another tool was called: {str(name)[:40]!r}"
    return _read_arguments(arguments, cut=choice.get("finish_reason") == "length")


def _why_no_call(choice: dict[str, Any], message: dict[str, Any]) -> str:
    if message.get("refusal"):
        return f"refusal: {str(message['refusal'])[:80]!r}"
    if choice.get("finish_reason") == "content_filter":
        return "refusal by the content filter of the endpoint"
    if choice.get("finish_reason") == "length":
        return "the reply was cut off before a call: raise max_tokens"
    return f"words instead of a call: {str(message.get('content') or '')[:80]!r}"


def _read_arguments(arguments: Any, *, cut: bool) -> Grade | str:
    try:
        # Some servers send the arguments as an object where the protocol has a text.
        fields = json.loads(arguments, object_pairs_hook=_unique) if isinstance(arguments, str) else arguments
    except (ValueError, RecursionError) as error:
        return "the call was cut off: raise max_tokens" if cut else f"the arguments were not JSON: {str(error)[:80]}"
    if not isinstance(fields, dict):
        return "the arguments were no JSON object"
    if missing := [name for name in ("assessment", *CATEGORIES) if name not in fields]:
        return f"missing: {', '.join(missing)}"
    if not isinstance(fields["assessment"], str) or not fields["assessment"].strip():
        return "assessment was no text"
    for name in CATEGORIES:
        value = fields[name]
        if type(value) is not int:  # True is an int too
            return f"{name} must be a whole number, got {json.dumps(value)[:40]}"
        if not LOWEST <= value <= HIGHEST:
            return f"{name} must be from {LOWEST} to {HIGHEST}, got {str(value)[:40]}"
    return Grade(fields["assessment"], {name: fields[name] for name in CATEGORIES})


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError("a field was given twice")
    return fields


def _count(value: Any) -> int | None:
    return value if type(value) is int and value >= 0 else None
