"""Runs side by side: a table, and a plot of their losses. Without torch."""

from dataclasses import dataclass
from pathlib import Path

from .records import Run


@dataclass(kw_only=True)
class CompareConfig:
    """Compare finished runs on the same data.

    Args:
        runs: run folders.
        plot: picture file to write the loss curves to, .png or .svg.
    """

    runs: list[str]
    plot: str | None = None

    def __post_init__(self) -> None:
        if not self.runs:
            raise ValueError("runs must name at least one run folder")
        if self.plot is not None and Path(self.plot).suffix not in (".png", ".svg"):
            raise ValueError(f"plot must end in .png or .svg, got {self.plot!r}")


def compare(config: CompareConfig) -> str:
    """The table, in Markdown; writes the plot where one is asked for.

    Raises:
        FileNotFoundError, ValueError: a folder is no finished run, or the runs are of different data.
    """
    runs = [Run.read(folder) for folder in config.runs]
    hashes = {run.record["data"]["data_hash"] for run in runs}
    if len(hashes) > 1:
        raise ValueError(
            f"runs must be on the same data, got {len(hashes)} different data hashes: compare them separately"
        )
    if config.plot is not None:
        plot_losses(runs, Path(config.plot))
    return table(runs)


def table(runs: list[Run]) -> str:
    """One line per run: what it is, what it costs, what it reached."""
    head = (
        "layout", "width", "depth", "unique parameters", "FLOPs/token (forward)", "tokens", "validation nats/token",
        "bits/byte", "tokens/s",
    )  # fmt: skip
    rows = [head]
    for run in runs:
        model, validation = run.record["model"], run.record["validation"]
        rows.append(
            (
                f"`{model['layout']}`",
                f"{model['hidden_size']}",
                f"{model['depth']}",
                f"{model['parameters']['total']:,}",
                f"{model['forward_flops_per_token']:,}",
                f"{run.record['tokens']:,}",
                f"{validation['nats_per_token']:.4f}",
                f"{validation['bits_per_byte']:.4f}",
                f"{run.record['tokens_per_s']:,.0f}",
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    lines = [
        "| " + " | ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 1) + ":" for width in widths) + "|")
    return "\n".join(lines)


def plot_losses(runs: list[Run], path: Path) -> None:
    """Training loss (thin) and validation loss (thick: on a fixed share; dot: on all, at the end) over tokens."""
    from matplotlib.ticker import EngFormatter

    from frailt.evaluation.drawing import drawing, plain

    path.parent.mkdir(parents=True, exist_ok=True)
    widths = {run.record["model"]["hidden_size"] for run in runs}
    with drawing(path, (7.0, 4.5)) as figure:
        axes = figure.subplots()
        for number, run in enumerate(runs):
            color, model = f"C{number}", run.record["model"]
            axes.plot(*run.curve("loss_nats_per_token"), color=color, linewidth=0.6, alpha=0.5)
            label = (
                f"{model['layout']}: {model['parameters']['total'] / 1000:,.0f} k parameters, depth {model['depth']}"
            )
            label += f", width {model['hidden_size']}" if len(widths) > 1 else ""
            axes.plot(*run.curve("validation_nats_per_token"), color=color, linewidth=1.8, label=label)
            axes.plot(run.record["tokens"], run.record["validation"]["nats_per_token"], "o", color=color, markersize=5)
        axes.set_xlabel("training tokens")
        axes.set_ylabel("loss (nats per token)")
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        where = f"Width {min(widths)}: training" if len(widths) == 1 else "Training"
        axes.set_title(f"{where} (thin) and validation (thick)")
        plain(axes)
        axes.legend()
