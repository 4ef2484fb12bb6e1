"""Prompts as token ids that fit the context, or a refusal."""

import sys
from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedTokenizerFast

from frailt.data.tokenizer import story_token_ids
from frailt.inference.generate import encode

from .errors import Refused, shown
from .fields import Asked, Prompt


class Prompts:
    """Reads the prompts of one model's requests.

    Args:
        tokenizer: of the model; its chat template, where there is one, turns messages into a prompt.
        context: tokens that prompt and text have room in.
        vocab_size: ids that the model knows.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast, context: int, vocab_size: int) -> None:
        self._tokenizer, self._context, self._vocab_size = tokenizer, context, vocab_size
        self._bos, _ = story_token_ids(tokenizer)
        self._bytes_per_token = max(len(piece.encode()) for piece in tokenizer.get_vocab())

    def of_completion(self, asked: Asked) -> list[list[int]]:
        """The ids of each prompt. Text gets BOS; ids are taken as they are."""
        return [self._fitting(self._ids(prompt), "prompt") for prompt in asked.prompts]

    def of_chat(self, asked: Asked) -> list[list[int]]:
        """The ids of the conversation so far, as a list of one."""
        if not self._tokenizer.chat_template:
            raise Refused(
                400,
                "messages need a chat template, and this model has none: send a prompt to /v1/completions",
                param="messages",
                code="no_chat_template",
            )
        self._check_length(sum(len(part.encode()) for each in asked.messages for part in each.values()), "messages")
        try:
            text: Any = self._tokenizer.apply_chat_template(asked.messages, tokenize=False, add_generation_prompt=True)
        except Exception as error:  # a template refuses what it does not know by raising, whatever it likes
            raise Refused(
                400, f"messages do not fit the chat template: {' '.join(str(error).split())[:200]}", param="messages"
            ) from error
        self._check_length(len(text.encode()), "messages")
        ids = self._tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids
        if self._tokenizer.unk_token_id is not None and self._tokenizer.unk_token_id in ids:
            raise Refused(
                400, "messages must be made of characters that the tokenizer knows, got others", param="messages"
            )
        return [self._fitting(ids if ids[:1] == [self._bos] else [self._bos, *ids], "messages")]

    def before(self, ids: Sequence[int]) -> Sequence[int]:
        """The ids that are text: all but BOS at their beginning."""
        return ids[1:] if ids[0] == self._bos else ids

    def text(self, prompt: Prompt) -> str:
        """A prompt as text, to be echoed."""
        if isinstance(prompt, str):
            return prompt
        return self._tokenizer.backend_tokenizer.decode(list(self.before(prompt)), skip_special_tokens=False)

    def _ids(self, prompt: Prompt) -> list[int]:
        if isinstance(prompt, list):
            if wrong := [id_ for id_ in prompt if not 0 <= id_ < self._vocab_size]:
                raise Refused(
                    400, f"prompt must be token ids below {self._vocab_size}, got {shown(wrong[0])}", param="prompt"
                )
            return prompt
        self._check_length(len(prompt.encode()), "prompt")
        try:
            return encode(self._tokenizer, prompt, sys.maxsize)
        except ValueError as error:
            raise Refused(400, str(error), param="prompt") from error

    def _check_length(self, in_bytes: int, field: str) -> None:
        """Refuse at once what is too long whichever pieces it has, for tokenizing it would keep others waiting."""
        if in_bytes > self._context * self._bytes_per_token:
            raise self._too_long(field, f"{in_bytes} bytes")

    def _fitting(self, ids: list[int], field: str) -> list[int]:
        if len(ids) >= self._context:
            raise self._too_long(field, f"{len(ids)} tokens")
        return ids

    def _too_long(self, field: str, got: str) -> Refused:
        return Refused(
            400,
            f"{field} must leave room in the context of {self._context} tokens, got {got}: shorten it",
            param=field,
            code="context_length_exceeded",
        )
