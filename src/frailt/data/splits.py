"""Which document belongs to which split: by the corpus's own splits, by a second source, or by a hash of the text."""

import hashlib
from collections import Counter
from collections.abc import Callable, Container, Iterator
from itertools import islice

from frailt.data.manifest import SplitName
from frailt.data.sources import Documents, SourceOptions, open_source, stripped

DIGEST_BYTES = 16
VALIDATION_SHARE = 0.05
STREAMED_VALIDATION_BYTES = 10_000_000
"""UTF-8 bytes of documents held out of a streamed corpus that are enough to validate on."""

HeldOut = Callable[[bytes], bool]
"""Whether a stripped document, in UTF-8, is left out of the train split."""


class CorpusSplit:
    """A corpus in two splits that share no document. Iterating it is one pass; `counts` tells of what was left out.

    Args:
        source: the corpus.
        validation: another source to validate on. Without it: the source's own validation split, or a held-out share.
        validation_share: of the documents, where there is no validation split; `VALIDATION_SHARE` where it is None.
        seed: of that share.
        max_documents: read at most so many documents of each split of a source.
        refuse_duplicates: raise, rather than leave it out, at a train document that the validation split has too.
        options: how to read the sources.

    Raises:
        FileNotFoundError, ValueError: a source cannot be used, or a share is given though there is a validation split.
    """

    def __init__(
        self,
        source: str,
        *,
        validation: str | None,
        validation_share: float | None,
        seed: int,
        max_documents: int | None,
        refuse_duplicates: bool,
        options: SourceOptions,
    ) -> None:
        self.name = source
        self.seed = seed
        self.max_documents = max_documents
        self.refuse_duplicates = refuse_duplicates
        self.source = open_source(source, options)
        self.train = self.source.train
        self.validation: Documents | None
        if validation is not None:
            other = open_source(validation, options)
            self.validation, self.rule = other.validation or other.train, "validation source"
        elif self.source.validation is not None:
            self.validation, self.rule = self.source.validation, "own validation split"
        else:
            self.validation, self.rule = None, "held-out share of documents by hash"
        if validation_share is not None and self.validation is not None:
            raise ValueError(
                f"validation_share has no effect, as source {source!r} has a validation split; leave it out, "
                "or give the train files alone as source"
            )
        self.validation_share = VALIDATION_SHARE if validation_share is None else validation_share
        self.digests: set[bytes] = set()
        """Of the validation documents, once a pass has read them; empty where a share is held out."""
        self.counts: Counter[str] = Counter()

    def _documents(self, documents: Documents) -> Iterator[tuple[str, bytes]]:
        """Stripped documents with their UTF-8 bytes."""

        def dropped() -> None:
            self.counts["empty"] += 1

        for text in stripped(islice(documents(), self.max_documents), dropped):
            yield text, utf8(text, self.name)

    def __iter__(self) -> Iterator[tuple[SplitName, str, int]]:
        """Split, stripped text and its length in UTF-8 bytes, of every document that is kept."""
        self.counts.clear()
        if self.validation is None:
            held_out = held_out_by_hash(self.validation_share, self.seed)
            for text, data in self._documents(self.train):
                yield "validation" if held_out(data) else "train", text, len(data)
            return
        yield from self._separate_validation(self.validation)
        for text, data in self._documents(self.train):
            if digest(data) not in self.digests:
                yield "train", text, len(data)
            elif not self.refuse_duplicates:
                self.counts["duplicates"] += 1
            else:
                raise ValueError(
                    "duplicates is refuse, and a train document is in the validation split too; "
                    f"set duplicates to remove to leave such documents out of train. It begins {text[:40]!r}"
                )

    def validation_alone(self) -> Iterator[tuple[SplitName, str, int]]:
        """The validation documents as in a pass; of a held-out share those that `STREAMED_VALIDATION_BYTES` asks for.

        Those of a share are the first of the corpus, of which no more is read.
        """
        if self.validation is not None:
            self.counts.clear()
            yield from self._separate_validation(self.validation)
            return
        held_out_bytes = 0
        for document in self:
            if document[0] == "train":
                self.counts["train"] += 1
                continue
            yield document
            held_out_bytes += document[2]
            if held_out_bytes >= STREAMED_VALIDATION_BYTES:
                return

    def _separate_validation(self, validation: Documents) -> Iterator[tuple[SplitName, str, int]]:
        self.digests.clear()
        for text, data in self._documents(validation):
            self.digests.add(digest(data))
            yield "validation", text, len(data)


def utf8(text: str, source: str) -> bytes:
    """The bytes of a document.

    Raises:
        ValueError: it has half a surrogate pair, as JSON allows.
    """
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(
            f"source {source!r}: a document has half a surrogate pair at character {error.start}, "
            f"which is no text; it begins {text[:40]!a}"
        ) from error


def held_out_by_hash(share: float, seed: int) -> HeldOut:
    """Hold out a share of documents by their text and the seed alone, so equal ones fall on the same side."""
    key = seed.to_bytes(16, "little")

    def held_out(data: bytes) -> bool:
        number = int.from_bytes(hashlib.blake2b(data, key=key, digest_size=6).digest(), "little")
        return number / 2**48 < share

    return held_out


def held_out_by_digest(digests: Container[bytes]) -> HeldOut:
    """Hold out the documents whose digest is one of these."""
    return lambda data: digest(data) in digests


def digest(data: bytes) -> bytes:
    """What tells a document from others: `DIGEST_BYTES` of its hash."""
    return hashlib.blake2b(data, digest_size=DIGEST_BYTES).digest()
