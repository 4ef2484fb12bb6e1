"""`report`, from sweep folders to the files that it writes."""

import json
import shutil
import subprocess
import sys

import pytest

from frailt.data.whole_files import damage
from frailt.report.config import ReportConfig
from frailt.report.plots.style import save
from frailt.report.report import report

from .synthetic import as_in_the_paper, write_run, write_sweep
from .test_document import HOSTILE
from .test_page import Tags

FIGURES = [
    "differences", "figure-4", "figure-5", "learning-64", "loss-by-flops", "loss-by-parameters", "loss-by-time",
    "worth",
]  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A sweep, the report on it, and what was printed."""
    folder = tmp_path_factory.mktemp("report")
    sweep = write_sweep(folder / "sweep", as_in_the_paper(), seeds=range(3))
    out = sweep / "report"
    return sweep, out, report(ReportConfig(sweeps=[str(sweep)], out=str(out)))


@pytest.fixture
def undrawn(monkeypatch):
    """Pictures are made and not saved, which is what takes the time."""
    monkeypatch.setattr("frailt.report.report.save", lambda figure, path: path.write_text("<svg ></svg>"))


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_report_is_markdown_a_page_and_pictures_of_both_kinds(made):
    _, out, _ = made
    pictures = [f"figures/{name}.{suffix}" for name in FIGURES for suffix in ("png", "svg")]
    assert sorted(contents(out)) == sorted(["files.json", "report.html", "report.md", *pictures])
    assert damage(out) is None
    for name in FIGURES:
        assert f"](figures/{name}.png)" in (out / "report.md").read_text(encoding="utf-8")


def test_the_page_has_the_pictures_in_it_and_needs_nothing_else(made):
    html = (made[1] / "report.html").read_text(encoding="utf-8")
    assert html.count("<svg ") == len(FIGURES)
    assert "http" not in html
    found = Tags(html)
    assert not {"script", "link", "img", "image"} & {tag for tag, _ in found.tags}
    ids = [attributes["id"] for _, attributes in found.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert "±" in html
    assert "<code>2^4</code> beats <code>2</code> at width 64 by 0.061 nats" in html


def test_what_is_printed_is_where_it_is_and_the_verdicts(made):
    _, out, said = made
    first, second, *verdicts = said.splitlines()
    assert (first, second) == (str(out / "report.md"), str(out / "report.html"))
    assert verdicts[0] == (
        "At equal parameters, is the looped model ahead of the standard one? Here yes in 4 of 4, at width 64; in the "
        "paper yes in 20 of 20: as in the paper."
    )
    assert any(line.startswith("`2^4` beats `2` at width 64 by 0.061 nats [") for line in verdicts)


def test_the_same_records_give_the_same_files(made, tmp_path, monkeypatch):
    sweep, out, _ = made
    skip = lambda figure, path: save(figure, path) if path.suffix == ".svg" else path.touch()  # for the time it takes
    monkeypatch.setattr("frailt.report.report.save", skip)
    report(ReportConfig(sweeps=[str(sweep)], out=str(tmp_path / "again")))
    first, again = (
        {name: text for name, text in contents(each).items() if name.endswith(("md", "html", "svg"))}
        for each in (out, tmp_path / "again")
    )
    assert len(first) == 2 + len(FIGURES)
    assert again == first


def test_a_report_replaces_an_earlier_one_as_a_whole(tmp_path, undrawn):
    sweep, out = tmp_path / "sweep", tmp_path / "out"
    config = ReportConfig(sweeps=[str(sweep)], out=str(out))
    write_sweep(sweep, lambda *cell: 2.5, layouts=["8"], widths=(64, 128), seeds=[0])
    report(config)
    assert (out / "figures" / "learning-128.png").exists()
    for folder in sweep.glob("cells/128_*"):
        shutil.rmtree(folder)
    report(config)
    assert not (out / "figures" / "learning-128.png").exists()
    assert damage(out) is None


def test_a_report_that_was_written_in_is_refused_and_left_alone(made, tmp_path):
    sweep, earlier, _ = made
    out = tmp_path / "earlier"
    shutil.copytree(earlier, out)
    with (out / "report.md").open("a", encoding="utf-8") as file:
        file.write("What I think of it.")
    before = contents(out)
    with pytest.raises(FileExistsError, match=r"out must hold a report as it was written, got .*report\.md"):
        report(ReportConfig(sweeps=[str(sweep)], out=str(out)))
    assert contents(out) == before


@pytest.mark.parametrize("made_there", ["note.txt", "figures/mine.png"])
def test_a_folder_with_anything_else_in_it_is_refused_and_left_alone(made_there, made, tmp_path):
    sweep, earlier, _ = made
    for out in (tmp_path / "foreign", tmp_path / "earlier"):
        if out.name == "earlier":
            shutil.copytree(earlier, out)
        (out / made_there).parent.mkdir(parents=True, exist_ok=True)
        (out / made_there).write_text("mine")
        before = contents(out)
        with pytest.raises(FileExistsError, match="out must be a new or empty folder, or that of a report, got"):
            report(ReportConfig(sweeps=[str(sweep)], out=str(out)))
        assert contents(out) == before


def test_what_is_left_out_is_said_on_stderr_a_line_each(tmp_path, capsys, undrawn):
    sweep = write_sweep(tmp_path / "sweep", lambda *cell: 2.5, layouts=["8"], seeds=[0])
    broken = write_run(sweep / "cells" / "broken", seed=1)
    (broken / "metrics.jsonl").write_text('{"step": 1\n')
    report(ReportConfig(sweeps=[str(sweep)], out=str(tmp_path / "out")))
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(
        "frailt report: left out: broken: it must hold a readable run.json, metrics.jsonl and config"
    )


def test_nothing_that_records_say_becomes_a_tag(tmp_path, undrawn):
    sweep = tmp_path / "sweep"
    record = {"data.source": HOSTILE, "device": HOSTILE, "precision": HOSTILE, "versions": {"frailt": HOSTILE}}
    write_run(sweep / "cells" / "good", record=record)
    write_run(sweep / "cells" / "<b>bad", record={"model.layout": HOSTILE}, seed=1)
    write_run(sweep / "cells" / "worse", config={"from_checkpoint": HOSTILE}, seed=2)
    (sweep / "rates.json").write_text(json.dumps({"rule": HOSTILE, "chosen": []}))
    out = tmp_path / "out"
    report(ReportConfig(sweeps=[str(sweep)], out=str(out)))
    html = (out / "report.html").read_text(encoding="utf-8")
    assert "<script" not in html
    assert "<b>" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt; | *x* `y` [z](w)" in html
    Tags(html)


def test_the_papers_own_numbers_need_no_sweep(tmp_path):
    out = tmp_path / "paper"
    said = report(ReportConfig(out=str(out), paper=True))
    assert {path.name for path in out.glob("figures/*.svg")} == {
        "figure-4.svg", "figure-5.svg", "figure-6.svg", "figure-7.svg", "differences.svg", "worth.svg",
    }  # fmt: skip
    assert "`4^2` against `8`, equal depth: behind at width 64 (0.123)" in said
    assert "<td>0.559</td>" in (out / "report.html").read_text(encoding="utf-8")


def test_a_report_needs_no_torch(tmp_path):
    sweep = write_sweep(tmp_path / "sweep", lambda *cell: 2.5, layouts=["8"], seeds=[0])
    program = (
        "import sys; from frailt.report.config import ReportConfig; from frailt.report.report import report; "
        "report(ReportConfig(sweeps=[sys.argv[1]], out=sys.argv[2])); "
        "print(*{'torch', 'transformers', 'datasets', 'accelerate', 'pandas'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", program, str(sweep), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("\n", "")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"out": "x"},
            "sweeps must name at least one folder made by frailt sweep, or judged one made by frailt judge, or compl",
        ),
        ({"out": "x", "sweeps": ["a"], "paper": True}, r"sweeps must be left out with paper, got \['a'\]"),
        ({"out": "", "sweeps": ["a"]}, "out must name a folder, got an empty text"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ReportConfig(**options)


def test_no_sweep_no_report(tmp_path):
    with pytest.raises(FileNotFoundError, match="sweeps must be folders made by frailt sweep"):
        report(ReportConfig(sweeps=[str(tmp_path)], out=str(tmp_path / "out")))
    assert not (tmp_path / "out").exists()
