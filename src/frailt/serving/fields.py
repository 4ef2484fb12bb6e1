"""What a request may say: every field is checked, and one that would be without effect is refused, never dropped."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .errors import Refused, must, shown

GREEDY_BELOW = 1e-5
"""Temperatures below this take the likeliest token, as vLLM has it: dividing by them would leave float32."""
DEFAULT_MAX_TOKENS = 16
"""Of the completions API."""
MOST_CHOICES = 128
"""As OpenAI has it."""

Prompt = str | list[int]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A request for texts, as far as its fields alone tell."""

    model: str | None
    prompts: list[Prompt]
    """Of a completion; none of a chat."""
    messages: list[dict[str, str]]
    """Of a chat; none of a completion."""
    max_tokens: int | None
    temperature: float
    top_p: float
    n: int
    stop: list[str]
    seed: int | None
    stream: bool
    include_usage: bool
    echo: bool


_Check = Callable[[str, Any], Any]


def completion(body: Any) -> Asked:
    """A request to /v1/completions.

    Raises:
        Refused: a field is missing, unknown, or has a value that cannot be used; the first such.
    """
    found = _read(body, _SHARED | _OF_COMPLETIONS, _NEUTRAL | _NEUTRAL_IN_COMPLETIONS)
    if "prompt" not in found:
        raise Refused(400, 'prompt must be given; "" begins from nothing', param="prompt")
    return _asked(found, found.get("max_tokens", DEFAULT_MAX_TOKENS), prompts=found["prompt"])


def chat(body: Any) -> Asked:
    """A request to /v1/chat/completions; without a limit, an answer may fill the context.

    Raises:
        Refused: as for `completion`.
    """
    found = _read(body, _SHARED | _OF_CHATS, _NEUTRAL | _NEUTRAL_IN_CHATS)
    if "messages" not in found:
        raise Refused(400, "messages must be given", param="messages")
    if "max_tokens" in found and "max_completion_tokens" in found:
        raise Refused(400, "only one of max_tokens and max_completion_tokens may be given", param="max_tokens")
    longest = found.get("max_tokens", found.get("max_completion_tokens"))
    return _asked(found, longest, messages=found["messages"])


def _read(body: Any, checks: dict[str, _Check], neutral: dict[str, list[Any]]) -> dict[str, Any]:
    """Checked values by field; null is as good as leaving a field out, as the API has it."""
    if not isinstance(body, dict):
        raise Refused(400, f"the body must be a JSON object, got {shown(body)}")
    given = {name: value for name, value in body.items() if value is not None}
    for name, value in given.items():
        if name in neutral:
            if not any(value == allowed and type(value) is type(allowed) for allowed in neutral[name]):
                raise _unsupported(name, value)
        elif name not in checks:
            raise _unknown(name)
    return {name: checks[name](name, value) for name, value in given.items() if name in checks}


def _unknown(name: str) -> Refused:
    name = name if len(name) <= 60 else f"{name[:57]}..."
    return Refused(400, f"{name} is no field of this request", param=name, code="unknown_parameter")


def _unsupported(name: str, value: Any) -> Refused:
    said = f"{name} is not supported, got {shown(value)}: leave it out"
    return Refused(400, said, param=name, code="unsupported_parameter")


def _asked(found: dict[str, Any], max_tokens: int | None, **text: Any) -> Asked:
    if "stream_options" in found and not found.get("stream"):
        raise Refused(400, "stream_options must be left out where stream is false", param="stream_options")
    return Asked(
        model=found.get("model"),
        max_tokens=max_tokens,
        temperature=found.get("temperature", 1.0),
        top_p=found.get("top_p", 1.0),
        n=found.get("n", 1),
        stop=found.get("stop", []),
        seed=found.get("seed"),
        stream=found.get("stream", False),
        include_usage=found.get("stream_options", False),
        echo=found.get("echo", False),
        **({"prompts": [], "messages": []} | text),
    )


# Checks of single values


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise must(name, "be a text", value)
    try:
        value.encode()
    except UnicodeEncodeError:  # half a surrogate pair
        raise must(name, "be text that UTF-8 can hold", value) from None
    return value


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise must(name, "be true or false", value)
    return value


def _whole(low: int, high: int | None = None) -> _Check:
    def check(name: str, value: Any) -> int:
        if type(value) is not int or value < low or (high is not None and value > high):
            raise must(name, f"be a whole number, {low} or more" if high is None else f"be from {low} to {high}", value)
        return value

    return check


