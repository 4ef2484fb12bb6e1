"""From a source to a prepared folder: split, tokenize, write.

A pass yields each document with the split it belongs to; the same pass serves to train a tokenizer and to write the
streams. The folder is built under another name beside its place and renamed when whole (docs/decisions.md), so a killed
preparation leaves nothing that could be read as finished. A streamed corpus has its train split left where it is.
"""

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NoReturn

from tqdm import tqdm

import frailt
from frailt.data.manifest import (
    DIGESTS,
    FORMAT,
    FORMAT_VERSION,
    SPLITS,
    TOKENIZER_FOLDER,
    Manifest,
    SplitName,
    StreamManifest,
)
from frailt.data.packing import PreparedData
from frailt.data.sentencepiece_bpe import SAMPLE_BYTES
from frailt.data.sources import DEFAULT_SEPARATOR, DEFAULT_STORIES, SourceOptions
from frailt.data.splits import STREAMED_VALIDATION_BYTES, CorpusSplit
from frailt.data.streaming import StreamedSplit
from frailt.data.tokenizer import (
    check_saved_tokenizer,
    encode_stories,
    load_tokenizer,
    save_tokenizer,
    story_token_ids,
    tokenizer_hash,
    train_tokenizer,
    vocabulary_size,
)
from frailt.data.writing import SplitWriter, built_beside, check_replaceable

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

BATCH_CHARACTERS = 1 << 20  # tokenized at once, on all cores
LARGEST_UINT16_VOCABULARY = 1 << 16
DEFAULT_VOCAB_SIZE = 512
_CHECKED_STORIES = 1000


@dataclass(kw_only=True)
class PrepareConfig:
    """What `frailt prepare` does: tokenize a corpus once, for any number of runs."""

    source: str
    """The corpus: builtin, a .txt, .jsonl or .parquet file, a folder of them, or a dataset on the Hub by its id
    (roneneldan/TinyStories)."""

    out: str
    """The folder to write."""

    validation: str | None = None
    """Another source to validate on. Without it: the source's own validation split, or else a held-out share."""

    validation_share: float | None = None
    """Share of the documents held out where there is no validation split; each is drawn by a hash of its text. Without
    it: 0.05."""

    tokenizer: str | None = None
    """A sentencepiece .model file, or a Hugging Face tokenizer by folder or id. Without it: one is trained on the
    train split."""

    vocab_size: int | None = None
    """Number of ids of the tokenizer to train. Without it: 512."""

    stream: bool = False
    """Leave the train split where it is and tokenize it while training, for a corpus too large to prepare."""

    separator: str = DEFAULT_SEPARATOR
    """The text between two documents of a .txt file."""

    text_field: str = "text"
    """The field with a document's text, in .jsonl, .parquet and on the Hub."""

    stories: int | None = None
    """Number of stories that the source builtin makes. Without it: 20,000."""

    max_documents: int | None = None
    """Read at most so many documents of a source's split, from its beginning. Without it: all."""

    seed: int = 0
    """Seed of the held-out share and of the source builtin."""

    duplicates: Literal["remove", "refuse"] = "remove"
    """What to do with a train document that equals one of the validation split: remove it from train, or stop."""

    overwrite: bool = False
    """Replace a prepared corpus at out."""

    def __post_init__(self) -> None:
        for name in ("source", "out"):
            if not getattr(self, name):
                raise ValueError(f"{name} must not be empty")
        if self.validation_share is not None and not 0 < self.validation_share < 1:
            raise ValueError(f"validation_share must be between 0 and 1, both excluded, got {self.validation_share}")
        if self.validation_share is not None and self.validation is not None:
            raise ValueError("validation_share has no effect with validation, another source; give one of the two")
        if self.vocab_size is not None and self.vocab_size < 1:
            raise ValueError(f"vocab_size must be at least 1, got {self.vocab_size}")
        if self.vocab_size is not None and self.tokenizer is not None:
            raise ValueError("vocab_size has no effect with tokenizer, one that exists; give one of the two")
        if self.stories is not None and not self.reads_builtin:
            raise ValueError(f"stories has no effect with source {self.source!r}, only with builtin; leave it out")
        if self.max_documents is not None and self.max_documents < 1:
            raise ValueError(f"max_documents must be at least 1, got {self.max_documents}")
        if not 0 <= self.seed < 2**64:
            raise ValueError(f"seed must be in 0 .. 2^64 - 1, got {self.seed}")
        if self.duplicates not in ("remove", "refuse"):
            raise ValueError(f"duplicates must be remove or refuse, got {self.duplicates!r}")
        if self.duplicates == "refuse" and self.stream:
            raise ValueError("duplicates must be remove with stream, which reads train while training, got 'refuse'")
        self.source_options()

    @property
    def reads_builtin(self) -> bool:
        """Whether the embedded generator is one of the sources."""
        return "builtin" in (self.source, self.validation)

    def source_options(self) -> SourceOptions:
        """The part of the options that says how to read sources."""
        return SourceOptions(
            separator=self.separator,
            text_field=self.text_field,
            stories=DEFAULT_STORIES if self.stories is None else self.stories,
            seed=self.seed,
        )


