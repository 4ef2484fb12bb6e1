"""Early exit: when a token stops going through a loop, what stands for it there afterwards, and what that saved.

A token stops after an iteration that changed it little. It is looked at alone, so what it does follows from the tokens
before it: many tokens at a time, or one after another over a cache, are the same. Comparing states or predictions one
after another is of CALM (Schuster et al. 2022, "Confident Adaptive Language Modeling"), for layers, and of Geiping et
al. (2025, "Scaling up Test-Time Compute with Latent Reasoning"), for the iterations of a loop, by KL.

This file is what is wanted and what was found, without torch; how it is done is in `exiting`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

CRITERIA = ("kl", "l2")
KV_RULES = ("copy", "project")


@dataclass(frozen=True, kw_only=True)
class EarlyExit:
    """When tokens stop iterating, and which keys and values others see of them in the iterations they leave out.

    Args:
        threshold: a token stops after an iteration whose criterion is *below* it; 0 therefore is full depth. With kl in
            nats, with l2 a share.
        criterion: of the token after this iteration and after the one before.
            `l2`: ||x_m - x_(m-1)|| / ||x_m|| of its state, in every loop.
            `kl`: KL(p_m || p_(m-1)) of its predictions, final norm and head applied to both states; in the last group,
            which must be a loop; loops before it run in full.
        kv: keys and values of a token that has stopped, for each iteration that it leaves out.
            `copy`: those that the same block computed last, which costs nothing.
            `project`: those that the block's projections give for the state it stopped with and that iteration's
            encoding, as Elbayad et al. (2020, "Depth-Adaptive Transformer") and CALM do, which copy the state upwards.
        minimum: iterations that every token gets. Two is the first number after which there are two to compare; with 1
            the first iteration is compared with what the loop was given.
        maximum: iterations that no token goes beyond, else those of the group. A view with it has fewer slots.

    Raises:
        ValueError: a value out of its rule.
    """

    threshold: float
    criterion: str = "l2"
    kv: str = "copy"
    minimum: int = 2
    maximum: int | None = None

    def __post_init__(self) -> None:
        for name, known in (("criterion", CRITERIA), ("kv", KV_RULES)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be {' or '.join(known)}, got {getattr(self, name)!r}")
        number = isinstance(self.threshold, int | float) and not isinstance(self.threshold, bool)
        if not number or not 0 <= self.threshold < float("inf"):
            raise ValueError(f"threshold must be a finite number of 0 or more, got {self.threshold!r}: 0 is full depth")
        for name in ("minimum", "maximum"):
            count = getattr(self, name)
            if (name, count) != ("maximum", None) and (type(count) is not int or count < 1):
                raise ValueError(f"{name} must be a whole number of iterations, 1 or more, got {count!r}")
        if self.maximum is not None and self.minimum > self.maximum:
            raise ValueError(f"minimum must be at most maximum, got {self.minimum} and {self.maximum}: swap them")

    def groups(self, counts: Sequence[int]) -> list[int]:
        """Numbers of the groups in which tokens stop, of groups that run as often as `counts` say.

        Raises:
            ValueError: nothing loops, `minimum` or `maximum` is beyond every loop, or kl has no loop at the end.
        """
        loops = [number for number, count in enumerate(counts) if count > 1]
        if not loops:
            raise ValueError(
                f"early exit needs a group that runs more than once, got iterations {list(counts)}: "
                f"choose a layout with a loop, or more iterations"
            )
        for name in ("minimum", "maximum"):
            wanted, most = getattr(self, name), max(counts)
            if wanted is not None and wanted > most:
                raise ValueError(
                    f"{name} must be at most the {most} iterations that loops run now, got {wanted}: lower it, or let "
                    f"them run more often by with_iterations"
                )
        if self.criterion == "l2":
            return loops
        if loops[-1] != len(counts) - 1:
            raise ValueError(
                f"criterion kl needs the last group to be a loop, got iterations {list(counts)}: use l2, which "
                f"compares states, not predictions"
            )
        return loops[-1:]

    def capped(self, counts: Sequence[int]) -> list[int]:
        """How often each group runs at most; raises as `groups` does."""
        self.groups(counts)
        return [count if self.maximum is None else min(count, self.maximum) for count in counts]


@dataclass
class ExitTally:
    """What early exit did in all passes since the view was made, or since `reset`; of real tokens, not of padding."""

    tokens: dict[int, int] = field(default_factory=dict)
    """Tokens that went through each group in which tokens stop, by its number from 0."""
    iterations: dict[int, int] = field(default_factory=dict)
    """Iterations of these, summed."""
    latest: "dict[int, Tensor]" = field(default_factory=dict)
    """Iterations of each token in the last pass, (B, T), 0 for padding; times the group's blocks, applications."""
    spent_flops: int = 0
    """FLOPs of these groups as they were run, by the rules of `cost`: queries that fill up a row of the batch to the
    row with most are counted too, and the head that kl looks through."""
    full_flops: int = 0
    """What the same passes would have cost in these groups without early exit; with padding, which it leaves out."""

    @property
    def mean_iterations(self) -> dict[int, float]:
        """Iterations per token of each group."""
        return {number: self.iterations[number] / tokens for number, tokens in self.tokens.items() if tokens}

    @property
    def saved_share(self) -> float:
        """Share of these groups' FLOPs that was saved; below 0 where looking cost more."""
        return 1 - self.spent_flops / self.full_flops if self.full_flops else 0.0

    @property
    def saved_flops_per_token(self) -> float:
        """The same per token, of all groups together: to take from what `cost` says of the model."""
        tokens = max(self.tokens.values(), default=0)
        return (self.full_flops - self.spent_flops) / tokens if tokens else 0.0

    def add(self, group: int, iterations: "Tensor", tokens: int, spent_flops: int, full_flops: int) -> None:
        """Count one pass through a group; iterations (B, T)."""
        self.tokens[group] = self.tokens.get(group, 0) + tokens
        self.iterations[group] = self.iterations.get(group, 0) + int(iterations.sum())
        self.latest[group] = iterations
        self.spent_flops += spent_flops
        self.full_flops += full_flops

    def reset(self) -> None:
        """Begin anew."""
        for counted in (self.tokens, self.iterations, self.latest):
            counted.clear()
        self.spent_flops = self.full_flops = 0

    def __str__(self) -> str:
        means = ", ".join(f"group {number} {mean:.2f}" for number, mean in self.mean_iterations.items())
        return f"iterations per token: {means or 'none yet'}; {self.saved_share:.1%} of these loops' FLOPs saved"
