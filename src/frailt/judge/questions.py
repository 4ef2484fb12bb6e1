"""What is to be asked: every story as often as it is to be graded, and equal stories once between them."""

import hashlib
import json
import random
from dataclasses import dataclass
from functools import cached_property

from . import tool
from .completions import Completion, Completions
from .config import JudgeConfig
from .prompt import CATEGORIES, SYSTEM, rotated, story_sha256, user_message


@dataclass(frozen=True)
class Question:
    """One story, to be graded once."""

    model: str
    temperature: float | None
    max_tokens: int
    repeat: int
    order: tuple[str, ...]
    story_sha256: str
    prompt: str
    """The whole user message."""
    beginning: str
    completion: str

    @cached_property
    def key(self) -> str:
        """What its answer is kept under: all that the judge is sent, and which repeat it is."""
        sent = [self.model, self.temperature, self.max_tokens, SYSTEM, self.prompt, tool.parameters(self.order)]
        return hashlib.sha256(json.dumps([*sent, self.repeat]).encode()).hexdigest()

    @property
    def sent_bytes(self) -> int:
        """Bytes of all that the judge is sent."""
        return sent_bytes(self.prompt, self.order)


def sent_bytes(prompt: str, order: tuple[str, ...]) -> int:
    """Bytes of all that the judge is sent with a prompt."""
    fields = json.dumps(tool.parameters(order))
    return sum(len(text.encode()) for text in (SYSTEM, prompt, tool.NAME, tool.ABOUT, fields))


def question(config: JudgeConfig, story: Completion, repeat: int) -> Question:
    """What the judge is asked about a story the `repeat`-th time."""
    order = rotated(repeat) if config.orders == "rotated" else CATEGORIES
    return Question(
        model=config.model,
        temperature=config.temperature,
        max_tokens=config.max_tokens,
        repeat=repeat,
        order=order,
        story_sha256=story_sha256(story.prompt, story.completion),
        prompt=user_message(story.prompt, story.completion, order),
        beginning=story.prompt,
        completion=story.completion,
    )


def questions(config: JudgeConfig, folders: list[Completions]) -> list[Question]:
    """All that there is to ask, each once, in an order drawn by the seed.

    Drawn over all folders, so that a run that ends early has graded a share of each and not the first of them alone.
    """
    found = {}
    for folder in folders:
        for story in folder.stories:
            for repeat in range(config.repeats):
                asked = question(config, story, repeat)
                found[asked.key] = asked
    drawn = list(found.values())
    random.Random(config.seed).shuffle(drawn)
    return drawn
