"""Stories, and what the shipped tasks ask about them, as documents of lm-eval.

The YAML files beside this one name these functions, for `frailt evaluate --tasks` and for lm-eval's own command. What
is asked is a function of the stories alone: nothing is drawn, and no tokenizer has a part in it.

What the three tasks ask for never ends at the same place of a story: pieces end behind a mark, endings before their
last one, names before another word. For lm-eval 0.4.13 scores requests wrongly that are the same text from its
beginning to its end and ask for parts of it of different length (its issue 2984).
"""

import math
import re
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frailt.data.builtin import stories as builtin_stories
from frailt.data.manifest import MANIFEST
from frailt.data.packing import PreparedData
from frailt.data.sources import DEFAULT_STORIES, open_source, stripped
from frailt.data.splits import VALIDATION_SHARE, held_out_by_hash
from frailt.data.texts import texts

if TYPE_CHECKING:
    from datasets import Dataset

Row = dict[str, Any]

BUILTIN_STORIES = 400
"""How many built-in ones there are."""
PIECE_BYTES = 480
"""Of a story, in UTF-8, that are asked for at once: a tokenizer that makes a token of a byte at most fills 512."""
CHOICES = 4
LEAST_WORDS = 8
"""Of an ending; and what comes before has at least as many."""

_NEXT_SENTENCE = re.compile(r"[.!?][\"'”’]*(\s+)(?=\S)")
_LAST_MARKS = re.compile(r"[.!?\"'”’]+$")
_NAME = re.compile(r"(?<=[a-z,]) [A-Z][a-z]+\b(?=.*\w)", re.DOTALL)


# Stories


@lru_cache(maxsize=1)  # each task of a group asks for them
def read_stories(source: str | None = None) -> tuple[str, ...]:
    """Stripped stories that no model shall have been trained on.

    Args:
        source: a prepared corpus or any source that `frailt prepare` takes: its validation split, or all of it where it
            has none. By default the first `BUILTIN_STORIES` that a prepared corpus of built-in stories holds out.

    Raises:
        FileNotFoundError, ValueError: there are no stories at `source`.
    """
    if source is None or source == "builtin":
        return _builtin_stories()
    if (Path(source).expanduser() / MANIFEST).is_file():
        found = tuple(texts(PreparedData.open(source), "validation"))
    else:
        opened = open_source(source)
        found = tuple(stripped((opened.validation or opened.train)()))
    if not found:
        raise ValueError(f"stories must not be all white space, got {source}")
    return found


@cache
def _builtin_stories() -> tuple[str, ...]:
    held_out = held_out_by_hash(VALIDATION_SHARE, 0)
    told = (story for story in builtin_stories(DEFAULT_STORIES) if held_out(story.encode()))
    return tuple(islice(told, BUILTIN_STORIES))


# What is asked


def _of_stories(rows: Callable[[Sequence[str]], list[Row]]) -> Callable[..., dict[str, "Dataset"]]:
    """As a `custom_dataset` of lm-eval, which calls it with all of a task's metadata."""

    def dataset(stories: str | None = None, **others: object) -> dict[str, "Dataset"]:
        from datasets import Dataset

        return {"test": Dataset.from_list(rows(read_stories(stories)))}

    return dataset


def pieces(stories: Sequence[str]) -> list[Row]:
    """Each story in pieces, and what stands `before` each: nothing, or all of the story so far.

    A piece is as many sentences as have room in it, or as many words. The tokens of all pieces are those of the story,
    for a tokenizer that begins a new one at white space. All of a story is asked for, and that it ends there is not.
    """
    rows = []
    for story in stories:
        at = 0
        while at < len(story):
            most = len(story[at : at + PIECE_BYTES].encode()[:PIECE_BYTES].decode(errors="ignore"))
            found = _piece(most).match(story, at)
            assert found is not None
            rows.append({"before": story[:at], "piece": found[0]})
            at = found.end()
    return rows


@cache
def _piece(characters: int) -> re.Pattern[str]:
    """As many sentences, or words, or characters, as have room."""
    some = rf".{{1,{characters}}}"
    return re.compile(rf"{some}(?<=[.!?\"'”’])(?!\S)|{some}(?<!\s)(?!\S)|{some}", re.DOTALL)


def surprise(doc: Row, results: Sequence[tuple[float, bool]]) -> dict[str, tuple[float, int]]:
    """Log-likelihood of a piece beside its UTF-8 bytes or its words, for lm-eval to divide the sums."""
    ((nats, _),) = results
    of_bytes, of_words = (nats, len(doc["piece"].encode())), (nats, len(doc["piece"].split()))
    return {"bits_per_byte": of_bytes, "byte_perplexity": of_bytes, "word_perplexity": of_words}


def perplexity(items: Sequence[tuple[float, int]]) -> float:
    """E to the nats per unit, as lm-eval's `weighted_perplexity`; infinite where no float is as large.

    Text without spaces is one word, and its perplexity beyond all bounds.
    """
    nats, units = zip(*items, strict=True)
    try:
        return math.exp(-sum(nats) / sum(units))
    except OverflowError:
        return math.inf


def endings(stories: Sequence[str]) -> list[Row]:
    """The end of a story, and four stories up to their ends: its own, and those that stand beside it in the corpus.

    An ending is the fewest last sentences with `LEAST_WORDS` words, without its last marks. The question is which story
    makes it likeliest: it is the same words each time, so that neither their number nor how common they are matters.
    Stories without such an ending are left out.

    Raises:
        ValueError: too few have one.
    """
    told = [parts for parts in map(_ending, stories) if parts is not None]
    if len(told) < CHOICES:
        raise ValueError(
            f"stories must be {CHOICES} or more with endings of {LEAST_WORDS} words, got {len(told)} of {len(stories)}"
        )
    rows = []
    for i, (_, ending) in enumerate(told):
        label = i % CHOICES
        befores = [told[(i + j - label) % len(told)][0] for j in range(CHOICES)]
        rows.append({"befores": befores, "ending": ending, "label": label})
    return rows


def _ending(story: str) -> tuple[str, str] | None:
    """What comes before, and the ending with the white space in front of it."""
    marks = _LAST_MARKS.search(story)
    if marks is None:
        return None
    for found in reversed(list(_NEXT_SENTENCE.finditer(story))):
        before, ending = story[: found.start(1)], story[found.start(1) : marks.start()]
        if len(ending.split()) >= LEAST_WORDS:
            return (before, ending) if len(before.split()) >= LEAST_WORDS else None
    return None


def names(stories: Sequence[str]) -> list[Row]:
    """The last name in each story that it has named before, to be said by the model: the greater part of LAMBADA.

    A name is a word with a capital, of Latin letters, behind another of its sentence. It is not the story's last word.
    Stories without one are left out.

    Raises:
        ValueError: no story has one.
    """
    rows = []
    for story in stories:
        for found in reversed(list(_NAME.finditer(story))):
            before, name = story[: found.start()], found[0]
            if re.search(rf"\b{name.strip()}\b", before):
                rows.append({"before": before, "name": name})
                break
    if not rows:
        raise ValueError(f"stories must name somebody twice, got {len(stories)} that do not")
    return rows


perplexity_documents = _of_stories(pieces)
ending_documents = _of_stories(endings)
name_documents = _of_stories(names)
