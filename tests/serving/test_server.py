"""A server without a key, over its socket: what OpenAI's own client gets, and what bad clients get."""

import asyncio
import json
import signal
import socket
import struct
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import openai
import pytest

from frailt.data.tokenizer import encode_stories
from frailt.inference.generate import continuation

from .conftest import CONTEXT, serving

PLACES = 12


@pytest.fixture(scope="module")
def server(checkpoint, tmp_path_factory):
    with serving(
        tmp_path_factory.mktemp("log"),
        f"--checkpoint={checkpoint}",
        "--max_concurrent=4",
        f"--max_waiting={PLACES - 4}",
    ) as running:
        yield running


@pytest.fixture
def idle(server):
    """The server, when what an earlier test left is told."""
    server.wait_until_idle()
    return server


@pytest.fixture(scope="module")
def client(server):
    with openai.OpenAI(base_url=server.url, api_key="none", max_retries=0) as found:
        yield found


def post(server, body=None, path="/completions", **more) -> httpx.Response:
    return server.http.post(server.url + path, json=body, **more)


def refused(response: httpx.Response, status: int) -> dict:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    assert set(response.json()) == {"error"}
    return response.json()["error"]


def told_by_the_model(model, tokenizer, prompt: str, tokens: int) -> str:
    """Greedily, by the model's own `generate`."""
    [ids] = encode_stories(tokenizer, [prompt])
    out = model.generate(
        model.dummy_inputs["input_ids"].new_tensor([ids]), max_new_tokens=tokens, do_sample=False, eos_token_id=None
    )
    return continuation(tokenizer, ids, out[0, len(ids) :].tolist())


# The stock client


def test_it_says_where_it_is_in_one_line(server):
    assert server.ready_line == f"frailt serve: tiny is ready at {server.url}\n"


def test_there_is_one_model(client):
    assert [model.id for model in client.models.list()] == ["tiny"]
    assert client.models.retrieve("tiny").owned_by == "frailt"
    with pytest.raises(openai.NotFoundError, match='model must be tiny, got "gpt-4"'):
        client.models.retrieve("gpt-4")


def test_a_greedy_completion_is_that_of_the_model(client, model, tokenizer):
    found = client.completions.create(model="tiny", prompt="Once upon", max_tokens=30, temperature=0)
    [choice] = found.choices
    assert choice.text == told_by_the_model(model, tokenizer, "Once upon", 30)
    assert choice.finish_reason == "length"
    assert (found.object, found.model) == ("text_completion", "tiny")
    assert (found.usage.prompt_tokens, found.usage.completion_tokens, found.usage.total_tokens) == (10, 30, 40)


def test_sixteen_tokens_are_the_default(client):
    assert client.completions.create(model="tiny", prompt="One", temperature=0).usage.completion_tokens == 16


