"""What goes wrong inside, and clients that take their time: the server in this process, with less patience."""

import asyncio
import json
import socket
from contextlib import asynccontextmanager, suppress

import httpx
import pytest

from frailt.inference.batch import Batch
from frailt.inference.step import Step
from frailt.serving import app, connection
from frailt.serving.app import Served, make_app
from frailt.serving.connection import Server
from frailt.serving.guard import Guard
from frailt.serving.prompts import Prompts
from frailt.serving.teller import Teller

from .conftest import CONTEXT

SECRET = " ".join(["a", "secret", "prompt"])


@asynccontextmanager
async def serving(step, tokenizer):
    loop = asyncio.get_running_loop()

    def pass_on(events):
        for row, token, reason in events:
            row.hear(token, reason)

    teller = Teller(
        step,
        stops=[1, 2],
        max_concurrent=2,
        max_waiting=2,
        post=lambda events: loop.call_soon_threadsafe(pass_on, events),
    )
    prompts = Prompts(tokenizer, CONTEXT, step.model.config.vocab_size)
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
def step(model):
    return Step(model)


def test_a_failure_of_the_model_is_a_clear_answer_and_the_next_text_is_told(step, tokenizer, monkeypatch, capfd):
    async def ask():
        async with serving(step, tokenizer) as (http, _, _):
            with monkeypatch.context() as patch:
                patch.setattr(Batch, "join", fail)
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


def test_a_bug_is_a_clear_answer_and_its_place_is_in_the_log(step, tokenizer, monkeypatch, capfd):
    async def ask():
        async with serving(step, tokenizer) as (http, _, prompts):
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


def test_too_many_prompts_are_refused_before_any_is_read(step, tokenizer, monkeypatch):
    async def ask():
        async with serving(step, tokenizer) as (http, _, prompts):
            monkeypatch.setattr(prompts, "of_completion", fail)
            return await http.post("completions", json={"prompt": ["a", "b", "c"], "n": 2})

    def fail(_):
        raise AssertionError

    answer = asyncio.run(ask())
    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == "prompts times n must be at most 4, got 6"


HEAD = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n"
ASKED = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"


REFUSED = b"POST /nothing HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n"


@pytest.mark.parametrize(
    "sent",
    [b"", HEAD, ASKED + HEAD, REFUSED],
    ids=["nothing", "half", "half of a second", "the body of one that is refused"],
)
def test_a_connection_on_which_no_whole_request_comes_is_closed(sent, step, tokenizer, monkeypatch):
    monkeypatch.setattr(connection, "HEADER_TIMEOUT_S", 0.3)

    async def wait():
        async with serving(step, tokenizer) as (_, port, _):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(sent)
            async with asyncio.timeout(10):
                while not reader.at_eof():
                    writer.write(b"X" if b"POST" in sent else b"")  # a byte now and then does not help
                    with suppress(TimeoutError, ConnectionResetError):
                        await asyncio.wait_for(reader.read(1000), 0.1)
            writer.close()

    asyncio.run(wait())


def test_the_server_may_have_more_connections_than_a_shell_lets_it():
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connection.MOST_FILES if before[1] == resource.RLIM_INFINITY else min(connection.MOST_FILES, before[1])
    if wanted <= 256:
        pytest.skip("no more may be had")
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
        connection.let_many_connect()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (wanted, before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_what_goes_wrong_all_the_time_is_logged_once_a_second(capfd, monkeypatch):
    now_s = 100.0
    monkeypatch.setattr(connection.time, "monotonic", lambda: now_s)
    log = connection.LoopErrors()
    for _ in range(3):
        log(None, {"message": SECRET, "exception": OSError(SECRET)})
    now_s += 1.5
    log(None, {"message": SECRET})
    said = capfd.readouterr().err
    assert said.count("frailt serve: error: ") == 2
    assert SECRET not in said


def test_a_body_that_does_not_come_is_waited_for_only_so_long(step, tokenizer, monkeypatch):
    monkeypatch.setattr(app, "BODY_TIMEOUT_S", 0.3)

    async def wait():
        async with serving(step, tokenizer) as (_, port, _):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(HEAD + b"Content-Type: application/json\r\nContent-Length: 20\r\n\r\n{")
            answer = await asyncio.wait_for(reader.read(), 10)
            writer.close()
            return answer

    answer = asyncio.run(wait())
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"the body must come within 0.3 s" in answer
