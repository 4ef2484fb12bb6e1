"""What a report is told. Without torch, matplotlib or scipy, so that the command line can show it at once."""

from dataclasses import dataclass, field


@dataclass(kw_only=True)
class ReportConfig:
    """Report on finished runs of one or more sweeps, on what models told and how it was graded, or on the paper.

    Args:
        sweeps: folders made by frailt sweep; together they are one experiment.
        judged: folders that frailt judge wrote, all of one judge: Tables 4 and 5, Figures 6 and 7.
        completions: folders that frailt complete wrote, one per checkpoint, or what holds them: stories side by side,
            and what frailt measure wrote beside them.
        loss_cutoff: nats per token; models of a higher loss are drawn in grey and left out of the power laws of grades.
        out: folder for report.md, report.html, stories.html and figures/: a new or empty one, or that of an earlier
            report, which is replaced.
        paper: report on the numbers that the paper prints, instead of runs.
    """

    sweeps: list[str] = field(default_factory=list)
    judged: list[str] = field(default_factory=list)
    completions: list[str] = field(default_factory=list)
    loss_cutoff: float = 1.0
    out: str
    paper: bool = False

    def __post_init__(self) -> None:
        given = {name: getattr(self, name) for name in ("sweeps", "judged", "completions")}
        for name, folders in given.items():
            if self.paper and folders:
                raise ValueError(
                    f"{name} must be left out with paper, got {folders}: the paper's numbers stand beside ours in any "
                    f"case"
                )
        if not self.paper and not any(given.values()):
            raise ValueError(
                "sweeps must name at least one folder made by frailt sweep, or judged one made by frailt judge, or "
                "completions one made by frailt complete, or paper be given"
            )
        if not self.loss_cutoff > 0:
            raise ValueError(f"loss_cutoff must be a number above 0, got {self.loss_cutoff}")
        if not self.out:
            raise ValueError("out must name a folder, got an empty text")
