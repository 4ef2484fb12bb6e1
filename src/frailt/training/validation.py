"""The validation loss: one function, behind the number in the training log, on the command line and from Python."""

import math
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from frailt.data.packing import IGNORED, PackedRows

from .processes import Processes


@dataclass(frozen=True, kw_only=True)
class Loss:
    """Mean loss over targets."""

    nats_per_token: float
    targets: int
    even_stories: "Loss | None" = None
    """Of the stories of even number alone, from 0: what a setting is chosen on."""
    odd_stories: "Loss | None" = None
    """Of the others: what it is then reported on."""

    @classmethod
    def from_record(cls, found: dict[str, Any]) -> "Loss":
        """What `dataclasses.asdict` gave, with or without more beside it."""
        halves = {name: cls.from_record(found[name]) for name in ("even_stories", "odd_stories") if found.get(name)}
        return cls(nats_per_token=found["nats_per_token"], targets=found["targets"], **halves)

    @property
    def perplexity(self) -> float:
        """The exponential of the mean loss."""
        return math.exp(self.nats_per_token) if self.nats_per_token < 700 else math.inf

    def bits_per_byte(self, utf8_bytes: int) -> float:
        """The same loss per byte of text; `utf8_bytes` are those of the stories that the targets are."""
        return self.nats_per_token * self.targets / math.log(2) / utf8_bytes


def share_of_rows(rows: int, share: float) -> list[int]:
    """The same evenly spread rows every time: at least one."""
    count = max(1, round(rows * share))
    return [(2 * i + 1) * rows // (2 * count) for i in range(count)]


EVALUATION_TOKENS = {"cpu": 2048, "cuda": 16384}
"""Tokens of a pass without gradients that keep a device busy; at widths 64 and 256 a core was no faster with more."""
_LOGITS_BYTES = 1 << 28


def evaluation_rows(training_rows: int, context: int, vocab_size: int, device: torch.device) -> int:
    """Rows of one pass without gradients: those of training, or as many more as pay, with logits of 256 MiB at most."""
    busy = EVALUATION_TOKENS.get(device.type, 2048) // context
    return max(training_rows, min(busy, _LOGITS_BYTES // (4 * context * vocab_size)))


@torch.no_grad()
def validation_loss(
    model: PreTrainedModel,
    rows: PackedRows,
    *,
    indices: Sequence[int] | None = None,
    batch_rows: int = 16,
    processes: Processes | None = None,
    progress: Callable[[int], object] = lambda rows_done: None,
) -> Loss:
    """The sum of float32 nats over all targets of `rows`, or of those at `indices`, divided by their number.

    Where the rows can tell stories apart, also over those of even and those of odd number; a target belongs to the
    story of its input, so that the end of a story is its own. Several `processes` share the batches, and all get the
    same result.

    The model computes in the precision of its weights, while it is trained in a lower one too, so that the numbers in
    a training log are those of its checkpoints. The rows' context may not exceed the model's.
    """
    indices = range(len(rows)) if indices is None else indices
    device = model.device
    count, rank = (processes.count, processes.rank) if processes is not None else (1, 0)
    batch_rows = min(batch_rows, len(indices))
    in_halves = rows.bos_token_id is not None
    nats, targets = [0.0, 0.0], [0, 0]  # of even and of odd stories
    with _evaluating(model):
        for begin in range(0, len(indices), batch_rows * count):
            chosen = list(indices[begin + batch_rows * rank :][:batch_rows])
            # Filled up with a row that does not count: a compiled model wants one shape, a sharded one all processes.
            filled = chosen + [indices[0]] * (batch_rows - len(chosen))
            inputs, wanted = (torch.from_numpy(array).to(device) for array in rows.batch(filled))  # (B, T)
            wanted[len(chosen) :] = IGNORED
            logits = model(input_ids=inputs, use_cache=False).logits.float()  # (B, T, V)
            losses = nn.functional.cross_entropy(
                logits.flatten(0, 1), wanted.flatten(), ignore_index=IGNORED, reduction="none"
            )
            losses, counted = losses.cpu().double(), (wanted != IGNORED).flatten().cpu()
            stories = (
                torch.from_numpy(rows.documents(filled)).flatten() if in_halves else torch.zeros_like(counted).int()
            )
            for parity in (0, 1):
                half = counted & (stories % 2 == parity)
                nats[parity] += losses[half].sum().item()
                targets[parity] += int(half.sum())
            progress(min(batch_rows * count, len(indices) - begin))
    if processes is not None:
        summed = processes.total(*nats, *targets)
        nats, targets = summed[:2], [int(number) for number in summed[2:]]
    halves = {}
    if in_halves and all(targets):
        halves = {
            name: Loss(nats_per_token=nats[parity] / targets[parity], targets=targets[parity])
            for parity, name in enumerate(("even_stories", "odd_stories"))
        }
    return Loss(nats_per_token=sum(nats) / sum(targets), targets=sum(targets), **halves)


@contextmanager
def _evaluating(model: nn.Module):
    was_training = model.training
    model.eval()
    autocast = model.__dict__.pop("forward", None)  # what accelerate puts in the way of the class's own
    try:
        yield
    finally:
        model.train(was_training)
        if autocast is not None:
            model.forward = autocast
