"""`frailt report`: from the records of sweeps, or the paper's numbers, to a folder of tables, text and figures."""

import json
import sys
from pathlib import Path

from frailt.data.whole_files import HASHES, damage, write_folder_whole

from .compose import compose
from .config import ReportConfig
from .document import Document
from .markdown import markdown
from .page import page
from .plots.style import save, settle, styled
from .printed import printed
from .reading import read_records
from .told import NOTHING, read_told


def report(config: ReportConfig) -> str:
    """Write the report; what is left out of it is said on stderr, a line each.

    Returns:
        Where it is, and what it comes to.

    Raises:
        FileExistsError: `out` holds something else.
        FileNotFoundError, ValueError: a folder is no sweep, or there is no finished run in any.
    """
    out = Path(config.out).expanduser()
    check_free(out)
    if config.paper:
        document = printed(config.loss_cutoff)
    else:
        records = read_records(config.sweeps) if config.sweeps else None
        told = read_told(config.judged, config.completions) if config.judged or config.completions else NOTHING
        for line in [*(records.left_out if records is not None else ()), *told.left_out]:
            print(f"frailt report: left out: {line}", file=sys.stderr)
        document = compose(records, told, config.loss_cutoff)
    write_folder_whole(out.absolute(), lambda folder: write(document, folder))
    return "\n".join(
        [str(out / "report.md"), str(out / "report.html"), *(line.replace("*", "") for line in document.summary)]
    )


def check_free(out: Path) -> None:
    """Raise a FileExistsError where a folder holds anything but an earlier report, as it was written."""
    if not out.exists():
        return
    try:
        ours = {*json.loads((out / HASHES).read_text(encoding="utf-8")), HASHES}
    except (OSError, ValueError, TypeError):
        ours = set()
    if not out.is_dir() or any(str(path.relative_to(out)) not in ours for path in out.rglob("*") if not path.is_dir()):
        raise FileExistsError(
            f"out must be a new or empty folder, or that of a report, got {out}: choose another, or remove it"
        )
    if ours and (wrong := damage(out)) is not None:
        raise FileExistsError(
            f"out must hold a report as it was written, got {out}, {wrong}: choose another, or remove it"
        )


def write(document: Document, folder: Path) -> None:
    """Write report.md, report.html and the figures as PNG and SVG into an empty folder."""
    (folder / "figures").mkdir()
    svgs = {}
    with styled():
        for picture in document.pictures:
            figure = settle(picture.draw())
            for suffix in ("png", "svg"):
                save(figure, folder / "figures" / f"{picture.name}.{suffix}")
            svgs[picture.name] = (folder / "figures" / f"{picture.name}.svg").read_text(encoding="utf-8")
    (folder / "report.md").write_text(markdown(document), encoding="utf-8")
    (folder / "report.html").write_text(page(document, svgs), encoding="utf-8")
    for beside in document.pages:
        (folder / beside.name).write_text(beside.render(), encoding="utf-8")
