"""`grades.jsonl` and `judged.json` of one checkpoint: one line a grade, drawn up from the ledger.

They hold nothing that completions and ledger do not, and are written anew, whole, whenever a run ends.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any

from frailt.data.whole_files import write_whole

from .agreement import Estimate, mean_over_clusters
from .completions import Completions
from .config import JudgeConfig
from .ledger import Ledger
from .prompt import CATEGORIES
from .questions import question

GRADES, JUDGED = "grades.jsonl", "judged.json"


def grade_lines(config: JudgeConfig, folder: Completions, ledger: Ledger) -> Iterator[dict[str, Any]]:
    """One line for each story and repeat that is graded or unscored; of equal stories the first bears the cost."""
    borne = set()
    for story in folder.stories:
        for repeat in range(config.repeats):
            asked = question(config, story, repeat)
            graded, unscored = ledger.grade(asked.key), ledger.unscored(asked.key, config.max_attempts)
            if graded is None and unscored is None:
                continue
            requests = ledger.of(asked.key)
            last = graded or requests[-1]
            paid = asked.key not in borne
            borne.add(asked.key)
            yield {
                "story_sha256": asked.story_sha256,
                "prompt_id": story.prompt_id,
                "sample": story.sample,
                "repeat": repeat,
                "order": list(asked.order),
                "judge": last.model,
                "endpoint": last.endpoint,
                "temperature": last.temperature,
                "grades": last.grades if graded else None,
                "assessment": last.assessment if graded else None,
                "unscored": unscored,
                "completion_chars": len(story.completion),
                "prompt": asked.prompt,
                "raw": last.raw,
                "requests": len(requests),
                "prompt_tokens": sum(request.prompt_tokens for request in requests) if paid else 0,
                "completion_tokens": sum(request.completion_tokens for request in requests) if paid else 0,
                "cost_usd": sum(request.cost_usd or 0.0 for request in requests)
                if paid and last.cost_usd is not None
                else None
                if paid
                else 0.0,
                "same_as_another": not paid,
                "at": last.at,
                "question": asked.key,
            }


def write_judged(config: JudgeConfig, folder: Completions, ledger: Ledger, out: Path) -> dict[str, Any]:
    """Write both files of one checkpoint, and return judged.json."""
    lines = list(grade_lines(config, folder, ledger))
    wanted = len(folder.stories) * config.repeats
    unscored = sum(line["grades"] is None for line in lines)
    about = {
        "status": "finished" if len(lines) == wanted else "unfinished",
        "completions": folder.about,
        "completions_sha256": folder.sha256,
        "wanted": wanted,
        "graded": len(lines) - unscored,
        "unscored": unscored,
        "means": {name: _as_json(mean_of(lines, name)) for name in CATEGORIES},
    }
    place = out / folder.name
    place.mkdir(exist_ok=True)
    write_whole(place / GRADES, "".join(json.dumps(line) + "\n" for line in lines))
    write_whole(place / JUDGED, json.dumps(about, indent=1) + "\n")
    return about


def mean_of(lines: Sequence[dict[str, Any]], category: str) -> Estimate | None:
    """The mean grade, each beginning weighing the same, with an interval over beginnings; None without a grade."""
    grades = by_prompt(lines, category)
    return mean_over_clusters(list(grades.values())) if grades else None


def by_prompt(lines: Sequence[dict[str, Any]], category: str) -> dict[int, list[float]]:
    """For each beginning the grades of the stories told from it, averaged over repeats; without unscored ones."""
    found: dict[int, dict[int, list[int]]] = {}
    for line in lines:
        if line["grades"] is not None:
            told = found.setdefault(line["prompt_id"], {})
            told.setdefault(line["sample"], []).append(line["grades"][category])
    return {prompt: [fmean(repeats) for repeats in told.values()] for prompt, told in found.items()}


def _as_json(estimate: Estimate | None) -> dict[str, Any] | None:
    return None if estimate is None else asdict(estimate)
