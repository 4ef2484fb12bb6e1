"""A corpus that is streamed, for the tests of training."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from frailt.data.builtin import stories
from frailt.data.prepare import PrepareConfig, prepare


@pytest.fixture(scope="session")
def streamed(tmp_path_factory) -> Path:
    """60 stories in three parquet shards, whose train split is read where it is."""
    folder = tmp_path_factory.mktemp("streamed")
    texts = list(stories(60))
    (folder / "shards").mkdir()
    for shard in range(3):
        part = texts[shard::3]
        pq.write_table(pa.table({"text": part}), folder / "shards" / f"train-{shard}.parquet")
    prepare(
        PrepareConfig(
            source=str(folder / "shards"), out=str(folder / "data"), stream=True, vocab_size=330, validation_share=0.1
        )
    )
    return folder / "data"
