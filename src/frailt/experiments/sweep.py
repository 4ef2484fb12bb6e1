"""`frailt sweep`: every cell of a grid, each an independent `frailt train`, until all are trained.

What is done is read from the runs themselves, so a sweep can be killed at any time and started again.

    grid.yaml      the grid, as it is now
    rates.json     learning rates that were searched, with their trials
    failures.json  cells that did not finish, each with the reason
    cells/         runs
    trials/        short runs of the search, and those that measure how fast a cell trains
    logs/          what each run printed
"""

import os
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import yaml

from frailt.data.locks import locked
from frailt.data.packing import PreparedData
from frailt.data.whole_files import write_whole

from .alike import began_alike, chosen_alike
from .config import SweepConfig
from .grid import Grid, grids
from .jobs import ClusterJobs, Jobs, LocalJobs
from .room import lack_of_memory
from .runner import Runner
from .schedule import Schedule

_OURS_BEFORE_A_GRID = {".lock", ".grid.yaml.partial"}
_MAY_GROW = {"layouts", "widths", "encodings", "seeds", "budgets", "learning_rates", "also"}


def sweep(config: SweepConfig) -> str | None:
    """Train the cells of a grid; or with `dry_run` say what that would take.

    Raises:
        ValueError, FileNotFoundError: grid, data or folder cannot be used; nothing was started.
        BlockingIOError: another sweep runs in the folder.
        SomeFailed: cells failed; the rest is done.
        Stopped: SIGTERM or SIGUSR1 came; what ran has a checkpoint.
    """
    grid, data, out = read_grid(config), PreparedData.open(config.data), Path(config.out).expanduser()
    jobs, threads, gpus = _share_out(config)
    began = _began(out)
    grid = began_alike(grid, began) if began is not None else grid
    check_same_protocol(out, grid)
    cells = [cell for cell in grid if not config.only or any(fnmatch(cell.name, wanted) for wanted in config.only)]
    if not cells:
        example = next(iter(grid)).name
        raise ValueError(f"only must match names of cells, such as {example}, got {', '.join(config.only)}")
    if began is None and config.on == "local":
        grid = chosen_alike(grid, data, config.device, threads)
    schedule = Schedule(grid, data, out, device=config.device, threads=threads)
    if config.dry_run:
        from .dry_run import dry_run

        return dry_run(schedule, cells, jobs, gpus)
    with locked(out, "sweep"):
        write_whole(out / "grid.yaml", yaml.safe_dump(grid.settings(), sort_keys=False))
        place: Jobs = LocalJobs(jobs, threads or 1, gpus)
        if config.on == "slurm":
            place = ClusterJobs(out / "logs" / "submitit", jobs, config.slurm)
        Runner(schedule, cells, place, lack_of_memory if config.on == "local" else None).run()
    return None


def read_grid(config: SweepConfig) -> Grid:
    """The grid that is asked for, with what is changed in it.

    Raises:
        FileNotFoundError, ValueError: it is neither a file nor a shipped one, or no grid.
    """
    path = Path(config.grid).expanduser()
    if not path.is_file():
        if config.grid not in grids():
            raise FileNotFoundError(f"grid must be a YAML file or one of {', '.join(grids())}, got {config.grid!r}")
        path = grids()[config.grid]
    changed = {name: getattr(config, name) for name in ("seeds", "widths", "layouts", "match", "reference")}
    return Grid.read(path, **{name: value for name, value in changed.items() if value is not None})


def check_same_protocol(out: Path, grid: Grid) -> None:
    """Raise a ValueError where the sweep in `out` has another protocol, or cells that `grid` has not: axes may grow."""
    began = _began(out)
    if began is None:
        return
    before, now = _flat(began), _flat(grid.settings())
    for name in sorted(before.keys() | now.keys()):
        if name.partition(".")[0] not in _MAY_GROW and before.get(name) != now.get(name):
            raise ValueError(
                f"{name} must stay {before.get(name)} in the sweep of {out}, got {now.get(name)}: choose another out"
            )

    lost = {cell.name for cell in Grid.read(out / "grid.yaml")} - {cell.name for cell in grid}
    if lost:
        raise ValueError(
            f"grid must keep the cells of the sweep in {out}, got one without {len(lost)} of them, such as "
            f"{min(lost)}: keep them, and choose with only"
        )


def _began(out: Path) -> Any:
    """What `grid.yaml` says; None in a folder that is new, empty, or of a sweep that ended before it wrote that.

    Raises:
        FileExistsError, ValueError: `out` holds something else, or a damaged sweep.
    """
    try:
        found = yaml.safe_load((out / "grid.yaml").read_text(encoding="utf-8"))
    except NotADirectoryError:
        raise FileExistsError(f"out must be a folder, got the file {out}: choose another") from None
    except FileNotFoundError:
        if out.is_dir() and {entry.name for entry in out.iterdir()} - _OURS_BEFORE_A_GRID:
            raise FileExistsError(f"out must be a new or empty folder, or that of a sweep, got {out}") from None
        return None
    except (yaml.YAMLError, UnicodeDecodeError):
        found = None
    if not isinstance(found, dict) or not found:
        raise ValueError(f"out holds a sweep whose grid.yaml is damaged, got {out}: restore it, or move it away")
    return found


def _flat(settings: Any, prefix: str = "") -> dict[str, Any]:
    """Settings by dotted names; of what is no mapping, nothing."""
    flat: dict[str, Any] = {}
    for name, value in settings.items() if isinstance(settings, dict) else ():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat


def _share_out(config: SweepConfig) -> tuple[int, int | None, int]:
    """How many runs at a time, with how many threads each, on how many GPUs of this machine."""
    if config.on == "slurm":
        assert config.jobs is not None  # checked by the config
        return config.jobs, config.threads, 0
    from frailt.training.hardware import choose_device  # here because it loads torch

    device, cores = choose_device(config.device), len(os.sched_getaffinity(0))
    gpus = 0
    if device.type == "cuda":
        from torch.cuda import device_count

        gpus = device_count() if device.index is None else 1
    jobs = config.jobs or gpus or cores
    return jobs, config.threads or max(1, cores // jobs), gpus
