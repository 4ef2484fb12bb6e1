"""Files and folders that appear whole or not at all: written under another name, synced, renamed."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

HASHES = "files.json"
"""In a sealed folder: the SHA-256 of every other file in it."""

_MAY_BE_EDITED = {"README.md"}
"""A model's card is for people to write in: its licence, say."""


def write_whole(path: Path, text: str) -> None:
    """Write under another name, then rename: a file that is there is whole."""
    write_file_whole(path, lambda partial: partial.write_text(text, encoding="utf-8"))


def write_file_whole(path: Path, fill: Callable[[Path], object]) -> None:
    """Let `fill` write a file under another name, then rename it; what was begun is removed where it fails."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        fill(partial)
        _sync(partial)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    _sync(path.parent)


def write_folder_whole(folder: Path, fill: Callable[[Path], None]) -> None:
    """Let `fill` write a new folder, seal it with the hashes of its files, and put it in the place of `folder`.

    Whatever goes wrong, a folder that was there before stays, and what was begun is removed.
    """
    partial = folder.with_name(f".{folder.name}.partial")
    replaced = folder.with_name(f".{folder.name}.replaced")
    folder.parent.mkdir(parents=True, exist_ok=True)
    for leftover in (partial, replaced):
        shutil.rmtree(leftover, ignore_errors=True)
    partial.mkdir()
    try:
        fill(partial)
        _seal(partial)
        if folder.exists():
            folder.rename(replaced)
        partial.rename(folder)
    except BaseException:
        if replaced.exists() and not folder.exists():
            replaced.rename(folder)
        shutil.rmtree(partial, ignore_errors=True)
        raise
    _sync(folder.parent)
    shutil.rmtree(replaced, ignore_errors=True)


def tidy(parent: Path) -> None:
    """Clear what a kill left half-done in `parent`: back with what was to be replaced, away with the rest."""
    for replaced in parent.glob(".*.replaced"):
        folder = parent / replaced.name[1 : -len(".replaced")]
        if not folder.exists():  # the kill fell between the two renames
            replaced.rename(folder)
    for suffix in ("partial", "replaced", "removed"):
        for leftover in parent.glob(f".*.{suffix}"):
            if leftover.is_dir():
                shutil.rmtree(leftover)
            else:
                leftover.unlink()


def damage(folder: Path) -> str | None:
    """What is wrong with a sealed folder, in words; None where every file has its hash, but those people may edit."""
    try:
        hashes = json.loads((folder / HASHES).read_text(encoding="utf-8"))
        for name, expected in hashes.items():
            if name in _MAY_BE_EDITED:
                continue
            path = folder / name
            if not path.is_file():
                return f"{name} is missing"
            if sha256(path) != expected:
                return f"{name} has other contents than were written"
    except (OSError, ValueError, AttributeError) as error:
        return f"{HASHES} cannot be read: {error}"
    return None


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _seal(folder: Path) -> None:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    hashes = {path.relative_to(folder).as_posix(): sha256(path) for path in files}
    (folder / HASHES).write_text(json.dumps(hashes, indent=1) + "\n", encoding="utf-8")
    for path in [*files, folder / HASHES, *(p for p in folder.rglob("*") if p.is_dir()), folder]:
        _sync(path)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
