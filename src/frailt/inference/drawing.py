"""How the next token follows from logits: the likeliest one, or one that is drawn.

Shapes: B rows, V vocabulary.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import LogitsProcessorList
from transformers.generation import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from frailt.model import FraiLTForCausalLM

Choose = Callable[[Tensor, Tensor, int], Tensor]
"""Chooses tokens from logits (B, V), for these rows of all prompts (B,), in this step: (B,)."""


class Greedy:
    """The likeliest token."""

    def __call__(self, logits: Tensor, row: Tensor, step: int) -> Tensor:
        """See `Choose`."""
        return logits.argmax(-1)


class Drawn:
    """Tokens drawn with the numbers that each row has for itself, so that what it gets depends on no other row.

    Args:
        warpers: transformers' temperature, top-p and top-k.
        numbers: uniform in [0, 1), one per row of all prompts and step: (rows, steps).
    """

    def __init__(self, warpers: LogitsProcessorList, numbers: Tensor) -> None:
        self.warpers, self.numbers = warpers, numbers

    def __call__(self, logits: Tensor, row: Tensor, step: int) -> Tensor:
        """See `Choose`: the token at which the summed probabilities pass the row's number."""
        device, last = logits.device, logits.shape[-1] - 1
        logits = self.warpers(None, logits)  # type: ignore[arg-type]  # none of them looks at the tokens so far
        passed = logits.to(self.numbers.device).double().softmax(-1).cumsum(-1)
        number = self.numbers[row.to(passed.device), step, None] * passed[:, -1:]
        return torch.searchsorted(passed, number, right=True).squeeze(-1).clamp_(max=last).to(device)


def drawing_device(device: torch.device) -> torch.device:
    """Where numbers for a model on `device` lie: there, but for MPS, which has no float64."""
    return torch.device("cpu") if device.type == "mps" else device


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """What is drawn among.

    Args:
        temperature: below 1 draws likelier tokens, above 1 less likely ones; 0 takes the likeliest.
        top_p: draw among the likeliest tokens that make up this probability.
        top_k: draw among so many likeliest tokens; 0 for all.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0

    def choice(self, model: FraiLTForCausalLM, seeds: Sequence[Sequence[int]]) -> Choose:
        """For rows of these seeds, whole numbers of 0 or more: what a row gets is a function of its own."""
        if self.temperature == 0:
            return Greedy()
        steps = model.config.max_position_embeddings
        numbers = np.stack([np.random.default_rng(list(seed)).random(steps) for seed in seeds])
        return Drawn(self.warpers(), torch.from_numpy(numbers).to(drawing_device(model.device)))

    def warpers(self) -> LogitsProcessorList:
        """Transformers' temperature, top-k and top-p, as far as they do something."""
        found = LogitsProcessorList()
        if self.temperature != 1:
            found.append(TemperatureLogitsWarper(self.temperature))
        if self.top_k:
            found.append(TopKLogitsWarper(self.top_k))
        if self.top_p < 1:
            found.append(TopPLogitsWarper(self.top_p))
        return found
