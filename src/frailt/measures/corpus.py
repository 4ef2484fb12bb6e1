"""What records say of the corpus that completions are held against."""

from pathlib import Path
from typing import Any

from frailt.data.packing import PreparedData


def corpus_record(data: PreparedData) -> dict[str, Any]:
    """What records say of a corpus: its source without folders, and the hash over its contents."""
    source, split = data.manifest.source, data.manifest.splits.get("train")
    return {
        "name": Path(source).name if Path(source).is_absolute() else source,
        "hash": data.data_hash,
        "stories": split.documents if split is not None else None,
    }