def prepare(config: PrepareConfig) -> PreparedData:
    """Prepare a corpus and open it. Equal configurations and sources give byte-identical streams.

    Raises:
        FileExistsError: `out` is there and must not be replaced.
        FileNotFoundError, ValueError, OSError: the source or the tokenizer cannot be used; one line each.
    """
    started = time.monotonic()
    out = Path(config.out).expanduser()
    check_replaceable(out, config.overwrite)
    split = CorpusSplit(
        config.source,
        validation=config.validation,
        validation_share=config.validation_share,
        seed=config.seed,
        max_documents=config.max_documents,
        refuse_duplicates=config.duplicates == "refuse",
        options=config.source_options(),
    )
    tokenizer = _tokenizer(config, split)
    with built_beside(out, config.overwrite) as folder:
        _write(config, split, tokenizer, folder, started)
    return PreparedData.open(out)


def _tokenizer(config: PrepareConfig, split: CorpusSplit) -> "PreTrainedTokenizerFast":
    if config.tokenizer is not None:
        return load_tokenizer(config.tokenizer)
    with _progress("train tokenizer") as bar:
        try:
            return train_tokenizer(
                (text for name, text, size in _reported(iter(split), bar) if name == "train"),
                DEFAULT_VOCAB_SIZE if config.vocab_size is None else config.vocab_size,
            )
        except ValueError as error:
            raise ValueError(f"source {config.source!r}: {error}") from error