def test_a_stream_is_the_same_text_in_pieces(client):
    asked = {"model": "tiny", "prompt": "Once upon", "max_tokens": 200, "seed": 3}
    whole = client.completions.create(**asked)
    chunks = list(client.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    assert "".join(choice.text for chunk in chunks for choice in chunk.choices) == whole.choices[0].text
    assert len(chunks) > 5
    assert [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason] == [
        whole.choices[0].finish_reason
    ]
    assert chunks[-1].choices == []
    assert chunks[-1].usage == whole.usage
    assert {chunk.id for chunk in chunks} == {chunks[0].id}
    assert all(chunk.usage is None for chunk in chunks[:-1])


def test_several_texts_are_told_by_index_in_stream_and_whole(client):
    asked = {"model": "tiny", "prompt": ["One", "Two"], "n": 3, "max_tokens": 9, "seed": 1, "echo": True}
    whole = client.completions.create(**asked)
    assert [choice.index for choice in whole.choices] == list(range(6))
    assert [choice.text[:3] for choice in whole.choices] == ["One"] * 3 + ["Two"] * 3
    assert len({choice.text for choice in whole.choices}) == 6
    assert (whole.usage.prompt_tokens, whole.usage.completion_tokens) == (8, 54)
    told = [""] * 6
    for chunk in client.completions.create(**asked, stream=True):
        for choice in chunk.choices:
            told[choice.index] += choice.text
    assert told == [choice.text for choice in whole.choices]


def test_several_prompts_are_answered_as_each_alone(client):
    asked = {"model": "tiny", "n": 2, "max_tokens": 9, "seed": 8}
    both = client.completions.create(**asked, prompt=["One", "Two"])
    each = [client.completions.create(**asked, prompt=prompt) for prompt in ("One", "Two")]
    assert [choice.text for choice in both.choices] == [choice.text for one in each for choice in one.choices]


def test_token_ids_are_taken_as_they_are(client, tokenizer):
    [ids] = encode_stories(tokenizer, ["Once upon"])
    asked = {"model": "tiny", "max_tokens": 9, "temperature": 0, "echo": True}
    text = client.completions.create(**asked, prompt="Once upon").choices[0].text
    assert client.completions.create(**asked, prompt=ids).choices[0].text == text
    found = client.completions.create(**asked, prompt=[ids, ids[:3]])
    assert found.choices[0].text == text
    assert found.choices[1].text.startswith("On")
    assert found.usage.prompt_tokens == len(ids) + 3


def test_a_stop_string_ends_a_text_and_is_not_shown(client):
    asked = {"model": "tiny", "prompt": "Once upon", "max_tokens": 60, "temperature": 0}
    whole = client.completions.create(**asked).choices[0].text
    stop = whole[20:23]
    found = client.completions.create(**asked, stop=["never there", stop])
    assert found.choices[0].text == whole[: whole.index(stop)]
    assert found.choices[0].finish_reason == "stop"
    assert found.usage.completion_tokens < 60
    chunks = list(client.completions.create(**asked, stop=stop, stream=True))
    assert "".join(choice.text for chunk in chunks for choice in chunk.choices) == found.choices[0].text


def test_a_story_ends_at_bos_or_eos_which_are_no_part_of_it(client, model, tokenizer, idle):
    """Hot enough, a random model comes to one of them soon."""
    found = [
        client.completions.create(model="tiny", prompt="One", max_tokens=300, temperature=2, seed=seed, n=2)
        for seed in range(2)
    ]
    ended = [choice for each in found for choice in each.choices if choice.finish_reason == "stop"]
    assert ended
    assert not any("<s>" in choice.text or "</s>" in choice.text for choice in ended)


def test_max_tokens_end_at_the_context(client):
    found = client.completions.create(model="tiny", prompt="a" * (CONTEXT - 4), max_tokens=10**6, temperature=0)
    assert found.usage.model_dump(include={"prompt_tokens", "completion_tokens"}) == {
        "prompt_tokens": CONTEXT - 3,
        "completion_tokens": 3,
    }
    assert found.choices[0].finish_reason == "length"


def test_a_seed_draws_the_same_among_others_and_no_seed_another(client, idle):
    asked = {"model": "tiny", "prompt": "One", "max_tokens": 40, "temperature": 0.8, "top_p": 0.9}
    alone = client.completions.create(**asked, seed=7).choices[0].text
    with ThreadPoolExecutor(6) as pool:
        others = [pool.submit(client.completions.create, **asked | {"temperature": 1.3}) for _ in range(5)]
        among = client.completions.create(**asked, seed=7).choices[0].text
        assert len({other.result().choices[0].text for other in others}) == 5
    assert among == alone


def test_chat_is_refused_where_the_model_has_no_template(client):
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": "Hello"}])
    assert "this model has none: send a prompt to /v1/completions" in refused.value.message
    assert refused.value.code == "no_chat_template"


# Requests that cannot be answered


@pytest.mark.parametrize(
    ("body", "param", "said"),
    [
        ({"prompt": "a", "max_tokens": -1}, "max_tokens", "max_tokens must be a whole number, 1 or more, got -1"),
        ({"prompt": "a", "best_of": 3}, "best_of", "best_of is not supported, got 3"),
        ({"prompt": "a", "temprature": 1}, "temprature", "temprature is no field of this request"),
        ({"prompt": [99999]}, "prompt", "prompt must be token ids below 98, got 99999"),
        ({"prompt": [-1]}, "prompt", "prompt must be token ids below 98, got -1"),
        ({"prompt": "a", "n": PLACES + 1}, "n", f"prompts times n must be at most {PLACES}, got {PLACES + 1}"),
        ({"prompt": "a 🦊"}, "prompt", "characters that the tokenizer knows, got 🦊 in 'a 🦊'"),
        ({"prompt": "\ud83e"}, "prompt", "prompt must be text that UTF-8 can hold"),
        ({}, "prompt", "prompt must be given"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_wrong_field_is_one_clear_answer(body, param, said, stream, server):
    error = refused(post(server, content=json.dumps(body | {"stream": stream}), headers=JSON), 400)
    assert said in error["message"]
    assert error["param"] == param
    assert error["type"] == "invalid_request_error"


JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize("length", [CONTEXT - 1, CONTEXT, 900_000])
def test_a_prompt_that_leaves_no_room_is_refused_by_what_the_context_holds(length, server):
    error = refused(post(server, {"prompt": "a" * length}), 400)
    assert error["code"] == "context_length_exceeded"
    assert f"prompt must leave room in the context of {CONTEXT} tokens, got " in error["message"]
    error = refused(post(server, {"prompt": [65] * (CONTEXT + 1)}), 400)
    assert f"got {CONTEXT + 1} tokens: shorten it" in error["message"]


def test_another_model_is_not_found(server):
    error = refused(post(server, {"prompt": "a", "model": "gpt-4"}), 404)
    assert (error["code"], error["param"]) == ("model_not_found", "model")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b'{"prompt": 1e}', b"[" * 100_000, b'{"seed": ' + b"9" * 9999])
def test_a_body_that_is_no_json_is_refused(content, server):
    error = refused(post(server, content=content, headers=JSON), 400)
    assert error["message"].startswith("the body must be")


@pytest.mark.parametrize("size", [1_000_001, 5_000_000])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_is_too_large_is_refused(size, chunked, server):
    body = b'{"prompt": "' + b"a" * size + b'"}'
    content = iter([body[:100], body[100:]]) if chunked else body
    assert refused(post(server, content=content, headers=JSON), 413)["code"] == "request_too_large"


@pytest.mark.parametrize("kind", [None, "text/plain", "application/x-www-form-urlencoded"])
def test_a_body_that_a_page_could_send_unasked_is_refused(kind, server):
    error = refused(post(server, content=b'{"prompt": "a"}', headers={"Content-Type": kind} if kind else {}), 415)
    assert error["message"] == "Content-Type must be application/json"


@pytest.mark.parametrize(
    "path", ["/load_model", "/reset", "/v1", "/v1/completions/", "/docs", "/v1/models/x/y", "/v1/models/", "//"]
)
def test_there_is_nothing_else(path, server):
    for method in ("GET", "POST", "DELETE"):
        refused(server.http.request(method, server.root + path), 405 if "models/" in path and method != "GET" else 404)


def test_a_method_that_a_path_has_not_is_refused(server):
    response = server.http.get(f"{server.url}/completions")
    assert "GET is not for this path" in refused(response, 405)["message"]
    assert response.headers["allow"] == "POST"


def test_pages_of_other_origins_get_no_leave(server):
    asks = {"Origin": "http://example.org", "Access-Control-Request-Method": "POST"}
    answer = server.http.options(f"{server.url}/completions", headers=asks)
    assert answer.status_code == 405
    assert not [name for name in answer.headers if name.startswith("access-control")]
    for host, status in (("example.org", 403), ("example.org:80", 403), ("localhost:1", 200), ("[::1]", 200)):
        assert server.http.get(f"{server.url}/models", headers={"Host": host}).status_code == status


# Many clients, and clients that leave


def open_stream(server, max_tokens=CONTEXT, **more) -> tuple[socket.socket, bytes]:
    """A raw connection on which a long text has begun to come."""
    body = json.dumps({"prompt": "a", "max_tokens": max_tokens, "temperature": 0, "stream": True} | more).encode()
    host, port = server.root.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)), timeout=60)
    head = f"POST /v1/completions HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
    connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    return connection, connection.recv(1000)


