"""From a source to a prepared folder: split, tokenize, write.

A pass yields each document with the split it belongs to; the same pass serves to train a tokenizer and to write the
streams. The folder is built under another name beside its place and renamed when whole (docs/decisions.md), so a killed
preparation leaves nothing that could be read as finished.
"""

import hashlib
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NoReturn

import numpy as np
from tqdm import tqdm

from frailt.data.packing import (
    FORMAT,
    FORMAT_VERSION,
    MANIFEST,
    SPLITS,
    TOKENIZER_FOLDER,
    Manifest,
    PreparedData,
    SplitManifest,
    SplitName,
)
from frailt.data.sentencepiece_bpe import SAMPLE_BYTES
from frailt.data.sources import DEFAULT_SEPARATOR, SourceOptions
from frailt.data.splits import CorpusSplit
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

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

BATCH_CHARACTERS = 1 << 20  # tokenized at once, on all cores
LARGEST_UINT16_VOCABULARY = 1 << 16
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

    validation_share: float = 0.05
    """Share of the documents held out where there is no validation split; each is drawn by a hash of its text."""

    tokenizer: str | None = None
    """A sentencepiece .model file, or a Hugging Face tokenizer by folder or id. Without it: one is trained on the
    train split."""

    vocab_size: int = 512
    """Number of ids of the tokenizer to train; of no effect with tokenizer."""

    separator: str = DEFAULT_SEPARATOR
    """The text between two documents of a .txt file."""

    text_field: str = "text"
    """The field with a document's text, in .jsonl, .parquet and on the Hub."""

    stories: int = 20_000
    """Number of stories that the source builtin makes."""

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
        if not 0 < self.validation_share < 1:
            raise ValueError(f"validation_share must be between 0 and 1, both excluded, got {self.validation_share}")
        if self.vocab_size < 1:
            raise ValueError(f"vocab_size must be at least 1, got {self.vocab_size}")
        if self.max_documents is not None and self.max_documents < 1:
            raise ValueError(f"max_documents must be at least 1, got {self.max_documents}")
        if not 0 <= self.seed < 2**64:
            raise ValueError(f"seed must be in 0 .. 2^64 - 1, got {self.seed}")
        if self.duplicates not in ("remove", "refuse"):
            raise ValueError(f"duplicates must be remove or refuse, got {self.duplicates!r}")
        self.source_options()

    def source_options(self) -> SourceOptions:
        """The part of the options that says how to read sources."""
        return SourceOptions(separator=self.separator, text_field=self.text_field, stories=self.stories, seed=self.seed)


def prepare(config: PrepareConfig) -> PreparedData:
    """Prepare a corpus and open it. Equal configurations and sources give byte-identical streams.

    Raises:
        FileExistsError: `out` is there and must not be replaced.
        FileNotFoundError, ValueError, OSError: the source or the tokenizer cannot be used; one line each.
    """
    started = time.monotonic()
    out = Path(config.out).expanduser()
    _check_replaceable(out, config.overwrite)
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
    with _built_beside(out, config.overwrite) as folder:
        _write(config, split, tokenizer, folder, started)
    return PreparedData.open(out)


def _tokenizer(config: PrepareConfig, split: CorpusSplit) -> "PreTrainedTokenizerFast":
    if config.tokenizer is not None:
        return load_tokenizer(config.tokenizer)
    with _progress("train tokenizer") as bar:
        try:
            return train_tokenizer(
                (text for name, text, size in _reported(iter(split), bar) if name == "train"), config.vocab_size
            )
        except ValueError as error:
            raise ValueError(f"source {config.source!r}: {error}") from error


