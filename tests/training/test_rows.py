import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from frailt.data.packing import IGNORED, PackedRows
from frailt.training.rows import Collate, ShuffledRows


@given(rows=st.integers(1, 97), passes=st.integers(1, 4), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=50, deadline=None)
def test_every_row_comes_once_in_every_pass(rows, passes, seed):
    order = ShuffledRows(rows, rows * passes, seed)
    for number in range(passes):
        assert sorted(order[number * rows + i] for i in range(rows)) == list(range(rows))


def test_passes_follow_each_other_in_orders_of_their_own_without_a_seam():
    rows = 31
    order = [ShuffledRows(rows, 3 * rows, seed=5)[i] for i in range(3 * rows)]
    first, second, third = (order[i * rows : (i + 1) * rows] for i in range(3))
    assert first != second != third != first
    batch = [ShuffledRows(rows, 3 * rows, seed=5)[i] for i in range(28, 36)]  # crosses from the first into the second
    assert batch == first[28:] + second[:5]


def test_a_position_gives_its_row_in_whatever_order_positions_are_asked_for():
    order = ShuffledRows(31, 93, seed=5)
    forward = [order[i] for i in range(93)]
    asked = np.random.default_rng(0).permutation(93)
    assert [order[int(i)] for i in asked] == [forward[i] for i in asked]


def test_the_length_changes_no_order_and_the_seed_does():
    assert [ShuffledRows(31, 93, seed=5)[i] for i in range(62)] == [ShuffledRows(31, 62, seed=5)[i] for i in range(62)]
    assert [ShuffledRows(31, 93, seed=5)[i] for i in range(31)] != [ShuffledRows(31, 93, seed=6)[i] for i in range(31)]


def test_a_batch_is_the_inputs_and_shifted_targets_of_its_rows():
    rows = PackedRows(np.arange(100, 124, dtype=np.uint16), context=7)  # the last row has 2 targets
    batch = Collate(rows)([3, 0])
    inputs, targets = rows.batch([3, 0])
    assert batch["input_ids"].dtype == batch["labels"].dtype == torch.int64
    np.testing.assert_array_equal(batch["input_ids"], inputs)
    np.testing.assert_array_equal(batch["labels"], targets)
    np.testing.assert_array_equal(batch["shift_labels"], targets)
    assert batch["labels"].tolist()[1] == list(range(101, 108))
    assert batch["labels"].tolist()[0] == [122, 123, *[IGNORED] * 5]
