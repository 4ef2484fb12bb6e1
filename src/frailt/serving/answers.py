"""The shapes of answers, as OpenAI's clients expect them: whole or in chunks, for completions and for chats."""

import time
import uuid
from collections.abc import Sequence
from typing import Any

from .job import Piece


class Answer:
    """The answer to one request.

    Args:
        model: its name.
        is_chat: whether messages were asked for.
    """

    def __init__(self, model: str, *, is_chat: bool) -> None:
        self._is_chat = is_chat
        kind = "chat.completion" if is_chat else "text_completion"
        self._head = {
            "id": f"{'chatcmpl' if is_chat else 'cmpl'}-{uuid.uuid4().hex}",
            "object": kind,
            "created": int(time.time()),
            "model": model,
        }
        self._chunk_head = self._head | ({"object": f"{kind}.chunk"} if is_chat else {})

    def whole(self, texts: Sequence[str], reasons: Sequence[str | None], usage: dict[str, int]) -> dict[str, Any]:
        """All texts at once."""
        choices = [
            self._choice(
                i, {"message": {"role": "assistant", "content": text}} if self._is_chat else {"text": text}, why
            )
            for i, (text, why) in enumerate(zip(texts, reasons, strict=True))
        ]
        return self._head | {"choices": choices, "usage": usage}

    def first(self, texts: int) -> list[dict[str, Any]]:
        """What chunks begin with: in a chat, who speaks."""
        if not self._is_chat:
            return []
        speaks = {"delta": {"role": "assistant", "content": ""}}
        return [self._chunk_head | {"choices": [self._choice(i, speaks, None)]} for i in range(texts)]

    def chunk(self, piece: Piece) -> dict[str, Any]:
        """A piece of one text."""
        said = {"delta": {"content": piece.text} if piece.text else {}} if self._is_chat else {"text": piece.text}
        return self._chunk_head | {"choices": [self._choice(piece.index, said, piece.finish_reason)]}

    def last(self, usage: dict[str, int]) -> dict[str, Any]:
        """The chunk that says what was used."""
        return self._chunk_head | {"choices": [], "usage": usage}

    @staticmethod
    def _choice(index: int, said: dict[str, Any], finish_reason: str | None) -> dict[str, Any]:
        return {"index": index, **said, "logprobs": None, "finish_reason": finish_reason}
