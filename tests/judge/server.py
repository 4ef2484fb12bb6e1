"""A server on loopback that speaks the chat-completions tool protocol, and misbehaves as it is told."""

import json
import socket
import struct
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

GRADES = {"assessment": "A story.", "grammar": 7, "creativity": 6, "consistency": 8, "plot": 5}
PROMPT_TOKENS, COMPLETION_TOKENS = 300, 40


def message(**fields: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": None} | fields


def call(name: str = "grade", arguments: Any = GRADES, number: int = 0) -> dict[str, Any]:
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return {"id": f"call_{number}", "type": "function", "function": {"name": name, "arguments": text}}


def graded(**changed: Any) -> dict[str, Any]:
    return message(tool_calls=[call(arguments=GRADES | changed)])


# What a request can meet with; each takes the handler and the request.


def grade(handler, request):
    handler.answer(graded())


def says(answer: dict[str, Any], finish_reason: str = "tool_calls"):
    return lambda handler, request: handler.answer(answer, finish_reason)


def fails(status: int, text: str = "no", headers: dict[str, str] | None = None):
    body = json.dumps({"error": {"message": text}}).encode()
    return lambda handler, request: handler.reply(status, body, headers or {})


def hang(handler, request):
    handler.server.released.wait(30)


def cut(handler, request):
    """Half an answer, then a reset."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"choices": [')
    handler.wfile.flush()
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()


def no_json(handler, request):
    handler.reply(200, b"<html>busy</html>", {})


def no_usage(handler, request):
    handler.answer(graded(), usage=None)


def slow(seconds: float):
    def behaviour(handler, request):
        time.sleep(seconds)
        handler.answer(graded())

    return behaviour


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        behaviour = self.server.note(request, {name.lower(): value for name, value in self.headers.items()})
        try:
            behaviour(self, request)
        finally:
            self.server.leave()
        self.close_connection = True

    def answer(self, answer: dict[str, Any], finish_reason: str = "tool_calls", usage: Any = ...) -> None:
        if usage is ...:
            usage = {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": COMPLETION_TOKENS, "total_tokens": 340}
        self.server.paid_tokens += PROMPT_TOKENS + COMPLETION_TOKENS
        body = {
            "id": "c",
            "object": "chat.completion",
            "created": 0,
            "model": "m",
            "choices": [{"index": 0, "message": answer, "finish_reason": finish_reason}],
        }
        self.reply(200, json.dumps(body if usage is None else body | {"usage": usage}).encode(), {})

    def reply(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        pass


class Server(ThreadingHTTPServer):
    """Gives request after request the next behaviour of `script`, and after its end what `otherwise` says."""

    daemon_threads = True

    def __init__(self, script: list[Callable] | None = None, otherwise: Callable = grade) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script, self.otherwise = list(script or []), otherwise
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.paid_tokens = 0
        self.at_once = self.most_at_once = 0
        self.released = threading.Event()
        self._lock = threading.Lock()

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # whoever hung up is what the test is about

    def note(self, request: dict[str, Any], headers: dict[str, str]) -> Callable:
        with self._lock:
            self.requests.append(request)
            self.headers.append(headers)
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            return self.script.pop(0) if self.script else self.otherwise

    def leave(self) -> None:
        with self._lock:
            self.at_once -= 1

    def prompts(self) -> list[str]:
        """The user messages, in order of arrival."""
        return [request["messages"][-1]["content"] for request in self.requests]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def __enter__(self) -> "Server":
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *error: Any) -> None:
        self.released.set()
        self.shutdown()
        self.server_close()
