"""What every request passes: who may ask, and a line in the log."""

import hmac
import time

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .errors import Refused, as_json
from .log import complain, say

OPEN_TO_ALL = "/health"
"""A path that needs no key."""


class Guard:
    """Wraps an application that is asked for by HTTP alone.

    Args:
        app: the application.
        key: that clients must send; None where none is asked for.
        hosts: names that a request may be sent to; None for any. Without a key, a page in this machine's browser could
            otherwise reach the server under a name of its own (DNS rebinding).
    """

    def __init__(self, app: ASGIApp, *, key: str | None, hosts: frozenset[str] | None) -> None:
        self._app, self._key, self._hosts = app, key, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        began_s, status = time.monotonic(), 0

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            self._check(scope)
            await self._app(scope, receive, noting)
        except Refused as error:
            await refusal(error)(scope, receive, noting)
        except Exception as error:  # answered by the application, or too late for an answer
            complain(error)
        finally:
            self._log(scope, status, time.monotonic() - began_s)

    def _check(self, scope: Scope) -> None:
        headers = dict(scope["headers"])
        if self._hosts is not None and _name(headers.get(b"host", b"")) not in self._hosts:
            raise Refused(
                403, "Host must name this machine, such as localhost, where the server has no key", code="wrong_host"
            )
        if self._key is None or scope["path"] == OPEN_TO_ALL:
            return
        if not hmac.compare_digest(headers.get(b"authorization", b""), f"Bearer {self._key}".encode()):
            raise Refused(
                401,
                "Authorization must be Bearer with this server's key",
                code="invalid_api_key",
                headers={"WWW-Authenticate": "Bearer"},
            )

    def _log(self, scope: Scope, status: int, elapsed_s: float) -> None:
        """Who, what, how it went; nothing of what was asked, and not the key where somebody put it into a path."""
        path = scope["raw_path"].decode("ascii", "replace")
        if self._key is not None:
            path = path.replace(self._key, "[key]")
        client = (scope["client"] or ("-",))[0]
        say(f"{client} {scope['method']} {path[:100]} {status} {elapsed_s:.3f} s")


def refusal(error: Refused) -> Response:
    """The answer to a request that gets no text."""
    return Response(as_json(error.body()), error.status, error.headers, "application/json")


def _name(host: bytes) -> str:
    """The name in a Host header, without port."""
    text = host.decode("latin-1").lower()
    return text[1:].partition("]")[0] if text.startswith("[") else text.partition(":")[0]