def _write(
    config: PrepareConfig, split: CorpusSplit, tokenizer: "PreTrainedTokenizerFast", folder: Path, started: float
) -> None:
    save_tokenizer(tokenizer, folder / TOKENIZER_FOLDER)
    vocab_size = vocabulary_size(tokenizer)
    dtype = "uint16" if vocab_size <= LARGEST_UINT16_VOCABULARY else "uint32"
    writers = {name: _Writer(folder / f"{name}.bin", dtype) for name in SPLITS}
    try:
        with _progress("tokenize") as bar:
            checked = 0
            for batch in _batches(_reported(iter(split), bar)):
                texts = [text for _, text, _ in batch]
                stories = encode_stories(tokenizer, texts)
                if checked < _CHECKED_STORIES:
                    check_saved_tokenizer(folder / TOKENIZER_FOLDER, texts[:_CHECKED_STORIES], stories)
                    checked += len(batch)
                for name in SPLITS:
                    writers[name].add(
                        [ids for ids, (belongs, _, _) in zip(stories, batch, strict=True) if belongs == name],
                        sum(size for belongs, _, size in batch if belongs == name),
                    )
    finally:
        for writer in writers.values():
            writer.close()
    _check_not_empty(config, split, writers)
    bos, stops = story_token_ids(tokenizer)
    own_share = split.validation is None
    Manifest(
        format=FORMAT,
        format_version=FORMAT_VERSION,
        frailt_version=version("frailt"),
        source=config.source,
        validation=config.validation,
        split_rule=split.rule,
        validation_share=config.validation_share if own_share else None,
        seed=config.seed,
        separator=config.separator,
        text_field=config.text_field,
        stories=config.stories if "builtin" in (config.source, config.validation) else None,
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
    ).write(folder)


def _check_not_empty(config: PrepareConfig, split: CorpusSplit, writers: dict[SplitName, "_Writer"]) -> None:
    documents = {name: writer.documents for name, writer in writers.items()}
    if not any(documents.values()):
        raise ValueError(f"source {config.source!r} has no documents, only white space")
    for name in SPLITS:
        if documents[name]:
            continue
        if split.validation is None:
            raise ValueError(
                f"validation_share of {config.validation_share} leaves no document of {sum(documents.values())} in the "
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


class _Writer:
    """Appends stories to a .bin file and counts what goes in."""

    def __init__(self, path: Path, dtype: str) -> None:
        self.dtype = np.dtype(dtype).newbyteorder("<")
        self.file = path.open("wb")
        self.hash = hashlib.sha256()
        self.documents = self.tokens = self.utf8_bytes = self.longest = 0
        self.histogram: Counter[int] = Counter()

    def add(self, stories: list[list[int]], utf8_bytes: int) -> None:
        lengths = [len(story) for story in stories]
        data = np.fromiter(chain.from_iterable(stories), dtype=self.dtype, count=sum(lengths)).tobytes()
        self.file.write(data)
        self.hash.update(data)
        self.documents += len(stories)
        self.tokens += sum(lengths)
        self.utf8_bytes += utf8_bytes
        self.longest = max(self.longest, *lengths, 0)
        self.histogram.update(1 << (length - 1).bit_length() for length in lengths)

    def close(self) -> None:
        self.file.close()

    def manifest(self) -> SplitManifest:
        return SplitManifest(
            documents=self.documents,
            tokens=self.tokens,
            utf8_bytes=self.utf8_bytes,
            longest_document_tokens=self.longest,
            length_histogram={f"<={bound}": self.histogram[bound] for bound in sorted(self.histogram)},
            sha256=self.hash.hexdigest(),
        )


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


# The folder


def _check_replaceable(out: Path, overwrite: bool) -> None:
    """Raise unless `out` is free, or a prepared corpus that may be overwritten."""
    if out.is_file():
        raise FileExistsError(f"out must be a folder, but {str(out)!r} is a file; choose another")
    if not out.is_dir() or not any(out.iterdir()):
        return
    if not overwrite:
        raise FileExistsError(f"out {str(out)!r} exists and is not empty; choose another folder, or set overwrite")
    try:
        Manifest.read(out)
    except (FileNotFoundError, ValueError) as error:
        raise FileExistsError(
            f"out {str(out)!r} is not a prepared corpus, so overwrite does not replace it; choose another folder"
        ) from error


@contextmanager
def _built_beside(out: Path, overwrite: bool) -> Iterator[Path]:
    """A new folder `<out>.partial-…`, renamed to `out` when the block ends well, removed when it does not."""
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f"{out.name}.partial-", dir=out.parent))
    try:
        partial.chmod(0o755)  # mkdtemp makes it private
        yield partial
        _check_replaceable(out, overwrite)
        if (out / MANIFEST).exists():
            replaced = partial.with_name(partial.name.replace(".partial-", ".replaced-"))
            out.rename(replaced)
            partial.rename(out)
            shutil.rmtree(replaced)
        else:
            partial.replace(out)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
