"""A checkpoint that told stories: which cell of the grid it is, what it told, and how that was graded."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from frailt.experiments.records import at

from .cells import LEARNED, Variant
from .fields import count, positive, text
from .measures import Measures

Seed = int | None
"""Of training; None where a record has none."""


@dataclass(frozen=True)
class Grading:
    """What a judge said of a story, once."""

    grades: Mapping[str, int] | None
    """By category; None where the story is unscored."""
    words: str
    """The judge's assessment, or why there is no grade."""


@dataclass(frozen=True)
class Story:
    """A beginning, and what a model made of it."""

    prompt_id: int
    sample: int
    beginning: str
    completion: str
    ended: bool | None = None
    """Whether the model ended it; None where that is not known."""
    gradings: tuple[Grading, ...] = ()
    """In the order of repeats."""


@dataclass(frozen=True, kw_only=True)
class Teller:
    """Whoever told stories: a checkpoint, or people, whose stories are a yardstick."""

    name: str
    """For people: of the folder, or what a yardstick is called."""
    sha256: str
    """Of the stories: where it is the same, so are they."""
    stories: tuple[Story, ...] = ()
    measures: Measures | None = None

    @property
    def is_graded(self) -> bool:
        """Whether a judge was asked about it, whatever came of that."""
        return any(story.gradings for story in self.stories)


@dataclass(frozen=True, kw_only=True)
class Checkpoint(Teller):
    """A trained model with its stories."""

    variant: Variant
    width: int
    seed: Seed
    nats: float | None
    """Validation nats per token, of all stories; None where the checkpoint came without its run."""
    telling: Mapping[str, Any]
    """On what and how much the model was trained, and how it told: what must be the same where models are compared."""

    @property
    def place(self) -> tuple[int, tuple[Any, ...], bool, int]:
        """What checkpoints are sorted by: width, layout, seed."""
        return (self.width, self.variant.order, self.seed is None, self.seed or 0)

    @property
    def identity(self) -> tuple[Variant, int, Seed]:
        """The cell that it is."""
        return (self.variant, self.width, self.seed)


TRAINED = ("data_hash", "trained_tokens")
"""What bears on a model, of completions.json, and tells no cell of a grid from another; none where it is not known."""

TELLING = ("samples", "max_new_tokens", "temperature", "top_p", "top_k")
"""What bears on stories, of `sampling` in completions.json; with other random numbers they are as good."""


def teller_of(about: dict[str, Any], *, name: str, sha256: str, **known: Any) -> Teller:
    """Who told completions, by their record, `completions.json`: a checkpoint, unless it has no model.

    Args:
        about: the record.
        name: for people.
        sha256: of the completions.
        known: its stories and measures.

    Raises:
        ValueError: something is missing, or the model ran its loops otherwise than it was trained.
    """
    if at(about, "model") == {}:
        return Teller(name=text(about, "checkpoint"), sha256=sha256, **known)
    encoding = at(about, "model.iteration_encoding")
    variant = Variant.of(text(about, "model.layout"), encoding if isinstance(encoding, str) else LEARNED)
    trained = [shape.iterations for shape in variant.layout.groups]
    if at(about, "iterations") not in (None, trained):
        raise ValueError(f"iterations must be {trained} as {variant} was trained, got {at(about, 'iterations')}")
    sampling = at(about, "sampling")
    if not isinstance(sampling, dict):
        raise ValueError(f"sampling must be settings, got {sampling!r}")
    return Checkpoint(
        name=name,
        variant=variant,
        width=count(about, "model.hidden_size"),
        seed=None if at(about, "seed") is None else count(about, "seed", least=0),
        nats=None if at(about, "validation_nats_per_token") is None else positive(about, "validation_nats_per_token"),
        sha256=sha256,
        telling={key: about.get(key) for key in TRAINED}
        | {"prompts_sha256": text(about, "prompts_sha256")}
        | {key: sampling.get(key) for key in TELLING},
        **known,
    )
