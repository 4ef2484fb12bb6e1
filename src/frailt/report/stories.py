"""`stories.html`: the same beginning as every model completes it, side by side, with what the judge made of it.

Stories and a judge's words are foreign text: they are escaped, kept apart from the direction of the text around them,
and the page forbids itself scripts and everything from elsewhere.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

from jinja2 import Environment, StrictUndefined

from frailt.judge.prompt import CATEGORIES

from .checkpoints import Checkpoint, Story
from .told import Told
from .words import counted, number

STORIES = "stories.html"

SAMPLE = 0
"""Of each beginning, the first that was drawn: a choice that is made before anything is read."""

_SHORT = 64
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


@dataclass(frozen=True)
class Card:
    """One model's story."""

    layout: str
    about: str
    completion: str
    note: str
    grades: tuple[tuple[str, int], ...]
    words: str


@dataclass(frozen=True)
class Beginning:
    """A beginning with the story of every model."""

    text: str
    cards: tuple[Card, ...]

    @property
    def short(self) -> str:
        """Its first words, for a list."""
        words = " ".join(self.text.split())
        return words if len(words) <= _SHORT else f"{words[:_SHORT].rsplit(' ', 1)[0]} …"


def shown(checkpoints: Sequence[Checkpoint]) -> list[Checkpoint]:
    """One of each layout and width that has stories: that of the first seed."""
    first: dict[tuple, Checkpoint] = {}
    for each in sorted((each for each in checkpoints if each.stories), key=lambda each: each.place):
        first.setdefault((each.variant, each.width), each)
    return list(first.values())


def beginnings(checkpoints: Sequence[Checkpoint]) -> list[Beginning]:
    """By their number; a model that lacks a story has no card there."""
    texts: dict[int, str] = {}
    cards: dict[int, list[Card]] = {}
    for checkpoint in checkpoints:
        for story in checkpoint.stories:
            if story.sample == SAMPLE:
                texts.setdefault(story.prompt_id, clean(story.beginning))
                cards.setdefault(story.prompt_id, []).append(_card(checkpoint, story))
    return [Beginning(texts[prompt], tuple(cards[prompt])) for prompt in sorted(texts)]


def stories_page(told: Told) -> str:
    """The whole page."""
    chosen = shown(told.checkpoints)
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string((files(__package__) / "stories.html.jinja").read_text(encoding="utf-8"))
    return template.render(about=_about(told, chosen), beginnings=beginnings(chosen)) + "\n"


def clean(text: str) -> str:
    """Text without what no page may hold: control characters and halves of characters become a sign for them."""
    return _CONTROLS.sub("\ufffd", text.replace("\r\n", "\n"))


def _about(told: Told, chosen: Sequence[Checkpoint]) -> list[str]:
    lines = [
        f"{counted(len(chosen), 'model')}, ordered by width and layout; of each the first seed, and of each beginning "
        f"sample {SAMPLE}, the first that was drawn. Nothing was picked by reading or by grade."
    ]
    if told.judge is not None:
        lines.append(
            f"Under a story are the grades that {told.judge.model} gave it, from 1 to 10, and its words. Of a story "
            "that was graded several times the first grading is shown. Unscored stories have the reason instead."
        )
    return [clean(line) for line in lines]


def _card(checkpoint: Checkpoint, story: Story) -> Card:
    about = [f"width {checkpoint.width}"]
    about += [] if checkpoint.nats is None else [f"loss {number(checkpoint.nats)}"]
    about += [] if checkpoint.seed is None else [f"seed {checkpoint.seed}"]
    completion = clean(story.completion).strip("\n ")
    grading = story.gradings[0] if story.gradings else None
    grades = grading.grades if grading is not None else None
    note = "nothing" if not completion else "cut at the limit of length" if story.ended is False else ""
    words = "" if grading is None else clean(grading.words)
    return Card(
        layout=str(checkpoint.variant),
        about=" · ".join(about),
        completion=completion,
        note=note,
        grades=() if grades is None else tuple((name, grades[name]) for name in CATEGORIES),
        words=f"Unscored: {words}" if grading is not None and grades is None else words,
    )
