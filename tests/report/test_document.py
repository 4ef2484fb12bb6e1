"""What a report says: its tables, sentences and lines, as Markdown."""

import json
import re
import time

import numpy as np
import pytest
import yaml

from frailt.experiments.grid import Grid
from frailt.report.cells import Variant
from frailt.report.document import Document, Heading, Table
from frailt.report.markdown import markdown

from .conftest import document_of
from .synthetic import PAPERS, as_in_the_paper, half_width, write_run, write_sweep
from .test_paper import CELLS, TABLE_2, TABLE_3


def tables_of(text):
    """Every pipe table in a text, as rows of cells; the header first."""
    found = []
    for block in re.findall(r"(?:^\|.*\|\n)+", text + "\n", flags=re.MULTILINE):
        head, _, *rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in block.splitlines()]
        found.append([head, *rows])
    return found


def table_with(text, column):
    return next(table for table in tables_of(text) if column in table[0])


def column(table, name):
    place = table[0].index(name)
    return {row[0]: row[place] for row in table[1:]}


def test_tables_2_and_3_have_ours_the_papers_and_the_difference(sweep, text_of):
    loss = as_in_the_paper()
    text = text_of(write_sweep(sweep, loss, widths=(64, 256)))
    for layout, width, printed in CELLS:
        table = table_with(text, f"`{layout}` ours")
        assert column(table, f"`{layout}` paper")[str(width)] == f"{printed:.3f}"
        ours, diff = (column(table, f"`{layout}` {name}")[str(width)] for name in ("ours", "diff."))
        if width in (64, 256):
            values = [loss(layout, width, seed) for seed in range(5)]
            assert ours == f"{np.mean(values):.3f} ± {half_width(values):.3f} (5)"
            assert diff == f"+{np.mean(values) - printed:.3f}"
        else:
            assert (ours, diff) == ("—", "—")


def test_a_missing_cell_is_a_dash_and_no_number_of_the_paper_is_in_a_column_of_ours(sweep, text_of):
    text = text_of(write_sweep(sweep, lambda *cell: 2.5, layouts=["1", "2^4"], seeds=[0, 1]))
    printed = {f"{loss:.3f}" for _, _, loss in CELLS}
    for table in (table_with(text, "`1` ours"), table_with(text, "`2^4` ours")):
        for place, name in enumerate(table[0]):
            if name.endswith(("ours", "diff.")):
                cells = [row[place] for row in table[1:]]
                assert not printed & set(" ".join(cells).split())
                has_runs = name.split()[0] in ("`1`", "`2^4`")
                assert [cell != "—" for cell in cells] == [has_runs, False, False, False, False]


def test_one_seed_is_said_and_never_plus_or_minus_0(sweep, text_of):
    text = text_of(write_sweep(sweep, lambda *cell: 2.5, layouts=["2", "2^4"], seeds=[3]))
    assert column(table_with(text, "`2^4` ours"), "`2^4` ours")["64"] == "2.500 (1 seed)"
    assert "±" not in text.partition("## Losses by width")[2].replace("mean ± half-width", "")
    assert "Whether `2^4` beats `2` at width 64 is *undecided*" in text


def test_layouts_and_widths_that_the_paper_has_not_stand_beside_a_dash(sweep, text_of):
    layouts = ["6", "(3)^2", "2^4"]
    text = text_of(write_sweep(sweep, lambda *cell: 1.5 + 0.01 * cell[2], layouts=layouts, widths=(96,), seeds=[0, 1]))
    table = table_with(text, "`(3)^2` ours")
    assert "`(3)^2` paper" not in table[0]
    assert column(table, "`(3)^2` ours")["96"].endswith("(2)")
    assert column(table_with(text, "`6` ours"), "`6` ours")["1024"] == "—"


