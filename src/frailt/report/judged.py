"""Folders that `frailt judge` wrote: one judge, and the checkpoints whose stories it has finished grading."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from frailt.judge.judged import GRADES, JUDGED
from frailt.judge.prompt import CATEGORIES, SEPARATOR
from frailt.judge.tool import HIGHEST, LOWEST

from .checkpoints import Grading, Story, Teller, teller_of
from .fields import count, text

_ONE_JUDGE = ("model", "endpoint", "temperature", "max_tokens", "orders", "system", "template", "tool")
"""What must be the same for grades to be one judge's."""

_LINE = {"prompt_id": int, "sample": int, "repeat": int, "prompt": str}
_AGAIN = "give its frailt judge again"


@dataclass(frozen=True)
class Judge:
    """Who graded, as judge.json has it."""

    settings: Mapping[str, Any]

    @property
    def model(self) -> str:
        return str(self.settings.get("model"))


def read_judged(folders: Sequence[str]) -> tuple[Judge | None, list[Teller], list[str]]:
    """The judge, who told what it graded, and what was left out, a line each; no judge where there is no folder.

    Raises:
        FileNotFoundError: a folder is none that a judge wrote.
        ValueError: its judge.json is damaged, or folders are of different judges.
    """
    judges = {folder: _settings(Path(folder).expanduser()) for folder in folders}
    for folder, settings in judges.items():
        for name in _ONE_JUDGE:
            first = judges[folders[0]].get(name)
            if settings.get(name) != first:
                raise ValueError(
                    f"judged must be folders of one judge, got {folders[0]} and {folder} with other {name}"
                    f"{_both(first, settings.get(name))}: report on each by itself"
                )
    tellers, left_out = list[Teller](), list[str]()
    for folder, settings in judges.items():
        root = Path(folder).expanduser()
        for place in sorted(path for path in root.iterdir() if _is_checkpoint(path)):
            try:
                tellers.append(_teller(place, settings))
            except ValueError as error:
                left_out.append(f"{root.resolve().name}/{place.name}: {error}")
    return Judge(judges[folders[0]]) if folders else None, tellers, left_out


def story_of(prompt: str, template: str) -> tuple[str, str]:
    """Beginning and completion within what the judge was asked, whatever the order of categories was.

    Runs of asterisks stay set apart, as the judge saw them.

    Raises:
        ValueError: there is no story in it.
    """
    before, _, after = template.partition("{story}")
    ending = after.partition("1. ")[0]
    end = prompt.rfind(ending)
    beginning, separator, completion = prompt[len(before) : end].partition(SEPARATOR)
    if not ending or end < 0 or not prompt.startswith(before) or not separator:
        raise ValueError("prompt must be the template of judge.json with a story in it, and is not")
    return beginning, completion


def _settings(folder: Path) -> dict[str, Any]:
    path = folder / "judge.json"
    if not path.is_file():
        raise FileNotFoundError(f"judged must be folders that frailt judge wrote, got {folder} without a judge.json")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"judged must hold a readable judge.json, got {folder}: restore it ({error})") from error
    if not isinstance(found, dict) or not all(isinstance(found.get(name), str) for name in ("model", "template")):
        raise ValueError(f"judged must hold a judge.json with model and template, got {folder}: restore it")
    return found


def _both(first: Any, second: Any) -> str:
    """Two settings in words, where they are short."""
    shown = f" ({first!r}, {second!r})"
    return shown if len(shown) <= 100 else ""


def _is_checkpoint(path: Path) -> bool:
    return (path / JUDGED).is_file() or (path / GRADES).is_file()


def _teller(place: Path, settings: dict[str, Any]) -> Teller:
    about = _json(_read(place / JUDGED), JUDGED)
    if about.get("status") != "finished":
        raise ValueError(f"status of {JUDGED} must be finished, got {about.get('status')!r}: {_AGAIN}")
    wanted = count(about, "wanted")
    lines = [
        _line(_json(line, f"line {number} of {GRADES}"), f"line {number} of {GRADES}")
        for number, line in enumerate(_read(place / GRADES).splitlines(), 1)
    ]
    if len(lines) != wanted:
        raise ValueError(f"{GRADES} must have {wanted} lines as {JUDGED} says, got {len(lines)}: {_AGAIN}")
    completions = about.get("completions")
    if not isinstance(completions, dict):
        raise ValueError(f"completions of {JUDGED} must be the record of the completions, got {completions!r}")
    stories = _stories(lines, settings["template"])
    return teller_of(completions, name=place.name, sha256=text(about, "completions_sha256"), stories=tuple(stories))


def _stories(lines: Sequence[dict[str, Any]], template: str) -> list[Story]:
    """The stories with their gradings, by beginning and sample."""
    told: dict[tuple[int, int], dict[int, dict[str, Any]]] = {}
    for line in lines:
        repeats = told.setdefault((line["prompt_id"], line["sample"]), {})
        if line["repeat"] in repeats:
            raise ValueError(
                f"{GRADES} must have each prompt_id, sample and repeat once, got {line['prompt_id']}, "
                f"{line['sample']}, {line['repeat']} twice: {_AGAIN}"
            )
        repeats[line["repeat"]] = line
    found = []
    for (prompt_id, sample), repeats in sorted(told.items()):
        beginning, completion = story_of(repeats[min(repeats)]["prompt"], template)
        gradings = tuple(_grading(repeats[repeat]) for repeat in sorted(repeats))
        found.append(Story(prompt_id, sample, beginning, completion, gradings=gradings))
    return found


def _grading(line: dict[str, Any]) -> Grading:
    return Grading(line["grades"], line["assessment"] if line["grades"] else line["unscored"])


def _line(line: dict[str, Any], where: str) -> dict[str, Any]:
    """A line of grades.jsonl, having all that is read of it."""
    for name, kind in _LINE.items():
        if type(line.get(name)) is not kind or (kind is int and line[name] < 0):
            kinds = "a whole number of 0 or more" if kind is int else "a text"
            raise ValueError(f"{where}: {name} must be {kinds}, got {line.get(name)!r}: {_AGAIN}")
    grades = line.get("grades")
    said = "unscored" if grades is None else "assessment"
    if not isinstance(line.get(said), str):
        raise ValueError(f"{where}: {said} must be a text, got {line.get(said)!r}: {_AGAIN}")
    if grades is not None and not (isinstance(grades, dict) and all(_is_grade(grades.get(n)) for n in CATEGORIES)):
        raise ValueError(
            f"{where}: grades must be whole numbers from {LOWEST} to {HIGHEST} for {', '.join(CATEGORIES)}, "
            f"got {grades!r}: {_AGAIN}"
        )
    return line


def _is_grade(value: Any) -> bool:
    return type(value) is int and LOWEST <= value <= HIGHEST


def _json(raw: str, what: str) -> dict[str, Any]:
    try:
        found = json.loads(raw)
    except ValueError as error:
        raise ValueError(f"{what} is no JSON: {error}: {_AGAIN}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{what} is no mapping: {_AGAIN}")
    return found


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ValueError(f"{path.name} is missing: {_AGAIN}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path.name} cannot be read ({error}): {_AGAIN}") from error
