"""Which document belongs to which split: by the corpus's own splits, by a second source, or by a hash of the text."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from itertools import islice

from frailt.data.packing import SplitName
from frailt.data.sources import Documents, SourceOptions, open_source, stripped

_DIGEST_BYTES = 16


class CorpusSplit:
    """A corpus in two splits that share no document. Iterating it is one pass; `counts` tells of what was left out.

    Args:
        source: the corpus.
        validation: another source to validate on. Without it: the source's own validation split, or a held-out share.
        validation_share: of the documents, where there is no validation split.
        seed: of that share.
        max_documents: read at most so many documents of each split of a source.
        refuse_duplicates: raise, rather than leave it out, at a train document that the validation split has too.
        options: how to read the sources.
    """

    def __init__(
        self,
        source: str,
        *,
        validation: str | None,
        validation_share: float,
        seed: int,
        max_documents: int | None,
        refuse_duplicates: bool,
        options: SourceOptions,
    ) -> None:
        self.source = source
        self.validation_share = validation_share
        self.seed = seed
        self.max_documents = max_documents
        self.refuse_duplicates = refuse_duplicates
        opened = open_source(source, options)
        self.train = opened.train
        self.validation: Documents | None
        if validation is not None:
            other = open_source(validation, options)
            self.validation, self.rule = other.validation or other.train, "validation source"
        elif opened.validation is not None:
            self.validation, self.rule = opened.validation, "own validation split"
        else:
            self.validation, self.rule = None, "held-out share of documents by hash"
        self.counts: Counter[str] = Counter()

    def _documents(self, documents: Documents) -> Iterator[tuple[str, bytes]]:
        """Stripped documents with their UTF-8 bytes."""

        def dropped() -> None:
            self.counts["empty"] += 1

        for text in stripped(islice(documents(), self.max_documents), dropped):
            try:
                yield text, text.encode("utf-8")
            except UnicodeEncodeError as error:
                raise ValueError(
                    f"source {self.source!r}: a document has half a surrogate pair at character {error.start}, "
                    f"which is no text; it begins {text[:40]!a}"
                ) from error

    def __iter__(self) -> Iterator[tuple[SplitName, str, int]]:
        """Split, stripped text and its length in UTF-8 bytes, of every document that is kept."""
        self.counts.clear()
        if self.validation is None:
            key = self.seed.to_bytes(16, "little")
            for text, data in self._documents(self.train):
                held_out = _uniform(data, key) < self.validation_share
                yield "validation" if held_out else "train", text, len(data)
            return
        seen = set()
        for text, data in self._documents(self.validation):
            seen.add(_digest(data))
            yield "validation", text, len(data)
        for text, data in self._documents(self.train):
            if _digest(data) not in seen:
                yield "train", text, len(data)
            elif not self.refuse_duplicates:
                self.counts["duplicates"] += 1
            else:
                raise ValueError(
                    "duplicates is refuse, and a train document is in the validation split too; "
                    f"set duplicates to remove to leave such documents out of train. It begins {text[:40]!r}"
                )


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=_DIGEST_BYTES).digest()


def _uniform(data: bytes, key: bytes) -> float:
    """A number in [0, 1) that depends on the text and the seed alone, so equal documents fall on the same side."""
    return int.from_bytes(hashlib.blake2b(data, key=key, digest_size=6).digest(), "little") / 2**48
