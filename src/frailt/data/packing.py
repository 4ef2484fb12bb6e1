"""A prepared corpus on disk, and its rows: readable with numpy alone.

A prepared folder holds `train.bin` and `validation.bin` (one flat stream of token ids each, little-endian uint16, or
uint32 where the vocabulary needs it), `tokenizer/`, and `manifest.json`, whose presence says that the folder is whole.
Of a streamed corpus there is no `train.bin`: its documents are read where they are (`frailt.data.streaming`).

Protocol (docs/decisions.md): a story is BOS + ids; a corpus is its stories in order, as one stream, cut into rows of
context + 1 tokens that overlap by one, so that every token but the first is a target exactly once.

Shapes: B rows, T = context tokens.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
import numpy.typing as npt

from frailt.data.manifest import DIGESTS, SPLITS, TOKENIZER_FOLDER, Manifest, SplitManifest, SplitName
from frailt.data.streaming import StreamedSplit
from frailt.data.whole_files import sha256

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

IGNORED = -100
"""The target of a position that is none; the value that torch's cross entropy leaves out."""

_SCAN_TOKENS = 1 << 22


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
        for name in manifest.written_splits:
            path, expected = folder / f"{name}.bin", manifest.splits[name].tokens * np.dtype(manifest.dtype).itemsize
            size = path.stat().st_size if path.is_file() else 0
            if size != expected:
                raise ValueError(
                    f"{path}: truncated or damaged, {expected} bytes expected, got {size}; prepare the corpus again"
                )
        if not (folder / TOKENIZER_FOLDER).is_dir():
            raise ValueError(f"{folder}: its folder {TOKENIZER_FOLDER} is missing; prepare the corpus again")
        if manifest.stream is not None and manifest.stream.digests_sha256 and not (folder / DIGESTS).is_file():
            raise ValueError(f"{folder}: its file {DIGESTS} is missing; prepare the corpus again")
        return cls(folder, manifest)

    def verify(self) -> None:
        """Compare what lies on disk with the manifest: the SHA-256 of every .bin file, and the shards of a stream.

        Reads the .bin files once, at the speed of SHA-256; of shards only the sizes.

        Raises:
            FileNotFoundError: a file is missing.
            ValueError: a file is not what was prepared.
        """
        expected = {f"{name}.bin": self.manifest.splits[name].sha256 for name in self.manifest.written_splits}
        if self.manifest.stream is not None and self.manifest.stream.digests_sha256 is not None:
            expected[DIGESTS] = self.manifest.stream.digests_sha256
        for name, wanted in expected.items():
            path = self.folder / name
            try:
                found = sha256(path)
            except FileNotFoundError as error:
                raise FileNotFoundError(f"{path}: missing; put it back, or prepare the corpus again") from error
            if found != wanted:
                raise ValueError(
                    f"{path}: changed since it was prepared, SHA-256 {wanted[:12]}… expected, got {found[:12]}…; "
                    "put the old file back, or prepare the corpus again"
                )
        train = self.split("train")
        if isinstance(train, StreamedSplit):
            train.check()

    def __str__(self) -> str:
        manifest = self.manifest
        splits = "\n".join(
            f"  {name:<10}  {split.documents:>10,} documents  {split.tokens:>13,} tokens  {split.utf8_bytes:>13,} bytes"
            for name, split in manifest.splits.items()
        )
        if manifest.stream is not None:
            size = sum(size or 0 for size in manifest.stream.shards.values())
            splits = (
                f"  {'train':<10}  streamed from {manifest.stream.location}: {len(manifest.stream.shards):,} shards"
                f"{f', {size:,} bytes' if size else ''}\n{splits}"
            )
        left_out = (
            f"\n  left out: {manifest.empty_documents_dropped:,} empty documents, "
            f"{manifest.duplicates_removed_from_train:,} training documents that are in validation too"
        )
        return (
            f"{self.folder}: vocabulary {manifest.vocab_size:,}, {manifest.dtype}, {manifest.split_rule}\n{splits}"
            f"{left_out if manifest.stream is None else ''}"
        )

    @property
    def data_hash(self) -> str:
        """SHA-256 over the contents, from the hashes in the manifest."""
        return self.manifest.data_hash

    def tokenizer(self) -> "PreTrainedTokenizerFast":
        """The tokenizer; it adds BOS itself."""
        from frailt.data.tokenizer import load_tokenizer

        return load_tokenizer(str(self.folder / TOKENIZER_FOLDER))

    @overload
    def split(self, name: Literal["validation"]) -> "TokenStream": ...
    @overload
    def split(self, name: SplitName) -> "TokenStream | StreamedSplit": ...
    def split(self, name: SplitName) -> "TokenStream | StreamedSplit":
        """The stream of one split; `StreamedSplit` for the train split of a streamed corpus."""
        if name not in SPLITS:
            raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {name!r}")
        if name == "train" and self.manifest.stream is not None:
            return StreamedSplit(self.folder, self.manifest)
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
        return PackedRows(self.tokens, context, self.bos_token_id)

    def documents_longer_than(self, context: int) -> int:
        """How many documents have more than `context` tokens, BOS included. Reads the whole stream once."""
        return int(
            np.count_nonzero(np.diff(_starts(self.tokens, self.bos_token_id), append=len(self.tokens)) > context)
        )


class PackedRows:
    """A stream of n tokens as rows of T inputs and the T targets after them; row i starts at token i * T.

    The last row may be partial: there inputs are filled up with 0, targets with `IGNORED` (-100). The other positions
    of a causal model cannot see the filling.

    Args:
        stream: (n,) token ids, n at least 2; usually memory-mapped.
        context: T, in tokens.
        bos_token_id: what each document begins with; without it rows cannot tell their documents apart.

    Raises:
        ValueError: `context` is below 1, or the stream has no target.
    """

    def __init__(self, stream: npt.NDArray[Any], context: int, bos_token_id: int | None = None) -> None:
        if context < 1:
            raise ValueError(f"context must be at least 1 token, got {context}")
        if stream.ndim != 1:
            raise ValueError(f"a stream must have one dimension, got shape {stream.shape}")
        if len(stream) < 2:
            raise ValueError(f"a stream must have at least 2 tokens, an input and a target, got {len(stream)}")
        self.stream = stream
        self.context = context
        self.bos_token_id = bos_token_id

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

    def documents(self, indices: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """The number of the document, from 0, that each input of several rows is in: int64 (B, T)."""
        positions = np.asarray(indices, dtype=np.int64)[:, None] * self.context + np.arange(self.context)
        return np.searchsorted(self._starts, positions, side="right") - 1

    @cached_property
    def _starts(self) -> npt.NDArray[np.int64]:
        if self.bos_token_id is None:
            raise ValueError("rows must be told the bos_token_id to tell documents apart")
        return _starts(self.stream, self.bos_token_id)


def _starts(tokens: npt.NDArray[Any], bos_token_id: int) -> npt.NDArray[np.int64]:
    """Where each document starts: (documents,). Reads the stream once, in parts."""
    blocks = range(0, len(tokens), _SCAN_TOKENS)
    return np.concatenate([at + np.flatnonzero(tokens[at : at + _SCAN_TOKENS] == bos_token_id) for at in blocks])
