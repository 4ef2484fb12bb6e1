"""What grades are worth: how far a judge agrees with itself and with another, and what order and length do to it."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from .agreement import Agreement, Estimate, icc_one_way, icc_two_way, mean_over_clusters, slope_within
from .config import JudgeQualityConfig
from .judged import GRADES, JUDGED, by_prompt, mean_of
from .prompt import CATEGORIES

_READ = {"story_sha256", "prompt_id", "sample", "repeat", "order", "completion_chars"}
"""Of a line of grades.jsonl, besides its grades."""


@dataclass(frozen=True)
class Judged:
    """The grades of one checkpoint by one judge; unscored stories are left out."""

    name: str
    lines: list[dict[str, Any]]


def judge_quality(config: JudgeQualityConfig) -> str:
    """Tables of a judge's quality; what cannot be known from the grades is a dash.

    Raises:
        FileNotFoundError, ValueError: a folder holds no grades, or damaged ones.
    """
    judged = read_judged(config.judged)
    lines = [line for folder in judged for line in folder.lines]
    rows: list[tuple[str, Callable[[str], object]]] = [
        ("agreement with itself over repeats, ICC(1,1)", lambda name: icc_one_way(_repeats(lines, name))),
        ("change from one place in the order to the next", lambda name: order_effect(lines, name)),
        ("change with each doubling of the length", lambda name: length_effect(lines, name)),
    ]
    for folder in judged:
        rows.append((f"mean of {folder.name}", lambda name, own=folder.lines: mean_of(own, name)))  # type: ignore[misc]
    for other in judged[1:]:
        words = f"{other.name} less {judged[0].name}"
        rows.append((words, lambda name, own=other: difference(judged[0].lines, own.lines, name)))  # type: ignore[misc]
    if config.other:
        others = [line for folder in read_judged(config.other) for line in folder.lines]
        rows.append(("agreement with the other judge, ICC(2,1)", lambda name: icc_two_way(_both(lines, others, name))))
        rows.append(("grades less the other judge's", lambda name: strictness(lines, others, name)))
    width = max(len(words) for words, _ in rows)
    table = [" " * width + "".join(f"  {name:>19}" for name in CATEGORIES)]
    for words, value in rows:
        table.append(f"{words:<{width}}" + "".join(f"  {_shown(value(name)):>19}" for name in CATEGORIES))
    return "\n".join([*table, "95 % intervals; beginnings are what is taken to be independent, for agreement stories."])


def read_judged(folder: str) -> list[Judged]:
    """The checkpoints that were judged into `folder`."""
    found = []
    for path in sorted(Path(folder).expanduser().glob(f"*/{GRADES}")):
        try:
            lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
            json.loads((path.parent / JUDGED).read_text(encoding="utf-8"))
            graded = [line for line in lines if line["grades"] is not None]
            if not all(line.keys() >= _READ and line["grades"].keys() >= set(CATEGORIES) for line in graded):
                raise KeyError
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"judged holds damaged grades, got {path}: give its frailt judge again") from error
        found.append(Judged(path.parent.name, graded))
    if not found:
        raise FileNotFoundError(f"judged must be a folder that frailt judge wrote, got {folder}: it has no grades")
    return found


def order_effect(lines: Sequence[dict[str, Any]], category: str) -> Estimate | None:
    """How a grade changes as its category moves one place back, within stories; needs `orders: rotated`."""
    places = [float(line["order"].index(category)) for line in lines]
    grades = [line["grades"][category] for line in lines]
    stories = [line["story_sha256"] for line in lines]
    return slope_within(places, grades, stories, [line["prompt_id"] for line in lines])


def length_effect(lines: Sequence[dict[str, Any]], category: str) -> Estimate | None:
    """How a grade changes with each doubling of the completion's length, among completions of one beginning.

    Among those of all checkpoints together: where better models tell longer stories this is quality as well as taste.
    """
    lengths = [math.log2(max(1, line["completion_chars"])) for line in lines]
    prompts = [line["prompt_id"] for line in lines]
    return slope_within(lengths, [line["grades"][category] for line in lines], prompts, prompts)


def difference(minuend: Sequence[dict[str, Any]], other: Sequence[dict[str, Any]], category: str) -> Estimate | None:
    """`other` less `minuend` over the beginnings that both have, paired by beginning."""
    first, second = by_prompt(minuend, category), by_prompt(other, category)
    shared = [[fmean(second[prompt]) - fmean(first[prompt])] for prompt in first if prompt in second]
    return mean_over_clusters(shared) if shared else None


def strictness(lines: Sequence[dict[str, Any]], others: Sequence[dict[str, Any]], category: str) -> Estimate | None:
    """How much higher this judge grades the same stories than the other, over beginnings."""
    ours, theirs = _by_story(lines, category), _by_story(others, category)
    prompts: dict[int, list[float]] = {}
    for story, prompt in {line["story_sha256"]: line["prompt_id"] for line in lines}.items():
        if story in theirs:
            prompts.setdefault(prompt, []).append(fmean(ours[story]) - fmean(theirs[story]))
    return mean_over_clusters(list(prompts.values())) if prompts else None


def _repeats(lines: Sequence[dict[str, Any]], category: str) -> list[list[float]]:
    """(stories, repeats) in the paper's order of categories, of the stories that have all repeats."""
    usual = [line for line in lines if line["order"] == list(CATEGORIES)]
    by_story = _by_story(usual, category)
    most = max(map(len, by_story.values()), default=0)
    return [grades for grades in by_story.values() if len(grades) == most]


def _both(lines: Sequence[dict[str, Any]], others: Sequence[dict[str, Any]], category: str) -> list[list[float]]:
    """(stories, 2): the first grade of each judge for the stories that both graded."""
    ours, theirs = _by_story(lines, category), _by_story(others, category)
    return [[ours[story][0], theirs[story][0]] for story in ours if story in theirs]


def _by_story(lines: Sequence[dict[str, Any]], category: str) -> dict[str, list[float]]:
    """Grades by story and repeat; a grade that several equal stories share counts once."""
    found: dict[str, dict[int, float]] = {}
    for line in lines:
        found.setdefault(line["story_sha256"], {})[line["repeat"]] = line["grades"][category]
    return {story: [repeats[repeat] for repeat in sorted(repeats)] for story, repeats in found.items()}


def _shown(value: object) -> str:
    return str(value) if isinstance(value, Estimate | Agreement) else "—"
