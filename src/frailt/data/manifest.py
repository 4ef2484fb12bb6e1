"""What `manifest.json` of a prepared folder says; its presence says that the folder is whole."""

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal

from frailt.data.whole_files import write_whole

FORMAT = "frailt-prepared-corpus"
FORMAT_VERSION = 1
MANIFEST = "manifest.json"
TOKENIZER_FOLDER = "tokenizer"
DIGESTS = "validation.digests"
"""Of a streamed corpus: the 16-byte digests of the validation documents, sorted, which the train split leaves out."""

SplitName = Literal["train", "validation"]
SPLITS: tuple[SplitName, ...] = ("train", "validation")
SourceKind = Literal["builtin", "files", "hub"]


@dataclass(frozen=True, kw_only=True)
class SplitManifest:
    """What one stream of ids on disk holds."""

    documents: int
    tokens: int  # BOS of every document included
    utf8_bytes: int  # of the stripped documents
    longest_document_tokens: int
    length_histogram: dict[str, int]  # "<=N": documents of more than N/2 and at most N tokens
    sha256: str  # of the .bin file


@dataclass(frozen=True, kw_only=True)
class StreamManifest:
    """Where the train split of a streamed corpus is read, and the shards that were there."""

    kind: SourceKind
    location: str  # of files: the absolute path of the file or folder; else the source as it was given
    shards: dict[str, int | None]  # names below the location, in reading order, and bytes; None: not a file here
    digests_sha256: str | None  # of the file of digests; None: validation documents are told by the held-out share


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What `manifest.json` says; written by `frailt.data.prepare`."""

    format: str
    format_version: int
    frailt_version: str
    source: str
    revision: str | None = None  # of a dataset on the Hub: the commit that was read
    validation: str | None
    split_rule: str
    validation_share: float | None  # of documents; None where the source's own or a given validation split was used
    seed: int
    separator: str
    text_field: str
    stories: int | None  # builtin only
    max_documents: int | None
    empty_documents_dropped: int  # of a streamed corpus: of what was read to prepare it
    duplicates_removed_from_train: int  # of a streamed corpus: 0, they are left out while reading
    tokenizer: str | None  # None: trained on this corpus
    tokenizer_sample_bytes: int | None  # at most so many bytes of train documents were used to train it
    tokenizer_sha256: str
    vocab_size: int
    bos_token_id: int
    stop_token_ids: list[int]
    dtype: str  # numpy's name of the integers in the .bin files
    elapsed_s: float
    splits: dict[str, SplitManifest]  # of a streamed corpus: validation alone
    stream: StreamManifest | None = None  # None: train is in train.bin too

    @property
    def written_splits(self) -> tuple[SplitName, ...]:
        """The splits that are in .bin files."""
        return SPLITS if self.stream is None else ("validation",)

    @property
    def data_hash(self) -> str:
        """SHA-256 over the contents: the streams and the tokenizer. Equal for equal data, wherever it lies.

        Of a streamed train split: over what decides it, the names and sizes of its shards (on the Hub its revision),
        how they are read and what is left out.
        """
        content = [self.tokenizer_sha256, self.dtype, *(self.splits[split].sha256 for split in self.written_splits)]
        if self.stream is not None:
            where = {
                "builtin": [self.stories, self.seed],
                "files": [self.separator, self.text_field],
                "hub": [self.stream.location, self.revision, self.text_field],
            }[self.stream.kind]
            digests = self.stream.digests_sha256
            left_out = [digests] if digests is not None else [self.validation_share, self.seed]
            shards = list(self.stream.shards.items())
            content.append(json.dumps([self.stream.kind, where, shards, left_out, self.max_documents]))
        return hashlib.sha256("\n".join(content).encode("ascii")).hexdigest()

    def write(self, folder: Path) -> None:
        """Write `manifest.json` under another name, then rename it."""
        write_whole(folder / MANIFEST, json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n")

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
            if values.get("stream") is not None:
                values["stream"] = StreamManifest(**values["stream"])
            manifest = cls(**values)
            if set(manifest.splits) != set(manifest.written_splits) or manifest.dtype not in ("uint16", "uint32"):
                raise ValueError
            return manifest
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            expected = ", ".join(item.name for item in fields(cls))
            raise ValueError(f"{path}: damaged, its fields must be {expected}; prepare the corpus again") from error
