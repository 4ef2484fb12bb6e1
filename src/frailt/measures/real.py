"""`frailt real-stories`: true continuations of true beginnings, in the form of completions: a yardstick.

The folder is one of completions like those of `frailt complete`, so what measures or judges those takes it too.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from frailt.data.packing import PreparedData
from frailt.data.texts import texts
from frailt.data.tokenizer import encode_stories
from frailt.data.whole_files import sha256, write_whole
from frailt.inference.prompts import read_prompts
from frailt.training.run_folder import versions

from .config import RealStoriesConfig
from .corpus import corpus_record
from .words import word_ends, words

NAME = "real stories"
_BEFORE_A_RECORD = {"completions.jsonl", ".completions.jsonl.partial", ".completions.json.partial"}


def real_stories(config: RealStoriesConfig) -> str:
    """Write the folder, unless it is there.

    Returns:
        A line.

    Raises:
        ValueError, FileNotFoundError: corpus or prompts cannot be used, or there are too few stories.
        FileExistsError: `out` has something else in it.
    """
    lengths = [max(1, len(words(prompt))) for prompt in read_prompts(config.prompts)]
    data = PreparedData.open(config.data)
    out = Path(config.out).expanduser()
    settings = {
        "checkpoint": NAME,
        "checkpoint_sha256": data.data_hash,
        "sampling": {"samples": 1, "stories": config.stories, "lengths": lengths},
    }
    if _is_there(out, settings):
        return f"{out}: finished before"
    # A story has to go on behind the longest beginning, whichever it gets.
    found = [text for text in texts(data, "validation") if len(words(text)) > max(lengths)]
    if config.stories > len(found):
        raise ValueError(
            f"stories must be at most {len(found)}, as many of the validation split in {config.data} have more than "
            f"{max(lengths)} words, got {config.stories}"
        )
    chosen = [found[(2 * i + 1) * len(found) // (2 * config.stories)] for i in range(config.stories)]
    ends = [word_ends(text)[lengths[i % len(lengths)] - 1] for i, text in enumerate(chosen)]
    rows = _rows(data, chosen, ends)
    prompts = [row["prompt"] for row in rows]
    record = {
        **settings,
        "real_stories": corpus_record(data) | {"split": "validation"},
        "prompts": len(prompts),
        "prompts_sha256": hashlib.sha256(json.dumps(prompts).encode()).hexdigest(),
        "model": {},
        "seed": None,
        "validation_nats_per_token": None,
        "versions": versions(),
        "status": "finished",
    }
    out.mkdir(parents=True, exist_ok=True)
    write_whole(out / "completions.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    record["lines_sha256"] = sha256(out / "completions.jsonl")
    write_whole(out / "completions.json", json.dumps(record, indent=1) + "\n")
    return f"{out}: {len(rows)} real stories"


def _rows(data: PreparedData, stories: list[str], ends: list[int]) -> list[dict[str, Any]]:
    tokenizer = data.tokenizer()
    whole = encode_stories(tokenizer, stories)
    begun = encode_stories(tokenizer, [text[:end] for text, end in zip(stories, ends, strict=True)])
    return [
        {
            "prompt_id": i,
            "sample": 0,
            "prompt": text[:end],
            "completion": text[end:],
            "ended": True,
            "new_tokens": len(ids) - len(first),
        }
        for i, (text, end, ids, first) in enumerate(zip(stories, ends, whole, begun, strict=True))
    ]


def _is_there(out: Path, settings: dict[str, Any]) -> bool:
    record = out / "completions.json"
    if not record.is_file():
        others = {path.name for path in out.iterdir()} - _BEFORE_A_RECORD if out.is_dir() else out.exists()
        if others:
            raise FileExistsError(f"out must be a new or empty folder, or one of real stories, got {out}")
        return False
    try:
        found = json.loads(record.read_text(encoding="utf-8"))
        same = all(found.get(name) == value for name, value in settings.items())
    except (ValueError, AttributeError):
        same = False
    if not same:
        raise FileExistsError(f"out holds other completions, got {out}: choose another, or remove it")
    lines = out / "completions.jsonl"
    return lines.is_file() and found.get("lines_sha256", "") in ("", sha256(lines))  # earlier versions noted none
