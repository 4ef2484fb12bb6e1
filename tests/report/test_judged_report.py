"""A report on what models told: its sections, files and lines."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from frailt.cli import main
from frailt.report.compose import compose
from frailt.report.config import ReportConfig
from frailt.report.laws import printed_laws
from frailt.report.markdown import markdown
from frailt.report.plots.by_loss import by_loss
from frailt.report.plots.style import styled
from frailt.report.power_laws import power_laws
from frailt.report.printed import printed
from frailt.report.report import report
from frailt.report.statistics import estimate
from frailt.report.told import read_told

from .synthetic import as_in_the_paper, write_sweep
from .telling import write_completions, write_judged_folder, write_measures
from .test_document import column, table_with, tables_of
from .test_page import Tags

LAYOUTS = ("2", "8", "2^4")

# The rows of the paper's Table 4, then of Table 5, copied from its text: width, then by layout loss and grades.
TABLE_4 = """
64 1 1^8 1.69 1.10 1.10 1.00 1.00 1.52 1.10 1.35 1.00 1.00
64 2 2^4 1.41 1.25 1.35 1.05 1.00 1.35 1.25 1.40 1.00 1.00
64 4 4^2 1.21 1.60 1.75 1.05 1.00 1.19 1.65 1.95 1.10 1.00
64 8 - 1.07 1.80 2.10 1.05 1.05
128 1 1^8 1.40 1.10 1.40 1.00 1.00 1.14 1.90 2.30 1.00 1.00
128 2 2^4 1.08 1.80 2.20 1.20 1.00 1.01 1.90 2.30 1.00 1.00
128 4 4^2 0.92 2.70 3.40 2.00 1.60 0.90 3.50 2.80 1.60 1.30
128 8 - 0.82 3.20 3.20 1.60 1.30
256 1 1^8 1.21 1.45 1.80 1.05 1.00 0.89 3.30 3.10 1.75 1.65
256 2 2^4 0.87 2.75 2.30 1.45 1.15 0.79 4.30 3.30 1.90 1.50
256 4 4^2 0.74 5.00 3.65 2.65 2.20 0.72 4.80 3.60 2.80 2.20
256 8 - 0.66 5.20 3.65 2.90 2.70
512 1 1^8 1.07 1.50 1.75 1.10 1.00 0.71 5.90 4.05 2.75 2.25
512 2 2^4 0.75 4.90 4.10 2.50 2.15 0.65 5.55 4.15 4.05 3.20
512 4 4^2 0.63 6.05 4.05 3.75 3.20 0.60 6.75 4.45 4.50 4.25
512 8 - 0.58 6.38 4.55 4.45 3.85
1024 1 1^8 0.97 1.50 3.00 1.00 1.00 0.60 6.20 4.40 3.70 3.55
1024 2 2^4 0.67 5.50 4.05 2.85 2.35 0.56 7.45 5.40 5.75 4.70
1024 4 4^2 0.59 6.75 5.30 4.20 4.00 0.53 7.20 4.45 5.25 4.55
1024 8 - 0.52 6.60 5.50 5.70 5.00
"""
TABLE_5 = """
64 1.05 1.11 1.16 1.16 1.35 1.43 1.50
128 1.13 1.55 1.55 1.55 2.43 2.30 2.33
256 1.33 2.45 1.91 2.75 3.38 3.35 3.61
512 1.34 3.74 3.41 4.24 4.26 4.99 4.81
1024 1.63 4.46 3.69 5.83 5.06 5.36 5.70
"""


def grades_4():
    """(layout, width) -> loss and four grades, as the paper prints them."""
    for line in TABLE_4.split("\n")[1:-1]:
        width, standard, looped, *numbers = line.split()
        yield (standard, width), numbers[:5]
        if looped != "-":
            yield (looped, width), numbers[5:]


def grades_5():
    for line in TABLE_5.split("\n")[1:-1]:
        width, *numbers = line.split()
        yield from zip(((layout, width) for layout in ("1", "1^8", "2", "2^4", "4", "4^2", "8")), numbers, strict=True)


def grade_of(layout, width, seed, story, repeat, name):
    """A judge that likes `2^4` better than `2`, most of all on the last beginning, and leaves some unscored."""
    if (layout, story.prompt_id, story.sample) == ("8", 1, 0):
        return None
    higher = {"2": 0, "8": 1, "2^4": 2 + (story.prompt_id == 3)}.get(layout, 0)
    return 3 + higher + (story.prompt_id + story.sample) % 2 + (name == "grammar") + (seed == 1 and story.sample == 1)


@pytest.fixture
def told(tmp_path):
    return [
        write_completions(
            tmp_path / "told" / f"{layout}-{seed}",
            layout=layout,
            seed=seed,
            samples=2,
            nats=0.9 - 0.1 * i + 0.01 * seed,
        )
        for i, layout in enumerate(LAYOUTS)
        for seed in (0, 1)
    ]


@pytest.fixture
def judged(tmp_path, told):
    return write_judged_folder(tmp_path / "judged", told, grade_of)


def text_of(judged, told=(), cutoff=1.0):
    found = read_told([str(each) for each in judged], [str(each) for each in told])
    return markdown(compose(None, found, cutoff))


# Tables 4 and 5


def test_table_4_has_ours_the_papers_and_the_difference(judged):
    table = table_with(text_of([judged]), "unscored")
    rows = {(row[1].strip("`"), row[0]): dict(zip(table[0], row, strict=True)) for row in table[1:]}
    values = [5.75 + 0.5 * seed for seed in (0, 1)]
    row = rows["2^4", "64"]
    found = estimate(values)
    assert row["plot ours"] == f"{found.mean:.2f} ± {found.half_width:.2f}"
    assert row["plot paper"] == "1.00"
    assert row["plot diff."] == f"+{found.mean - 1:.2f}"
    assert (row["interval over"], row["unscored"], row["loss"]) == ("2 seeds", "0 of 16", "0.705")
    assert rows["8", "64"]["unscored"] == "2 of 16"


def test_every_grade_of_the_paper_is_beside_ours_and_none_is_in_a_column_of_ours(judged):
    text = text_of([judged])
    four, five = table_with(text, "unscored"), tables_of(text)[1]
    assert five[0] == ["width", "layout", "ours", "paper", "diff.", "interval over"]
    for printed_table, table, kinds in (
        (dict(grades_4()), four, ("grammar", "creativity", "consistency", "plot")),
        ({place: ["", grade] for place, grade in grades_5()}, five, ("",)),
    ):
        rows = {(row[1].strip("`"), row[0]): dict(zip(table[0], row, strict=True)) for row in table[1:]}
        assert rows.keys() == printed_table.keys()
        for place, (_, *grades) in printed_table.items():
            for kind, grade in zip(kinds, grades, strict=True):
                row = rows[place]
                assert row[f"{kind} paper".strip()] == grade
                is_ours = place[1] == "64" and place[0] in LAYOUTS
                assert (row[f"{kind} ours".strip()] != "—") == (row[f"{kind} diff.".strip()] != "—") == is_ours


def test_one_seed_has_its_interval_over_beginnings(told, tmp_path):
    folder = write_judged_folder(tmp_path / "one", told[::2], grade_of)
    table = table_with(text_of([folder]), "unscored")
    row = next(dict(zip(table[0], row, strict=True)) for row in table[1:] if row[:2] == ["64", "`2^4`"])
    by_beginning = [np.mean([5 + (p == 3) + (p + s) % 2 for s in range(2)]) for p in range(4)]
    assert row["plot ours"] == f"{np.mean(by_beginning):.2f} ± {estimate(by_beginning).half_width:.2f}"
    assert row["interval over"] == "4 beginnings"


def test_sentences_are_computed_and_differences_tabled(judged):
    text = text_of([judged])
    assert (
        "`2^4` is graded above `2` by 2.25 for grammar [1.45, 3.05], 2.25 for creativity [1.45, 3.05], 2.25 for "
        "consistency [1.45, 3.05], 2.25 for plot [1.45, 3.05] and 2.25 on average [1.45, 3.05] at width 64; 4 "
        "beginnings of 2 seeds." in text
    )
    table = table_with(text, "grammar paper")
    table = next(each for each in tables_of(text) if "baseline" in each[0])
    row = dict(zip(*table[:2], strict=True))
    assert (row["model"], row["baseline"], row["plot ours"], row["plot paper"]) == (
        "`2^4`",
        "`2`",
        "+2.25 ± 0.80†",
        "0.00",
    )
    assert row["creativity paper"] == "+0.05"


def test_the_judge_and_the_telling_are_named(judged):
    text = text_of([judged])
    assert (
        "Graded by `judge-1` at `api.openai.com`, another judge than the paper's `gpt-4-1106-preview`, at temperature"
        in text
    )
    assert "4 beginnings, `2` told of each (temperature `1.0`, top p `1.0`, top k `0`, up to `400` tokens)." in text


def test_the_budget_is_named_where_it_is_known(tmp_path):
    folder = write_completions(tmp_path / "told", trained_tokens=123456)
    text = text_of([write_judged_folder(tmp_path / "judged", [folder], grade_of)])
    assert "4 beginnings, `1` told of each by models trained on 123,456 tokens (temperature" in text


# Figures 6 and 7


def many(tmp_path, losses=(0.95, 0.85, 0.75, 0.65, 0.55)):
    """Ten models whose grades grow as their loss falls."""
    told = [
        write_completions(
            tmp_path / "many" / f"{layout}-{i}",
            layout=layout,
            width=64 * 2**i,
            nats=loss + 0.01 * (layout == "2"),
            samples=2,
        )
        for layout in ("2", "2^4")
        for i, loss in enumerate(losses)
    ]

    def grade(layout, width, seed, story, repeat, name):
        return min(10, round(2 + 1.5 * np.log2(width / 64) + (story.prompt_id % 3 == 1) + (story.sample == 1)))

    return write_judged_folder(tmp_path / "judged-many", told, grade)


def test_laws_are_fitted_and_drawn_and_said(tmp_path):
    text = text_of([many(tmp_path)])
    assert "Plot grows as " in text
    assert "Plot: one law serves both families as far as these models tell, F(2, 6) = " in text
    table = table_with(text, "both: R²")
    assert column(table, "exponent: both")["plot"].endswith(" (10)")
    assert list(column(table, "one law? p")) == ["grammar", "creativity", "consistency", "plot", "average"]
    assert "](figures/figure-6.png)" in text
    assert "](figures/figure-7.png)" in text


def test_the_cutoff_is_an_option(tmp_path):
    folder = many(tmp_path)
    assert (
        "Average: no law is fitted to standard models, for there are 3 of a loss up to 0.8 and it takes 4"
        in text_of([folder], cutoff=0.8)
    )
    assert "no law is fitted to models, for there are 2 of a loss up to 0.57" in text_of([folder], cutoff=0.57)


def test_without_losses_there_are_grades_and_no_law(tmp_path):
    told = [write_completions(tmp_path / layout, layout=layout, nats=None) for layout in LAYOUTS]
    text = text_of([write_judged_folder(tmp_path / "judged", told, grade_of)])
    assert "Of no graded model the validation loss is known." in text
    assert "figure-6" not in text


def lines_of(axes, **wanted):
    return [line for line in axes.lines if all(getattr(line, f"get_{key}")() == value for key, value in wanted.items())]


def test_figures_6_and_7_redrawn_show_the_papers_numbers():
    found = {law.kind: law for law in printed_laws(1.0)}
    with styled():
        panels = by_loss([found[kind] for kind in ("grammar", "creativity", "consistency", "plot")]).axes
        (average,) = by_loss([found["average"]]).axes
    assert [axes.get_title() for axes in panels] == ["grammar", "creativity", "consistency", "plot"]
    for axes, kind in (*((axes, axes.get_title()) for axes in panels), (average, "average")):
        places = {
            (float(line.get_xdata()[0]), float(line.get_ydata()[0]))
            for line in axes.lines
            if len(line.get_xdata()) == 1
        }
        assert places == {(point.nats, point.score.mean) for point in found[kind].points}
        assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
        grey = [line for line in axes.lines if line.get_marker() != "None" and line.get_color() == "#b4b4b4"]
        assert sorted(float(line.get_xdata()[0]) for line in grey) == sorted(
            point.nats for point in found[kind].points if point.nats > 1
        )
        assert len(axes.collections) == 2  # a band for each family
        for family, colour in (("standard", "#333333"), ("FraiLT", "#8a3a8f")):
            (line,) = [line for line in axes.lines if line.get_color() == colour]
            law = found[kind].fit(family)
            assert list(line.get_ydata()) == pytest.approx([law.at(x) for x in line.get_xdata()])


# The paper's own


def test_the_papers_tables_4_and_5_are_redrawn():
    text = markdown(printed())
    table = table_with(text, "consistency")
    for (layout, width), (loss, *grades) in grades_4():
        (row,) = [row for row in table[1:] if row[:2] == [width, f"`{layout}`"]]
        assert row[3:7] == grades
        assert float(row[2]) == pytest.approx(float(loss), abs=0.00501)  # Table 4 has a digit less than Tables 2 and 3
    seven = ["`1`", "`2`", "`4`", "`8`", "`1^8`", "`2^4`", "`4^2`"]
    averages = next(each for each in tables_of(text) if each[0] == ["width", *seven])
    for (layout, width), grade in grades_5():
        assert column(averages, f"`{layout}`")[width] == grade


def test_the_page_on_power_laws_is_what_the_code_computes():
    page = Path(__file__).parents[2] / "docs" / "power-laws.md"
    assert page.read_text(encoding="utf-8") == power_laws(), (
        "write it anew: python -m frailt.report.power_laws > docs/power-laws.md"
    )


# Measures


def test_measures_are_columns_whatever_their_names(told):
    for i, folder in enumerate(told):
        new = {"mean": 1234.5, "low": None, "high": None, "n": 3 + i, "unit": "bits", "about": "What is *new*."}
        write_measures(folder, {"words": 30 + i, "brand_new": new} if i else {"words": 30.0})
    text = text_of([], told)
    section = text.partition("## Measures without a judge")[2]
    table = tables_of(section)[0]
    assert table[0] == ["layout", "width", "seed", "`words`", "`brand_new`"]
    assert table[1] == ["`2`", "64", "0", "30.00 [29.90, 30.10]", "—"]
    assert table[2] == ["`2`", "64", "1", "31.00 [30.90, 31.10]", "1,234"]
    assert "- `brand_new` (bits; n from 4 to 8): What is \\*new\\*." in section
    assert "no GPT-Eval" in section
    assert "GPT-Eval" not in text.partition("## Measures without a judge")[0]


def test_what_measures_rest_on_is_named_where_all_agree(told):
    for i, folder in enumerate(told):
        evaluator = {"checkpoint": "last", "sha256": "ab" * 32, "beyond_context": i}
        write_measures(folder, {"words": 30.0}, evaluator=evaluator if i else None)
    assert "- evaluator: checkpoint `last` and sha256 abababababab…\n" in text_of([], told)


def test_many_measures_are_several_tables(told):
    write_measures(told[0], {f"m{i}": 1.0 * i for i in range(12)})
    found = tables_of(text_of([], told).partition("## Measures without a judge")[2])
    assert [len(table[0]) for table in found] == [9, 9]


def test_real_stories_are_a_row_of_their_own(told, tmp_path):
    real = write_completions(tmp_path / "real", model={}, seed=None, nats=None, checkpoint="real stories", beginnings=7)
    for folder in (told[0], real):
        write_measures(folder, {"words": 30.0})
    folder = write_judged_folder(tmp_path / "judged", [*told, real], grade_of)
    text = text_of([folder], [*told, real])
    assert tables_of(text.partition("## Measures without a judge")[2])[0][2][:3] == ["real stories", "—", "—"]
    assert "**Yardsticks**, from beginnings of their own.\n\n- real stories: grammar 4.43" in text
    assert "\nTold by 6 checkpoints: `2`, `8` and `2^4` at width 64 and real stories." in text
    assert "\nTold by real stories." in text_of([], [real])


# Files and lines


def test_a_report_on_a_sweep_and_its_stories_is_one(judged, told, tmp_path, monkeypatch):
    monkeypatch.setattr("frailt.report.report.save", lambda figure, path: path.write_text("<svg ></svg>"))
    sweep = write_sweep(tmp_path / "sweep", as_in_the_paper(), layouts=LAYOUTS, seeds=[0, 1])
    out = tmp_path / "out"
    said = report(
        ReportConfig(sweeps=[str(sweep)], judged=[str(judged)], completions=[str(each) for each in told], out=str(out))
    )
    text, html = ((out / f"report.{suffix}").read_text(encoding="utf-8") for suffix in ("md", "html"))
    for heading in (
        "Losses by width: Tables 2 and 3, Figures 4 and 5",
        "Grades: Tables 4 and 5",
        "Stories",
        "Protocol",
    ):
        assert f"\n## {heading}\n" in text
    assert "[The stories, side by side](stories.html)" in text
    assert '<a href="stories.html">The stories, side by side</a>' in html
    assert (out / "stories.html").read_text(encoding="utf-8").count("<article>") == 3 * 4
    assert any(line.startswith("`2^4` is graded above `2` by 2.25 for grammar") for line in said.splitlines())
    Tags(html)
    report(ReportConfig(judged=[str(judged)], out=str(out)))  # replaces it, with its page of stories


def test_what_is_left_out_is_said_on_stderr_and_in_the_report(judged, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("frailt.report.report.save", lambda figure, path: path.write_text("<svg ></svg>"))
    place = next(judged.glob("8-0*"))
    (place / "grades.jsonl").unlink()
    report(ReportConfig(judged=[str(judged)], out=str(tmp_path / "out")))
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"frailt report: left out: judged/{place.name}: grades.jsonl is missing: give its frailt judge again"
    assert "grades.jsonl is missing" in (tmp_path / "out" / "report.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--judged", "nowhere"], "judged must be folders that frailt judge wrote, got nowhere without a judge.json"),
        (["--completions", "nowhere"], "completions must be folders that frailt complete wrote, got nowhere"),
        (["--judged", "x", "--paper"], "judged must be left out with paper, got ['x']"),
        (["--judged", "x", "--loss_cutoff", "0"], "loss_cutoff must be a number above 0, got 0.0"),
        (["--judged", "x", "--loss_cutoff", ".nan"], "loss_cutoff must be a number above 0, got nan"),
        (["--paper", "--loss_cutoff", "low"], "loss_cutoff must be float, got 'low'"),
        ([], "sweeps must name at least one folder made by frailt sweep, or judged one made by frailt judge"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments, line, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["report", *arguments, "--out", "out"]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith(f"frailt report: error: {line}")
    assert not Path("out").exists()


def test_it_needs_no_torch(judged, told, tmp_path):
    program = (
        "import sys; from frailt.report.config import ReportConfig; from frailt.report.report import report; "
        "report(ReportConfig(judged=[sys.argv[1]], completions=[sys.argv[2]], out=sys.argv[3])); "
        "print(*{'torch', 'transformers', 'datasets', 'accelerate', 'inspect_ai', 'openai'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", program, str(judged), str(told[0].parent), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("\n", "")


def test_nothing_that_records_say_is_markup(told, tmp_path):
    hostile = "<script>x</script> | *y* `z` [a](b) \ud800"
    write_measures(
        told[0], {hostile: {"mean": 1, "low": None, "high": None, "n": 1, "unit": hostile, "about": hostile}}
    )
    judged = write_judged_folder(tmp_path / "judged", told, grade_of, model=hostile.replace("\ud800", ""))
    text = text_of([judged], told)
    text.encode("utf-8")
    assert not re.search(r"(?<!\\)<(?!!--)", text)