def test_every_comparison_is_in_the_table(sweep, text_of):
    text = text_of(write_sweep(sweep, as_in_the_paper(), widths=(64, 512)))
    table = table_with(text, "baseline")
    assert len(table) - 1 == 2 * (4 + 4 + 2)
    row = next(row for row in table[1:] if row[:4] == ["twice the blocks", "`1^8`", "`2`", "512"])
    assert row[4] == "ahead"
    assert re.fullmatch(r"\+0\.039 \[0\.0\d\d, 0\.0\d\d\]", row[5])
    assert row[6:8] == ["5", "+0.039"]


def test_the_verdicts_come_first_and_are_computed(sweep, text_of):
    text = text_of(write_sweep(sweep, as_in_the_paper(), widths=(64, 128, 256, 512, 1024)))
    first = text.split("\n## ")[1]
    assert first.startswith("What holds of the paper's claims")
    answers = tables_of(first)[0]
    assert answers[1] == [
        "At equal parameters, is the looped model ahead of the standard one?",
        "yes in 20 of 20",
        "yes in 20 of 20, at width 64, 128, 256, 512 and 1024",
        "**as in the paper**",
    ]
    assert "`1^8` passes `2` from width 512 on (the paper: from 512 on)." in first
    assert "`2^4` passes `4` from width 1024 on (the paper: from 1024 on)." in first
    assert re.search(
        r"`2\^4` gains on `8` by 0\.062 nats \[.*\], 5 seeds \(the paper: 0\.062\): the gap shrinks\.", first
    )


def test_what_is_the_other_way_round_does_not_hold(sweep, text_of):
    def reversed_(layout, width, seed):
        looped = Variant.of(layout).layout.is_looped
        return 2.0 + (0.3 if looped else 0.0) + 0.001 * seed * (1 + PAPERS.index(layout) % 3)

    text = text_of(write_sweep(sweep, reversed_))
    answers = tables_of(text)[0]
    assert [row[3] for row in answers[1:]] == [
        "**other than in the paper**",
        "**as in the paper**",
        "**as in the paper**",
        "not tested",
    ]
    assert "`2^4` loses to `2` at width 64 by 0.298 nats" in text


def test_the_text_says_which_stories_losses_are_of(tmp_path, text_of):
    halves = write_sweep(tmp_path / "a", lambda *cell: 2.5, layouts=["8"], seeds=[0])
    whole = write_sweep(tmp_path / "b", lambda *cell: 2.5, layouts=["8"], seeds=[0], halves=False)
    assert "nats per token of the validation stories of odd number. Intervals" in text_of(halves)
    assert "nats per token of all validation stories. Intervals" in text_of(whole)
    for sweep in (halves, whole):
        write_run(sweep / "cells" / "another rate", layout="8", rate=0.01, nats=2.6, halves=sweep == halves)
    assert "of odd number, learning rates having been chosen on the others. Intervals" in text_of(halves)
    assert "of all validation stories, learning rates having been chosen perhaps on some of the same." in text_of(whole)


def test_what_was_left_out_and_what_is_missing_is_listed(sweep, text_of):
    grid = Grid(layouts=["2^4", "2"], widths=[64], seeds=[0], learning_rates=[0.003])
    (sweep / "cells").mkdir(parents=True)
    (sweep / "grid.yaml").write_text(yaml.safe_dump(grid.settings()))
    looped, standard = (cell.name for cell in grid)
    (sweep / "failures.json").write_text(json.dumps({f"cells/{standard}": "no <space> left"}))
    write_run(sweep / "cells" / looped)
    write_run(sweep / "cells" / "other", config={"batch_rows": 4}, seed=5)
    text = text_of(sweep)
    assert (
        "\n1 finished run of the 2 that the grid asks for: `2^4` at width 64, 1 seed, 1 pass over `stories.txt`."
        in text
    )
    assert "\nAsked for and not finished. 1 pass, width 64: `2` at rate 0.003 seed 0.\n" in text
    assert f"- `{standard}` failed: no \\<space\\> left\n" in text
    assert "## Left out\n\n- other: batch\\_rows must be 16 as in most cells, got 4\n" in text


