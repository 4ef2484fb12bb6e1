"""How a prepared folder is written: streams of ids that are counted, in a folder that is renamed when whole."""

import hashlib
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

import numpy as np

from frailt.data.manifest import MANIFEST, Manifest, SplitManifest


class SplitWriter:
    """Appends stories to a .bin file and counts what goes in."""

    def __init__(self, path: Path, dtype: str) -> None:
        self.dtype = np.dtype(dtype).newbyteorder("<")
        self.file = path.open("wb")
        self.hash = hashlib.sha256()
        self.documents = self.tokens = self.utf8_bytes = self.longest = 0
        self.histogram: Counter[int] = Counter()

    def add(self, stories: list[list[int]], utf8_bytes: int) -> None:
        """Append the tokens of stories, BOS and all; `utf8_bytes` is how long their texts are together."""
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
        """Close the file; nothing can be added then."""
        self.file.close()

    def manifest(self) -> SplitManifest:
        """What went in: counts, lengths, and the SHA-256 of the file."""
        return SplitManifest(
            documents=self.documents,
            tokens=self.tokens,
            utf8_bytes=self.utf8_bytes,
            longest_document_tokens=self.longest,
            length_histogram={f"<={bound}": self.histogram[bound] for bound in sorted(self.histogram)},
            sha256=self.hash.hexdigest(),
        )


# The folder


def check_replaceable(out: Path, overwrite: bool) -> None:
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
def built_beside(out: Path, overwrite: bool) -> Iterator[Path]:
    """A new folder `<out>.partial-…`, renamed to `out` when the block ends well, removed when it does not."""
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f"{out.name}.partial-", dir=out.parent))
    try:
        partial.chmod(0o755)  # mkdtemp makes it private
        yield partial
        check_replaceable(out, overwrite)
        if (out / MANIFEST).exists():
            replaced = partial.with_name(partial.name.replace(".partial-", ".replaced-"))
            out.rename(replaced)
            try:
                partial.rename(out)
            except BaseException:
                replaced.rename(out)
                raise
            shutil.rmtree(replaced)
        else:
            partial.replace(out)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
