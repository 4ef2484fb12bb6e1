"""How a server that cannot be is refused: one line, exit code 2, before a model is loaded."""

import socket
from importlib.util import find_spec

import pytest

from frailt.cli import main
from frailt.serving.config import ServeConfig


def refusal(capfd, *arguments) -> str:
    assert main(["serve", "--checkpoint=none", "--port=0", *map(str, arguments)]) == 2
    out, errors = capfd.readouterr()
    assert out == ""
    assert errors.startswith("frailt serve: error: ")
    assert len(errors.splitlines()) == 1
    return errors


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("--port=65536", "port must be from 0 to 65535, got 65536"),
        ("--max_concurrent=0", "max_concurrent must be 1 or more, got 0"),
        ("--max_waiting=-1", "max_waiting must be 0 or more, got -1"),
        ("--threads=0", "threads must be 1 or more, got 0"),
        ("--name= ", "name must not be empty"),
        ("--key_variable=sk-123", "key_variable must be the name of an environment variable"),
        ("--host=256.0.0.1", "host must be an address or a name of this machine, got '256.0.0.1'"),
        ("--host=192.0.2.1", "host and port cannot be listened at, got 192.0.2.1 0"),
        ("--checkpoint=nowhere", "checkpoint must be a folder with a config.json"),
    ],
)
def test_a_wrong_setting_is_named_with_value_and_rule(argument, said, capfd):
    assert said in refusal(capfd, argument)


def test_a_port_in_use_is_one_line(capfd):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"port must be free, got {port}, which is in use" in refusal(capfd, f"--port={port}")


def test_other_machines_need_a_key_or_an_open_door(capfd, monkeypatch):
    monkeypatch.delenv("FRAILT_API_KEY", raising=False)
    assert "set FRAILT_API_KEY, or let anyone in with --open true" in refusal(capfd, "--host=0.0.0.0")
    assert "checkpoint must be" in refusal(capfd, "--host=0.0.0.0", "--open=true")
    monkeypatch.setenv("FRAILT_API_KEY", "a-key")
    assert "checkpoint must be" in refusal(capfd, "--host=0.0.0.0")


@pytest.mark.parametrize("key", ["", "two words", "schlüssel", "a\nb"])
def test_a_key_that_cannot_be_sent_is_refused_and_not_shown(key, capfd, monkeypatch):
    monkeypatch.setenv("FRAILT_API_KEY", key)
    said = refusal(capfd)
    assert "key_variable must name a variable with a key of ASCII without spaces, got FRAILT_API_KEY" in said
    assert not key or key not in said


def test_a_variable_that_is_named_must_be_set(capfd):
    said = refusal(capfd, "--key_variable=hunter2")
    assert "key_variable must name an environment variable that is set" in said
    assert "hunter2" not in said  # somebody might give the key itself


def test_without_the_extra_the_line_says_what_to_install(capfd, monkeypatch):
    monkeypatch.setattr("frailt.serving.serve.find_spec", lambda name: None if name == "uvicorn" else find_spec(name))
    assert "serve needs starlette and uvicorn: pip install 'frailt[serve]'" in refusal(capfd)


@pytest.mark.parametrize(("path", "name"), [("runs/a", "a"), ("runs/a/last", "a"), ("runs/a/best/", "a"), ("x/b", "b")])
def test_a_model_is_called_as_its_run(path, name, tmp_path):
    assert ServeConfig(checkpoint=str(tmp_path / path)).model_name == name
    assert ServeConfig(checkpoint=path, name="mine").model_name == "mine"
