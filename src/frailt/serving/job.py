"""One request from its fields to its texts: the rows it asks for, and what they say while they are told."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial

from transformers import PreTrainedTokenizerFast

from frailt.inference.detokenizer import Detokenizer
from frailt.inference.drawing import Sampling

from .choosing import numbers_of
from .errors import Refused, stopping
from .fields import Asked
from .prompts import Prompts
from .teller import Teller
from .telling import FAILED, STOPPING, Row
from .text import Told


@dataclass(frozen=True)
class Piece:
    """More of one of a request's texts."""

    index: int
    text: str
    finish_reason: str | None


class Job:
    """The texts of one request, in line from its birth on.

    Texts behind one prompt differ in their random numbers; texts behind different prompts have the same ones, so that
    several prompts in one request are answered as each of them would be alone.

    Args:
        asked: the request.
        prompts: token ids of its prompts.
        teller: tells them.
        reader: read the prompts.
        tokenizer: of the model.
        context: tokens that prompt and text have room in.

    Raises:
        Refused: there is no place for them.
    """

    def __init__(
        self,
        asked: Asked,
        prompts: list[list[int]],
        *,
        teller: Teller,
        reader: Prompts,
        tokenizer: PreTrainedTokenizerFast,
        context: int,
    ) -> None:
        self._teller = teller
        self._inbox: asyncio.Queue[tuple[int, int | None, str | None]] = asyncio.Queue()
        seed = secrets.randbits(64) if asked.seed is None else asked.seed
        sampling = Sampling(temperature=asked.temperature, top_p=asked.top_p)
        self._told: list[Told] = []
        self._rows: list[Row] = []
        for ids in prompts:
            room = context - len(ids)
            for sample in range(asked.n):
                self._told.append(Told(Detokenizer(tokenizer, reader.before(ids)), asked.stop))
                self._rows.append(
                    Row(
                        prompt=ids,
                        room=min(asked.max_tokens or room, room),
                        sampling=sampling,
                        numbers=numbers_of(seed, sample),
                        hear=partial(self._hear, len(self._rows)),
                    )
                )
        self.echoes = [reader.text(each) if asked.echo else "" for each in asked.prompts for _ in range(asked.n)]
        self.prompt_tokens = sum(map(len, prompts))
        teller.submit(self._rows)

    @property
    def texts(self) -> int:
        """How many there are."""
        return len(self._rows)

    def usage(self) -> dict[str, int]:
        """Tokens of the prompts, each once, and of the texts so far; what ends a story is not counted."""
        told = sum(each.tokens for each in self._told)
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": told,
            "total_tokens": self.prompt_tokens + told,
        }

    async def pieces(self) -> AsyncIterator[Piece]:
        """The texts as they are told. What came while nobody asked is one piece.

        Raises:
            Refused: the server stops, or failed.
        """
        for index, echo in enumerate(self.echoes):
            if echo:
                yield Piece(index, echo, None)
        left = self.texts
        while left:
            heard = [await self._inbox.get()]
            while not self._inbox.empty():
                heard.append(self._inbox.get_nowait())
            for index in dict.fromkeys(index for index, _, _ in heard):
                told = self._told[index]
                if told.finish_reason:
                    continue
                text = "".join(self._add(index, token, reason) for i, token, reason in heard if i == index)
                left -= told.finish_reason is not None
                if text or told.finish_reason:
                    yield Piece(index, text, told.finish_reason)

    def leave(self) -> None:
        """Free the places of what is not told yet; to be called in any case."""
        self._teller.drop(self._rows)

    def _hear(self, index: int, token: int | None, reason: str | None) -> None:
        self._inbox.put_nowait((index, token, reason))

    def _add(self, index: int, token: int | None, reason: str | None) -> str:
        told = self._told[index]
        if told.finish_reason:  # by a stop string; what else came is beyond it
            return ""
        if reason == STOPPING:
            raise stopping()
        if reason == FAILED:
            raise Refused(500, "the server failed to tell this text; its log says where", code="failed")
        text = "" if token is None else told.add(token)
        if reason is not None:
            text += told.end(reason)
        elif told.finish_reason:
            self._teller.drop([self._rows[index]])
        return text
