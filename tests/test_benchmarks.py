"""The benchmark scripts can be called, and their page is what the records say. Nothing is timed here."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def script(monkeypatch):
    """Modules of benchmarks/ by name, as the scripts there import each other."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


@pytest.mark.parametrize("name", ["train", "compile", "gpu", "prepare", "generate", "serve"])
def test_help_works(name):
    asked = subprocess.run([sys.executable, str(BENCHMARKS / f"{name}.py"), "--help"], capture_output=True, text=True)
    assert asked.returncode == 0, asked.stderr
    assert f"python benchmarks/{name}.py" in asked.stdout


def entry(kind: str, rates: list[float], layout: str = "8", **changes) -> dict:
    ours = {"chosen_compile": "block", "chosen_precision": "float32", "chosen_matmul_flops_per_s": 1e9}
    return {
        "kind": kind, "layout": layout, "compile": "off", "precision": "float32", "rows": 4, "context": 11,
        "tokens_per_s": rates, "training_flops_per_token": 2_000_000, "first_step_s": 3.04,
        "parameters": 100, "weight_bytes": 400_000, "optimizer_bytes": 800_000, "peak_memory_bytes": 700_000_000,
        "planned_peak_memory_bytes": 650_000_000,
    } | (ours if kind == "frailt" else {}) | changes  # fmt: skip


def record(**parts) -> dict:
    machine = {"name": "Abacus 3, 2 cores", "cpu": "Abacus 3", "cores": 2, "memory_gb": 8.0}
    return {"machine": machine, "versions": {"python": "3.11", "torch": "2.13.0"}, "threads": 1} | {
        "cells": {}, "compile": {}, **parts,
    }  # fmt: skip


A_QUARTER = {"parameters": 25, "weight_bytes": 100_000, "optimizer_bytes": 200_000}
CELL = {
    "hidden_size": 64, "rows": 4, "context": 11, "precision": "float32", "device": "cpu",
    "contenders": {
        "trainer": entry("trainer", [80.0, 100.0, 120.0]),
        "loop": entry("loop", [160.0, 200.0, 180.0], compile="default"),
        "ours": entry("frailt", [160.0, 210.0, 252.0], "2^4", **A_QUARTER),
        "broken": {"error": "frailt 1^8: out of memory"},
    },
}  # fmt: skip


def rows_of(page: str, heading: str) -> list[list[str]]:
    """Cells of the table below a heading, without the line of dashes."""
    lines = page.split(f"### {heading}")[1].split("###")[0].splitlines()
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    return [table[0], *table[2:]]


def test_a_page_without_records_says_so(script):
    assert "There are no records yet." in script("report").render([])


def test_throughput_is_the_median_with_its_spread_and_ratios_are_to_each_peer(script):
    page = script("report").render([record(cells={"width 64, float32": CELL})])
    head, trainer, loop, ours, broken = rows_of(page, "Width 64, 4 rows of 11 tokens, float32")
    assert "## Abacus 3, 2 cores\n\nAbacus 3, 2 cores, threads 1, 8.0 GB; python 3.11, torch 2.13.0." in page
    assert dict(zip(head, ours, strict=True)) == {
        "contender": "frailt", "layout": "`2^4`", "compile": "block", "precision": "float32",
        "tokens/s": "210 (160–252)", "to trainer": "2.10 (2.00–2.10)", "to loop": "1.17 (1.00–1.40)", "MFU": "42%",
        "weights, MB": "0.1", "AdamW, MB": "0.2", "peak, MB": "700", "planned, MB": "—", "first step, s": "3.0",
    }  # fmt: skip
    assert (trainer[4:7], loop[2]) == (["100 (80–120)", "—", "—"], "default")
    assert "out of memory" in broken[4]
    assert len({len(row) for row in (head, trainer, loop, ours, broken)}) == 1


@pytest.mark.parametrize(
    ("rates", "verdict"),
    [([200.0] * 3, "met"), ([170.0, 170.0, 170.0], "undecided"), ([100.0] * 3, "not met")],
)
def test_a_bar_is_judged_against_the_faster_peer(script, rates, verdict):
    cell = CELL | {"contenders": CELL["contenders"] | {"ours": entry("frailt", rates, "2^4")}}
    row = rows_of(script("report").render([record(cells={"c": cell})]), "What was aimed at")[1]
    assert row[:3] == ["throughput to the faster peer, `2^4` block", "width 64, float32", "1.0"]
    assert row[4] == verdict


def test_a_loop_is_judged_against_our_plain_layout_in_the_same_mode(script):
    contenders = {
        "plain": entry("frailt", [100.0, 101.0, 102.0]),
        "looped": entry("frailt", [90.0, 91.0, 92.0], "2^4"),
        "peer": entry("trainer", [50.0] * 3),
    }
    table = rows_of(script("report").render([record(cells={"c": CELL | {"contenders": contenders}})]), "What was aimed")
    row = next(row for row in table if row[0] == "throughput of `2^4` to our `8`, block")
    assert row[2:] == ["1.0", "0.90 (0.90–0.90)", "not met"]


def test_memory_is_judged_by_the_ratio_of_unique_parameters(script):
    page = script("report").render([record(cells={"c": CELL})])
    assert ["weights and AdamW to trainer's, `2^4`", "width 64, float32", "0.250", "0.250", "met"] in rows_of(
        page, "What was aimed at"
    )


