"""A prepared corpus on disk, and its rows: readable with numpy alone.

A prepared folder holds `train.bin` and `validation.bin` (one flat stream of token ids each, little-endian uint16, or
uint32 where the vocabulary needs it), `tokenizer/`, and `manifest.json`, whose presence says that the folder is whole.

Protocol (docs/decisions.md): a story is BOS + ids; a corpus is its stories in order, as one stream, cut into rows of
context + 1 tokens that overlap by one, so that every token but the first is a target exactly once.

Shapes: B rows, T = context tokens.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

FORMAT = "frailt-prepared-corpus"
FORMAT_VERSION = 1
MANIFEST = "manifest.json"
TOKENIZER_FOLDER = "tokenizer"
IGNORED = -100
"""The target of a position that is none; the value that torch's cross entropy leaves out."""

SplitName = Literal["train", "validation"]
SPLITS: tuple[SplitName, ...] = ("train", "validation")
_SCAN_TOKENS = 1 << 22


@dataclass(frozen=True, kw_only=True)
class SplitManifest:
    """What one stream holds."""

    documents: int
    tokens: int  # BOS of every document included
    utf8_bytes: int  # of the stripped documents
    longest_document_tokens: int
    length_histogram: dict[str, int]  # "<=N": documents of more than N/2 and at most N tokens
    sha256: str  # of the .bin file


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What `manifest.json` says; written by `frailt.data.prepare`."""

    format: str
    format_version: int
    frailt_version: str
    source: str
    validation: str | None
    split_rule: str
    validation_share: float | None  # of documents; None where the source's own or a given validation split was used
    seed: int
    separator: str
    text_field: str
    stories: int | None  # builtin only
    max_documents: int | None
    empty_documents_dropped: int
    duplicates_removed_from_train: int
    tokenizer: str | None  # None: trained on this corpus
    tokenizer_sample_bytes: int | None  # at most so many bytes of train documents were used to train it
    tokenizer_sha256: str
    vocab_size: int
    bos_token_id: int
    stop_token_ids: list[int]
    dtype: str  # numpy's name of the integers in the .bin files
    elapsed_s: float
    splits: dict[str, SplitManifest]

    @property
    def data_hash(self) -> str:
        """SHA-256 over the contents: both streams and the tokenizer. Equal for equal data, wherever it lies."""
        content = [self.tokenizer_sha256, self.dtype, *(self.splits[split].sha256 for split in SPLITS)]
        return hashlib.sha256("\n".join(content).encode("ascii")).hexdigest()

    def write(self, folder: Path) -> None:
        """Write `manifest.json` under another name, then rename it."""
        partial = folder / (MANIFEST + ".partial")
        partial.write_text(json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        partial.replace(folder / MANIFEST)

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """Read and check `manifest.json`.

        Raises:
            FileNotFoundError: there is none, so the folder is no finished prepared corpus.
            ValueError: it is damaged, or not ours, or of another version.
        """
        path = folder / MANIFEST
        if not path.is_file():
            reason = "there is no such folder" if not folder.is_dir() else f"it has no {MANIFEST}"
            raise FileNotFoundError(f"{str(folder)!r} is not a prepared corpus: {reason}; make one with frailt prepare")
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{path}: damaged, not JSON; prepare the corpus again") from error
        if not isinstance(values, dict) or values.get("format") != FORMAT:
            raise ValueError(f"{path}: not the manifest of a prepared corpus; make one with frailt prepare")
        if values.get("format_version") != FORMAT_VERSION:
            raise ValueError(
                f"{path}: format_version must be {FORMAT_VERSION}, got {values.get('format_version')!r}; "
                "prepare the corpus again with this version of frailt"
            )
        try:
            values["splits"] = {name: SplitManifest(**split) for name, split in values["splits"].items()}
            if set(values["splits"]) != set(SPLITS) or values["dtype"] not in ("uint16", "uint32"):
                raise ValueError
            return cls(**values)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            expected = ", ".join(item.name for item in fields(cls))
            raise ValueError(f"{path}: damaged, its fields must be {expected}; prepare the corpus again") from error


@dataclass(frozen=True)
class PreparedData:
    """A finished prepared corpus. Nothing is read but the manifest until a split is used."""

    folder: Path
    manifest: Manifest

    @classmethod
    def open(cls, folder: str | Path) -> "PreparedData":
        """Open a prepared folder.

        Raises:
            FileNotFoundError: there is no finished prepared corpus.
            ValueError: it is foreign, damaged or cut short.
        """
        folder = Path(folder).expanduser()
        manifest = Manifest.read(folder)
        for name in SPLITS:
            path, expected = folder / f"{name}.bin", manifest.splits[name].tokens * np.dtype(manifest.dtype).itemsize
            size = path.stat().st_size if path.is_file() else 0
            if size != expected:
                raise ValueError(
                    f"{path}: truncated or damaged, {expected} bytes expected, got {size}; prepare the corpus again"
                )
        if not (folder / TOKENIZER_FOLDER).is_dir():
            raise ValueError(f"{folder}: its folder {TOKENIZER_FOLDER} is missing; prepare the corpus again")
        return cls(folder, manifest)

    def __str__(self) -> str:
        manifest = self.manifest
        splits = "\n".join(
            f"  {name:<10}  {split.documents:>10,} documents  {split.tokens:>13,} tokens  {split.utf8_bytes:>13,} bytes"
            for name, split in manifest.splits.items()
        )
        return (
            f"{self.folder}: vocabulary {manifest.vocab_size:,}, {manifest.dtype}, {manifest.split_rule}\n{splits}\n"
            f"  left out: {manifest.empty_documents_dropped:,} empty documents, "
            f"{manifest.duplicates_removed_from_train:,} training documents that are in validation too"
        )

    @property
    def data_hash(self) -> str:
        """SHA-256 over the contents, from the hashes in the manifest."""
        return self.manifest.data_hash

    def tokenizer(self) -> "PreTrainedTokenizerFast":
        """The tokenizer; it adds BOS itself."""
        from frailt.data.tokenizer import load_tokenizer

        return load_tokenizer(str(self.folder / TOKENIZER_FOLDER))

    def split(self, name: SplitName) -> "TokenStream":
        """The stream of one split."""
        if name not in SPLITS:
            raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {name!r}")
        return TokenStream(
            self.folder / f"{name}.bin", self.manifest.dtype, self.manifest.splits[name], self.manifest.bos_token_id
        )


@dataclass(frozen=True)
class TokenStream:
    """One split: its stories in order, as one stream of ids."""

    path: Path
    dtype: str
    manifest: SplitManifest
    bos_token_id: int

    @cached_property
    def tokens(self) -> npt.NDArray[Any]:
        """The ids, memory-mapped: (tokens,)."""
        little_endian = np.dtype(self.dtype).newbyteorder("<")
        return np.memmap(self.path, dtype=little_endian, mode="r", shape=(self.manifest.tokens,))

    def rows(self, context: int) -> "PackedRows":
        """The stream cut into rows of `context` inputs and targets."""
        return PackedRows(self.tokens, context)

    def documents_longer_than(self, context: int) -> int:
        """How many documents have more than `context` tokens, BOS included. Reads the whole stream once."""
        longer, start = 0, 0  # start: of the document that is open
        for block in range(0, len(self.tokens), _SCAN_TOKENS):
            starts = block + np.flatnonzero(self.tokens[block : block + _SCAN_TOKENS] == self.bos_token_id)
            if len(starts):
                longer += int(np.count_nonzero(np.diff(starts, prepend=start) > context))
                start = int(starts[-1])
        return longer + (len(self.tokens) - start > context)


class PackedRows:
    """A stream of n tokens as rows of T inputs and the T targets after them; row i starts at token i * T.

    The last row may be partial: there inputs are filled up with 0, targets with `IGNORED` (-100). The other positions
    of a causal model cannot see the filling.

    Args:
        stream: (n,) token ids, n at least 2; usually memory-mapped.
        context: T, in tokens.

    Raises:
        ValueError: `context` is below 1, or the stream has no target.
    """

    def __init__(self, stream: npt.NDArray[Any], context: int) -> None:
        if context < 1:
            raise ValueError(f"context must be at least 1 token, got {context}")
        if stream.ndim != 1:
            raise ValueError(f"a stream must have one dimension, got shape {stream.shape}")
        if len(stream) < 2:
            raise ValueError(f"a stream must have at least 2 tokens, an input and a target, got {len(stream)}")
        self.stream = stream
        self.context = context

    @property
    def num_targets(self) -> int:
        """Targets in all rows: every token but the first."""
        return len(self.stream) - 1

    def __len__(self) -> int:
        return -(-self.num_targets // self.context)

    def __getitem__(self, index: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Inputs and targets of one row: int64 (T,) each."""
        inputs, targets = self.batch([index])
        return inputs[0], targets[0]

    def batch(self, indices: npt.ArrayLike) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Inputs and targets of several rows: int64 (B, T) each.

        Raises:
            IndexError: an index is outside 0 .. len - 1.
        """
        rows = np.asarray(indices, dtype=np.int64)
        if rows.ndim != 1:
            raise IndexError(f"indices must have one dimension, got shape {rows.shape}")
        if rows.size and not (rows.min() >= 0 and rows.max() < len(self)):
            raise IndexError(f"row index must be in 0 .. {len(self) - 1}, got {rows.min()} to {rows.max()}")
        positions = rows[:, None] * self.context + np.arange(self.context + 1)  # (B, T + 1)
        there = positions < len(self.stream)
        tokens = self.stream[np.where(there, positions, 0)].astype(np.int64)
        # An input that has no target (the last token of the stream) is filling as well.
        inputs = np.where(there[:, 1:], tokens[:, :-1], 0)
        targets = np.where(there[:, 1:], tokens[:, 1:], IGNORED)
        return inputs, targets
