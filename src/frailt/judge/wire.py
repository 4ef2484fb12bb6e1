"""The HTTP client that Inspect sends the judge's requests through.

It notes what really went over the wire: Inspect mends broken tool calls and forgets the usage of replies that it cannot
read, and neither may happen to a grade or to what is counted as spent. And it takes the key out of answers that repeat
it, before anything could be written.
"""

from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import anyio
import httpx2
from openai import DefaultAsyncHttpxClient

REDACTED = "[key]"
LONGEST_RETRY_AFTER_S = 300.0


@dataclass
class Exchange:
    """One request and its answer; status None where none came."""

    sent: bool = False
    connected: bool = True
    """False where no connection came about: the endpoint knows nothing of the request."""
    status: int | None = None
    body: str = ""
    retry_after_s: float | None = None


exchange: ContextVar[Exchange | None] = ContextVar("exchange", default=None)
"""Where the request that the present task makes is noted."""


class NotedClient(DefaultAsyncHttpxClient):
    """Notes each request and answer in `exchange`."""

    def __init__(self, key: str | None, timeout_s: float) -> None:
        super().__init__()
        self._key = key
        self._timeout_s = timeout_s

    async def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        """Send one request, and read its answer to the end."""
        noted = exchange.get()
        if noted is not None:
            noted.sent = True
        try:
            with anyio.fail_after(self._timeout_s):  # of all of it: a read time-out lets an answer drip for ever
                response = await super().send(request, **options)
                body = await response.aread()
        except (httpx2.ConnectError, httpx2.ConnectTimeout):
            if noted is not None:
                noted.connected = False
            raise
        except TimeoutError:
            raise TimeoutError(f"no answer within {self._timeout_s:g} s") from None
        if self._key and self._key.encode() in body:
            elapsed, body = response.elapsed, body.replace(self._key.encode(), REDACTED.encode())
            kind = {name: value for name, value in response.headers.items() if name in ("content-type", "retry-after")}
            response = httpx2.Response(response.status_code, headers=kind, content=body, request=request)
            response.elapsed = elapsed
        if noted is not None:
            noted.status, noted.body = response.status_code, body.decode("utf-8", errors="replace")
            noted.retry_after_s = _seconds(response.headers.get("retry-after"))
        return response


def _seconds(text: str | None) -> float | None:
    """Retry-After, which is seconds or a date, in seconds; None where it is neither."""
    if text is None:
        return None
    try:
        seconds = float(text) if text.strip().isdigit() else _until(parsedate_to_datetime(text))
    except ValueError:
        return None
    return min(max(0.0, seconds), LONGEST_RETRY_AFTER_S)


def _until(date: datetime) -> float:
    return (date.replace(tzinfo=date.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
