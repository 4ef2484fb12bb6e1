"""uvicorn's connections and process, with what a server on one's own machine needs beyond them."""

import asyncio
import socket
from collections.abc import Callable
from types import FrameType
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

HEADER_TIMEOUT_S = 10.0
GRACE_S = 10.0
"""What is being told when the server is asked to stop may take so much longer."""


class Connection(H11Protocol):
    """Closes itself where no request comes, whole with its headers; uvicorn does so only between requests."""

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait."""
        super().connection_made(transport)
        self._wait_or_not()

    def data_received(self, data: bytes) -> None:
        """Read on, and wait as long as it is no whole request."""
        super().data_received(data)
        self._wait_or_not()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait_or_not(self) -> None:
        if self.conn.their_state is not h11.IDLE:
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