def test_models_of_different_seeds_and_widths_are_not_spoken_of_as_alike(sweep, text_of):
    for layout, width, seeds in (("2", 64, 3), ("2^4", 64, 2), ("2", 128, 1)):
        for seed in range(seeds):
            write_run(sweep / "cells" / f"{layout}-{width}-{seed}", layout=layout, width=width, seed=seed, nats=2.0)
    text = text_of(sweep)
    assert "6 finished runs: `2` at width 64 and 128, `2^4` at width 64, 1 to 3 seeds, 1 pass over" in text
    assert "Models have different seeds, and means over them are compared all the same." in text


def test_one_rate_for_all_is_said(sweep, text_of):
    text = text_of(write_sweep(sweep, lambda *cell: 2.5, layouts=["8", "2^4"], seeds=[0]))
    assert "**Learning rates** were not searched: one for all, 0.003." in text


def test_a_search_in_which_all_diverged_is_a_row_and_the_others_stay(sweep, text_of):
    write_sweep(sweep, lambda *cell: 2.5, layouts=["8"], seeds=[0])
    trials = [{"learning_rate": 0.001, "nats_per_token": None}]
    row = {"layout": "8", "width": 64, "encoding": "learned", "passes": 2, "learning_rate": None, "trials": trials}
    (sweep / "rates.json").write_text(json.dumps({"rule": "", "chosen": [row]}))
    assert table_with(text_of(sweep), "at an edge")[1] == ["`8`", "2 passes", "64", "—", "—", "diverged"]


def test_a_tree_with_changes_is_named(sweep, text_of):
    write_run(sweep / "cells" / "one", record={"versions.commit": "0123456789ab+"})
    assert "`+` stands for changes that were not committed" in text_of(sweep)


def test_steps_that_training_left_out_are_named(sweep, text_of):
    write_sweep(sweep, lambda *cell: 2.5, layouts=["8", "2"], seeds=[0])
    assert "no finite number" not in text_of(sweep)
    write_run(sweep / "cells" / "rough", layout="8", seed=1, nats=2.6, record={"skipped_steps": 3})
    assert "| steps left out, their loss or gradient being no finite number | `rough` 3" in text_of(sweep)


def test_nothing_is_left_out_of_a_whole_sweep(sweep, text_of):
    text = text_of(write_sweep(sweep, lambda *cell: 2.5, layouts=["8"], seeds=[0]))
    assert "Left out" not in text
    assert "Missing" not in text


def test_rates_are_shown_with_their_trials_the_best_in_bold_and_the_edge_named(sweep, text_of):
    write_sweep(sweep, lambda *cell: 2.5, layouts=["8", "2^4"], seeds=[0])
    chosen = [
        {
            "layout": layout,
            "width": 64,
            "encoding": "learned",
            "passes": 2,
            "learning_rate": rate,
            "trials": [
                {"learning_rate": 0.001, "nats_per_token": 3.25},
                {"learning_rate": 0.003, "nats_per_token": 3.5 - 100 * (rate - 0.001)},
                {"learning_rate": 0.01, "nats_per_token": None},
            ],
        }
        for layout, rate in (("8", 0.003), ("2^4", 0.001))
    ]
    (sweep / "rates.json").write_text(json.dumps({"rule": "the lowest of *all*", "chosen": chosen}))
    text = text_of(sweep)
    table = table_with(text, "at an edge")
    assert table == [
        ["layout", "budget", "width", "chosen", "at an edge", "0.001", "0.003", "0.01"],
        ["`8`", "2 passes", "64", "0.003", "no", "3.250", "**3.300**", "diverged"],
        ["`2^4`", "2 passes", "64", "0.001", "yes", "**3.250**", "3.500", "diverged"],
    ]
    assert "the lowest of \\*all\\*" in text


