"""The paths of the server: models, completions, chats, health. Nothing here changes the server."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send
from transformers import PreTrainedTokenizerFast

from . import fields
from .answers import Answer
from .errors import Refused, as_json, shown
from .fields import Asked
from .guard import refusal
from .job import Job
from .prompts import Prompts
from .teller import Teller

MAX_BODY_BYTES = 1_000_000
DISCARDED_BYTES = 20_000_000
"""A longer body is read so far, so that its sender comes to read the refusal."""
BODY_TIMEOUT_S = 20.0


@dataclass(frozen=True, kw_only=True)
class Served:
    """The model behind the paths."""

    name: str
    context: int
    tokenizer: PreTrainedTokenizerFast
    prompts: Prompts
    teller: Teller

    def check_name(self, name: str | None) -> None:
        """Refuse other models than the one that is here."""
        if name not in (None, self.name):
            raise Refused(404, f"model must be {self.name}, got {shown(name)}", param="model", code="model_not_found")

    def check(self, asked: Asked) -> None:
        """Refuse other models, and more texts than there are places before their prompts are read, which takes time."""
        self.check_name(asked.model)
        texts = (len(asked.prompts) or 1) * asked.n
        if texts > self.teller.places:
            raise Refused(400, f"prompts times n must be at most {self.teller.places}, got {texts}", param="n")


def make_app(served: Served) -> Starlette:
    """The application, unguarded."""
    about = {
        "id": served.name,
        "object": "model",
        "created": int(time.time()),
        "owned_by": "frailt",
        "max_model_len": served.context,
    }

    async def health(request: Request) -> Response:
        telling, waiting = served.teller.counts()
        return _json(
            {"status": "ok", "model": served.name, "telling": telling, "waiting": waiting}
            | {"places": served.teller.places}
        )

    async def models(request: Request) -> Response:
        return _json({"object": "list", "data": [about]})

    async def model(request: Request) -> Response:
        served.check_name(request.path_params["name"])
        return _json(about)

    async def completions(request: Request) -> Response:
        asked = fields.completion(await _body(request))
        served.check(asked)
        return await _answer(request, served, asked, served.prompts.of_completion(asked), is_chat=False)

    async def chats(request: Request) -> Response:
        asked = fields.chat(await _body(request))
        served.check(asked)
        return await _answer(request, served, asked, served.prompts.of_chat(asked), is_chat=True)

    routes = [
        Route("/health", health),
        Route("/v1/models", models),
        Route("/v1/models/{name:path}", model),
        Route("/v1/completions", completions, methods=["POST"]),
        Route("/v1/chat/completions", chats, methods=["POST"]),
    ]
    app = Starlette(
        routes=routes,
        exception_handlers={
            Refused: _refused,
            HTTPException: _no_such_path,
            ClientDisconnect: _nobody_listens,
            Exception: _failed,
        },
    )
    app.router.redirect_slashes = False
    return app


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return refusal(error)


async def _no_such_path(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        return refusal(Refused(405, f"{request.method} is not for this path", headers=dict(error.headers or {})))
    return refusal(Refused(404, "there is nothing at this path", code="not_found"))


async def _nobody_listens(request: Request, error: Exception) -> Response:
    return Response(status_code=499)  # for the log alone, as nginx has it


async def _failed(request: Request, error: Exception) -> Response:
    return refusal(Refused(500, "the server failed; its log says where"))  # the guard logs it


async def _body(request: Request) -> Any:
    """The JSON that was sent."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        # So that a page in a browser must ask before it sends anything here, which is not granted.
        raise Refused(415, "Content-Type must be application/json")
    body = bytearray()
    length = 0
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for part in request.stream():
                length += len(part)
                if length <= MAX_BODY_BYTES:
                    body += part
                elif length > DISCARDED_BYTES:
                    break
    except TimeoutError:
        closes = {"Connection": "close"}
        raise Refused(408, f"the body must come within {BODY_TIMEOUT_S:g} s", headers=closes) from None
    if length > MAX_BODY_BYTES:
        raise Refused(
            413,
            f"the body must be at most {MAX_BODY_BYTES} bytes, got more",
            code="request_too_large",
            headers={"Connection": "close"},
        )
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refused(400, f"the body must be JSON: {str(error)[:100]}", code="invalid_json") from None


async def _answer(
    request: Request, served: Served, asked: Asked, prompts: list[list[int]], *, is_chat: bool
) -> Response:
    job = Job(
        asked,
        prompts,
        teller=served.teller,
        reader=served.prompts,
        tokenizer=served.tokenizer,
        context=served.context,
    )
    answer = Answer(served.name, is_chat=is_chat)
    if asked.stream:
        return _Stream(_events(job, answer, include_usage=asked.include_usage), job)
    try:
        return await _unless_left(request, _whole(job, answer))
    finally:
        job.leave()


async def _whole(job: Job, answer: Answer) -> Response:
    texts, reasons = [""] * job.texts, list[str | None]([None] * job.texts)
    async for piece in job.pieces():
        texts[piece.index] += piece.text
        reasons[piece.index] = piece.finish_reason
    return _json(answer.whole(texts, reasons, job.usage()))


async def _events(job: Job, answer: Answer, *, include_usage: bool) -> AsyncIterator[bytes]:
    """The answer as server-sent events."""
    more = {"usage": None} if include_usage else {}
    try:
        for chunk in answer.first(job.texts):
            yield _event(chunk | more)
        async for piece in job.pieces():
            yield _event(answer.chunk(piece) | more)
    except Refused as error:  # too late for a status
        yield _event(error.body())
        return
    if include_usage:
        yield _event(answer.last(job.usage()))
    yield b"data: [DONE]\n\n"


class _Stream(StreamingResponse):
    """Ends the job when it ends itself, also where it never begins."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncIterator[bytes], job: Job) -> None:
        super().__init__(events, headers={"Cache-Control": "no-store"})
        self._job = job

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._job.leave()


async def _unless_left(request: Request, answering: Awaitable[Response]) -> Response:
    """The answer, unless the client hangs up first."""
    left = asyncio.ensure_future(_left(request.receive))
    answer = asyncio.ensure_future(answering)
    try:
        await asyncio.wait({left, answer}, return_when=asyncio.FIRST_COMPLETED)
        if answer.done():
            return answer.result()
        raise ClientDisconnect
    finally:
        left.cancel()
        answer.cancel()


async def _left(receive: Callable[[], Awaitable[Any]]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _event(value: Any) -> bytes:
    return b"data: " + as_json(value) + b"\n\n"


def _json(value: Any) -> Response:
    return Response(as_json(value), media_type="application/json")
