"""The measures: what each says of one completion, and of all completions of a checkpoint."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from .copies import LONG_COPY
from .means import Mean, mean, share
from .words import DRAWN

Row = dict[str, Any]
"""What is known of one completion: a line of measures.jsonl."""
Summary = Callable[[dict[int, list[Any]]], Mean]


@dataclass(frozen=True)
class Measure:
    """A column of a table."""

    name: str
    unit: str
    about: str
    field: str
    """The field of a row that it is made of; rows where that is None do not count."""
    summary: Summary = mean


def _perplexity(by_beginning: dict[int, list[float]]) -> Mean:
    found = mean(by_beginning)
    low, high = (None if end is None else math.exp(end) for end in (found.low, found.high))
    return Mean(math.exp(found.mean), low, high, found.n)


def _at_most_1(by_beginning: dict[int, list[float]]) -> Mean:
    return mean(by_beginning, most=1.0)


def _most(by_beginning: dict[int, list[float]]) -> Mean:
    values = [value for told in by_beginning.values() for value in told]
    return Mean(max(values), None, None, len(values))


MEASURES = (
    Measure("words", "words", "Length of a completion.", "words"),
    Measure(
        "ended", "share", "Completions that the model ended itself, before its context or a limit did.", "ended", share
    ),
    Measure(
        "repetition_4",
        "share",
        "Of the runs of 4 words in a completion, those that stood in it before (seq-rep-4); it grows with length.",
        "repetition_4",
        _at_most_1,
    ),
    *(
        Measure(
            f"distinct_{n}",
            "share",
            f"Different ones among {DRAWN} {what} of a completion (distinct-{n} at a fixed number).",
            f"distinct_{n}",
            _at_most_1,
        )
        for n, what in ((1, "words"), (2, "pairs of words"), (3, "runs of 3 words"))
    ),
    Measure(
        "evaluator_nats_per_token",
        "nats per token",
        "Surprise of the evaluator at a completion, given its beginning, per token of the evaluator; without the end.",
        "evaluator_nats_per_token",
    ),
    Measure(
        "evaluator_perplexity",
        "perplexity",
        "e to the power of evaluator_nats_per_token and of the ends of its interval.",
        "evaluator_nats_per_token",
        _perplexity,
    ),
    Measure(
        "evaluator_bits_per_byte",
        "bits per byte",
        "The same surprise per byte of text: comparable between evaluators with different tokenizers.",
        "evaluator_bits_per_byte",
    ),
    Measure(
        "copied_words",
        "words",
        "The longest run of words of a completion that stands in one training story.",
        "copied_words",
    ),
    Measure("copied_words_most", "words", "The longest such run in all completions.", "copied_words", _most),
    Measure(
        "copied_share",
        "share",
        f"Of a completion's words, those in runs of {LONG_COPY} or more that stand in one training story.",
        "copied_share",
        _at_most_1,
    ),
)


def summarise(rows: Sequence[Row]) -> tuple[dict[str, dict[str, Any]], dict[str, int]]:
    """All measures that were taken, by name; and how many completions have no value of a measure, where some have none.

    A measure without any value is not among the first.
    """
    found, without = {}, {}
    for measure in MEASURES:
        if not all(measure.field in row for row in rows):
            continue  # there was no evaluator, or no corpus
        by_beginning: dict[int, list[Any]] = {}
        for row in rows:
            if row[measure.field] is not None:
                by_beginning.setdefault(row["prompt_id"], []).append(row[measure.field])
        if by_beginning:
            value = measure.summary(by_beginning)
            found[measure.name] = {
                "mean": value.mean,
                "low": value.low,
                "high": value.high,
                "n": value.n,
                "unit": measure.unit,
                "about": measure.about,
            }
        left = len(rows) - sum(map(len, by_beginning.values()))
        if left:
            without[measure.name] = left
    return found, without


def shown(measures: dict[str, dict[str, Any]]) -> list[str]:
    """A line per measure, with its interval."""
    lines = []
    for name, found in measures.items():
        interval = "—" if found["low"] is None else f"{found['low']:.4g} to {found['high']:.4g}"
        lines.append(f"  {name:<25} {found['mean']:>8.4g}  {interval:<20} {found['unit']}")
    return lines
