"""Folders made up for tests, of completions, grades and measures, in the form in which the commands write them.

Grades are synthetic: nothing of the kind may stand under results/.
"""

import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from frailt.judge.completions import Completion, read_completions
from frailt.judge.config import JudgeConfig
from frailt.judge.judge import settings_of
from frailt.judge.judged import write_judged
from frailt.judge.ledger import Ledger
from frailt.judge.prompt import CATEGORIES
from frailt.judge.questions import question
from frailt.model.layout import Layout

Grade = Callable[[str, int, int | None, Completion, int, str], int | None]
"""Of layout, width, seed, story, repeat and category; None leaves the story unscored."""


def write_completions(
    folder: Path,
    *,
    layout: str = "2^4",
    width: int = 64,
    seed: int | None = 0,
    nats: float | None = 1.5,
    encoding: str = "learned",
    beginnings: int = 4,
    samples: int = 1,
    text: Callable[[int, int], str] | None = None,
    **changes: Any,
) -> Path:
    """What `frailt complete` writes of one checkpoint; `changes` are made to completions.json.

    Each tells stories of its own, since a judge is asked for equal ones once.
    """
    text = text or (lambda prompt_id, sample: f"went home as {layout} {encoding} {width} {seed}, {sample}.")
    folder.mkdir(parents=True)
    prompts = [f"Once upon a time {i}, Tim" for i in range(beginnings)]
    sampling = {"samples": samples, "max_new_tokens": 400, "temperature": 1.0, "top_p": 1.0, "top_k": 0, "seed": 0}
    about = {
        "checkpoint": folder.name,
        "checkpoint_sha256": hashlib.sha256(f"{layout} {width} {seed} {encoding}".encode()).hexdigest(),
        "sampling": sampling | {"iterations": None},
        "prompts": beginnings,
        "prompts_sha256": hashlib.sha256(json.dumps(prompts).encode()).hexdigest(),
        "seed": seed,
        "validation_nats_per_token": nats,
        "model": {"layout": layout, "hidden_size": width, "iteration_encoding": encoding},
        "iterations": [shape.iterations for shape in Layout.parse(layout).groups],
        "versions": {"frailt": "0.1.0"},
        "status": "finished",
    }
    rows = [
        {"prompt_id": i, "sample": s, "prompt": prompt, "completion": text(i, s), "ended": True, "new_tokens": 9}
        for i, prompt in enumerate(prompts)
        for s in range(samples)
    ]
    (folder / "completions.json").write_text(json.dumps(about | changes, indent=1))
    (folder / "completions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def write_judged_folder(folder: Path, told: Iterable[Path], grade: Grade, **settings: Any) -> Path:
    """What `frailt judge` writes, by its own code from a ledger that is made up."""
    folders = [read_completions(path) for path in told]
    config = JudgeConfig(
        **{"completions": [str(each.folder) for each in folders], "out": str(folder), "model": "judge-1"} | settings
    )
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        line
        for each in folders
        for story in each.stories
        for repeat in range(config.repeats)
        for line in _replies(config, each.about, story, repeat, grade)
    ]
    (folder / "replies.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "judge.json").write_text(json.dumps(settings_of(config), indent=1))
    ledger = Ledger(folder / "replies.jsonl")
    for each in folders:
        write_judged(config, each, ledger, folder)
    return folder


def _replies(config: JudgeConfig, about: dict[str, Any], story: Completion, repeat: int, grade: Grade):
    asked = question(config, story, repeat)
    model = about["model"]
    grades = {
        name: grade(model.get("layout", ""), model.get("hidden_size", 0), about["seed"], story, repeat, name)
        for name in CATEGORIES
    }
    is_graded = all(each is not None for each in grades.values())
    for _ in range(1 if is_graded else config.max_attempts):
        yield {
            "question": asked.key,
            "story_sha256": asked.story_sha256,
            "repeat": repeat,
            "order": list(asked.order),
            "model": config.model,
            "endpoint": config.endpoint,
            "temperature": config.temperature,
            "prompt": asked.prompt,
            "outcome": "grade" if is_graded else "invalid",
            "reason": None if is_graded else "words instead of a call: 'No.'",
            "grades": grades if is_graded else None,
            "assessment": f"Words on story {story.prompt_id}." if is_graded else None,
            "status": 200,
            "raw": "{}",
            "prompt_tokens": 100,
            "completion_tokens": 20,
            "tokens_from": "reported",
            "cost_usd": None,
            "at": "2026-01-01T00:00:00+00:00",
            "elapsed_s": 1.0,
        }


def write_measures(folder: Path, measures: dict[str, Any], **changes: Any) -> Path:
    """What `frailt measure` writes beside completions; a number is a mean with an interval of 0.1 either way."""
    told = read_completions(folder)
    record = {
        "status": "finished",
        "completions_sha256": told.sha256,
        "completions": told.about,
        "evaluator": None,
        "corpus": None,
        "measures": {
            name: each
            if isinstance(each, dict)
            else {
                "mean": each,
                "low": each - 0.1,
                "high": each + 0.1,
                "n": 4,
                "unit": "share",
                "about": f"What {name} is.",
            }
            for name, each in measures.items()
        },
    }
    (folder / "measures.json").write_text(json.dumps(record | changes, indent=1))
    return folder


def constant(value: int) -> Grade:
    """A judge that gives everything the same."""
    return lambda *story: value
