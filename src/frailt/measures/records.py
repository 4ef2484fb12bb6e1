"""What measuring leaves in a folder of completions, and whether it was done before.

measures.json   settings, means with intervals; written last, so that it says finished
measures.jsonl  a line per completion
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from frailt.data.whole_files import sha256, write_whole

from .table import Row

RECORD, LINES = "measures.json", "measures.jsonl"


def finished(folder: Path, settings: dict[str, Any]) -> dict[str, Any] | None:
    """The record in a folder, if it was made with these settings; None where there is something left to measure.

    Raises:
        FileExistsError: it was made of other completions, or with another evaluator or corpus, or with one where the
            settings have none: what was measured is never written over by less.
    """
    found = _read(folder)
    if found is None:
        return None
    file = folder / RECORD
    if found["completions_sha256"] != settings["completions_sha256"]:
        raise FileExistsError(f"completions have changed since they were measured, got {folder}: remove {file}")
    complete = True
    for name, key in (("evaluator", "sha256"), ("corpus", "hash")):
        before, now = found[name], settings[name]
        if before is None:
            complete = complete and now is None
        elif now is None:
            raise FileExistsError(
                f"{name} must be given again where completions were measured with one, got none for {folder}, "
                f"which has {before.get('checkpoint') or before.get('name')}: give it, or remove {file}"
            )
        elif before[key] != now[key]:
            raise FileExistsError(
                f"{name} must be the one that completions were measured with before, got another for {folder}: "
                f"give that, or remove {file}"
            )
    return found if complete else None


def write(folder: Path, rows: Sequence[Row], record: dict[str, Any]) -> dict[str, Any]:
    """Write both files, and return measures.json."""
    write_whole(folder / LINES, "".join(json.dumps(row) + "\n" for row in rows))
    record = {"status": "finished", **record, "lines_sha256": sha256(folder / LINES)}
    write_whole(folder / RECORD, json.dumps(record, indent=1) + "\n")
    return record


def _read(folder: Path) -> dict[str, Any] | None:
    path = folder / RECORD
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        whole = (
            found["status"] == "finished"
            and isinstance(found["completions_sha256"], str)
            and isinstance(found["measures"], dict)
            and all(
                found[name] is None or found[name][key] for name, key in (("evaluator", "sha256"), ("corpus", "hash"))
            )
            and found["lines_sha256"] == sha256(folder / LINES)
        )
    except (OSError, ValueError, KeyError, TypeError):
        whole = False
    if not whole:
        print(f"frailt measure: {path} or {LINES} beside it is damaged, and both are written anew", file=sys.stderr)
        return None
    return found
