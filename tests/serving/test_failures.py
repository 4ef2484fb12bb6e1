"""What goes wrong inside, and clients that take their time: the server in this process, with less patience."""

import asyncio
import json
import socket
from contextlib import asynccontextmanager, suppress

import httpx
import pytest

from frailt.inference.decoding import Decoder
from frailt.serving import app, connection
from frailt.serving.app import Served, make_app
from frailt.serving.connection import Server
from frailt.serving.guard import Guard
from frailt.serving.prompts import Prompts
from frailt.serving.teller import Teller

from .conftest import CONTEXT

SECRET = " ".join(["a", "secret", "prompt"])


@asynccontextmanager
async def serving(decoder, tokenizer):
    loop = asyncio.get_running_loop()

    def pass_on(events):
        for row, token, reason in events:
            row.hear(token, reason)

    teller = Teller(
        decoder,
        stops=[1, 2],
        max_concurrent=2,
        max_waiting=2,
        post=lambda events: loop.call_soon_threadsafe(pass_on, events),
    )
    prompts = Prompts(tokenizer, CONTEXT, decoder.model.config.vocab_size)
    served = Served(name="tiny", context=CONTEXT, tokenizer=tokenizer, prompts=prompts, teller=teller)
    listener, ready = socket.create_server(("127.0.0.1", 0)), asyncio.Event()
    port = listener.getsockname()[1]
    server = Server(Guard(make_app(served), key=None, hosts=None), on_ready=ready.set, on_stop=teller.close)
    teller.start()
    serves = asyncio.create_task(server.serve(sockets=[listener]))
    await ready.wait()
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}/v1", timeout=30) as http:
            yield http, port, prompts
    finally:
        server.should_exit = True
        await serves
        teller.close(0)
        await asyncio.to_thread(teller.join)


@pytest.fixture
def decoder(model):
    return Decoder(model)


def test_a_failure_of_the_model_is_a_clear_answer_and_the_next_text_is_told(decoder, tokenizer, monkeypatch, capfd):
    async def ask():
        async with serving(decoder, tokenizer) as (http, _, _):
            with monkeypatch.context() as patch:
                patch.setattr(decoder, "decode", fail)
                whole = await http.post("completions", json={"prompt": SECRET})
                stream = await http.post("completions", json={"prompt": SECRET, "stream": True})
            return whole, stream, await http.post("completions", json={"prompt": SECRET})

    def fail(*_, **__):
        raise RuntimeError(SECRET)

    whole, stream, after = asyncio.run(ask())
    assert whole.status_code == 500
    assert whole.json()["error"]["code"] == "failed"
    assert stream.status_code == 200
    assert json.loads(stream.text.removeprefix("data: ")) == whole.json()
    assert after.status_code == 200
    said = capfd.readouterr().err
    assert said.count("frailt serve: error: RuntimeError") == 2
    assert SECRET not in said


def test_a_bug_is_a_clear_answer_and_its_place_is_in_the_log(decoder, tokenizer, monkeypatch, capfd):
    async def ask():
        async with serving(decoder, tokenizer) as (http, _, prompts):
            monkeypatch.setattr(prompts, "_check_length", fail)
            return await http.post("completions", json={"prompt": SECRET}), await http.get("models")

    def fail(*_):
        raise ZeroDivisionError(SECRET)

    failed, after = asyncio.run(ask())
    assert failed.status_code == 500
    assert failed.json()["error"] == {
        "message": "the server failed; its log says where", "type": "server_error", "param": None, "code": None
    }  # fmt: skip
    assert after.status_code == 200
    said = capfd.readouterr().err
    assert "frailt serve: error: ZeroDivisionError" in said
    assert "in of_completion" in said
    assert SECRET not in said


HEAD = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n"
ASKED = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.mark.parametrize("sent", [b"", HEAD, ASKED + HEAD], ids=["nothing", "half", "half of a second"])
def test_a_connection_on_which_no_whole_request_comes_is_closed(sent, decoder, tokenizer, monkeypatch):
    monkeypatch.setattr(connection, "HEADER_TIMEOUT_S", 0.3)

    async def wait():
        async with serving(decoder, tokenizer) as (_, port, _):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(sent)
            async with asyncio.timeout(10):
                while not reader.at_eof():
                    writer.write(b"X" if HEAD in sent else b"")  # a byte now and then does not help
                    with suppress(TimeoutError, ConnectionResetError):
                        await asyncio.wait_for(reader.read(1000), 0.1)
            writer.close()

    asyncio.run(wait())


def test_a_body_that_does_not_come_is_waited_for_only_so_long(decoder, tokenizer, monkeypatch):
    monkeypatch.setattr(app, "BODY_TIMEOUT_S", 0.3)

    async def wait():
        async with serving(decoder, tokenizer) as (_, port, _):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(HEAD + b"Content-Type: application/json\r\nContent-Length: 20\r\n\r\n{")
            answer = await asyncio.wait_for(reader.read(), 10)
            writer.close()
            return answer

    answer = asyncio.run(wait())
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"the body must come within 0.3 s" in answer
