"""One finished run as a report needs it: what was trained, on how much, what it cost, what it reached."""

import math
import re
from dataclasses import dataclass
from typing import Any

from frailt.experiments.records import Run, at, steady_s
from frailt.model.layout import Layout

from .fields import count, positive, text

Curve = dict[int, float]
"""Nats per token by tokens trained on, in their order."""

LEARNED = "learned"
"""The paper's iteration encoding."""


@dataclass(frozen=True)
class Variant:
    """A layout with its iteration encoding: what a column of Tables 2 and 3 stands for.

    A layout without a loop has no encoding; it is written as the learned one, which is not named.
    """

    layout: Layout
    encoding: str = LEARNED

    @classmethod
    def of(cls, layout: str, encoding: str = LEARNED) -> "Variant":
        """Read the notation; raises a ValueError where it is none, or the encoding is no word."""
        parsed = Layout.parse(layout)
        if not re.fullmatch(r"\w+", encoding, re.ASCII):
            raise ValueError(f"iteration_encoding must be one word, got {encoding!r}")
        return cls(parsed, encoding if parsed.is_looped else LEARNED)

    def __str__(self) -> str:
        return str(self.layout) if self.encoding == LEARNED else f"{self.layout} {self.encoding}"

    @property
    def order(self) -> tuple[Any, ...]:
        """Standard layouts first, then by unique blocks and depth: the order of the paper's tables."""
        layout = self.layout
        return (layout.is_looped, layout.unique_blocks, layout.depth, str(layout), self.encoding != LEARNED, str(self))


@dataclass(frozen=True)
class Matched:
    """What widths or budgets were solved for: parameters, FLOPs or time equal to those of a reference."""

    what: str
    reference: Variant

    def __str__(self) -> str:
        return f"equal {self.what}"


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A finished run."""

    name: str
    """Of its folder, for people."""
    variant: Variant
    width: int
    """Hidden size; in a matched sweep, that of the reference."""
    hidden_size: int
    budget: str
    """In words, such as 1 pass; in a matched sweep, the reference's."""
    matched: "Matched | None"
    learning_rate: float
    seed: int
    nats: float
    """Validation nats per token: of all stories, or of those of odd number, as all cells of a report have it."""
    chosen_by: float
    """What learning rates are compared by: nats per token of the stories of even number, else `nats`."""
    data_hash: str
    source: str
    unique_parameters: int
    training_flops_per_token: int
    tokens: int
    """Trained on."""
    training_s: float
    """Without validation and the first step, in which blocks are compiled."""
    tokens_per_s: float
    skipped_steps: int
    """Optimiser steps left out, since loss or gradient was no finite number."""
    compiled: str
    """What was compiled: off, block or whole."""
    machine: str
    """What ran it, such as x86_64, 1 thread: wall-clock compares within one machine only."""
    precision: str
    attention: str
    """The kernel."""
    version: str
    """Of frailt, with its commit."""
    validation: Curve
    """On the share of the validation rows that is measured while training."""
    training: Curve

    @property
    def timed_on(self) -> str:
        """The machine and the attention kernel: seconds compare where both are the same."""
        return self.machine if self.attention == "unknown" else f"{self.machine}, attention {self.attention}"

    @property
    def is_compiled(self) -> bool:
        """Whether it is known that blocks, or the whole model, were compiled."""
        return self.compiled not in ("off", "unknown")

    @property
    def training_flops(self) -> int:
        """Of the whole run, full attention square."""
        return self.training_flops_per_token * self.tokens


def cell_of(
    run: Run,
    name: str,
    *,
    halves: bool,
    width: int | None = None,
    budget: str | None = None,
    matched: Matched | None = None,
) -> Cell:
    """A run as a cell.

    Args:
        run: with its config.yaml.
        name: for people.
        halves: whether to report the stories of odd number, having chosen on the others.
        width: of its place in the grid, where that is not the model's.
        budget: of its place in the grid, where that is not the run's.
        matched: to what, in a matched sweep.

    Raises:
        ValueError: something is missing, or not what it should be.
    """
    record, config = run.record, run.config
    nats = positive(record, "validation.odd_stories.nats_per_token" if halves else "validation.nats_per_token")
    encoding = at(record, "model.iteration_encoding")
    return Cell(
        name=name,
        variant=Variant.of(text(record, "model.layout"), encoding if isinstance(encoding, str) else LEARNED),
        width=width or count(record, "model.hidden_size"),
        hidden_size=count(record, "model.hidden_size"),
        budget=budget or budget_of(config),
        matched=matched,
        learning_rate=positive(config, "learning_rate"),
        seed=count(config, "seed", least=0),
        nats=nats,
        chosen_by=positive(record, "validation.even_stories.nats_per_token") if halves else nats,
        data_hash=text(record, "data.data_hash"),
        source=str(at(record, "data.source") or "unknown"),
        unique_parameters=count(record, "model.parameters.total"),
        training_flops_per_token=count(record, "model.training_flops_per_token"),
        tokens=count(record, "tokens"),
        training_s=steady_s(positive(record, "training_s"), at(record, "first_step_s")),
        tokens_per_s=positive(record, "tokens_per_s"),
        skipped_steps=count(record, "skipped_steps", least=0) if at(record, "skipped_steps") is not None else 0,
        compiled=str(at(record, "compile") or "unknown"),
        machine=_machine(record),
        precision=str(at(record, "precision") or "unknown"),
        attention=str(at(record, "attention") or "unknown"),
        version=" ".join(str(at(record, f"versions.{part}") or "unknown") for part in ("frailt", "commit")),
        validation=_curve(run, "validation_nats_per_token"),
        training=_curve(run, "loss_nats_per_token"),
    )


def has_halves(run: Run) -> bool:
    """Whether a run's validation was measured on stories of even and of odd number apart."""
    return all(at(run.record, f"validation.{half}_stories.nats_per_token") is not None for half in ("even", "odd"))


def budget_of(config: dict[str, Any]) -> str:
    """How long a run trains that is told `config`, in words; one pass where that says nothing."""
    for unit in ("tokens", "steps", "passes"):
        if config.get(unit) is not None:
            return in_words(unit, positive(config, unit))
    return in_words("passes", 1)


def in_words(unit: str, amount: float) -> str:
    """A budget such as 1 pass, 2.5 passes, 600,000 tokens."""
    if unit == "passes":
        return f"{amount:g} {'pass' if amount == 1 else 'passes'}"
    return f"{amount:,.0f} {unit}"


def _machine(record: dict[str, Any]) -> str:
    threads, device = at(record, "threads"), str(at(record, "device") or "unknown")
    return device if threads is None else f"{device}, {threads} thread{'s' if threads != 1 else ''}"


def _curve(run: Run, what: str) -> Curve:
    try:
        tokens, values = run.curve(what)
        curve = dict(zip(map(int, tokens), map(float, values), strict=True))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"metrics.jsonl must give tokens and {what} as numbers, and does not: {error!r}") from error
    if not all(map(math.isfinite, curve.values())):
        raise ValueError(f"metrics.jsonl must give {what} as finite numbers, and has others")
    return curve
