"""The order in which rows are trained on: a batch is a function of (seed, step)."""

import numpy as np
import torch
from torch.utils.data import Dataset

from frailt.data.packing import PackedRows
from frailt.data.streaming import StreamedRows


class Order(Dataset):
    """`length` row numbers, those that are trained on, as they come: of a streamed corpus one after another."""

    def __init__(self, length: int) -> None:
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, position: int) -> int:
        return position


class ShuffledRows(Order):
    """`length` row numbers: one pass over the rows after another, each in its own order, without a seam between them.

    Args:
        rows: how many rows there are.
        length: how many are wanted, over all passes.
        seed: with the pass it fixes the order.
    """

    def __init__(self, rows: int, length: int, seed: int) -> None:
        super().__init__(length)
        self.rows, self.seed = rows, seed
        self._pass, self._order = -1, np.empty(0, dtype=np.int64)

    def __getitem__(self, position: int) -> int:
        current, within = divmod(position, self.rows)
        if current != self._pass:
            self._pass, self._order = current, np.random.default_rng([self.seed, current]).permutation(self.rows)
        return int(self._order[within])


class Collate:
    """Row numbers to a batch: `input_ids` and already shifted `labels`, int64 (B, T) each."""

    def __init__(self, rows: PackedRows | StreamedRows) -> None:
        self.rows = rows

    def __call__(self, indices: list[int]) -> dict[str, torch.Tensor]:
        inputs, targets = (torch.from_numpy(array) for array in self.rows.batch(indices))
        return {"input_ids": inputs, "labels": targets, "shift_labels": targets}
