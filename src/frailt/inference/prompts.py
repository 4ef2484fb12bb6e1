"""Beginnings of stories, to be completed: those that are shipped, or a file of one's own."""

from pathlib import Path

import yaml

SHIPPED = Path(__file__).parent / "beginnings.yaml"


def read_prompts(path: str | Path | None = None, field: str = "prompts") -> list[str]:
    """The beginnings in a file: a YAML list (.yaml, .yml), or text with one beginning a line.

    Args:
        path: the file; by default the one that is shipped.
        field: what errors call it.

    Raises:
        FileNotFoundError: it is not there.
        ValueError: it is no such file, or has none.
    """
    file = SHIPPED if path is None else Path(path).expanduser()
    try:
        text = file.read_text(encoding="utf-8-sig")  # editors may begin it with a byte order mark
    except UnicodeDecodeError as error:
        raise ValueError(f"{field} must be UTF-8 text, got other bytes at {error.start} in {file}") from error
    found = _of_yaml(text, file, field) if file.suffix in (".yaml", ".yml") else text.splitlines()
    prompts = [prompt for prompt in found if prompt.strip()]
    if not prompts:
        raise ValueError(f"{field} must have at least one line, got none in {file}")
    return prompts


def _of_yaml(text: str, file: Path, field: str) -> list[str]:
    """A list of texts, each perhaps in a list of its own, as some sets of beginnings have them."""
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"{field} must be YAML, got {file}: {' '.join(str(error).split())}") from error
    if not isinstance(found, list):
        raise ValueError(f"{field} must be a YAML list of texts, got {type(found).__name__} in {file}")
    flat = [entry[0] if isinstance(entry, list) and len(entry) == 1 else entry for entry in found]
    if wrong := [entry for entry in flat if not isinstance(entry, str)]:
        raise ValueError(f"{field} must be a YAML list of texts, got {wrong[0]!r} in {file}")
    return flat