def test_two_hundred_at_once_each_get_one_answer(idle, client):
    body = {"prompt": "One", "max_tokens": 12, "temperature": 0}

    async def ask_all() -> list[httpx.Response]:
        async with httpx.AsyncClient(timeout=60, limits=httpx.Limits(max_connections=None)) as many:
            url = f"{idle.url}/completions"
            return await asyncio.gather(*(many.post(url, json=body | {"stream": i % 2 == 0}) for i in range(200)))

    answers = asyncio.run(ask_all())
    statuses = [answer.status_code for answer in answers]
    assert set(statuses) == {200, 429}
    assert statuses.count(200) >= PLACES
    for answer in answers:
        if answer.status_code == 429:
            error = refused(answer, 429)
            assert (error["type"], error["code"]) == ("rate_limit_error", "queue_full")
            assert answer.headers["retry-after"] == "1"
    whole = {a.json()["choices"][0]["text"] for a in answers[1::2] if a.status_code == 200}
    streamed = {
        "".join(json.loads(line[6:])["choices"][0]["text"] for line in a.text.split("\n\n")[:-2])
        for a in answers[::2]
        if a.status_code == 200
    }
    assert len(whole | streamed) == 1
    assert all(a.text.endswith("data: [DONE]\n\n") for a in answers[::2] if a.status_code == 200)
    assert client.completions.create(model="tiny", prompt="One", max_tokens=12, temperature=0).choices[0].text in whole
    idle.wait_until_idle()


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("stream", [False, True])
def test_the_place_of_a_client_that_hangs_up_is_free_at_once(stream, reset, idle):
    connections = [open_stream(idle)[0] for _ in range(4)] if stream else []
    if not stream:
        body = json.dumps({"prompt": "a", "max_tokens": CONTEXT, "temperature": 0, "n": 4}).encode()
        connections = [socket.create_connection(("127.0.0.1", int(idle.root.rpartition(":")[2])))]
        head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        connections[0].sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    deadline = time.monotonic() + 30
    while idle.health()["telling"] < 4:
        assert time.monotonic() < deadline
    for connection in connections:
        if reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
    assert idle.wait_until_idle(within_s=1.5) < 1.5


