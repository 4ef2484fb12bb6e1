"""What an evaluation is told; plain, without torch."""

from dataclasses import dataclass


@dataclass(kw_only=True)
class EvaluateConfig:
    """Measure the loss of a checkpoint on a prepared corpus.

    Args:
        checkpoint: checkpoint folder, or run folder, whose last checkpoint is taken.
        data: prepared corpus with the checkpoint's own tokenizer.
        split: validation or train.
        context: tokens per row; by default those of the run, or outside a run folder the longest the model takes.
        iterations: how often looped groups run; by default as trained. One number, or one per group.
        batch_rows: rows per forward pass.
        device: auto is a GPU where there is one.
        threads: CPU threads; by default torch's own choice.
        json: print one line of JSON instead of a table.
    """

    checkpoint: str
    data: str
    split: str = "validation"
    context: int | None = None
    iterations: int | list[int] | None = None
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
