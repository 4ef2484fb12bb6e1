"""What a sweep is told. No torch."""

from dataclasses import dataclass, field
from typing import Any, Literal

from .grid import Match


@dataclass(kw_only=True)
class SweepConfig:
    """Train every cell of a grid that is not trained yet.

    The same command goes on where it was stopped. The grid may grow in between: more seeds, layouts, widths.

    Args:
        grid: YAML file with axes and protocol, or the name of one that is shipped: paper, paper-tuned.
        data: prepared corpus.
        out: folder of the sweep, new or to go on with.
        only: train those cells alone whose name matches one of these patterns, such as '64_*' or '*_2^4_*'.
        seeds: instead of the grid's.
        widths: instead of the grid's.
        layouts: instead of the grid's.
        match: instead of the grid's: params, flops or time, beside a reference.
        reference: the layout that the others are matched to.
        dry_run: print the plan, with parameters, FLOPs, memory and time, and start nothing.
        jobs: cells at a time; by default one per GPU, or one per CPU core.
        threads: CPU threads of each; by default the cores shared among the jobs.
        device: auto is a GPU where there is one.
        on: local, or slurm through submitit.
        slurm: settings of the jobs in submitit's terms, such as {slurm_partition: gpu, gpus_per_node: 1,
            timeout_min: 240}.
    """

    grid: str
    data: str
    out: str
    only: list[str] = field(default_factory=list)
    seeds: list[int] | None = None
    widths: list[int] | None = None
    layouts: list[str] | None = None
    match: Match | None = None
    reference: str | None = None
    dry_run: bool = False
    jobs: int | None = None
    threads: int | None = None
    device: str = "auto"
    on: Literal["local", "slurm"] = "local"
    slurm: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("jobs", "threads"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, got {getattr(self, name)}")
        if self.slurm and self.on != "slurm":
            raise ValueError("slurm must be left out where on is local: it has no effect there")
        if self.on == "slurm" and self.jobs is None:
            raise ValueError("jobs must be given on a cluster: how many to have queued or running at a time")
