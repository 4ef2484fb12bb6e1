"""What an evaluation is told; plain, without torch."""

from dataclasses import dataclass
from pathlib import Path

from frailt.model.counts import parse_counts

from .exit_config import ExitSettings

PLOTS = (".png", ".svg")


@dataclass(kw_only=True)
class EvaluateConfig(ExitSettings):
    """Measure the loss of a checkpoint on a prepared corpus, or what it can do on tasks.

    Args:
        checkpoint: checkpoint folder, or run folder, whose last checkpoint is taken.
        data: prepared corpus with the checkpoint's own tokenizer. With tasks: what the shipped ones ask about, the
            validation stories of any prepared corpus, or a file or folder of stories; by default built-in ones.
        split: validation or train.
        context: tokens per row; by default those of the run, or outside a run folder, and with tasks, the longest the
            model takes.
        iterations: how often looped groups run; by default as trained. One number, or one per group, as in [2,4].
            Several counts, as in 1..8 or 1,2,4,8, give the loss at each, all looped groups with the same.
        plot: PNG or SVG file for the curve over several counts, or over thresholds of early exit.
        tasks: tasks of lm-eval to run, by name: frailt_stories, which is shipped, lambada_openai, ...
        tasks_path: folder of more tasks, as YAML files of lm-eval.
        limit: documents per task at most; by default all.
        num_fewshot: answered questions before each one; by default as the task has it.
        batch_rows: rows per forward pass.
        device: auto is a GPU where there is one.
        threads: CPU threads; by default torch's own choice.
        json: print one line of JSON instead of a table.
    """

    checkpoint: str
    data: str | None = None
    split: str = "validation"
    context: int | None = None
    iterations: int | list[int] | str | None = None
    plot: str | None = None
    tasks: list[str] | None = None
    tasks_path: str | None = None
    limit: int | None = None
    num_fewshot: int | None = None
    batch_rows: int = 16
    device: str = "auto"
    threads: int | None = None
    json: bool = False

    def __post_init__(self) -> None:
        if self.split not in ("validation", "train"):
            raise ValueError(f"split must be validation or train, got {self.split!r}")
        for name in ("context", "batch_rows", "threads", "limit"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, got {getattr(self, name)}")
        several = self.counts is not None  # raises where they cannot be read
        self.check_exit(self.iterations)
        if self.plot is not None and not several and self.exit_thresholds is None:
            raise ValueError(f"plot must come with several iterations, as in 1..8, got {self.iterations}")
        if self.plot is not None and Path(self.plot).suffix not in PLOTS:
            raise ValueError(f"plot must be a file that ends in {' or '.join(PLOTS)}, got {self.plot!r}")
        self._check_tasks()

    def _check_tasks(self) -> None:
        if self.tasks is None:
            if self.data is None:
                raise ValueError("data must be given, or tasks")
            for name in ("tasks_path", "limit", "num_fewshot"):
                if getattr(self, name) is not None:
                    raise ValueError(f"{name} must come with tasks, got {getattr(self, name)}")
            return
        if not self.tasks:
            raise ValueError("tasks must be one or more, got none")
        if self.exit_thresholds is not None:
            raise ValueError(f"exit_thresholds must be left out with tasks, got {self.exit_thresholds}")
        if self.split != "validation":
            raise ValueError(f"split must be left out with tasks, got {self.split}")
        if self.counts is not None:
            raise ValueError(f"iterations must be one number with tasks, or one per group, got {self.iterations}")
        if self.num_fewshot is not None and self.num_fewshot < 0:
            raise ValueError(f"num_fewshot must be 0 or more, got {self.num_fewshot}")

    @property
    def counts(self) -> list[int] | None:
        """The counts of a curve; None where the loss is measured at one."""
        return parse_counts(self.iterations, "iterations") if isinstance(self.iterations, str) else None
