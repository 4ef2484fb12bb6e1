"""A train split that is read where it is, tokenized while training: for corpora too large to prepare.

Row i is the row i that the same corpus would have in a prepared folder (`frailt.data.packing`), in the order of the
source; where the source ends the stream goes on with its next pass. Every process reads the same stream and takes the
rows it is given, so that the order of the data is the same for any number of processes.

Shapes: B rows, T = context tokens.
"""

import bisect
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from frailt.data.manifest import DIGESTS, TOKENIZER_FOLDER, Manifest, StreamManifest
from frailt.data.prefetch import Prefetcher
from frailt.data.sources import Shard, SourceOptions, builtin_shard, file_shards, hub_shards
from frailt.data.splits import DIGEST_BYTES, HeldOut, held_out_by_digest, held_out_by_hash, utf8
from frailt.data.tokenizer import encode_stories, load_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

CHUNK_CHARACTERS = 1 << 18  # tokenized at once, on all cores that the tokenizer may use
_CHUNKS_AHEAD = 8
_CHUNKS_REMEMBERED = 256  # behind the consumer: `state` may be asked for a row that a loader has fetched long since
_WAY_OUT = "put it back as it was, or prepare the corpus again"


class Place(NamedTuple):
    """A document of an endless stream; all counted from 0."""

    pass_: int
    shard: int
    document: int  # of the shard, with those that are left out
    read: int  # documents of the pass before it, likewise


class Mark(NamedTuple):
    """Where a document begins: its first token, counted from the beginning of the stream, and its place."""

    token: int
    place: Place


BEGINNING = Mark(0, Place(0, 0, 0, 0))


class Chunk(NamedTuple):
    """Some documents, tokenized: (tokens,) ids, and where each document begins."""

    tokens: npt.NDArray[Any]
    marks: list[Mark]