def _write(
    config: PrepareConfig, split: CorpusSplit, tokenizer: "PreTrainedTokenizerFast", folder: Path, started: float
) -> None:
    save_tokenizer(tokenizer, folder / TOKENIZER_FOLDER)
    vocab_size = vocabulary_size(tokenizer)
    dtype = "uint16" if vocab_size <= LARGEST_UINT16_VOCABULARY else "uint32"
    names: tuple[SplitName, ...] = ("validation",) if config.stream else SPLITS
    writers = {name: SplitWriter(folder / f"{name}.bin", dtype) for name in names}
    try:
        with _progress("tokenize") as bar:
            checked = 0
            documents = split.validation_alone() if config.stream else iter(split)
            for batch in _batches(_reported(documents, bar)):
                texts = [text for _, text, _ in batch]
                stories = encode_stories(tokenizer, texts)
                if checked < _CHECKED_STORIES:
                    check_saved_tokenizer(folder / TOKENIZER_FOLDER, texts[:_CHECKED_STORIES], stories)
                    checked += len(batch)
                for name in names:
                    writers[name].add(
                        [ids for ids, (belongs, _, _) in zip(stories, batch, strict=True) if belongs == name],
                        sum(size for belongs, _, size in batch if belongs == name),
                    )
    finally:
        for writer in writers.values():
            writer.close()
    _check_not_empty(config, split, writers)
    bos, stops = story_token_ids(tokenizer)
    manifest = Manifest(
        format=FORMAT,
        format_version=FORMAT_VERSION,
        frailt_version=frailt.__version__,
        source=config.source,
        revision=split.source.revision,
        validation=config.validation,
        split_rule=_split_rule(config, split),
        validation_share=split.validation_share if split.validation is None else None,
        seed=config.seed,
        separator=config.separator,
        text_field=config.text_field,
        stories=config.source_options().stories if config.reads_builtin else None,
        max_documents=config.max_documents,
        empty_documents_dropped=split.counts["empty"],
        duplicates_removed_from_train=split.counts["duplicates"],
        tokenizer=config.tokenizer,
        tokenizer_sample_bytes=SAMPLE_BYTES if config.tokenizer is None else None,
        tokenizer_sha256=tokenizer_hash(tokenizer),
        vocab_size=vocab_size,
        bos_token_id=bos,
        stop_token_ids=stops,
        dtype=dtype,
        elapsed_s=round(time.monotonic() - started, 3),
        splits={name: writer.manifest() for name, writer in writers.items()},
        stream=_stream(split, folder) if config.stream else None,
    )
    manifest.write(folder)
    if config.stream:
        next(StreamedSplit(folder, manifest).documents())  # raises where train is empty or cannot be read


def _split_rule(config: PrepareConfig, split: CorpusSplit) -> str:
    if config.stream and split.validation is None:
        return f"{split.rule}, of which the first {STREAMED_VALIDATION_BYTES:,} bytes are validated on"
    return split.rule


def _stream(split: CorpusSplit, folder: Path) -> StreamManifest:
    digests = None
    if split.validation is not None:
        data = b"".join(sorted(split.digests))
        (folder / DIGESTS).write_bytes(data)
        digests = hashlib.sha256(data).hexdigest()
    kind = split.source.kind
    return StreamManifest(
        kind=kind,
        location=str(Path(split.name).expanduser().resolve()) if kind == "files" else split.name,
        shards={shard.name: shard.path.stat().st_size if shard.path else None for shard in split.train.shards},
        digests_sha256=digests,
    )


def _check_not_empty(config: PrepareConfig, split: CorpusSplit, writers: dict[SplitName, SplitWriter]) -> None:
    documents = sum(writer.documents for writer in writers.values()) + split.counts["train"]
    if not documents and not (config.stream and split.validation):
        raise ValueError(f"source {config.source!r} has no documents, only white space")
    for name, writer in writers.items():
        if writer.documents:
            continue
        if split.validation is None:
            raise ValueError(
                f"validation_share of {split.validation_share} leaves no document of {documents} in the "
                f"{name} split; change validation_share, or give more documents or a validation source"
            )
        removed = split.counts["duplicates"]
        why = f", after {removed} that are in the validation split were removed" if name == "train" and removed else ""
        raise ValueError(f"source {config.source!r} leaves no document in the {name} split{why}")


def _batches(documents: Iterator[tuple[SplitName, str, int]]) -> Iterator[list[tuple[SplitName, str, int]]]:
    batch, characters = [], 0
    for document in documents:
        batch.append(document)
        characters += len(document[1])
        if characters >= BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


@contextmanager
def _progress(what: str) -> "Iterator[tqdm[NoReturn]]":
    """A bar on stderr in UTF-8 bytes read; none where stderr is no terminal."""
    with tqdm(desc=what, unit="B", unit_scale=True, disable=None) as bar:
        yield bar


def _reported(
    documents: Iterator[tuple[SplitName, str, int]], bar: "tqdm[NoReturn]"
) -> Iterator[tuple[SplitName, str, int]]:
    for document in documents:
        yield document
        bar.update(document[2])