def test_cells_have_their_costs_and_the_loss_of_each_seed(sweep, text_of):
    text = text_of(write_sweep(sweep, lambda layout, width, seed: 2.5 + seed / 10, layouts=["2^4"], seeds=[0, 2]))
    table = table_with(text, "training FLOPs/token")
    row = dict(zip(*table, strict=True))
    record = json.loads(next(iter(sweep.glob("cells/*/run.json"))).read_text())
    assert row["parameters"] == f"{record['model']['parameters']['total']:,}"
    assert row["training FLOPs/token"] == f"{record['model']['training_flops_per_token']:,}"
    assert row["tokens"] == f"{record['tokens']:,}"
    assert (row["seed 0"], row["seed 2"]) == ("2.5000", "2.7000")


def test_seconds_are_of_runs_with_one_kernel_and_losses_of_all(sweep, text_of):
    for seed, (kernel, seconds) in enumerate((("sdpa", 1000.0), ("narrow", 100.0), ("narrow", 300.0))):
        record = {"attention": kernel, "training_s": seconds, "tokens_per_s": 5e6 / seconds, "compile": "block"}
        write_run(sweep / "cells" / f"2 {seed}", layout="2", seed=seed, nats=1.5 + seed, record=record)
    write_run(sweep / "cells" / "8", layout="8", seed=0, record={"attention": "sdpa"})
    text = text_of(sweep)
    rows = {row.split("|")[1].strip(): row for row in text.split("## Cells")[1].splitlines() if row.startswith("| `")}
    assert "| 200 |" in " ".join(rows["`2`"].split())
    assert "| — | — |" in " ".join(rows["`8`"].split())
    assert "Seconds and tokens/s are means over the 2 runs on `x86_64, 1 thread, attention narrow`, 2 of them" in text
    assert "the seconds of 2 runs on other machines or kernels left out" in text


def test_a_matched_sweep_says_how_near_it_came(sweep, text_of):
    for layout, seconds in (("2", 100.0), ("2^4", 101.0), ("1^4", 90.0)):
        record = {"training_s": seconds}
        name = f"64_{layout}_1-passes_lr-0.003_seed-0"
        write_run(sweep / "cells" / name, layout=layout, record=record)
    grid = {
        "layouts": ["2", "2^4", "1^4"],
        "widths": [64],
        "learning_rates": [0.003],
        "match": "time",
        "reference": "2",
    }
    (sweep / "grid.yaml").write_text(yaml.safe_dump(grid))
    expected = (
        "Their training time is off the reference's by −10.0 % to +1.0 %; more than 2 % off: `1^4` at 64 (−10.0 %)."
    )
    assert expected in text_of(sweep)


def test_encodings_are_columns_of_their_own(sweep, text_of):
    for seed in range(3):
        for encoding, nats in (("learned", 1.5), ("none", 1.7)):
            name = f"{encoding}-{seed}"
            write_run(sweep / "cells" / name, encoding=encoding, seed=seed, nats=nats + 0.01 * seed * len(encoding))
    text = text_of(sweep)
    assert column(table_with(text, "`2^4 none` ours"), "`2^4 none` ours")["64"].startswith("1.740")
    assert "`2^4` beats `2^4 none` at width 64 by 0.170 nats" in text


def test_budgets_have_parts_of_their_own(sweep, text_of):
    for passes in (1.0, 20.0):
        for layout in ("8", "2^4"):
            write_run(sweep / "cells" / f"{layout}-{passes}", layout=layout, config={"passes": passes}, nats=1 + passes)
    text = text_of(sweep)
    assert text.count("\n### 1 pass\n") == text.count("\n### 20 passes\n") == 7
    assert "figures/figure-5-20-passes.png" in text


def test_a_matched_sweep_has_no_number_of_the_paper(sweep, text_of):
    grid = Grid(
        layouts=["8", "2^4"], widths=[64], seeds=[0, 1], learning_rates=[0.003], match="flops", reference="8",
    )  # fmt: skip
    (sweep / "cells").mkdir(parents=True)
    (sweep / "grid.yaml").write_text(yaml.safe_dump(grid.settings()))
    for cell in grid:
        nats = 1.5 + 0.2 * (cell.layout == "8") + 0.01 * cell.seed * len(cell.layout)
        config = {"passes": None, "steps": 500}
        write_run(sweep / "cells" / cell.name, layout=cell.layout, seed=cell.seed, nats=nats, config=config)
    text = text_of(sweep)
    assert "**At equal training FLOPs.**\n\n- `2^4` beats `8` at width 64 by 0.190 nats" in text
    assert "(the paper" not in text
    assert [row[7] for row in table_with(text, "baseline")[1:]] == ["—"]
    assert "`8` paper" not in text
    assert "\nNot known: in a matched sweep widths or budgets differ by layout.\n" in text