@dataclass(frozen=True)
class StreamedSplit:
    """The train split of a streamed corpus, opened by `PreparedData.split`."""

    folder: Path
    manifest: Manifest

    @property
    def stream(self) -> StreamManifest:
        """What the manifest says of it."""
        assert self.manifest.stream is not None
        return self.manifest.stream

    def rows(self, context: int) -> "StreamedRows":
        """The stream cut into rows of `context` inputs and targets, from its beginning.

        Raises:
            FileNotFoundError, ValueError: as `check`; or `context` is below 1.
        """
        self.check()
        return StreamedRows(self, context)

    def check(self) -> None:
        """Compare the source with the manifest; of files, their sizes.

        Raises:
            FileNotFoundError: a shard is missing.
            ValueError: a shard has another size, or a dataset on the Hub other shards, than when it was prepared.
        """
        for shard in self.shards:
            self._check(shard)

    def _check(self, shard: Shard) -> None:
        expected = self.stream.shards[shard.name]
        if shard.path is None:
            return
        if not shard.path.is_file():
            raise FileNotFoundError(
                f"{shard.path}: a shard of the streamed corpus {self.folder} is missing; {_WAY_OUT}"
            )
        size = shard.path.stat().st_size
        if size != expected:
            raise ValueError(
                f"{shard.path}: a shard of the streamed corpus {self.folder} has changed, {expected} bytes expected, "
                f"got {size}; {_WAY_OUT}"
            )

    @cached_property
    def shards(self) -> list[Shard]:
        """The shards named in the manifest; others that have come to lie beside them are not read."""
        manifest, stream = self.manifest, self.stream
        options = SourceOptions(
            separator=manifest.separator,
            text_field=manifest.text_field,
            seed=manifest.seed,
            **({} if manifest.stories is None else {"stories": manifest.stories}),
        )
        names = list(stream.shards)
        match stream.kind:
            case "builtin":
                shards = [builtin_shard(options)]
            case "hub":
                # By its own name, which need not be train: shards are called such as `train_sft-00000-of-00001`.
                split = names[0].rsplit("-", 3)[0]
                shards = hub_shards(stream.location, split, options, manifest.revision)
            case _:
                shards = file_shards(Path(stream.location), names, options)
        if [shard.name for shard in shards] != names:
            raise ValueError(
                f"dataset {stream.location!r}, split train: {len(names)} shards expected, got {len(shards)}; "
                "prepare the corpus again"
            )
        return shards

    def documents(self, start: Place = BEGINNING.place) -> Iterator[tuple[Place, str]]:
        """The stripped documents from a place on, pass after pass without an end.

        Raises:
            FileNotFoundError, ValueError: a shard is missing, has changed or cannot be read; or no document is left.
        """
        held_out = self._held_out()
        kept = start != BEGINNING.place
        while True:
            for place, text in self._one_pass(start):
                if not held_out(utf8(text, self.manifest.source)):
                    kept = True
                    yield place, text
            if not kept:
                raise ValueError(f"source {self.manifest.source!r} leaves no document in the train split")
            start, kept = Place(start.pass_ + 1, 0, 0, 0), False

    def _one_pass(self, start: Place) -> Iterator[tuple[Place, str]]:
        number, read = start.document, start.read
        for index in range(start.shard, len(self.shards)):
            self._check(self.shards[index])
            for text in self.shards[index].read(number):
                if read == self.manifest.max_documents:
                    return
                if stripped := text.strip():
                    yield Place(start.pass_, index, number, read), stripped
                number, read = number + 1, read + 1
            number = 0

    def _held_out(self) -> HeldOut:
        if self.stream.digests_sha256 is None:
            assert self.manifest.validation_share is not None
            return held_out_by_hash(self.manifest.validation_share, self.manifest.seed)
        data = (self.folder / DIGESTS).read_bytes()
        return held_out_by_digest({data[at : at + DIGEST_BYTES] for at in range(0, len(data), DIGEST_BYTES)})

    def chunks(self, start: Mark = BEGINNING) -> Iterator[Chunk]:
        """The documents from a mark on, tokenized, `CHUNK_CHARACTERS` or a little more at once.

        Raises:
            FileNotFoundError, ValueError: as `documents`; or there is no document at the mark any more.
        """
        tokenizer = load_tokenizer(str(self.folder / TOKENIZER_FOLDER))
        documents = self.documents(start.place)
        first = next(documents)
        if start != BEGINNING and first[0] != start.place:
            raise ValueError(
                f"source {self.manifest.source!r} has no train document {start.place.document} in shard "
                f"{self.shards[start.place.shard].name!r} any more, where the run is to go on; {_WAY_OUT}"
            )
        token, batch, characters = start.token, list[tuple[Place, str]](), 0
        for place, text in chain([first], documents):
            batch.append((place, text))
            characters += len(text)
            if characters >= CHUNK_CHARACTERS:
                chunk = self._tokenized(tokenizer, batch, token)
                yield chunk
                token, batch, characters = token + len(chunk.tokens), [], 0

    def _tokenized(self, tokenizer: "PreTrainedTokenizerFast", batch: list[tuple[Place, str]], token: int) -> Chunk:
        stories = encode_stories(tokenizer, [text for _, text in batch])
        lengths = [len(story) for story in stories]
        starts = token + np.cumsum([0, *lengths])
        tokens = np.fromiter(chain.from_iterable(stories), dtype=self.manifest.dtype, count=sum(lengths))
        marks = [Mark(int(start), place) for start, (place, _) in zip(starts, batch, strict=False)]
        return Chunk(tokens, marks)


