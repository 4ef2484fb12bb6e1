"""The next token of each of several texts, each by its own settings and its own random numbers."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from frailt.inference.drawing import Drawn, Greedy, Sampling, drawing_device

_warpers = lru_cache(maxsize=64)(Sampling.warpers)


def numbers_of(seed: int, sample: int) -> np.random.Generator:
    """The random numbers of one text: no other text has a part in them, so a seed gives the same text in any company.

    Args:
        seed: of the request.
        sample: which of the texts behind one prompt it is.
    """
    return np.random.default_rng([seed, sample])


def choose(logits: Tensor, samplings: Sequence[Sampling], numbers: Sequence[np.random.Generator]) -> list[int]:
    """A token for each row of logits (B, V)."""
    rows_of: dict[Sampling, list[int]] = {}
    for row, sampling in enumerate(samplings):
        rows_of.setdefault(sampling, []).append(row)
    if len(rows_of) == 1:
        return _choose_alike(logits, samplings[0], numbers)
    chosen = [0] * len(samplings)
    for sampling, rows in rows_of.items():
        for row, token in zip(rows, _choose_alike(logits[rows], sampling, [numbers[r] for r in rows]), strict=True):
            chosen[row] = token
    return chosen


def _choose_alike(logits: Tensor, sampling: Sampling, numbers: Sequence[np.random.Generator]) -> list[int]:
    rows = torch.arange(len(logits), device=logits.device)
    if sampling.temperature == 0:
        return Greedy()(logits, rows, 0).tolist()
    drawn = torch.tensor(
        [[each.random()] for each in numbers], dtype=torch.float64, device=drawing_device(logits.device)
    )
    return Drawn(_warpers(sampling), drawn)(logits, rows, 0).tolist()
