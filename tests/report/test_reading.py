import json

import pytest
import yaml

from frailt.experiments.grid import Grid
from frailt.report.reading import read_records
from frailt.report.studies import studies

from .synthetic import EVEN_LESS, WHOLE_LESS, as_in_the_paper, write_run, write_sweep


def read(*sweeps):
    return read_records([str(sweep) for sweep in sweeps])


@pytest.fixture
def whole(sweep):
    """Three good cells, beside which a test puts a bad one."""
    return write_sweep(sweep, lambda layout, width, seed: 1.5 + seed / 10, layouts=["2^4"], seeds=range(3))


def cut_a_line(folder):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    lines[7] = lines[7][:-9]
    (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")


def rewritten(file, text):
    return lambda folder: (folder / file).write_text(text)


FAULTS = {
    "a broken line of metrics": (cut_a_line, {}, "line 8 of metrics.jsonl is no JSON"),
    "a broken record": (rewritten("run.json", '{"status": "fin'), {}, "run.json is no JSON"),
    "a broken configuration": (rewritten("config.yaml", "a: [1"), {}, "config.yaml is no YAML"),
    "no configuration": (lambda folder: (folder / "config.yaml").unlink(), {}, "it must hold config.yaml"),
    "no metrics": (lambda folder: (folder / "metrics.jsonl").unlink(), {}, "metrics.jsonl is missing"),
    "no record": (lambda folder: (folder / "run.json").unlink(), {}, "it has no run.json: it was not begun"),
    "a metric that is no number": (
        rewritten("metrics.jsonl", '{"tokens": 1, "loss_nats_per_token": "<script>"}\n'), {}, "loss_nats_per_token",
    ),
    "a run that goes on": (None, {"record": {"status": "running"}}, "a finished run, its status is 'running'"),
    "a run that diverged": (
        None,
        {"record": {"status": "failed", "error": "FloatingPointError: loss became nan at step 7; lower learning_rate"}},
        "its status is 'failed': loss became nan at step 7",
    ),
    "a layout that is none": (None, {"record": {"model.layout": "<script>"}}, "layout term must be a number"),
    "a width that is none": (None, {"record": {"model.hidden_size": "wide"}}, "hidden_size must be a whole number"),
    "a loss that is none": (None, {"record": {"validation.odd_stories.nats_per_token": "low"}}, "must be a number"),
    "a loss that is infinite": (
        None, {"record": {"validation.odd_stories.nats_per_token": float("inf")}}, "must be a number above 0, got inf",
    ),
    "an encoding that is no word": (None, {"record": {"model.iteration_encoding": "a`b"}}, "must be one word, got"),
    "other data": (
        None,
        {"record": {"data.data_hash": "b" * 64}},
        "data_hash must be aaaaaaaaaaaa… as in most cells, got bbbbbbbbbbbb…",
    ),
    "another protocol": (None, {"config": {"batch_rows": 7}}, "batch_rows must be 16 as in most cells, got 7"),
    "another protocol of the model": (
        None, {"config": {"model.num_attention_heads": 4}}, "model.num_attention_heads must be 8 as in most cells",
    ),
    "another start": (None, {"config": {"model.initializer_range": 0.02}}, "initializer_range must be 0.125 as in"),
    "a repeated cell": (None, {"seed": 1}, "it repeats 64_2^4_1-passes_seed-1"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_cell_that_cannot_be_used_is_left_out_with_one_line_and_the_rest_goes_on(fault, whole):
    damage, changes, reason = FAULTS[fault]
    folder = write_run(whole / "cells" / "bad", **{"seed": 9} | changes)
    if damage is not None:
        damage(folder)
    found = read(whole)
    assert [cell.seed for cell in found.cells] == [0, 1, 2]
    (line,) = found.left_out
    assert line.startswith("bad: ")
    assert reason in line
    assert str(whole) not in line
    assert "\n" not in line


@pytest.mark.parametrize(
    "changes",
    [
        {"data": "elsewhere", "out": "x", "threads": 4, "device": "cuda", "compile": "whole", "save_every_steps": 3},
        {"intermediate_size": 96},
        {"rope_theta": 10000.0},  # a setting that the others' version did not have
    ],
)
def test_settings_without_bearing_and_axes_may_differ(changes, whole):
    write_run(whole / "cells" / "other", seed=9, config=changes)
    assert not read(whole).left_out


def test_a_start_by_width_is_one_protocol_over_widths(sweep):
    found = read(write_sweep(sweep, lambda *cell: 1.5, layouts=["8"], widths=(64, 96, 1024), seeds=[0]))
    assert len(found.cells) == 3
    assert found.protocol["model.initializer_range"] == "1/sqrt(hidden_size)"


def test_of_two_protocols_as_frequent_the_first_by_name_is_kept(sweep):
    write_run(sweep / "cells" / "a", config={"batch_rows": 4})
    write_run(sweep / "cells" / "b", config={"batch_rows": 8}, seed=1)
    found = read(sweep)
    assert [cell.name for cell in found.cells] == ["a"]
    assert found.left_out == ("b: batch_rows must be 4 as in most cells, got 8",)


def test_the_protocol_is_one_that_runs_have(sweep):
    # Setting by setting most have 16 rows, a decay of 0.1 and 512 tokens: none has all three.
    unlike = [{"batch_rows": 4}, {"weight_decay": 0.2}, {"context": 256}]
    for i, changes in enumerate(unlike):
        for layout in ("2", "2^4"):
            write_run(sweep / "cells" / f"{i} {layout}", layout=layout, seed=i, config=changes)
    write_run(sweep / "cells" / "9", layout="8", seed=1, config={"weight_decay": 0.2})
    found = read(sweep)
    assert sorted(cell.name for cell in found.cells) == ["1 2", "1 2^4", "9"]
    assert len(found.left_out) == 2


def test_two_sweeps_of_different_data_are_one_line_and_the_larger_goes_on(tmp_path):
    small = write_sweep(tmp_path / "small", lambda *cell: 2.0, layouts=["8", "2^4", "2", "1"], seeds=[0])
    other = {"record": {"data.data_hash": "b" * 64}}
    large = write_sweep(tmp_path / "large", lambda *cell: 1.5, layouts=["8"], seeds=range(6), **other)
    found = read(small, large)
    assert [cell.nats for cell in found.cells] == [1.5] * 6
    assert found.left_out == (
        "small/64_1_1-passes_seed-0, small/64_2^4_1-passes_seed-0, small/64_2_1-passes_seed-0 and 1 more: "
        "data_hash must be bbbbbbbbbbbb… as in most cells, got aaaaaaaaaaaa…",
    )


def test_two_sweeps_of_one_protocol_are_one_experiment(tmp_path):
    for name, seeds in (("a", [0, 1]), ("b", [1, 2])):
        write_sweep(tmp_path / name / "sweep", lambda *cell: 1.5 + cell[2], layouts=["8"], seeds=seeds)
    found = read(tmp_path / "a" / "sweep", tmp_path / "b" / "sweep")
    assert [cell.seed for cell in found.cells] == [0, 1, 2]
    assert found.left_out == (
        "sweep (2)/64_8_1-passes_seed-1: it repeats sweep (1)/64_8_1-passes_seed-1",
    )  # fmt: skip


def test_a_folder_that_is_no_sweep_is_an_error_in_one_line(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"sweeps must be folders made by frailt sweep, got '.*' without cells/"
    ):
        read(tmp_path)


def test_a_sweep_without_a_finished_run_is_an_error_that_says_why(sweep):
    write_run(sweep / "cells" / "a", record={"status": "running"})
    with pytest.raises(ValueError, match=r"at least one finished run, got none in .*; a: it must be a finished run"):
        read(sweep)


# Halves of the validation stories


def test_losses_are_of_the_odd_stories_and_rates_chosen_by_the_even_ones(whole):
    found = read(whole)
    assert found.halves
    assert [cell.nats for cell in found.cells] == [1.5, 1.6, 1.7]
    assert [cell.chosen_by for cell in found.cells] == pytest.approx([each - EVEN_LESS for each in (1.5, 1.6, 1.7)])


def test_a_run_without_halves_is_left_out_where_most_have_them(whole):
    write_run(whole / "cells" / "old", seed=9, nats=1.8, halves=False)
    found = read(whole)
    assert [cell.nats for cell in found.cells] == [1.5, 1.6, 1.7]
    assert found.left_out == (
        "old: validation must have even_stories and odd_stories as in most cells, got one without",
    )  # fmt: skip


def test_where_most_runs_have_no_halves_all_are_reported_whole(whole):
    for seed in range(4):
        write_run(whole / "cells" / f"old {seed}", layout="8", seed=seed, nats=1.8, halves=False)
    found = read(whole)
    assert not found.halves
    assert [cell.nats for cell in found.cells] == pytest.approx(
        [each - WHOLE_LESS for each in (1.5, 1.6, 1.7, *[1.8] * 4)]
    )


def test_a_run_that_is_left_out_does_not_decide_about_halves(whole):
    write_run(whole / "cells" / "old", seed=9, halves=False, config={"batch_rows": 4})
    assert read(whole).halves


# Learning rates


def test_of_several_rates_the_best_by_the_even_stories_is_reported_on_the_odd_ones(sweep):
    for seed in (0, 1):
        for rate, odd, even in ((0.001, 1.4, 1.70), (0.003, 1.6, 1.50), (0.01, 1.5, 1.55)):
            record = {"validation.even_stories.nats_per_token": even}
            write_run(sweep / "cells" / f"{rate}-{seed}", rate=rate, seed=seed, nats=odd, record=record)
    (study,) = studies(read(sweep).cells)
    assert [(cell.learning_rate, cell.nats) for cell in study.cells] == [(0.003, 1.6), (0.003, 1.6)]
    (rate,) = study.rates
    assert (rate.chosen, rate.at_edge) == (0.003, False)
    assert rate.trials == ((0.001, 1.70), (0.003, 1.50), (0.01, 1.55))


def test_rates_are_compared_by_the_seeds_that_all_of_them_have(sweep):
    for rate, seed, nats in ((0.001, 0, 1.5), (0.003, 0, 1.6), (0.003, 1, 1.0)):
        write_run(sweep / "cells" / f"{rate}-{seed}", rate=rate, seed=seed, nats=nats)
    (study,) = studies(read(sweep).cells)
    assert [cell.learning_rate for cell in study.cells] == [0.001]
    assert study.rates[0].at_edge


def test_rates_without_a_common_seed_are_not_chosen_by_the_luck_of_their_seeds(sweep):
    for seed, rate in ((0, 0.006), (1, 0.006), (2, 0.006), (3, 0.012), (4, 0.012)):
        nats = 2.0 if rate == 0.006 else 1.9
        write_run(sweep / "cells" / f"seed {seed}", layout="2", seed=seed, rate=rate, nats=nats)
    [study] = studies(read(sweep).cells)
    assert [cell.seed for cell in study.cells] == [0, 1, 2]
    assert study.rates == ()
    assert study.left_out == tuple(
        f"seed {seed}: its learning rate has no seed in common with 0.006, which more seeds have" for seed in (3, 4)
    )


def test_how_often_loops_run_in_training_is_no_setting_of_a_layout_without_one(sweep):
    def counts(kind):
        return {"config": {"iteration_counts": {"kind": kind}}}

    write_sweep(sweep, lambda *cell: 2.0, layouts=["2", "8", "1"], seeds=[0], **counts("fixed"))
    write_sweep(sweep, lambda *cell: 2.0, layouts=["2^4", "4^2"], seeds=[0], **counts("uniform"))
    write_run(sweep / "cells" / "other", layout="1^8", **counts("poisson"))
    found = read(sweep)
    assert len(found.cells) == 5
    assert len(found.left_out) == 1
    assert found.left_out[0].startswith("other: iteration_counts must be")


def test_precision_is_what_was_computed_in_not_what_was_asked_for(sweep):
    write_sweep(sweep, lambda *cell: 2.0, layouts=["2"], seeds=[0, 1], config={"precision": "auto"})
    write_sweep(sweep, lambda *cell: 2.0, layouts=["2"], seeds=[2], config={"precision": "float32"})
    other = {"config": {"precision": "auto"}, "record": {"precision": "bfloat16"}}
    write_sweep(sweep, lambda *cell: 2.0, layouts=["2"], seeds=[3], **other)
    found = read(sweep)
    assert [cell.seed for cell in found.cells] == [0, 1, 2]
    assert found.left_out == ("64_2_1-passes_seed-3: precision must be float32 as in most cells, got bfloat16",)


def test_searched_rates_are_read_with_their_trials(whole):
    trials = [{"learning_rate": 0.01, "nats_per_token": None}, {"learning_rate": 0.003, "nats_per_token": 2.5}]
    chosen = {"layout": "2^4", "width": 64, "encoding": "learned", "learning_rate": 0.003, "trials": trials}
    (whole / "rates.json").write_text(json.dumps({"rule": "the lowest", "chosen": [chosen]}))
    found = read(whole)
    assert found.rules == ("the lowest",)
    (rate,) = found.rates
    assert (str(rate.variant), rate.chosen, rate.trials) == ("2^4", 0.003, ((0.003, 2.5), (0.01, float("inf"))))


@pytest.mark.parametrize("text", ["{", "[]", '{"chosen": [{}]}', '{"chosen": 3}'])
def test_damaged_rates_are_a_line_and_the_rest_goes_on(text, whole):
    (whole / "rates.json").write_text(text)
    found = read(whole)
    assert len(found.cells) == 3
    (line,) = found.left_out
    assert line.startswith("rates.json: how learning rates were chosen is not known")


# The grid


def grid_of(**axes):
    settings = {"layouts": ["2^4"], "widths": [64], "seeds": [0], "learning_rates": [0.003]}
    return Grid(**settings | axes)


def write_grid(sweep, grid):
    (sweep / "cells").mkdir(parents=True)
    (sweep / "grid.yaml").write_text(yaml.safe_dump(grid.settings()))


def test_what_the_grid_asks_for_and_is_not_there_is_missing(sweep):
    grid = grid_of(seeds=[0, 1, 2])
    write_grid(sweep, grid)
    first, second, third = (cell.name for cell in grid)
    write_run(sweep / "cells" / first)
    write_run(sweep / "cells" / second, seed=1, record={"status": "running"})
    (sweep / "cells" / third).mkdir()
    found = read(sweep)
    assert (found.wanted, [each.name for each in found.missing]) == (3, [second, third])
    assert found.left_out == (f"{second}: it must be a finished run, its status is 'running'",)


def test_a_damaged_grid_is_a_line_and_the_rest_goes_on(whole):
    (whole / "grid.yaml").write_text("widths: [64")
    found = read(whole)
    assert (len(found.cells), found.wanted) == (3, 0)
    assert found.left_out[0].startswith("grid.yaml: which cells were asked for is not known: grid must be a YAML file")
    assert str(whole) not in found.left_out[0]


def test_matched_cells_stand_at_the_width_and_budget_of_their_reference(sweep):
    grid = grid_of(layouts=["8", "2^4"], match="params", reference="8")
    write_grid(sweep, grid)
    for cell, width in zip(grid, (64, 112), strict=True):
        write_run(sweep / "cells" / cell.name, layout=cell.layout, width=width)
    (study,) = studies(read(sweep).cells)
    assert [(str(cell.variant), cell.width) for cell in study.cells] == [("8", 64), ("2^4", 64)]
    assert study.title == "1 pass, equal parameters"


def test_budgets_are_studies_of_their_own_and_so_are_matched_ones(tmp_path):
    loss = as_in_the_paper()
    plain = write_sweep(tmp_path / "plain", loss, seeds=[0, 1])
    long = {"config": {"passes": 20.0}}
    for layout in ("8", "2^4"):
        write_run(plain / "cells" / f"long-{layout}", layout=layout, **long)
    matched = tmp_path / "matched"
    grid = grid_of(layouts=["8", "2"], match="flops", reference="8")
    write_grid(matched, grid)
    for cell in grid:
        write_run(matched / "cells" / cell.name, layout=cell.layout, config={"passes": None, "steps": 77}, nats=1.1)
    found = studies(read(plain, matched).cells)
    assert [(each.title, len(each.cells)) for each in found] == [
        ("1 pass", 16), ("20 passes", 2), ("1 pass, equal training FLOPs", 2),
    ]  # fmt: skip