def test_one_that_waits_and_hangs_up_leaves_the_line(idle):
    telling = [open_stream(idle)[0] for _ in range(4)]
    waiting = [open_stream_without_reading(idle) for _ in range(3)]
    deadline = time.monotonic() + 30
    while idle.health()["waiting"] < 3:
        assert time.monotonic() < deadline
    for connection in waiting:
        connection.close()
    while idle.health()["waiting"]:
        assert time.monotonic() < deadline
    assert idle.health()["telling"] == 4
    for connection in telling:
        connection.close()


def test_a_client_that_does_not_read_keeps_nobody_waiting(idle, client):
    lazy = [open_stream_without_reading(idle) for _ in range(3)]
    slow = socket.create_connection(("127.0.0.1", int(idle.root.rpartition(":")[2])))
    slow.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n")  # and no more
    assert client.completions.create(model="tiny", prompt="One", max_tokens=5, timeout=20).usage.completion_tokens == 5
    for connection in [*lazy, slow]:
        connection.close()


def open_stream_without_reading(server) -> socket.socket:
    body = json.dumps({"prompt": "a", "max_tokens": CONTEXT, "temperature": 0, "stream": True}).encode()
    connection = socket.create_connection(("127.0.0.1", int(server.root.rpartition(":")[2])))
    head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    connection.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    return connection


CHUNKED = b" HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("sent", "then", "status"),
    [
        (b"\x16\x03\x01 hello\r\n\r\n", b"", 400),
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", b"", 400),
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 70_000, b"", 400),
        (b"POST /v1/completions" + CHUNKED + b"2\r\n{}\r\n", b"no length\r\n", 400),
        (b"POST /nothing" + CHUNKED, b"no length\r\n", 404),
        (b"HEAD /v1/models" + CHUNKED, b"no length\r\n", 200),
    ],
    ids=["TLS", "two hosts", "long head", "body", "body of one answered", "body of one answered in its head"],
)
def test_what_is_no_http_gets_one_answer_like_any_other(sent, then, status, server):
    with socket.create_connection(("127.0.0.1", int(server.root.rpartition(":")[2])), timeout=20) as connection:
        connection.sendall(sent)
        answer = connection.recv(1000) if status != 400 else b""
        connection.sendall(then)
        while part := connection.recv(1000):
            answer += part
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert b"content-type: application/json" in head.lower()
    if status != 200:
        assert json.loads(body)["error"]["code"] == ("invalid_http" if status == 400 else "not_found")
    assert server.health()["status"] == "ok"
    assert "Traceback" not in server.log.read_text()


def test_the_log_has_a_line_for_each_request_and_nothing_of_prompts(idle):
    idle.http.get(f"{idle.root}/before")
    before = idle.log_with("/before")
    post(idle, {"prompt": "secret words", "max_tokens": 3, "user": "secret me"})
    post(idle, {"prompt": "secret words", "max_tokens": 0})
    idle.http.get(f"{idle.root}/nothing%0Ahere?secret=1")
    lines = idle.log_with("/nothing").removeprefix(before).splitlines()
    assert [line.split()[1:4] for line in lines] == [
        ["POST", "/v1/completions", "200"],
        ["POST", "/v1/completions", "400"],
        ["GET", "/nothing%0Ahere", "404"],
    ]
    assert "secret" not in idle.log.read_text()
    assert "Traceback" not in idle.log.read_text()
    assert " error: " not in idle.log.read_text()


def test_a_second_signal_ends_it_at_once_with_exit_code_0(idle):
    """The last test of this server."""
    streams = [open_stream(idle)[0] for _ in range(4)]
    began = time.monotonic()
    assert idle.stop(signal.SIGTERM, signal.SIGINT) == 0
    assert time.monotonic() - began < 5
    assert "Traceback" not in idle.log.read_text()
    for connection in streams:
        connection.close()
