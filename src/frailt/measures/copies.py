"""What completions share with training stories, word for word: exactly, with a corpus that is only streamed.

A suffix automaton (Blumer et al. 1985) holds every run of words of the completions, in time and memory linear in them.
Each story of the corpus is then read through it once, which tells at every word the longest run ending there that
some completion has. So memory goes by the completions, and time by the corpus.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

LONG_COPY = 10
"""Words from which on a copied run counts for the share of a text that is copied."""

_ROOT = 0


@dataclass(frozen=True)
class Copied:
    """What one text shares with the stories."""

    run: list[str]
    """The longest run of its words that stands in one story; the first of several."""
    share: float | None
    """Of its words, those in runs of `LONG_COPY` or more that stand in one story; None without words."""


class Runs:
    """All runs of words of some texts; stories that are read leave marks on those that they have.

    States are numbered from 0, the root. A state stands for runs that end at the same places of the texts: suffixes of
    each other, of lengths from that of its link, exclusively, to its own.
    """

    def __init__(self, texts: Sequence[Sequence[str]]) -> None:
        self._vocabulary: dict[str, int] = {}
        self._next: list[dict[int, int]] = [{}]
        self._link, self._length = [-1], [0]
        self._texts = [[self._vocabulary.setdefault(word, len(self._vocabulary)) for word in text] for text in texts]
        last = _ROOT
        for number, text in enumerate(self._texts):
            for symbol in text:
                last = self._append(last, symbol)
            last = self._append(last, -1 - number)  # what no story has: no run goes over the end of a text
        self._seen = [0] * len(self._next)
        """For each state, the length of the longest of its runs that a story has."""

    def _append(self, last: int, symbol: int) -> int:
        new = self._state({}, self._length[last] + 1, _ROOT)
        state = last
        while state >= 0 and symbol not in self._next[state]:
            self._next[state][symbol] = new
            state = self._link[state]
        if state < 0:
            return new
        target = self._next[state][symbol]
        if self._length[target] > self._length[state] + 1:
            # The shorter runs of `target` now end at one place more than the longer: they get a state of their own.
            shorter = self._state(dict(self._next[target]), self._length[state] + 1, self._link[target])
            self._link[target] = shorter
            while state >= 0 and self._next[state].get(symbol) == target:
                self._next[state][symbol] = shorter
                state = self._link[state]
            target = shorter
        self._link[new] = target
        return new

    def _state(self, following: dict[int, int], length: int, link: int) -> int:
        self._next.append(following)
        self._length.append(length)
        self._link.append(link)
        return len(self._next) - 1

    def read(self, story: Iterable[str]) -> None:
        """Mark the runs that this story has."""
        after, link, lengths, seen = self._next, self._link, self._length, self._seen
        symbol_of = self._vocabulary.get
        state, length = _ROOT, 0
        for word in story:
            symbol = symbol_of(word)
            if symbol is None:
                state, length = _ROOT, 0
                continue
            while (step := after[state].get(symbol)) is None:  # the root knows every word
                state = link[state]
                length = lengths[state]
            state, length = step, length + 1
            if length > seen[state]:
                seen[state] = length

    def shared(self) -> Iterator[list[int]]:
        """For each text, the length of the longest run that ends at each of its words and that a story has."""
        seen = list(self._seen)
        for state in sorted(range(1, len(seen)), key=self._length.__getitem__, reverse=True):
            link = self._link[state]
            if seen[state] and link != _ROOT:  # a story that has a run has its suffixes
                seen[link] = self._length[link]
        for text in self._texts:
            state, found = _ROOT, []
            for symbol in text:
                state = self._next[state][symbol]
                longest = state
                while longest != _ROOT and not seen[longest]:
                    longest = self._link[longest]
                found.append(seen[longest])
            yield found


def copied(text: Sequence[str], shared: Sequence[int]) -> Copied:
    """What `Runs.shared` says of one text."""
    if not text:
        return Copied([], None)
    longest = max(shared)
    end = shared.index(longest) + 1
    covered, free = 0, len(text)  # from the end, words before `free` are not counted yet
    for last in range(len(text), 0, -1):
        if shared[last - 1] >= LONG_COPY:
            begin = last - shared[last - 1]
            covered += max(0, min(last, free) - begin)
            free = min(free, begin)
    return Copied(list(text[end - longest : end]), covered / len(text))