def _number(value: Any) -> bool:
    return type(value) in (int, float)


def _temperature(name: str, value: Any) -> float:
    if not (_number(value) and 0 <= value <= 2):  # NaN, which Python's reader takes, is in no range
        raise must(name, "be a number from 0 to 2", value)
    return float(value) if value >= GREEDY_BELOW else 0.0


def _top_p(name: str, value: Any) -> float:
    if not (_number(value) and 0 < value <= 1):
        raise must(name, "be a number above 0 and at most 1", value)
    return float(value)


def _seed(name: str, value: Any) -> int:
    if type(value) is not int or not -(2**63) <= value < 2**64:
        raise must(name, "be a whole number of 64 bits", value)
    return value % 2**64


def _stops(name: str, value: Any) -> list[str]:
    stops = [value] if isinstance(value, str) else value
    if not isinstance(stops, list) or not 1 <= len(stops) <= 4 or not all(isinstance(s, str) and s for s in stops):
        raise must(name, "be a text or up to 4 of them, none empty", value)
    return [_text(name, stop) for stop in stops]


def _include_usage(name: str, value: Any) -> bool:
    if not isinstance(value, dict):
        raise must(name, "be an object such as {'include_usage': true}", value)
    for inner, given in value.items():
        if inner == "include_obfuscation":
            if given is not None and _flag(f"{name}.{inner}", given):
                raise _unsupported(f"{name}.{inner}", given)
        elif inner != "include_usage":
            raise _unknown(f"{name}.{inner}")
    return _flag(f"{name}.include_usage", value.get("include_usage") or False)


def _prompts(name: str, value: Any) -> list[Prompt]:
    """One prompt or several, each text or token ids."""
    kinds = {type(each) for each in value} if isinstance(value, list) else set()
    if isinstance(value, str):
        return [_text(name, value)]
    if kinds == {int}:
        return [value]
    if kinds == {str}:
        return [_text(name, each) for each in value]
    if kinds == {list} and all(each and {type(id_) for id_ in each} == {int} for each in value):
        return value
    raise must(name, "be a text, token ids, or a list of either, none empty", value)


def _messages(name: str, value: Any) -> list[dict[str, str]]:
    if not isinstance(value, list) or not value:
        raise must(name, "be a list of one message or more", value)
    return [_message(f"{name}[{i}]", message) for i, message in enumerate(value)]


def _message(name: str, value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or not isinstance(value.get("role"), str) or not set(value) <= {"role", "content"}:
        raise must(name, "have a role and a content, and nothing else", value)
    content = value.get("content")
    if isinstance(content, list):
        if not all(isinstance(part, dict) and _is_text(part) for part in content):
            raise must(f"{name}.content", "be a text, or parts with type text, a text and nothing else", content)
        content = "".join(part["text"] for part in content)
    return {"role": _text(f"{name}.role", value["role"]), "content": _text(f"{name}.content", content)}


def _is_text(part: dict[str, Any]) -> bool:
    return set(part) == {"type", "text"} and part["type"] == "text" and isinstance(part["text"], str)


_SHARED: dict[str, _Check] = {
    "model": _text,
    "temperature": _temperature,
    "top_p": _top_p,
    "n": _whole(1, MOST_CHOICES),
    "stop": _stops,
    "seed": _seed,
    "stream": _flag,
    "stream_options": _include_usage,
    "max_tokens": _whole(1),
    "user": _text,
}
_OF_COMPLETIONS: dict[str, _Check] = {"prompt": _prompts, "echo": _flag}
_OF_CHATS: dict[str, _Check] = {"messages": _messages, "max_completion_tokens": _whole(1)}

# Fields of the API that have no effect here, with the values that ask for none.
_NEUTRAL: dict[str, list[Any]] = {
    "presence_penalty": [0, 0.0],
    "frequency_penalty": [0, 0.0],
    "logit_bias": [{}],
}
_NEUTRAL_IN_COMPLETIONS: dict[str, list[Any]] = {"best_of": [1], "suffix": [""], "logprobs": []}
_NEUTRAL_IN_CHATS: dict[str, list[Any]] = {
    "logprobs": [False],
    "top_logprobs": [0],
    "tools": [[]],
    "tool_choice": ["none"],
    "response_format": [{"type": "text"}],
    "store": [False],
}
