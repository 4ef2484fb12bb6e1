"""Readers of corpus files: text with a separator, JSON lines, parquet; text and JSON lines also compressed.

Each yields documents as they are written and holds no more than a block and a document. A file that cannot be read is
a `ValueError` of one line that names the file and, where there is one, the place in it.
"""

import bz2
import codecs
import gzip
import json
import logging
import lzma
import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, cast

logger = logging.getLogger(__name__)

BLOCK_BYTES = 1 << 20
LONGEST_DOCUMENT_CHARACTERS = 64 << 20  # beyond this a .txt file's separator is taken to be wrong

WHOLE_FILE_CHARACTERS = 64 << 10  # up to this a lone .txt file without any separator may be one document

FORMATS = {".txt": "text", ".jsonl": "json", ".json": "json", ".ndjson": "json", ".parquet": "parquet"}
COMPRESSIONS = (".gz", ".bz2", ".xz", ".zst")
READABLE = ".txt, .jsonl, .ndjson and .json (plain or .gz, .bz2, .xz, .zst) and .parquet"


def known_format(path: Path) -> str | None:
    """The format that a file's name tells, if it tells a readable one."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in COMPRESSIONS:
        suffixes.pop()
        if suffixes and suffixes[-1] == ".parquet":
            return None
    return FORMATS.get(suffixes[-1]) if suffixes else None


def check_format(path: Path) -> str:
    """As `known_format`, but raise `ValueError` where there is none."""
    known = known_format(path)
    if known is None:
        raise ValueError(f"{path}: cannot tell the format from the name; readable are {READABLE}")
    return known


def read_documents(
    path: Path, *, separator: str, text_field: str, one_of_many: bool = False, skip: int = 0
) -> Iterator[str]:
    """The documents of one file.

    Args:
        path: the file.
        separator: the text between two documents of a .txt file.
        text_field: the field that holds a document's text, in other formats.
        one_of_many: whether a .txt file without any separator is one document for sure, as in a folder of them.
        skip: so many documents at its beginning are passed over, in .parquet by whole row groups, else by reading.

    Raises:
        ValueError: the file is empty, cut short, not UTF-8, or not of the form that its name and the options say.
    """
    kind = check_format(path)
    if path.stat().st_size == 0:
        raise ValueError(f"{path}: the file is empty")
    match kind:
        case "text":
            return islice(_text_documents(path, separator, one_of_many), skip, None)
        case "json":
            return _json_documents(path, text_field, skip)
    return _parquet_documents(path, text_field, skip)


def _open_stream(path: Path) -> BinaryIO:
    match path.suffix.lower():
        case ".gz":
            return cast(BinaryIO, gzip.open(path, "rb"))
        case ".bz2":
            return cast(BinaryIO, bz2.open(path, "rb"))
        case ".xz":
            return cast(BinaryIO, lzma.open(path, "rb"))
        case ".zst":
            import pyarrow

            return cast(BinaryIO, pyarrow.input_stream(str(path), compression="zstd"))
    return path.open("rb")


def _blocks(path: Path) -> Iterator[bytes]:
    """The decompressed bytes of a file in blocks."""
    with _open_stream(path) as stream:
        while True:
            try:
                block = stream.read(BLOCK_BYTES)
            except (EOFError, OSError, zlib.error, lzma.LZMAError) as error:
                raise ValueError(
                    f"{path}: cannot be decompressed, it is cut short or damaged ({first_line(error)})"
                ) from error
            if not block:
                return
            yield block


def _text_blocks(path: Path) -> Iterator[str]:
    """The text of a UTF-8 file in blocks, without a leading byte order mark."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    position = 0  # of the block, in decompressed bytes
    first = True

    def decode(block: bytes, final: bool) -> str:
        pending = len(decoder.getstate()[0])  # the start of a character that the last block cut
        try:
            return decoder.decode(block, final)
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{path}: not UTF-8 at byte {position - pending + error.start} ({error.reason}); convert it to UTF-8"
            ) from error

    for block in _blocks(path):
        text = decode(block, False)
        yield text.removeprefix("\ufeff") if first else text
        first = False
        position += len(block)
    decode(b"", True)


