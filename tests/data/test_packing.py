import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frailt.data.packing import IGNORED, PackedRows, SplitManifest, TokenStream


@given(length=st.integers(2, 200), context=st.integers(1, 60))
def test_every_token_but_the_first_is_a_target_exactly_once_and_follows_its_input(length, context):
    stream = np.arange(1, length + 1, dtype=np.uint16)  # each token is its place, counted from 1; 0 is filling
    rows = PackedRows(stream, context)
    inputs, targets = rows.batch(range(len(rows)))
    assert inputs.shape == targets.shape == (len(rows), context)
    real = targets != IGNORED
    assert targets[real].tolist() == list(range(2, length + 1))
    assert (inputs[real] == targets[real] - 1).all()
    assert real.sum() == rows.num_targets == length - 1
    assert real[:-1].all(), "only the last row may be partial"
    assert real[-1].any(), "no row is empty"
    assert (inputs[~real] == 0).all()


@given(length=st.integers(2, 50), context=st.integers(1, 60))
def test_rows_overlap_by_one_token(length, context):
    rows = PackedRows(np.arange(length), context)
    for index in range(1, len(rows)):
        assert rows[index][0][0] == rows[index - 1][1][-1]


def test_rows_are_int64_whatever_the_stream_holds():
    for dtype in ("<u2", "<u4", ">u2"):
        inputs, targets = PackedRows(np.array([7, 5, 3], dtype=dtype), 2)[0]
        assert inputs.dtype == targets.dtype == np.int64
        assert (inputs.tolist(), targets.tolist()) == ([7, 5], [5, 3])


def test_the_largest_uint32_id_survives():
    assert PackedRows(np.array([0, 2**32 - 1], dtype=np.uint32), 1)[0][1].tolist() == [2**32 - 1]


def test_a_batch_holds_the_rows_asked_for_in_their_order():
    rows = PackedRows(np.arange(29), 5)
    inputs, targets = rows.batch([4, 0, 4])
    for place, index in enumerate([4, 0, 4]):
        assert inputs[place].tolist() == rows[index][0].tolist()
        assert targets[place].tolist() == rows[index][1].tolist()


def test_rows_can_be_iterated_and_end():
    assert len(list(PackedRows(np.arange(29), 5))) == len(PackedRows(np.arange(29), 5)) == 6


@pytest.mark.parametrize("index", [-1, 6, 10**9])
def test_a_row_that_is_not_there_is_an_index_error(index):
    with pytest.raises(IndexError, match=r"0 .. 5"):
        PackedRows(np.arange(29), 5)[index]


@pytest.mark.parametrize("length", [0, 1])
def test_a_stream_without_a_target_is_refused(length):
    with pytest.raises(ValueError, match=f"at least 2 tokens.*got {length}"):
        PackedRows(np.arange(length), 5)


def test_a_context_below_one_is_refused():
    with pytest.raises(ValueError, match="context must be at least 1 token, got 0"):
        PackedRows(np.arange(7), 0)


@given(lengths=st.lists(st.integers(1, 12), min_size=1, max_size=20), context=st.integers(1, 13))
def test_documents_longer_than_a_context_are_counted(lengths, context):
    stream = _stream(np.concatenate([[1] + [5] * (length - 1) for length in lengths]))
    assert stream.documents_longer_than(context) == sum(length > context for length in lengths)


def test_documents_are_counted_across_the_blocks_of_a_scan(monkeypatch):
    monkeypatch.setattr("frailt.data.packing._SCAN_TOKENS", 3)
    lengths = [2, 3, 4, 11, 1, 1, 7]
    stream = _stream(np.concatenate([[1] + [5] * (length - 1) for length in lengths]))
    for context in range(1, 13):
        assert stream.documents_longer_than(context) == sum(length > context for length in lengths)


@given(lengths=st.lists(st.integers(1, 12), min_size=1, max_size=20), context=st.integers(1, 13))
def test_rows_tell_which_document_each_input_is_in(lengths, context):
    tokens = np.concatenate([[1] + [5] * (length - 1) for length in lengths] + [[1]])  # a last one, of BOS alone
    rows = _stream(tokens).rows(context)
    found = rows.documents(range(len(rows))).flatten()[: len(tokens) - 1]
    assert found.tolist() == [number for number, length in enumerate(lengths) for _ in range(length)]


def test_rows_without_a_bos_cannot_tell_documents_apart():
    with pytest.raises(ValueError, match="bos_token_id"):
        PackedRows(np.arange(7), 3).documents([0])


def _stream(tokens) -> TokenStream:
    manifest = SplitManifest(
        documents=0, tokens=len(tokens), utf8_bytes=0, longest_document_tokens=0, length_histogram={}, sha256=""
    )
    stream = TokenStream(None, "uint16", manifest, bos_token_id=1)
    stream.__dict__["tokens"] = tokens.astype(np.uint16)
    return stream


def test_reading_rows_needs_numpy_alone():
    import subprocess
    import sys

    code = (
        "import sys, json; from frailt.data.packing import PackedRows, PreparedData; import frailt.data.prepare; "
        "print(json.dumps([m for m in ('torch', 'transformers', 'datasets', 'tokenizers', 'sentencepiece', 'pyarrow') "
        "if m in sys.modules]))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(found.stdout) == []
