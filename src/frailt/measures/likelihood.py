"""How likely completions are under a model that did not tell them.

Shapes: B rows, T tokens, V vocabulary.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedTokenizerFast

from frailt.data.packing import IGNORED
from frailt.data.tokenizer import encode_stories


@dataclass(frozen=True)
class Asked:
    """A text as a model reads it, and from where on it is asked."""

    ids: list[int]
    first: int
    """The first token that counts; those before it are the beginning's."""

    @property
    def tokens(self) -> int:
        """How many count."""
        return len(self.ids) - self.first


@dataclass(frozen=True)
class Likelihood:
    """Of one completion, given its beginning."""

    nats: float
    tokens: int
    utf8_bytes: int

    @property
    def nats_per_token(self) -> float:
        """Of the tokens that count."""
        return self.nats / self.tokens

    @property
    def bits_per_byte(self) -> float:
        """Of UTF-8."""
        return self.nats / math.log(2) / self.utf8_bytes


def ask(tokenizer: PreTrainedTokenizerFast, prompts: Sequence[str], completions: Sequence[str]) -> list[Asked]:
    """Encode each story as one text, as the model's training stories were; its end is not part of it.

    What counts are the tokens from the first one in which beginning and completion, encoded as one, differ from the
    beginning encoded alone: mostly the tokens of the completion, and one more where a token reaches over the seam.
    """
    unique = list(dict.fromkeys(prompts))
    alone = dict(zip(unique, encode_stories(tokenizer, unique), strict=True))
    whole = encode_stories(tokenizer, [p + c for p, c in zip(prompts, completions, strict=True)])
    return [
        Asked(ids, sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(ids, alone[prompt], strict=False))))
        for prompt, ids in zip(prompts, whole, strict=True)
    ]


@torch.no_grad()
def nats(
    model: Any,
    texts: Sequence[Asked],
    *,
    context: int | None,
    batch_size: int = 16,
    progress: Callable[[int], object] = lambda windows_done: None,
) -> list[float]:
    """The sum of float32 nats over the tokens of each text that count.

    Texts longer than the context are read in windows that overlap by half of it, so that every token is predicted once,
    from half a context at least. Rows are filled up on the right, where a causal model does not look.

    Args:
        model: a causal language model of transformers, in evaluation mode.
        texts: what is asked.
        context: tokens that the model takes; None where it takes any number.
        batch_size: windows per forward pass.
        progress: told of windows that are done.
    """
    found = [0.0] * len(texts)
    parts = [(i, *window) for i, text in enumerate(texts) for window in windows(len(text.ids), text.first, context)]
    parts.sort(key=lambda part: part[3] - part[1], reverse=True)
    for at in range(0, len(parts), batch_size):
        batch = parts[at : at + batch_size]
        longest = max(end - begin for _, begin, _, end in batch)
        inputs = torch.zeros(len(batch), longest, dtype=torch.long)
        targets = torch.full((len(batch), longest), IGNORED)
        for row, (i, begin, first, end) in enumerate(batch):
            inputs[row, : end - begin] = torch.tensor(texts[i].ids[begin:end])
            targets[row, first - 1 - begin : end - begin] = torch.tensor(texts[i].ids[first : end + 1])
        logits = model(input_ids=inputs.to(model.device), use_cache=False).logits.float()  # (B, T, V)
        wanted = targets.to(model.device).flatten()
        losses = nn.functional.cross_entropy(logits.flatten(0, 1), wanted, ignore_index=IGNORED, reduction="none")
        sums = losses.view(len(batch), longest).cpu().double().sum(1).tolist()
        for (i, *_), total in zip(batch, sums, strict=True):
            found[i] += total
        progress(len(batch))
    return found


def windows(length: int, first: int, context: int | None) -> Iterator[tuple[int, int, int]]:
    """How a text is read: the model gets the tokens `begin` to `end - 1`, and is asked for `first` to `end`."""
    last = length - 1
    context = context or length
    known = max(1, context // 2)  # tokens before the first that counts, in all windows but those from the beginning
    begin = 0 if first <= context else first - known
    while first <= last:
        end = min(last, begin + context)
        yield begin, first, end
        first = end + 1
        begin = first - known
