"""Text out of tokens while they come: nothing is shown that a later token could change."""

import re
from collections.abc import Sequence

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

_BYTE_PIECE = re.compile(r"<0x[0-9A-F]{2}>")
_UNKNOWN = "\ufffd"


class Detokenizer:
    """The text of tokens behind a prompt, piece by piece; all pieces together are what `continuation` gives.

    Only the last tokens are decoded again for each new one, so that a long text costs as much per token as a short one.

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
        settled = _settled(self._backend, self._tokens)  # what a run of bytes says is known at its end
        whole = self._decode(self._tokens[:settled])
        text = whole.removesuffix(
            _UNKNOWN
        )  # nor is the beginning of a character shown, which is decoded to one of these
        new = text[self._shown :]
        self._shown = max(self._shown, len(text))
        if settled == len(self._tokens) and text == whole:
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
    while settled and _BYTE_PIECE.fullmatch(backend.id_to_token(tokens[settled - 1]) or ""):
        settled -= 1
    return settled


class StopStrings:
    """Passes text on until one of `stops` is in it, and never a part of one that may become whole."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops, self._held = stops, ""
        self.met = False

    def add(self, text: str) -> str:
        """What may be shown of it."""
        self._held += text
        places = [place for stop in self._stops if (place := self._held.find(stop)) >= 0]
        self.met = bool(places)
        end = min(places) if places else len(self._held) - self._begun()
        passed, self._held = self._held[:end], "" if places else self._held[end:]
        return passed

    def end(self) -> str:
        """What was kept back."""
        passed, self._held = self._held, ""
        return passed

    def _begun(self) -> int:
        """How many of the last characters a stop may begin with."""
        longest = min(max(map(len, self._stops), default=1) - 1, len(self._held))
        ends = (self._held[len(self._held) - length :] for length in range(longest, 0, -1))
        return next((len(end) for end in ends if any(stop.startswith(end) for stop in self._stops)), 0)


class Told:
    """One text while it is told, as its reader sees it."""

    def __init__(self, detokenizer: Detokenizer, stops: Sequence[str]) -> None:
        self._detokenizer, self._stops = detokenizer, StopStrings(stops)
        self.tokens = 0
        self.finish_reason: str | None = None

    def add(self, token: int) -> str:
        """What can be shown with this token; nothing any more once a stop string came."""
        if self.finish_reason:
            return ""
        self.tokens += 1
        text = self._stops.add(self._detokenizer.add(token))
        if self._stops.met:
            self.finish_reason = "stop"
        return text

    def end(self, finish_reason: str) -> str:
        """What is left to be shown when no more tokens come."""
        if self.finish_reason:
            return ""
        self.finish_reason = finish_reason
        text = self._stops.add(self._detokenizer.end())
        if self._stops.met:
            self.finish_reason = "stop"
            return text
        return text + self._stops.end()
