"""The server at work: a loop that talks to clients, a thread that tells texts, and the way between them."""

import asyncio
import socket

from transformers import PreTrainedTokenizerFast

from frailt.data.tokenizer import story_token_ids
from frailt.inference.step import Step

from .app import Served, make_app
from .config import ServeConfig
from .connection import LoopErrors, Server, let_many_connect
from .guard import Guard
from .prompts import Prompts
from .teller import Teller
from .telling import Event


def run(
    config: ServeConfig,
    listener: socket.socket,
    step: Step,
    tokenizer: PreTrainedTokenizerFast,
    *,
    key: str | None,
    only_local_names: bool,
) -> None:
    """Serve until a signal to stop comes.

    Args:
        config: of the server.
        listener: where clients connect.
        step: of the model.
        tokenizer: of the model, with its chat template where it has one.
        key: that clients must send.
        only_local_names: whether requests must be sent to a name of this machine.
    """
    # No Host at all is no browser's.
    hosts = frozenset({"localhost", "127.0.0.1", "::1", config.host.lower(), ""}) if only_local_names else None
    asyncio.run(_run(config, listener, step, tokenizer, key, hosts))


async def _run(
    config: ServeConfig,
    listener: socket.socket,
    step: Step,
    tokenizer: PreTrainedTokenizerFast,
    key: str | None,
    hosts: frozenset[str] | None,
) -> None:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(LoopErrors())
    let_many_connect()
    model = step.model.config
    context = model.max_position_embeddings
    teller = Teller(
        step,
        stops=story_token_ids(tokenizer)[1],
        max_concurrent=config.max_concurrent,
        max_waiting=config.max_waiting,
        post=lambda events: loop.call_soon_threadsafe(_pass_on, events),
        threads=config.threads,
    )
    served = Served(
        name=config.model_name,
        context=context,
        tokenizer=tokenizer,
        prompts=Prompts(tokenizer, context, model.vocab_size),
        teller=teller,
    )
    url = _url(listener)
    server = Server(
        Guard(make_app(served), key=key, hosts=hosts),
        on_ready=lambda: print(f"frailt serve: {served.name} is ready at {url}", flush=True),
        on_stop=teller.close,
    )
    teller.start()
    try:
        await server.serve(sockets=[listener])
    finally:
        teller.close(0)
        await asyncio.to_thread(teller.join)


def _pass_on(events: list[Event]) -> None:
    for row, token, reason in events:
        row.hear(token, reason)


def _url(listener: socket.socket) -> str:
    """What clients take as base_url."""
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/v1"
