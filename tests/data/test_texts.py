"""Stories of a corpus as texts."""

import numpy as np
import pytest

from frailt.data.packing import PreparedData
from frailt.data.prepare import PrepareConfig, prepare
from frailt.data.texts import stories, texts


@pytest.mark.parametrize("block", [1, 2, 3, 7, 100])
def test_stories_are_cut_at_bos_whatever_the_blocks(block):
    stream = np.array([1, 5, 6, 1, 1, 7, 8, 9, 1, 4], dtype=np.uint16)
    assert [ids.tolist() for ids in stories(stream, 1, block)] == [[5, 6], [], [7, 8, 9], [4]]


def test_a_streamed_corpus_has_the_texts_of_the_prepared_one(tmp_path):
    (tmp_path / "all.txt").write_text("<|endoftext|>".join(f"Story {i} of  Tom.\n\nThe end." for i in range(60)))
    source = {"source": str(tmp_path / "all.txt"), "validation_share": 0.2, "vocab_size": 290}
    for name, stream in (("prepared", False), ("streamed", True)):
        prepare(PrepareConfig(**source, out=str(tmp_path / name), stream=stream))
    found = [list(texts(PreparedData.open(tmp_path / name), "train")) for name in ("prepared", "streamed")]
    assert found[0] == found[1]
    assert len(found[0]) > 30
    assert all(text.startswith("Story ") and text.endswith(" of  Tom.\n\nThe end.") for text in found[0])
