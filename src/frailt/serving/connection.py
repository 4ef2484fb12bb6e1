"""uvicorn's connections and process, with what a server on one's own machine needs beyond them."""

import asyncio
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from types import FrameType
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from .errors import Refused, as_json, stopping
from .log import complain

if sys.platform != "win32":
    import resource

MOST_FILES = 4096
"""Each connection is an open file."""
HEADER_TIMEOUT_S = 10.0
GRACE_S = 10.0
"""What is being told when the server is asked to stop may take so much longer."""


class Connection(H11Protocol):
    """Closes itself where no request comes, whole with its headers; uvicorn does so only between requests.

    So it does where a body goes on to come that was refused.
    """

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait."""
        super().connection_made(transport)
        self._wait_or_not()

    def data_received(self, data: bytes) -> None:
        """Read on, and wait as long as it is no whole request."""
        super().data_received(data)
        self._wait_or_not()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, also where uvicorn fails since an answer has gone out."""
        self._refuse(Refused(400, "the request must be HTTP/1.1, with a head of at most 64 KiB", code="invalid_http"))

    def shutdown(self) -> None:
        """Take no more requests; one whose body is still to come gets no text."""
        if self.cycle is not None and self.cycle.more_body and not self.cycle.response_started:
            self._refuse(stopping())
        else:
            super().shutdown()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _refuse(self, error: Refused) -> None:
        """Answer, where no answer has begun, and close."""
        body = as_json(error.body())
        headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), "Connection": "close"}
        head = h11.Response(
            status_code=error.status, headers=list(headers.items()), reason=HTTPStatus(error.status).phrase
        )
        with suppress(h11.LocalProtocolError):
            for event in (head, h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        if self.cycle is not None:  # whoever answers it need not go on
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.close()

    def _wait_or_not(self) -> None:
        answered_early = self.cycle is not None and self.cycle.response_complete
        if self.conn.their_state is not h11.IDLE and not (self.conn.their_state is h11.SEND_BODY and answered_early):
            self._stop_waiting()
        elif self._timer is None:
            self._timer = self.loop.call_later(HEADER_TIMEOUT_S, self.transport.abort)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Server(uvicorn.Server):
    """Says when it is ready, and takes a signal to stop as an end like any other: it exits with 0.

    Args:
        app: what it serves.
        on_ready: called once it listens.
        on_stop: told how many seconds are left for what is under way; again with 0 at a second signal.
    """

    def __init__(self, app: Any, *, on_ready: Callable[[], object], on_stop: Callable[[float], object]) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=Connection,
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="critical",  # the guard says what there is to say
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_keep_alive=30,
                timeout_graceful_shutdown=int(GRACE_S) + 2,
            )
        )
        self._on_ready, self._on_stop = on_ready, on_stop

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until a signal comes, and end what is under way."""
        self._loop = asyncio.get_running_loop()
        await super().serve(sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen."""
        await super().startup(sockets)
        self._on_ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop; at a second signal at once. uvicorn would raise the signal again when all is done."""
        self.force_exit = self.should_exit
        self.should_exit = True
        self._loop.call_soon_threadsafe(self._end_all if self.force_exit else lambda: self._on_stop(GRACE_S))

    def _end_all(self) -> None:
        self._on_stop(0)
        for connection in list(self.server_state.connections):
            connection.transport.abort()


def let_many_connect() -> None:
    """Raise this process's limit on open files as far as it may: some systems begin with 256."""
    if sys.platform != "win32":
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = MOST_FILES if hard == resource.RLIM_INFINITY else min(MOST_FILES, hard)
        if soft != resource.RLIM_INFINITY and soft < most:
            with suppress(ValueError, OSError):
                resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


class LoopErrors:
    """Logs what goes wrong in the loop itself, once a second: where files run out, asyncio says so all the time."""

    def __init__(self) -> None:
        self._next_s = 0.0

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """For `loop.set_exception_handler`."""
        if time.monotonic() >= self._next_s:
            self._next_s = time.monotonic() + 1
            complain(context.get("exception") or RuntimeError())
