"""What `frailt complete` wrote: the stories that a checkpoint told. Read whole or not at all."""

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Completion:
    """One story: a beginning that was given, and what the model made of it."""

    prompt_id: int
    sample: int
    prompt: str
    completion: str
    ended: bool
    new_tokens: int


@dataclass(frozen=True)
class Completions:
    """The stories of one checkpoint, with what is known of it."""

    folder: Path
    about: dict[str, Any]
    """completions.json: checkpoint, model, seed, validation loss, sampling."""
    stories: list[Completion]
    sha256: str

    @property
    def name(self) -> str:
        """The checkpoint's name and the start of a hash over all of it: the same wherever the folder lies."""
        checkpoint = re.sub(r"[^\w^,()-]+", "-", str(self.about["checkpoint"])).strip("-")[-60:] or "checkpoint"
        return f"{checkpoint}-{self.sha256[:8]}"


_FIELDS = {"prompt_id": int, "sample": int, "prompt": str, "completion": str, "ended": bool, "new_tokens": int}
_ABOUT = {
    "checkpoint": str, "checkpoint_sha256": str, "model": dict, "sampling": dict, "prompts": int, "prompts_sha256": str,
}  # fmt: skip


def read_completions(folder: str | Path) -> Completions:
    """Read a folder of completions.

    Raises:
        FileNotFoundError: it is no folder of completions.
        ValueError: it is not finished, or damaged; the message says where.
    """
    folder = Path(folder).expanduser()
    head, lines = folder / "completions.json", folder / "completions.jsonl"
    for path in (head, lines):
        if not path.is_file():
            raise FileNotFoundError(
                f"completions must be a folder that frailt complete wrote, got {folder}: no {path.name}"
            )
    about, digest = _object(head.read_bytes(), f"{head}"), hashlib.sha256(head.read_bytes())
    if about.get("status") != "finished":
        raise ValueError(f"completions must be finished, got {folder}: give its frailt complete again")
    for name, kind in _ABOUT.items():
        if not isinstance(about.get(name), kind):
            raise ValueError(_damaged(str(head), f"{name} must be there and be {kind.__name__}"))
    raw = lines.read_bytes()
    if not raw.endswith(b"\n"):
        raise ValueError(_damaged(str(lines), "it is empty or its last line is cut"))
    stories = [_story(line, f"{lines} line {number}") for number, line in enumerate(raw.splitlines(), 1)]
    _check_all_there(stories, about["prompts"], about["sampling"].get("samples"), str(lines))
    digest.update(raw)
    return Completions(folder, about, stories, digest.hexdigest())


def _story(line: bytes, where: str) -> Completion:
    fields = _object(line, where)
    for name, kind in _FIELDS.items():
        if type(fields.get(name)) is not kind:
            raise ValueError(_damaged(where, f"{name} must be there and be {kind.__name__}"))
    return Completion(**{name: fields[name] for name in _FIELDS})


def _check_all_there(stories: list[Completion], prompts: int, samples: Any, where: str) -> None:
    if type(samples) is not int or samples < 1:
        raise ValueError(_damaged(where, "sampling.samples in completions.json must be 1 or more"))
    by_prompt: dict[int, list[Completion]] = {}
    for story in stories:
        by_prompt.setdefault(story.prompt_id, []).append(story)
    if sorted(by_prompt) != list(range(prompts)):
        raise ValueError(_damaged(where, f"there must be prompts 0 to {prompts - 1}, as completions.json says"))
    for prompt_id, told in by_prompt.items():
        if sorted(story.sample for story in told) != list(range(samples)):
            raise ValueError(_damaged(where, f"prompt {prompt_id} must have the samples 0 to {samples - 1}, once each"))
        if len({story.prompt for story in told}) > 1:
            raise ValueError(_damaged(where, f"prompt {prompt_id} has several texts"))


def _object(raw: bytes, where: str) -> dict[str, Any]:
    try:
        found = json.loads(raw)
    except ValueError as error:
        raise ValueError(_damaged(where, "it is not JSON")) from error
    if not isinstance(found, dict):
        raise ValueError(_damaged(where, "it is no JSON object"))
    return found


def _damaged(where: str, rule: str) -> str:
    return f"completions are damaged in {where}: {rule}; tell them again with frailt complete"
