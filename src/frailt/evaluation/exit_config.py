"""What an evaluation of early exit is told; plain, without torch."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Literal

from frailt.model.early_exit import EarlyExit


@dataclass(kw_only=True)
class ExitSettings:
    """Early exit at several thresholds, beside all iteration counts without it.

    Args:
        exit_thresholds: measures early exit below each of these, as in 0.01,0.03,0.1, and all counts up to `iterations`
            without it.
        exit_criterion: l2 or kl; by default both where the last group is a loop, which kl needs, else l2.
        exit_kv: keys and values of tokens that have stopped, copy or project; by default both.
        exit_minimum: iterations that every token gets.
        exit_share: share of the rows that this is measured on, evenly spread.
        against: further checkpoints to measure beside it, such as shallower models.
    """

    exit_thresholds: list[float] | None = None
    exit_criterion: Literal["l2", "kl"] | None = None
    exit_kv: Literal["copy", "project"] | None = None
    exit_minimum: int = 2
    exit_share: float = 1.0
    against: list[str] = field(default_factory=list)

    def check_exit(self, iterations: object) -> None:
        """Raise a ValueError where these do not fit together, or not with `iterations`, which are of all counts."""
        if self.exit_thresholds is None:
            usual = {each.name: getattr(ExitSettings, each.name, []) for each in fields(ExitSettings)}
            for name, value in usual.items():
                if getattr(self, name) != value:
                    raise ValueError(f"{name} must come with exit_thresholds, got {getattr(self, name)} alone")
            return
        if not self.exit_thresholds:
            raise ValueError("exit_thresholds must be numbers such as 0.01,0.03,0.1, got none")
        if isinstance(iterations, str):
            raise ValueError(
                f"iterations must be one number, or one per group, with exit_thresholds, got {iterations!r}: "
                f"all counts up to it are measured anyway"
            )
        if not 0 < self.exit_share <= 1:
            raise ValueError(f"exit_share must be above 0 and at most 1, got {self.exit_share}")
        self.exits(["l2"])  # raises where a value is out of its rule

    def exits(self, criteria: Sequence[str]) -> list[EarlyExit]:
        """Every criterion, of these where none was chosen, with every rule for keys and values and every threshold."""
        try:
            return [
                EarlyExit(threshold=threshold, criterion=criterion, kv=kv, minimum=self.exit_minimum)
                for criterion in ([self.exit_criterion] if self.exit_criterion else criteria)
                for kv in ([self.exit_kv] if self.exit_kv else ["copy", "project"])
                for threshold in self.exit_thresholds or []
            ]
        except ValueError as error:  # it begins with the setting's name
            message = str(error).replace("threshold must be", "thresholds must each be")
            raise ValueError(f"exit_{message}") from error
