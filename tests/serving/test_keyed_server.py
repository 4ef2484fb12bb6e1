"""A server with a key, of a model with a chat template."""

import os
import shutil
import signal
import socket
from concurrent.futures import ThreadPoolExecutor

import httpx
import openai
import pytest

from .conftest import serving

KEY = "a-key-that-is-long-enough"
TEMPLATE = (
    "{% for message in messages %}{% if message.role not in ('user', 'assistant') %}"
    "{{ raise_exception('no such role: ' + message.role) }}{% endif %}"
    "{{ message.role }}: {{ message.content }}|{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"
)
ASKED = [{"role": "user", "content": "Tell"}]
AS_TEXT = "user: Tell|assistant:"


@pytest.fixture(scope="module")
def server(checkpoint, tmp_path_factory):
    folder = tmp_path_factory.mktemp("chat")
    shutil.copytree(checkpoint, folder / "model")
    (folder / "model" / "chat_template.jinja").write_text(TEMPLATE)
    more = ["--name=teller", "--key_variable=TEST_KEY", "--max_concurrent=1", "--iterations=3"]
    with serving(folder, f"--checkpoint={folder / 'model'}", *more, environment={"TEST_KEY": KEY}) as running:
        yield running


@pytest.fixture(scope="module")
def client(server):
    with openai.OpenAI(base_url=server.url, api_key=KEY, max_retries=0) as found:
        yield found


@pytest.mark.parametrize("key", [None, "", "Bearer", f"Bearer {KEY}x", f"Bearer {KEY[:-1]}", f"Basic {KEY}", KEY])
@pytest.mark.parametrize("path", ["/v1/models", "/v1/completions", "/load_model"])
def test_without_the_key_nothing_is_answered_nor_told_apart(key, path, server):
    headers = {} if key is None else {"Authorization": key}
    answers = [server.http.request(method, server.root + path, headers=headers) for method in ("GET", "POST")]
    assert {answer.status_code for answer in answers} == {401}
    assert {answer.json()["error"]["code"] for answer in answers} == {"invalid_api_key"}
    assert answers[0].headers["www-authenticate"] == "Bearer"


def test_with_the_key_the_stock_client_is_answered(client, server):
    assert client.completions.create(model="teller", prompt="One", max_tokens=3).usage.completion_tokens == 3
    assert server.http.get(f"{server.root}/health").json() == {
        "status": "ok", "model": "teller", "telling": 0, "waiting": 0, "places": 65
    }  # fmt: skip
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=server.url, api_key="another", max_retries=0).models.list()


def test_a_name_from_outside_may_be_used_where_there_is_a_key(server):
    headers = {"Host": "stories.example.org", "Authorization": f"Bearer {KEY}"}
    assert server.http.get(f"{server.url}/models", headers=headers).status_code == 200


def test_a_chat_is_the_completion_of_what_its_template_makes(client):
    told = client.completions.create(model="teller", prompt=AS_TEXT, max_tokens=40, temperature=0)
    chat = client.chat.completions.create(model="teller", messages=ASKED, max_completion_tokens=40, temperature=0)
    assert chat.choices[0].message.content == told.choices[0].text
    assert chat.choices[0].message.role == "assistant"
    assert (chat.object, chat.choices[0].finish_reason) == ("chat.completion", told.choices[0].finish_reason)
    assert chat.usage.total_tokens == told.usage.total_tokens


def test_a_chat_can_be_streamed(client):
    asked = {"model": "teller", "messages": ASKED, "max_tokens": 40, "seed": 2, "n": 2}
    whole = client.chat.completions.create(**asked)
    told, roles, reasons = ["", ""], ["", ""], [None, None]
    chunks = list(client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    for choice in (choice for chunk in chunks for choice in chunk.choices):
        told[choice.index] += choice.delta.content or ""
        roles[choice.index] += choice.delta.role or ""
        reasons[choice.index] = choice.finish_reason
    assert told == [choice.message.content for choice in whole.choices]
    assert reasons == [choice.finish_reason for choice in whole.choices]
    assert roles == ["assistant"] * 2
    assert chunks[-1].usage == whole.usage
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}


def test_messages_that_the_template_refuses_are_one_clear_answer(client):
    with pytest.raises(openai.BadRequestError, match="messages do not fit the chat template: no such role: system"):
        client.chat.completions.create(model="teller", messages=[{"role": "system", "content": "Be"}, *ASKED])
    with pytest.raises(openai.BadRequestError, match="messages must leave room in the context of 1511 tokens"):
        client.chat.completions.create(model="teller", messages=[{"role": "user", "content": "a" * 1500}])


def test_the_key_is_in_no_log(server):
    server.http.get(f"{server.root}/v1/{KEY}?key={KEY}", headers={"Authorization": f"Bearer {KEY}"})
    assert KEY not in server.log_with("/v1/[key] 404")
    with (
        open(f"/proc/{server.process.pid}/cmdline", "rb") if os.path.exists("/proc") else open(os.devnull, "rb") as file
    ):
        assert KEY.encode() not in file.read()


def test_a_signal_lets_what_is_told_come_to_its_end_and_exits_with_0(client, server):
    """The last test of this server."""
    asked = {"model": "teller", "prompt": "One", "temperature": 0}
    stream = client.completions.create(**asked, max_tokens=300, stream=True)
    first = next(stream)
    head = f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\nContent-Length: 99\r\n"
    half = socket.create_connection(("127.0.0.1", int(server.root.rpartition(":")[2])), timeout=20)
    half.sendall(f"{head}Content-Type: application/json\r\n\r\n{{".encode())
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.completions.create, **asked)
        while not server.health()["waiting"]:
            pass
        server.process.send_signal(signal.SIGTERM)
        with pytest.raises(openai.InternalServerError, match="the server is stopping"):
            waiting.result()
    with half:
        answer = half.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b'"message":"the server is stopping"' in answer
    rest = list(stream)
    assert rest[-1].choices[0].finish_reason == "length"
    assert len(first.choices[0].text + "".join(chunk.choices[0].text for chunk in rest)) == 300
    assert server.process.wait(20) == 0
    with pytest.raises(httpx.ConnectError):
        server.health()
    assert "Traceback" not in server.log.read_text()
