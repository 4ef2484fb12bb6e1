"""What an evaluation is told; plain, without torch."""

from dataclasses import dataclass
from pathlib import Path

from frailt.model.counts import parse_counts

PLOTS = (".png", ".svg")


@dataclass(kw_only=True)
class EvaluateConfig:
    """Measure the loss of a checkpoint on a prepared corpus.

    Args:
        checkpoint: checkpoint folder, or run folder, whose last checkpoint is taken.
        data: prepared corpus with the checkpoint's own tokenizer.
        split: validation or train.
        context: tokens per row; by default those of the run, or outside a run folder the longest the model takes.
        iterations: how often looped groups run; by default as trained. One number, or one per group, as in [2,4].
            Several counts, as in 1..8 or 1,2,4,8, give the loss at each, all looped groups with the same.
        plot: PNG or SVG file for the curve over several counts.
        batch_rows: rows per forward pass.
        device: auto is a GPU where there is one.
        threads: CPU threads; by default torch's own choice.
        json: print one line of JSON instead of a table.
    """

    checkpoint: str
    data: str
    split: str = "validation"
    context: int | None = None
    iterations: int | list[int] | str | None = None
    plot: str | None = None
    batch_rows: int = 16
    device: str = "auto"
    threads: int | None = None
    json: bool = False

    def __post_init__(self) -> None:
        if self.split not in ("validation", "train"):
            raise ValueError(f"split must be validation or train, got {self.split!r}")
        for name in ("context", "batch_rows", "threads"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, got {getattr(self, name)}")
        several = self.counts is not None  # raises where they cannot be read
        if self.plot is not None and not several:
            raise ValueError(f"plot must come with several iterations, as in 1..8, got {self.iterations}")
        if self.plot is not None and Path(self.plot).suffix not in PLOTS:
            raise ValueError(f"plot must be a file that ends in {' or '.join(PLOTS)}, got {self.plot!r}")

    @property
    def counts(self) -> list[int] | None:
        """The counts of a curve; None where the loss is measured at one."""
        return parse_counts(self.iterations, "iterations") if isinstance(self.iterations, str) else None
