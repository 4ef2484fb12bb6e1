"""The model card of an exported folder: the checkpoint's own, with how the export came about and how it is loaded."""

import re
from pathlib import Path
from typing import Any

import yaml

_FRONT = re.compile(r"\A---\n(.*?)^---\n", re.DOTALL | re.MULTILINE)
_SNIPPET = re.compile(r"```python\n.*?```\n", re.DOTALL)
_FRONT_OF_OURS = """---
library_name: transformers
pipeline_tag: text-generation
tags: [frailt, looped-transformer]
---
"""
_USAGE = """```python
from transformers import pipeline

tell = pipeline("text-generation", model="{place}"{trust})
print(tell("Once upon a time", max_new_tokens=200)[0]["generated_text"])
```
"""


def read_card(checkpoint: Path) -> str:
    """The checkpoint's card; empty where it has none."""
    path = checkpoint / "README.md"
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def exported_card(card: str, about: str, *, place: str, remote_code: bool) -> str:
    """Markdown with front matter for the hub.

    Args:
        card: the checkpoint's.
        about: how the export came about, a paragraph.
        place: what `from_pretrained` is given.
        remote_code: whether it must be told to trust the code.
    """
    usage = _USAGE.format(place=place, trust=", trust_remote_code=True" if remote_code else "")
    front = match[0] if (match := _FRONT.match(card)) else _FRONT_OF_OURS
    body = card[match.end() :].strip() if match else card.strip()
    body = body or "# FraiLT"
    if _SNIPPET.search(body):
        body = _SNIPPET.sub(lambda _: f"{about}\n\n{usage}", body, count=1)
    else:
        body += f"\n\n{about}\n\n{usage}"
    return f"{front}\n{body.rstrip()}\n"


def front_matter(card: str) -> dict[str, Any]:
    """What the card says in its front matter; empty where it has none that can be read."""
    match = _FRONT.match(card)
    try:
        found = yaml.safe_load(match[1]) if match else {}
    except yaml.YAMLError:
        return {}
    return found if isinstance(found, dict) else {}
