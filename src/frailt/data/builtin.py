"""Small children's stories made on the spot: the corpus of the quickstart and the tests, without a network.

Endings follow from beginnings: who holds what after some swaps, in which tin in which basket a key lies, whose dog has
a blue collar. Between a fact and its use come other people and things, so that predicting the ending takes attention
over a long range and more than one step.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator

from frailt.data import builtin_clues, builtin_counts, builtin_feelings, builtin_plans, builtin_things
from frailt.data.builtin_words import Teller

Plot = Callable[[Teller], list[str]]

PLOTS: tuple[Plot, ...] = (
    *builtin_things.PLOTS,
    *builtin_counts.PLOTS,
    *builtin_clues.PLOTS,
    *builtin_feelings.PLOTS,
    *builtin_plans.PLOTS,
)

# Far below what the plots can tell, so that duplicates stay rare.
MAX_STORIES = 1_000_000


def stories(count: int, *, seed: int = 0) -> Iterator[str]:
    """Yield `count` distinct stories of 80 to 250 words, in ASCII, one newline between their 3 or 4 paragraphs.

    They are a function of the seed alone, on every platform and Python version, and `stories(100)` are the first 100
    of `stories(1000)`.

    Raises:
        ValueError: if count is below 1 or above `MAX_STORIES`; at the call, not at the first story.

    """
    if not 1 <= count <= MAX_STORIES:
        raise ValueError(f"count must be between 1 and {MAX_STORIES}, got {count}")
    return _distinct(count, seed)


def _distinct(count: int, seed: int) -> Iterator[str]:
    told: set[bytes] = set()  # digests, not texts: a large corpus need not stay in memory
    index = 0
    while len(told) < count:
        story = tell(seed, index)[1]
        index += 1
        digest = hashlib.blake2b(story.encode("ascii"), digest_size=16).digest()
        if digest not in told:
            told.add(digest)
            yield story


def tell(seed: int, index: int) -> tuple[Plot, str]:
    """Draw number `index` of a seed, and the plot it follows.

    Two draws may tell the same story; `stories` drops the second.
    """
    # A string is seeded by its SHA-512, so that neighboring seeds and indices share nothing.
    teller = Teller(random.Random(f"{seed}/{index}"))
    plot = teller.one(PLOTS)
    paragraphs = plot(teller)
    if teller.chance(0.4):  # run two paragraphs together, for a less even look
        at = teller.number(1, len(paragraphs) - 1)
        paragraphs[at - 1 : at + 1] = [f"{paragraphs[at - 1]} {paragraphs[at]}"]
    return plot, "\n".join(paragraphs)
