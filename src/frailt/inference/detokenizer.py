"""Text out of tokens while they come: nothing is given that a later token could change."""

import re
from collections.abc import Sequence

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

_BYTE_PIECE = re.compile(r"<0x[0-9A-F]{2}>")
_UNKNOWN = "\ufffd"


class Detokenizer:
    """The text of tokens behind a prompt, piece by piece; all pieces together are what `continuation` gives.

    Only the last tokens are decoded again for each new one, and a run of bytes once, so that a long text costs as much
    per token as a short one.

    Args:
        tokenizer: of the model.
        prompt: ids before the text, without BOS.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast, prompt: Sequence[int]) -> None:
        self._backend = tokenizer.backend_tokenizer
        # A first token loses its leading space, and bytes are decoded together: begin one token before the last bytes.
        begin = max(_settled(self._backend, prompt) - 1, 0)
        self._tokens = list(prompt[begin:])
        self._shown = len(self._decode(self._tokens))

    def add(self, token: int) -> str:
        """What is certain now and was not before."""
        self._tokens.append(token)
        if _is_byte(self._backend, token):  # what a run of bytes says is known at its end
            return ""
        whole = self._decode(self._tokens)
        text = whole.removesuffix(_UNKNOWN)  # nor is the beginning of a character shown, which is decoded to it
        new = text[self._shown :]
        self._shown = max(self._shown, len(text))
        if text == whole:
            self._tokens = self._tokens[-1:]
            self._shown = len(self._decode(self._tokens))
        return new

    def end(self) -> str:
        """What waited."""
        return self._decode(self._tokens)[self._shown :]

    def _decode(self, tokens: Sequence[int]) -> str:
        return self._backend.decode(list(tokens), skip_special_tokens=False)


def _settled(backend: Tokenizer, tokens: Sequence[int]) -> int:
    """How many tokens there are before the bytes that these end in."""
    settled = len(tokens)
    while settled and _is_byte(backend, tokens[settled - 1]):
        settled -= 1
    return settled


def _is_byte(backend: Tokenizer, token: int) -> bool:
    return _BYTE_PIECE.fullmatch(backend.id_to_token(token) or "") is not None