def _text_documents(path: Path, separator: str, one_of_many: bool) -> Iterator[str]:
    rest, seen = "", False
    for text in _text_blocks(path):
        *documents, rest = (rest + text).split(separator)
        seen = seen or bool(documents)
        yield from documents
        if len(rest) > LONGEST_DOCUMENT_CHARACTERS:
            break
    alone = not seen and not one_of_many
    if len(rest) > LONGEST_DOCUMENT_CHARACTERS or (alone and len(rest) > WHOLE_FILE_CHARACTERS):
        where = f"in {len(rest):,} characters" if seen else "anywhere"
        raise ValueError(
            f"{path}: the separator {separator!r} does not occur {where}; "
            "set separator to what stands between two documents of this file, or give the folder if each file is one"
        )
    if alone and rest.strip():
        logger.warning("%s: the separator %r does not occur, so the file is one document", path, separator)
    yield rest


def _json_documents(path: Path, text_field: str, skip: int) -> Iterator[str]:
    number, rest, begun = 0, "", False
    for text in _text_blocks(path):
        if not begun and (begun := bool(text.strip())) and (first := text.lstrip()).startswith("["):
            begins = number + 1 + text[: -len(first)].count("\n")  # said at once: it may be all of a large file
            raise ValueError(f"{path}, line {begins}: a JSON object is needed on every line, got list")
        *lines, rest = (rest + text).split("\n")
        for line in lines:
            number += 1
            if not line.strip():
                continue
            if skip:
                skip -= 1
            else:
                yield _json_document(line, text_field, f"{path}, line {number}")
        if len(rest) > LONGEST_DOCUMENT_CHARACTERS:
            raise ValueError(
                f"{path}, line {number + 1}: a JSON object is needed on every line, got one without an end"
            )
    if rest.strip() and not skip:
        yield _json_document(rest, text_field, f"{path}, line {number + 1} (the last)")


def _json_document(line: str, text_field: str, where: str) -> str:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:  # also numbers of thousands of digits
        raise ValueError(f"{where}: not one JSON value, is the file cut short? ({first_line(error)})") from error
    if not isinstance(row, dict):
        raise ValueError(f"{where}: a JSON object is needed on every line, got {type(row).__name__}")
    return field_text(row, text_field, where)


def _parquet_documents(path: Path, text_field: str, skip: int) -> Iterator[str]:
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            if text_field not in file.schema_arrow.names:
                raise ValueError(_no_field_text(text_field, file.schema_arrow.names, str(path)))
            groups = range(file.num_row_groups)
            while groups and skip >= (rows := file.metadata.row_group(groups[0]).num_rows):
                groups, skip = groups[1:], skip - rows
            for batch in file.iter_batches(batch_size=1024, row_groups=groups, columns=[text_field]):
                for value in batch.column(0)[min(skip, len(batch)) :].to_pylist():
                    yield field_text({text_field: value}, text_field, str(path))
                skip = max(0, skip - len(batch))
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(f"{path}: not a whole parquet file, cut short or damaged ({first_line(error)})") from error


def field_text(row: dict[str, Any], text_field: str, where: str) -> str:
    """The text in a field of a row; null is an empty document."""
    if text_field not in row:
        raise ValueError(_no_field_text(text_field, list(row), where))
    value = row[text_field]
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ValueError(f"{where}: field {text_field!r} must hold text, got {type(value).__name__}")
    return value


def _no_field_text(text_field: str, fields: list[str], where: str) -> str:
    return (
        f"{where}: no field {text_field!r}; set text_field to one of those there: {', '.join(map(str, fields)) or '—'}"
    )


def first_line(error: BaseException) -> str:
    """The first line of an error's message, to be told in one of ours."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
