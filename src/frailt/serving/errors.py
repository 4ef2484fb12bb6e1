"""Requests that are refused, in the form that OpenAI's clients read."""

import json
from typing import Any


class Refused(Exception):
    """A request gets no text.

    Args:
        status: of HTTP.
        message: what is wrong: field, rule, value.
        param: the field.
        code: a word for programs.
        headers: more of the answer's.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code, self.headers = status, message, param, code, headers or {}

    def body(self) -> dict[str, Any]:
        """The answer."""
        kind = {429: "rate_limit_error"}.get(self.status, "server_error" if self.status >= 500 else _OF_THE_REQUEST)
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}


_OF_THE_REQUEST = "invalid_request_error"


def must(field: str, rule: str, value: Any, *, code: str | None = None) -> Refused:
    """The refusal of a field's value: `n must be from 1 to 80, got 0`."""
    return Refused(400, f"{field} must {rule}, got {shown(value)}", param=field, code=code)


def stopping() -> Refused:
    """What those hear who come, or are not told to their end, while the server stops."""
    return Refused(503, "the server is stopping", code="stopping")


def shown(value: Any) -> str:
    """A value as JSON, in short."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except RecursionError:  # a depth that json reads and does not write
        return f"a {type(value).__name__}, too deep to be shown"
    return text if len(text) <= 60 else f"{text[:57]}..."


def as_json(value: Any) -> bytes:
    """JSON in UTF-8; half a surrogate pair, which a client can send and UTF-8 has not, stays an escape."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")
