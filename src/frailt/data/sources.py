"""Corpus sources: one string names a corpus, its documents are streamed.

A source is `builtin` (the embedded generator), a file (`.txt`, `.jsonl`, `.parquet`; text may be compressed), a folder
of such files, or the id of a dataset on the Hugging Face Hub. Nothing here holds more than a block of a corpus in
memory. What a user can get wrong is a `ValueError` or `FileNotFoundError` of one line.
"""

import logging
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from frailt.data.builtin import MAX_STORIES, stories
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

# How datasets.load_dataset finds the splits of a folder: the keyword stands between separators.
_SPLIT_WORDS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")

Documents = Callable[[], Iterator[str]]
"""Starts a fresh pass over a split's documents, as they are written: neither stripped nor freed of empty ones."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class SourceOptions:
    """How to read a source; each option concerns the kinds of source that its comment names."""

    separator: str = DEFAULT_SEPARATOR  # .txt
    text_field: str = "text"  # .jsonl, .parquet, hub
    stories: int = 20_000  # builtin: number of stories
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
class Source:
    """A corpus found by `open_source`: its name and, for each split it has, a way to start a pass over it."""

    name: str
    splits: dict[str, Documents] = field(repr=False)

    @property
    def train(self) -> Documents:
        if "train" not in self.splits:
            raise ValueError(
                f"source {self.name!r} has no train split, only {', '.join(self.splits)}; "
                "name the file to train on, or a folder or dataset with a train split"
            )
        return self.splits["train"]

    @property
    def validation(self) -> Documents | None:
        return self.splits.get("validation")


def open_source(source: str, options: SourceOptions | None = None) -> Source:
    """Find out what `source` names; its documents are read only when a split is iterated.

    Raises:
        FileNotFoundError: the path does not exist.
        ValueError: the source cannot be read as a corpus.
    """
    options = options or SourceOptions()
    if source == "builtin":
        return Source(source, {"train": partial(stories, options.stories, seed=options.seed)})
    path = Path(source).expanduser()
    if path.is_dir():
        return Source(source, _folder_splits(path, options))
    if path.exists():
        check_format(path)
        return Source(source, {"train": partial(_files_documents, [path], options)})
    if _HUB_ID.fullmatch(source) and not source.endswith((*FORMATS, *COMPRESSIONS)):
        return Source(source, hub_splits(source, options))
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
    if set(by_split) == {""}:
        by_split = {"train": files}
    left_out = [str(path) for split in ("", "test") for path in by_split.pop(split, [])]
    if left_out:
        logger.warning(
            "%s: not read, as their names put them in neither the train nor the validation split: %s",
            folder,
            ", ".join(left_out),
        )
    return {split: partial(_files_documents, paths, options) for split, paths in by_split.items()}


def _split_of(path: Path) -> str:
    """`train`, `validation`, `test`, or nothing: by the words in a file's path below its folder."""
    words = re.split(r"[-._ /\\0-9]+", path.as_posix().lower())
    for split, keywords in _SPLIT_WORDS.items():
        if any(word in keywords for word in words):
            return split
    return ""


def _files_documents(paths: list[Path], options: SourceOptions) -> Iterator[str]:
    for path in paths:
        yield from read_documents(
            path, separator=options.separator, text_field=options.text_field, one_of_many=len(paths) > 1
        )


# The Hub


def hub_splits(dataset: str, options: SourceOptions) -> dict[str, Documents]:
    """The splits of a dataset on the Hub, or of a local folder laid out like one, through `datasets`.

    The documents are streamed: nothing is kept on disk, and a corpus larger than the disk can be read.
    """
    import datasets

    try:
        names = datasets.get_dataset_split_names(dataset)
    except Exception as error:  # the library raises a dozen unrelated kinds here
        raise ValueError(
            f"source {dataset!r} is neither a file or folder here nor a dataset that can be had from the Hub: "
            f"{first_line(error)}"
        ) from error
    splits: dict[str, Documents] = {str(name): partial(_hub_documents, dataset, str(name), options) for name in names}
    splits.pop("test", None)
    return splits


def _hub_documents(dataset: str, split: str, options: SourceOptions) -> Iterator[str]:
    import datasets

    where = f"dataset {dataset!r}, split {split}"
    rows: Iterator[dict[str, Any]] | None = None
    while True:
        try:
            rows = rows or iter(datasets.load_dataset(dataset, split=split, streaming=True))
            row = next(rows, None)
        except Exception as error:
            raise ValueError(f"{where}: reading failed: {first_line(error)}") from error
        if row is None:
            return
        yield field_text(row, options.text_field, where)
