"""Texts as words, the same for every model and tokenizer; and how much they repeat themselves."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from math import prod

_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")

DRAWN = 50
"""n-grams that distinct-n looks at in each text."""


def words(text: str, start: int = 0) -> list[str]:
    """Runs of letters and digits, in lower case; an apostrophe between two of them belongs to the word.

    Args:
        text: any text.
        start: words that begin before this character are left out, also where they go on behind it.
    """
    return [match[0].lower() for match in _matches(text) if match.start() >= start]


def word_ends(text: str) -> list[int]:
    """Where each of the words ends, in characters."""
    return [match.end() for match in _matches(text)]


def _matches(text: str) -> Iterator[re.Match[str]]:
    return _WORD.finditer(text.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'"))


def told_words(prompt: str, completion: str) -> list[str]:
    """The words of a completion; one that the beginning had started is not among them."""
    return words(prompt + completion, len(prompt))


def ngrams(words: Sequence[str], n: int) -> list[tuple[str, ...]]:
    """All runs of n words, in order."""
    return list(zip(*(words[i:] for i in range(n)), strict=False))


def repetition(words: Sequence[str], n: int) -> float | None:
    """The share of n-grams that stood in the text before: seq-rep-n of Welleck et al. (2020), over words.

    None where there is no n-gram.
    """
    found = ngrams(words, n)
    return 1 - len(set(found)) / len(found) if found else None


def distinct(words: Sequence[str], n: int, drawn: int = DRAWN) -> float | None:
    """Distinct-n (Li et al. 2016) over a fixed number of n-grams, so that long texts compare with short ones.

    The share of different ones among `drawn` n-grams of the text, expected where they are drawn without replacement:
    rarefaction (Hurlbert 1971), known for n = 1 as HD-D (McCarthy and Jarvis 2007). None where there are fewer.
    """
    found = ngrams(words, n)
    total = len(found)
    if total < drawn:
        return None
    # None of an n-gram's `count` occurrences is drawn with probability C(total - count, drawn) / C(total, drawn).
    missed = (
        prod((total - drawn - i) / (total - i) for i in range(count)) if count <= total - drawn else 0.0
        for count in Counter(found).values()
    )
    return sum(1 - probability for probability in missed) / drawn
