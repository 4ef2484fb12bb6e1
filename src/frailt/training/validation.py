"""The validation loss: one function, behind the number in the training log, on the command line and from Python."""

import math
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

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

    Several `processes` share the batches, and all get the same result.

    The model computes in the precision of its weights, while it is trained in a lower one too, so that the numbers in
    a training log are those of its checkpoints. The rows' context may not exceed the model's.
    """
    indices = range(len(rows)) if indices is None else indices
    device = model.device
    nats, targets = 0.0, 0
    count, rank = (processes.count, processes.rank) if processes is not None else (1, 0)
    batch_rows = min(batch_rows, len(indices))
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
            nats += losses.cpu().double().sum().item()
            targets += int((wanted != IGNORED).sum())
            progress(min(batch_rows * count, len(indices) - begin))
    if processes is not None:
        nats, counted = processes.total(nats, targets)
        targets = int(counted)
    return Loss(nats_per_token=nats / targets, targets=targets)


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
