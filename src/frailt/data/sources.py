"""Corpus sources: one string names a corpus, its documents are streamed.

A source is `builtin` (the embedded generator), a file (`.txt`, `.jsonl`, `.parquet`; text may be compressed), a folder
of such files, or the id of a dataset on the Hugging Face Hub. A split of it is a sequence of shards (files), each of
which can be read from any of its documents on. Nothing here holds more than a block of a corpus in memory. What a user
can get wrong is a `ValueError` or `FileNotFoundError` of one line.
"""

import logging
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import Any

from frailt.data.builtin import MAX_STORIES, stories
from frailt.data.manifest import SourceKind
from frailt.data.readers import (
    COMPRESSIONS,
    FORMATS,
    READABLE,
    check_format,
    field_text,
    first_line,
    known_format,
    read_documents,
)

DEFAULT_SEPARATOR = "<|endoftext|>"
DEFAULT_STORIES = 20_000

# How datasets.load_dataset finds the splits of a folder: the keyword stands between separators.
_SPLIT_WORDS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class SourceOptions:
    """How to read a source; each option concerns the kinds of source that its comment names."""

    separator: str = DEFAULT_SEPARATOR  # .txt
    text_field: str = "text"  # .jsonl, .parquet, hub
    stories: int = DEFAULT_STORIES  # builtin: number of stories
    seed: int = 0  # builtin

    def __post_init__(self) -> None:
        if not self.separator:
            raise ValueError(
                "separator must not be empty; it is the text that stands between two documents of a .txt file"
            )
        if not self.text_field:
            raise ValueError("text_field must not be empty; it names the field that holds a document's text")
        if not 1 <= self.stories <= MAX_STORIES:
            raise ValueError(f"stories must be between 1 and {MAX_STORIES}, got {self.stories}")


@dataclass(frozen=True)
class Shard:
    """What is read from one end to the other: a file, a part of a dataset on the Hub, the embedded generator."""

    name: str
    """Below its source."""
    read: Callable[[int], Iterator[str]] = field(repr=False)
    """Its documents from one on, counted from 0."""
    path: Path | None = None
    """Of a file here."""


class Documents:
    """A split. A call starts a fresh pass over its documents, neither stripped nor freed of empty ones.

    Args:
        shards: finds the shards, in the order in which they are read; asked once.
    """

    def __init__(self, shards: Callable[[], Sequence[Shard]]) -> None:
        self._find = shards

    @cached_property
    def shards(self) -> Sequence[Shard]:
        return self._find()

    def __call__(self) -> Iterator[str]:
        for shard in self.shards:
            yield from shard.read(0)


@dataclass(frozen=True)
class Source:
    """A corpus found by `open_source`: its name and the splits it has."""

    name: str
    kind: SourceKind
    splits: dict[str, Documents] = field(repr=False)
    revision: str | None = None
    """Of a dataset on the Hub: the commit that is read."""

    @property
    def train(self) -> Documents:
        """What is trained on; raises a ValueError where there is none."""
        if "train" not in self.splits:
            others = f"only {', '.join(self.splits)}" if self.splits else "nor any other that is read"
            raise ValueError(
                f"source {self.name!r} has no train split, {others}; "
                "name the file to train on, or a folder or dataset with a train split"
            )
        return self.splits["train"]

    @property
    def validation(self) -> Documents | None:
        """What is held out by the corpus itself, where it does."""
        return self.splits.get("validation")


def open_source(source: str, options: SourceOptions | None = None) -> Source:
    """Find out what `source` names; its documents are read only when a split is iterated.

    Raises:
        FileNotFoundError: the path does not exist.
        ValueError: the source cannot be read as a corpus.
    """
    options = options or SourceOptions()
    if source == "builtin":
        return Source(source, "builtin", {"train": Documents(lambda: [builtin_shard(options)])})
    path = Path(source).expanduser()
    if path.is_dir():
        return Source(source, "files", _folder_splits(path, options))
    if path.exists():
        check_format(path)
        return Source(source, "files", {"train": Documents(lambda: file_shards(path, [path.name], options))})
    if _HUB_ID.fullmatch(source) and not source.endswith((*FORMATS, *COMPRESSIONS)):
        revision = _hub_revision(source)
        return Source(source, "hub", hub_splits(source, options, revision), revision)
    raise FileNotFoundError(
        f"source {source!r} does not exist; give a file, a folder, the id of a dataset on the Hub "
        "(such as roneneldan/TinyStories) or builtin"
    )


def stripped(documents: Iterator[str], dropped: Callable[[], None] | None = None) -> Iterator[str]:
    """The documents without white space at their ends; empty ones are dropped, each with a call of `dropped`."""
    for document in documents:
        text = document.strip()
        if text:
            yield text
        elif dropped is not None:
            dropped()


# Folders and files


