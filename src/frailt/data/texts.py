"""The stories of a prepared corpus as texts, one after another, whatever its size."""

from collections.abc import Iterator
from itertools import islice, pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from .manifest import SplitName
from .packing import PreparedData, TokenStream

_BLOCK_TOKENS = 1 << 20
_DECODED_TOGETHER = 512  # on all cores


def texts(data: PreparedData, split: SplitName) -> Iterator[str]:
    """The stripped stories of a split, in order.

    Raises:
        FileNotFoundError, ValueError: it is a streamed split, and its source is not there or has changed.
    """
    found = data.split(split)
    if isinstance(found, TokenStream):
        backend = data.tokenizer().backend_tokenizer
        each = stories(found.tokens, found.bos_token_id)
        while some := [ids.tolist() for ids in islice(each, _DECODED_TOGETHER)]:
            yield from backend.decode_batch(some, skip_special_tokens=False)
        return
    for place, text in found.documents():
        if place.pass_:  # documents are read again and again
            return
        yield text


def stories(tokens: npt.NDArray[Any], bos: int, block: int = _BLOCK_TOKENS) -> Iterator[npt.NDArray[Any]]:
    """The ids of each story of a stream, without the BOS before them. Holds a block and a story."""
    rest = tokens[:0]
    for at in range(0, len(tokens), block):
        found = np.concatenate([rest, tokens[at : at + block]])
        starts = np.flatnonzero(found == bos)
        for begin, end in pairwise(starts):
            yield found[begin + 1 : end]
        rest = found[starts[-1] :] if len(starts) else found
    if len(rest):
        yield rest[1:]