class StreamedRows:
    """A streamed split as rows of T inputs and the T targets after them; row i starts at token i * T.

    There is no last row, and rows are read forwards only; those that nobody asks for are passed over. Documents are
    read and tokenized in a thread, ahead of `batch`.

    Args:
        split: what is read.
        context: T, in tokens.

    Raises:
        ValueError: `context` is below 1.
    """

    def __init__(self, split: StreamedSplit, context: int) -> None:
        if context < 1:
            raise ValueError(f"context must be at least 1 token, got {context}")
        self.split = split
        self.context = context
        self._waited_s = 0.0
        self._ahead: Prefetcher[Chunk] | None = None
        self._begin(BEGINNING, 0)

    def _begin(self, start: Mark, row: int) -> None:
        self._earliest = start
        self._next_row = row
        self._marks: deque[list[Mark]] = deque(maxlen=_CHUNKS_REMEMBERED)  # of the chunks that were read
        self._read_from(start)

    def _read_from(self, start: Mark) -> None:
        if self._ahead is not None:
            self._ahead.close()
            self._waited_s += self._ahead.waited_s
            self._ahead = None
        self._start = start
        self._tokens = np.empty(0, dtype=self.split.manifest.dtype)
        self._first_token = start.token  # of those in the buffer

    @property
    def waited_s(self) -> float:
        """Seconds that `batch` has waited for reading and tokenization so far."""
        return self._waited_s + (self._ahead.waited_s if self._ahead else 0.0)

    def batch(self, indices: npt.ArrayLike) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Inputs and targets of several rows: int64 (B, T) each.

        Args:
            indices: row numbers, all of them above those of the calls before.

        Raises:
            IndexError: a row lies behind.
            FileNotFoundError, ValueError: the source cannot be read, or is not what it was; one line each.
        """
        rows = np.asarray(indices, dtype=np.int64)
        if rows.ndim != 1:
            raise IndexError(f"indices must have one dimension, got shape {rows.shape}")
        if not rows.size:
            return np.empty((0, self.context), np.int64), np.empty((0, self.context), np.int64)
        if rows.min() < self._next_row:
            raise IndexError(
                f"a streamed corpus is read forwards only: row index must be at least {self._next_row}, "
                f"got {rows.min()}; restore a state to go back"
            )
        first, end = int(rows.min()) * self.context, (int(rows.max()) + 1) * self.context + 1
        self._read(first, end)
        self._next_row = int(rows.max()) + 1
        positions = rows[:, None] * self.context + np.arange(self.context + 1) - self._first_token  # (B, T + 1)
        tokens = self._tokens[positions].astype(np.int64)
        return np.ascontiguousarray(tokens[:, :-1]), np.ascontiguousarray(tokens[:, 1:])

    def _read(self, first: int, end: int) -> None:
        """Have the tokens from `first` up to `end` in the buffer, and none before."""
        if self._ahead is None:
            self._ahead = Prefetcher(self.split.chunks(self._start), _CHUNKS_AHEAD)
        kept = self._tokens[max(0, first - self._first_token) :]
        reached = self._first_token + len(self._tokens)
        parts = [kept]
        while reached < end:
            chunk = next(self._ahead)
            self._marks.append(chunk.marks)
            parts.append(chunk.tokens[max(0, first - reached) :])
            reached += len(chunk.tokens)
        self._tokens = np.concatenate(parts)
        self._first_token = reached - len(self._tokens)

    def state(self, row: int | None = None) -> dict[str, Any]:
        """From where a run goes on with `row`: a dictionary that JSON can hold. Reads nothing.

        Args:
            row: the first row to be read after `restore`. Without it: the one after those that `batch` has given. A
                loader that fetches ahead of its run gives the row that the run has come to.

        Raises:
            ValueError: the row lies before where reading began.
        """
        row = self._next_row if row is None else row
        found = self._last_mark(row * self.context)
        pass_, shard, document, read = found.place
        return {
            "data_hash": self.split.manifest.data_hash,
            "context": self.context,
            "row": row,
            "token": found.token,
            "pass": pass_,
            "shard": shard,
            "document": document,
            "documents_of_pass": read,
        }

    def _last_mark(self, token: int) -> Mark:
        """Where the document of a token begins, or an earlier one."""
        if token < self._earliest.token:
            raise ValueError(f"row must be at least {-(-self._earliest.token // self.context)}, got one before it")
        for marks in reversed(self._marks):
            if marks[0].token <= token:
                return marks[bisect.bisect_right(marks, token, key=lambda mark: mark.token) - 1]
        return self._earliest

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where another object with the same split was; what lies before is passed over, not tokenized.

        Raises:
            FileNotFoundError, ValueError: the state is of another corpus or context, or the source has changed.
        """
        try:
            row, token, *place = (
                int(state[name]) for name in ("row", "token", "pass", "shard", "document", "documents_of_pass")
            )
            data_hash, context = state["data_hash"], state["context"]
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"the state of a streamed corpus is damaged ({error!r}); resume from another one"
            ) from error
        if data_hash != self.split.manifest.data_hash:
            raise ValueError(
                f"{self.split.folder}: not the corpus that the run was reading, data_hash {data_hash[:12]}… expected, "
                f"got {self.split.manifest.data_hash[:12]}…; give that one, or start a new run"
            )
        if context != self.context:
            raise ValueError(f"context must be {context}, as in the run that is resumed, got {self.context}")
        if min(row, token, *place) < 0 or token > row * context or place[1] >= len(self.split.stream.shards):
            raise ValueError(f"the state of a streamed corpus is damaged ({state}); resume from another one")
        self.split.check()
        self._begin(Mark(token, Place(*place)), row)

    def close(self) -> None:
        """Stop the thread. `state` still answers, and a later `batch` starts reading again where it was."""
        self._read_from(self._last_mark(self._next_row * self.context))