def _folder_splits(folder: Path, options: SourceOptions) -> dict[str, Documents]:
    files = [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and known_format(path)
        and not any(part.startswith((".", "_")) for part in path.relative_to(folder).parts)
    ]
    if not files:
        raise ValueError(f"folder {str(folder)!r} has no file that can be read; readable are {READABLE}")
    by_split: dict[str, list[Path]] = {}
    for path in files:
        by_split.setdefault(_split_of(path.relative_to(folder)), []).append(path)
    if "" in by_split and by_split.keys() <= {"", "test"}:
        by_split["train"] = by_split.pop("")
    left_out = [str(path) for split in ("", "test") for path in by_split.pop(split, [])]
    if left_out:
        logger.warning(
            "%s: not read, as their names put them in neither the train nor the validation split: %s",
            folder,
            ", ".join(left_out),
        )
    names = {split: [path.relative_to(folder).as_posix() for path in paths] for split, paths in by_split.items()}
    return {split: Documents(partial(file_shards, folder, below, options)) for split, below in names.items()}


def _split_of(path: Path) -> str:
    """`train`, `validation`, `test`, or nothing: by the words in a file's path below its folder."""
    words = re.split(r"[-._ /\\0-9]+", path.as_posix().lower())
    for split, keywords in _SPLIT_WORDS.items():
        if any(word in keywords for word in words):
            return split
    return ""


def file_shards(location: Path, names: Sequence[str], options: SourceOptions) -> list[Shard]:
    """The files of these names in a folder, or the one file that is the location itself."""

    def read(path: Path, skip: int) -> Iterator[str]:
        return read_documents(
            path,
            separator=options.separator,
            text_field=options.text_field,
            one_of_many=len(names) > 1,
            skip=skip,
        )

    paths = [location / name if location.is_dir() else location for name in names]
    return [Shard(name, partial(read, path), path) for name, path in zip(names, paths, strict=True)]


def builtin_shard(options: SourceOptions) -> Shard:
    """The stories of the embedded generator; those passed over are told nevertheless."""
    return Shard("builtin", lambda skip: islice(stories(options.stories, seed=options.seed), skip, None))


# The Hub


def _hub_revision(dataset: str) -> str | None:
    """The commit that a dataset is at: all passes, and runs that stream it, then read the same."""
    from huggingface_hub import HfApi

    try:
        return HfApi().dataset_info(dataset).sha
    except Exception as error:
        raise ValueError(_not_found(dataset, error)) from error


def hub_splits(dataset: str, options: SourceOptions, revision: str | None = None) -> dict[str, Documents]:
    """The splits of a dataset on the Hub, or of a local folder laid out like one, through `datasets`.

    The documents are streamed: nothing is kept on disk, and a corpus larger than the disk can be read.
    """
    import datasets

    try:
        names = datasets.get_dataset_split_names(dataset, revision=revision)
    except Exception as error:  # the library raises a dozen unrelated kinds here
        raise ValueError(_not_found(dataset, error)) from error
    named = _splits_by_name([str(name) for name in names])
    splits = {split: Documents(partial(hub_shards, dataset, name, options, revision)) for split, name in named.items()}
    if left_out := [name for split, name in named.items() if split not in ("train", "validation")]:
        logger.warning("%s: splits not read: %s", dataset, ", ".join(left_out))
    splits.pop("test", None)
    return splits


def _splits_by_name(names: Sequence[str]) -> dict[str, str]:
    """The name of each split: its own, or the only one whose words say it, such as `valid` and `train_sft`."""
    found = {name: name for name in names}
    for split in ("train", "validation"):
        alike = [name for name in names if _split_of(Path(name)) == split]
        if split not in found and len(alike) == 1:
            found[split] = found.pop(alike[0])
    return found


def _not_found(dataset: str, error: Exception) -> str:
    return (
        f"source {dataset!r} is neither a file or folder here nor a dataset that can be had from the Hub: "
        f"{first_line(error)}"
    )


def hub_shards(dataset: str, split: str, options: SourceOptions, revision: str | None) -> list[Shard]:
    """The shards of one split, which are the dataset's files."""
    import datasets

    where = f"dataset {dataset!r}, split {split}"
    try:
        streamed = datasets.load_dataset(dataset, split=split, streaming=True, revision=revision)
        count = streamed.num_shards
    except Exception as error:
        raise ValueError(f"{where}: reading failed: {first_line(error)}") from error

    def read(index: int, skip: int) -> Iterator[str]:
        rows: Iterator[dict[str, Any]] | None = None
        while True:
            try:
                rows = rows or iter(streamed.shard(num_shards=count, index=index).skip(skip))
                row = next(rows, None)
            except Exception as error:
                raise ValueError(f"{where}: reading failed: {first_line(error)}") from error
            if row is None:
                return
            yield field_text(row, options.text_field, where)

    return [Shard(f"{split}-{index:05d}-of-{count:05d}", partial(read, index)) for index in range(count)]