HOSTILE = "<script>alert(1)</script> | *x* `y` [z](w)"


def test_what_records_say_is_taken_literally(sweep, text_of):
    write_run(sweep / "cells" / "good", record={"data.source": HOSTILE, "device": HOSTILE, "precision": HOSTILE})
    write_run(sweep / "cells" / "bad", record={"model.layout": HOSTILE}, seed=1)
    write_run(sweep / "cells" / "worse", config={"from_checkpoint": HOSTILE}, seed=2)
    text = text_of(sweep)
    assert "\\<script\\>alert(1)\\</script\\> \\| \\*x\\* \\`y\\` \\[z\\](w)" in text
    assert not re.search(r"(?<!\\)<(?!!--)", text)


def test_the_same_records_give_the_same_bytes_whatever_the_order_on_the_disk(tmp_path, text_of):
    loss = as_in_the_paper()
    one = write_sweep(tmp_path / "a" / "sweep", loss, seeds=[0, 1, 2])
    two = write_sweep(tmp_path / "b" / "sweep", loss, seeds=[2, 1, 0], layouts=PAPERS[::-1])
    assert text_of(one) == text_of(two)


def test_a_full_sweep_is_read_and_worked_out_in_seconds(sweep):
    write_sweep(sweep, as_in_the_paper(), widths=(64, 128, 256, 512, 1024))
    began = time.perf_counter()
    document_of(sweep)
    assert time.perf_counter() - began < 30  # it takes about three


def test_links_lead_to_headings(sweep, text_of):
    text = text_of(write_sweep(sweep, lambda *cell: 2.5, layouts=["8"], seeds=[0]))
    links = re.findall(r"^- \[(.*)\]\(#(.*)\)$", text, flags=re.MULTILINE)
    headings = re.findall(r"^## (.*)$", text, flags=re.MULTILINE)
    assert [name for name, _ in links] == headings
    assert dict(links)["Losses by width: Tables 2 and 3, Figures 4 and 5"] == (
        "losses-by-width-tables-2-and-3-figures-4-and-5"
    )


def test_names_over_columns_are_put_before_each_in_markdown():
    table = Table(("width", "a", "b"), (("64", "1|2", "3"),), labels=0, groups=(("", 1), ("`8`", 2)))
    text = markdown(Document("T", (Heading(2, "H"), table)))
    assert text.splitlines()[-3:] == [
        "| width | `8` a | `8` b |",
        "|------:|------:|------:|",
        "|    64 |  1\\|2 |     3 |",
    ]


def test_a_table_of_uneven_rows_is_a_defect():
    with pytest.raises(AssertionError, match="rows must be as wide as the header"):
        Table(("a", "b"), (("1",),))


def test_the_papers_own_report_has_its_tables():
    from frailt.report.printed import printed

    text = markdown(printed())
    for printed_table, layouts in ((TABLE_2, "1 2 4 8"), (TABLE_3, "1^2 1^8 2^4 4^2")):
        table = table_with(text, f"`{layouts.split()[0]}`")
        assert table[0] == ["width", *(f"`{layout}`" for layout in layouts.split())]
        assert table[1:] == [[str(width), *(f"{loss:.3f}" for loss in row)] for width, row in printed_table.items()]
    assert (
        "`1^8` against `2`, twice the blocks: ahead at width 512 (0.039) and 1024 (0.074), behind at width 64 (0.113), "
        "128 (0.059) and 256 (0.013); it passes from width 512 on." in text
    )
    assert "undecided" not in text
