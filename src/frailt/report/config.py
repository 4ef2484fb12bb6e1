"""What a report is told. Without torch, matplotlib or scipy, so that the command line can show it at once."""

from dataclasses import dataclass, field


@dataclass(kw_only=True)
class ReportConfig:
    """Report on finished runs of one or more sweeps, or on the paper's own numbers.

    Args:
        sweeps: folders made by frailt sweep; together they are one experiment.
        out: folder for report.md, report.html and figures/: a new or empty one, or that of an earlier report, which is
            replaced.
        paper: report on the numbers that the paper prints, instead of sweeps.
    """

    sweeps: list[str] = field(default_factory=list)
    out: str
    paper: bool = False

    def __post_init__(self) -> None:
        if self.paper and self.sweeps:
            raise ValueError(
                f"sweeps must be left out with paper, got {self.sweeps}: the paper's numbers stand beside those of "
                f"every sweep in any case"
            )
        if not self.paper and not self.sweeps:
            raise ValueError("sweeps must name at least one folder made by frailt sweep, or paper be given")
        if not self.out:
            raise ValueError("out must name a folder, got an empty text")