def test_lower_precision_is_judged_against_the_float32_trainer(script):
    contenders = {
        "a": entry("trainer", [100.0], precision="bfloat16"),
        "slow": entry("trainer", [50.0]),
        "ours": entry("frailt", [100.0], precision="bfloat16", chosen_precision="bfloat16"),
    }
    cell = CELL | {"hidden_size": 256, "precision": "bfloat16", "contenders": contenders}
    table = rows_of(script("report").render([record(cells={"c": cell})]), "What was aimed at")
    assert [row[2:] for row in table[1:]] == [
        ["1.0", "1.00 (1.00–1.00)", "met"],
        ["1.6", "2.00 (2.00–2.00)", "met"],
    ]


def test_a_gpu_cell_shows_the_plan_and_the_ceiling_that_was_measured_apart(script):
    cell = CELL | {"device": "gpu", "at_once": 4, "matmul_flops_per_s": 2e9}
    head, *_, ours, _ = rows_of(script("report").render([record(cells={"c": cell})]), "Width 64")
    shown = dict(zip(head, ours, strict=True))
    assert (shown["planned, MB"], shown["MFU"], shown["first step, s"]) == ("650", "21%", "—")


def test_auto_that_comes_to_float32_points_to_its_table(script):
    page = script("report").render([record(cells={"a": CELL, "b": CELL | {"contenders": {}}})])
    assert "auto comes to float32 here" in page


def test_compile_times_are_compared_with_one_block(script):
    runs = {
        "1 block": [{"first_step_s": 10.0, "tokens_per_s": 80.0}, {"first_step_s": 20.0, "tokens_per_s": 80.0}],
        "8 block": [{"first_step_s": 15.0, "tokens_per_s": 9.0}, {"first_step_s": 24.0, "tokens_per_s": 9.0}],
        "8 whole": [{"first_step_s": 60.0, "tokens_per_s": 10.0}],
    }
    settings = {"hidden_size": 256, "rows": 8, "context": 512, "precision": "float32"}
    settings |= {"layouts": ["1", "8"], "modes": ["block", "whole"]}
    page = script("report").render([record(compile={"settings": settings, "runs": runs})])
    table = rows_of(page, "Compile times, width 256")
    assert table[3] == ["`8`", "block", "19.5 (15.0–24.0)", "1.30 (1.20–1.50)", "9 (9–9)", "0.90 (0.90–0.90)"]
    assert table[2] == ["`1`", "whole", "—", "—", "—", "—"]


def test_the_page_in_docs_is_that_of_the_records(script):
    report = script("report")
    records = [report.load(path) for path in sorted(report.RECORDS.glob("*.json"))]
    assert report.PAGE.read_text(encoding="utf-8") == report.render(records)


def test_rows_and_steps_are_given_by_width(script):
    by_width = script("train").by_width
    assert by_width(None, [64, 300], {64: 16, 256: 8}) == {64: 16, 300: 8}
    assert by_width([2], [64, 128], {64: 16}) == {64: 2, 128: 2}
    with pytest.raises(SystemExit, match="one per width"):
        by_width([1, 2], [64, 128, 256], {64: 16})


def test_the_page_on_decoding_is_what_the_records_say(script):
    entries = {
        "a": {"kind": "generate", "layout": "8", "compile": "off", "weight_bytes": 900_000, "first_call_s": 1.0},
        "b": {"kind": "frailt", "layout": "2^4", "compile": "off", "weight_bytes": 300_000, "first_call_s": 1.0},
        "c": {"kind": "frailt", "layout": "2^4", "compile": "on", "weight_bytes": 300_000, "first_call_s": 21.04},
    }
    for entry, rates in zip(entries.values(), ([80.0, 100.0], [90.0, 90.0], [250.0, 210.0]), strict=True):
        entry |= {"tokens_per_s": rates, "first_token_s": 0.0123}
    cell = {"hidden_size": 64, "batch": 44, "tokens": 20, "prompt_tokens": 16, "contenders": entries}
    page = script("generation_page").render([record(cells={"c": cell, "d": cell | {"hidden_size": 256, "batch": 1}})])
    assert "### Width 64, 44 rows, 20 tokens each behind 2,000 read\n" in script("generation_page").render(
        [record(cells={"c": cell | {"prompt_tokens": 2000}})]
    )
    _, generate, plain, compiled = rows_of(page, "Width 64, 44 rows, 20 tokens each")
    assert generate[3:] == ["90 (80–100)", "—", "12", "—", "0.9"]
    assert plain[3:] == ["90 (90–90)", "1.00 (0.90–1.12)", "12", "—", "0.3"]
    assert compiled[3:] == ["230 (210–250)", "2.56 (2.10–3.12)", "12", "21.0", "0.3"]
    assert rows_of(page, "What was aimed at")[1:] == [
        ["`2^4` on to generate", "width 64, batch 44", "2.0", "2.56 (2.10–3.12)", "met"],
        ["`2^4` on to generate", "width 256, batch 1", "1.0", "2.56 (2.10–3.12)", "met"],
        ["weights, `2^4` to the Llama's", "width 256", "0.333", "0.333", "not met"],
    ]


def test_the_committed_page_on_decoding_is_what_the_committed_records_say(script, tmp_path):
    page = script("generation_page")
    page.write_page(tmp_path / "page.md")
    assert (tmp_path / "page.md").read_text(encoding="utf-8") == page.PAGE.read_text(encoding="utf-8")
