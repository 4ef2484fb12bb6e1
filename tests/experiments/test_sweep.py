"""Sweeps over made-up losses, where it is about what runs when, and a real one, killed, at the end."""

import errno
import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import torch
import yaml

from frailt.cli import main
from frailt.data.packing import PreparedData
from frailt.experiments import schedule as schedules
from frailt.experiments.config import SweepConfig
from frailt.experiments.grid import Grid
from frailt.experiments.jobs import ClusterJobs
from frailt.experiments.runner import Runner, SomeFailed, command_of
from frailt.experiments.schedule import Schedule
from frailt.experiments.sweep import check_same_protocol, read_grid, sweep
from frailt.training.compiling import missing_for_compile
from frailt.training.stopping import Stopped

from .fakes import DIVERGED, FakeJob, FakeJobs, leave_run

PROTOCOL = {
    "context": 47,
    "batch_rows": 8,
    "evaluations": 1,
    "evaluation_share": 0.2,
    "model": {"num_attention_heads": 2, "intermediate_size": 32},
}
AXES = {"layouts": ["1", "1^2"], "widths": [16], "budgets": [{"steps": 8}], "learning_rates": [0.01]}
SEARCH = {"learning_rates": None, "search": {"rates": [0.01, 0.02], "share": 0.5, "widen": 1}}


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr("frailt.experiments.runner.POLL_S", 0.0)


def schedule(prepared: Path, out: Path, **changes) -> Schedule:
    grid = Grid(**{**AXES, "protocol": PROTOCOL, **changes})
    return Schedule(grid, PreparedData.open(prepared), out, device="cpu", threads=1)


def run(prepared: Path, out: Path, loss=lambda config: 2.0, slots=1, **changes) -> tuple[FakeJobs, Runner]:
    """A sweep with made-up losses; what could not be done is in the runner's `failed`."""
    planned = schedule(prepared, out, **changes)
    out.mkdir(exist_ok=True)
    jobs = FakeJobs(loss, slots)
    runner = Runner(planned, list(planned.grid), jobs)
    try:
        runner.run()
    except SomeFailed:
        assert runner.failed
    return jobs, runner


# What runs when


def test_every_cell_is_trained_once_in_order_and_never_again(prepared, tmp_path):
    names = [f"cells/16_{layout}_8-steps_lr-0.01_seed-{seed}" for seed in (0, 1) for layout in ("1", "1^2")]
    jobs, _ = run(prepared, tmp_path, seeds=[0, 1])
    assert jobs.started == names
    again, _ = run(prepared, tmp_path, seeds=[0, 1])
    assert again.started == []
    more, _ = run(prepared, tmp_path, seeds=[0, 1, 2])
    assert [name.rpartition("-")[2] for name in more.started] == ["2", "2"]


def test_the_command_of_a_cell_says_all_of_its_settings(prepared, tmp_path):
    planned = schedule(prepared, tmp_path, layouts=["1,(2)^3"], encodings=["none"], budgets=[{"passes": 0.5}])
    task = planned.task(next(iter(planned.grid)))
    from frailt.cli import _parse

    assert _parse("train", command_of(task)[4:]) == task.config


def test_rates_are_searched_first_and_the_best_one_is_taken(prepared, tmp_path):
    def loss(config):  # 0.02 is best for `1`, 0.005 for `1^2`
        best = 0.02 if config.model.layout == "1" else 0.005
        return 2 + abs(config.learning_rate - best)

    jobs, _ = run(prepared, tmp_path, loss, **SEARCH)
    trials = [name for name in jobs.started if name.startswith("trials/")]
    assert sorted(trials) == [
        "trials/16_1^2_4-steps_lr-0.005_seed-0",
        "trials/16_1^2_4-steps_lr-0.01_seed-0",
        "trials/16_1^2_4-steps_lr-0.02_seed-0",
        "trials/16_1_4-steps_lr-0.01_seed-0",
        "trials/16_1_4-steps_lr-0.02_seed-0",
        "trials/16_1_4-steps_lr-0.04_seed-0",
    ]
    rates = {name: config.learning_rate for name, config in jobs.configs.items() if name.startswith("cells/")}
    assert rates == {"cells/16_1_8-steps_seed-0": 0.02, "cells/16_1^2_8-steps_seed-0": 0.005}
    noted = json.loads((tmp_path / "rates.json").read_text())["chosen"]
    assert [(entry["layout"], entry["learning_rate"], len(entry["trials"])) for entry in noted] == [
        ("1", 0.02, 3),
        ("1^2", 0.005, 3),
    ]


def test_a_rate_is_chosen_on_the_even_stories(prepared, tmp_path):
    planned = schedule(prepared, tmp_path, **SEARCH)
    trials = planned.due(next(iter(planned.grid)))
    for task, even in zip(trials, (2.0, 2.5), strict=True):  # the other half says the opposite
        leave_run(task.config, 2.0, validation={"nats_per_token": 5 - even, "even_stories": {"nats_per_token": even}})
    beyond = planned.due(next(iter(planned.grid)))
    assert [task.config.learning_rate for task in beyond] == [0.005]


def test_a_trial_that_diverges_is_a_result(prepared, tmp_path):
    jobs, runner = run(prepared, tmp_path, lambda c: DIVERGED if c.learning_rate == 0.02 else 2.0, **SEARCH)
    assert not runner.failed
    assert {c.learning_rate for name, c in jobs.configs.items() if name.startswith("cells/")} == {0.005}
    again, _ = run(prepared, tmp_path, **SEARCH)
    assert again.started == []


def test_where_every_rate_diverges_the_cell_fails_with_the_rates(prepared, tmp_path):
    _, runner = run(prepared, tmp_path, lambda c: DIVERGED if c.model.layout == "1" else 2.0, **SEARCH)
    assert runner.failed == {"16_1_8-steps_seed-0": "training diverged at every learning rate tried: [0.01, 0.02]"}


def test_matched_time_is_measured_first(prepared, tmp_path):
    jobs, _ = run(prepared, tmp_path, match="time", reference="1", budgets=[{"steps": 300}])
    timings = [name for name in jobs.started if name.startswith("trials/")]
    assert timings == ["trials/16_1^2_50-steps_lr-0.01_seed-0", "trials/16_1_50-steps_lr-0.01_seed-0"]
    # The fakes train `1^2` a third as fast as `1`, after a first step that compiles.
    assert jobs.configs["cells/16_1^2_300-steps_lr-0.01_seed-0"].steps == 100
    assert jobs.configs["cells/16_1_300-steps_lr-0.01_seed-0"].steps == 300
    assert jobs.configs[timings[0]].evaluations == 1
    alike = "off" if missing_for_compile(torch.device("cpu")) else "block"
    assert {config.compile for config in jobs.configs.values()} == {alike}


def test_every_learning_rate_is_matched_to_one_measured_time(prepared, tmp_path):
    jobs, _ = run(
        prepared, tmp_path, match="time", reference="1", budgets=[{"steps": 300}], learning_rates=[0.01, 0.02]
    )
    assert sum(name.startswith("trials/") for name in jobs.started) == 2
    assert len({config.steps for config in jobs.configs.values() if config.model.layout == "1^2"} - {50}) == 1


def test_a_match_is_solved_once_for_all_seeds(prepared, tmp_path, monkeypatch):
    solved, solve = [], schedules.changes
    monkeypatch.setattr(schedules, "changes", lambda grid, cell, *more: solved.append(cell) or solve(grid, cell, *more))
    run(prepared, tmp_path, match="params", reference="1", seeds=[0, 1, 2])
    assert sorted(cell.layout for cell in solved) == ["1", "1^2"]


# What goes wrong


def test_a_cell_that_fails_is_noted_with_its_reason_and_the_others_go_on(prepared, tmp_path):
    jobs, runner = run(prepared, tmp_path, lambda c: "the disk is full" if c.model.layout == "1" else 2.0)
    assert runner.failed == {"cells/16_1_8-steps_lr-0.01_seed-0": "the disk is full"}
    assert len(jobs.started) == 2
    assert json.loads((tmp_path / "failures.json").read_text()) == runner.failed
    mended, _ = run(prepared, tmp_path)
    assert mended.started == ["cells/16_1_8-steps_lr-0.01_seed-0"]
    assert json.loads((tmp_path / "failures.json").read_text()) == {}


def test_a_trial_that_fails_fails_its_cells_alone(prepared, tmp_path):
    def loss(config):
        return "no memory" if config.model.layout == "1" and config.steps == 4 else 2.0

    jobs, runner = run(prepared, tmp_path, loss, **SEARCH)
    assert "16_1_8-steps_seed-0" in runner.failed
    assert "cells/16_1^2_8-steps_seed-0" in jobs.started


def test_a_cell_whose_sizes_do_not_fit_is_named_and_the_others_go_on(prepared, tmp_path):
    jobs, runner = run(prepared, tmp_path, widths=[6, 16])
    assert len(jobs.started) == 2
    assert set(runner.failed) == {"6_1_8-steps_lr-0.01_seed-0", "6_1^2_8-steps_lr-0.01_seed-0"}
    assert "head_dim must be even" in next(iter(runner.failed.values()))


def test_a_run_of_another_protocol_in_a_cells_folder_is_named_and_left_alone(prepared, tmp_path):
    run(prepared, tmp_path)
    folder = tmp_path / "cells" / "16_1_8-steps_lr-0.01_seed-0"
    config = yaml.safe_load((folder / "config.yaml").read_text())
    (folder / "config.yaml").write_text(yaml.safe_dump(config | {"batch_rows": 4}))
    jobs, runner = run(prepared, tmp_path)
    assert jobs.started == []
    assert "batch_rows must stay 4" in runner.failed[folder.name]


def test_a_run_on_other_data_is_named(prepared, tmp_path):
    run(prepared, tmp_path)
    record = tmp_path / "cells" / "16_1_8-steps_lr-0.01_seed-0" / "run.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"data": {"data_hash": "other"}}))
    _, runner = run(prepared, tmp_path)
    assert "holds a run on other data" in runner.failed[record.parent.name]


def test_a_part_of_the_grid_leaves_the_notes_on_the_rest(prepared, tmp_path):
    planned = schedule(prepared, tmp_path, widths=[6, 16], **SEARCH)

    def train(*cells):
        with suppress(SomeFailed):
            Runner(planned, list(cells), FakeJobs(lambda config: 2.0)).run()

    train(*planned.grid)
    notes = {name: (tmp_path / name).read_text() for name in ("rates.json", "failures.json")}
    assert "6_1_8-steps_seed-0" in notes["failures.json"]
    train(list(planned.grid)[-1])
    assert notes == {name: (tmp_path / name).read_text() for name in notes}


def test_a_disk_that_takes_no_notes_does_not_end_the_sweep(prepared, tmp_path, monkeypatch, capsys):
    def full(path, text):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr("frailt.experiments.schedule.write_whole", full)
    jobs, runner = run(prepared, tmp_path, **SEARCH)
    assert len([name for name in jobs.started if name.startswith("cells/")]) == 2
    assert not runner.failed
    assert "no notes in" in capsys.readouterr().err


def test_a_signal_lets_what_runs_save_and_says_to_run_again(prepared, tmp_path, monkeypatch):
    class Endless(FakeJobs):
        ends_when_stopped, code = True, None

        def start(self, name, command, log):
            return self

        def exit_code(self):
            return self.code

        def stop(self):
            self.code = 75

    planned, jobs = schedule(prepared, tmp_path), Endless(lambda config: 2.0)
    monkeypatch.setattr(time, "sleep", lambda seconds: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Stopped, match="stopped by SIGTERM: the same command goes on"):
        Runner(planned, list(planned.grid), jobs).run()
    assert jobs.code == 75


@pytest.mark.parametrize("file", ["run.json", "config.yaml"])
def test_a_damaged_record_is_named_and_the_others_go_on(file, prepared, tmp_path):
    run(prepared, tmp_path)
    folder = tmp_path / "cells" / "16_1_8-steps_lr-0.01_seed-0"
    (folder / file).write_text("{")
    jobs, runner = run(prepared, tmp_path, seeds=[0, 1])
    assert f"{file} is damaged" in runner.failed[folder.name]
    assert len(jobs.started) == 2


@pytest.mark.parametrize(
    ("validation", "named"),
    [
        (None, "validation.nats_per_token"),
        ({"nats_per_token": "low"}, "validation.nats_per_token"),
        ({"nats_per_token": 2.0, "even_stories": {"nats_per_token": "low"}}, "even_stories.nats_per_token"),
    ],
)
def test_a_finished_record_without_its_numbers_fails_what_goes_by_it_alone(validation, named, prepared, tmp_path):
    run(prepared, tmp_path, **SEARCH)
    trial = tmp_path / "trials" / "16_1_4-steps_lr-0.01_seed-0"
    cell = tmp_path / "cells" / "16_1^2_8-steps_seed-0"
    for folder in (trial, cell):
        record = json.loads((folder / "run.json").read_text())
        (folder / "run.json").write_text(json.dumps(record | {"validation": validation}))
    _, runner = run(prepared, tmp_path, **SEARCH, seeds=[0, 1])
    assert sorted(runner.failed) == ["16_1^2_8-steps_seed-0", "16_1_8-steps_seed-0", "16_1_8-steps_seed-1"]
    assert f"{trial} holds a finished run whose run.json has no number at" in runner.failed["16_1_8-steps_seed-1"]
    assert f"{named}: move it away" in runner.failed["16_1^2_8-steps_seed-0"]
    assert (tmp_path / "cells" / "16_1^2_8-steps_seed-1").is_dir()


def test_a_trial_whose_loss_is_no_finite_number_has_diverged(prepared, tmp_path):
    run(prepared, tmp_path, **SEARCH)
    file = tmp_path / "trials" / "16_1_4-steps_lr-0.02_seed-0" / "run.json"
    record = json.loads(file.read_text())
    record["validation"]["even_stories"]["nats_per_token"] = float("nan")
    file.write_text(json.dumps(record))
    again, runner = run(prepared, tmp_path, **SEARCH)
    assert not again.started
    assert not runner.failed
    noted = json.loads((tmp_path / "rates.json").read_text())["chosen"][0]
    assert [trial["nats_per_token"] for trial in noted["trials"]] == [2.0, 2.0, None]


@pytest.mark.parametrize("changes", [{"training_s": 0}, {"training_s": "long"}, {"tokens": None}, {"steps": True}])
def test_a_timing_without_its_numbers_fails_what_is_matched_by_it(changes, prepared, tmp_path):
    matched = {"match": "time", "reference": "1", "budgets": [{"steps": 300}]}
    run(prepared, tmp_path, **matched)
    file = tmp_path / "trials" / "16_1^2_50-steps_lr-0.01_seed-0" / "run.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    _, runner = run(prepared, tmp_path, **matched)
    (name, reason), *others = runner.failed.items()
    assert name == "16_1^2_300-steps_lr-0.01_seed-0"
    assert f"{file.parent} must hold a run.json with {next(iter(changes))} above 0" in reason
    assert not others


@pytest.mark.parametrize("record", ["[]", '{"status": "finished", "model": [1], "tokens_per_s": 3}', "{}"])
def test_a_rate_is_not_taken_from_a_damaged_record(record, prepared, tmp_path):
    run(prepared, tmp_path)
    (tmp_path / "cells" / "16_1_8-steps_lr-0.01_seed-0" / "run.json").write_text(record)
    planned = schedule(prepared, tmp_path)
    assert planned.tokens_per_s(next(iter(planned.grid))) is None


def test_longer_runs_are_timed_for_longer(prepared, tmp_path):
    jobs, _ = run(prepared, tmp_path, match="time", reference="1", budgets=[{"steps": 3000}])
    assert "trials/16_1^2_150-steps_lr-0.01_seed-0" in jobs.started


def test_a_run_of_a_killed_sweep_that_still_trains_is_waited_for(prepared, tmp_path, monkeypatch):
    planned = schedule(prepared, tmp_path, layouts=["1"])
    task = planned.task(next(iter(planned.grid)))
    task.folder.mkdir(parents=True)
    lock = (task.folder / ".lock").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)

    def sleep(seconds):  # the process ends while the sweep looks on
        if not lock.closed:
            leave_run(task.config, 2.0)
            lock.close()

    monkeypatch.setattr(time, "sleep", sleep)
    jobs, runner = run(prepared, tmp_path, layouts=["1"])
    assert jobs.started == []
    assert not runner.failed


def test_another_protocol_in_the_same_folder_is_refused_but_axes_may_grow(prepared, tmp_path):
    settings = schedule(prepared, tmp_path / "sweep").grid.settings()
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(settings))
    assert Grid.read(tmp_path / "grid.yaml") == schedule(prepared, tmp_path).grid
    check_same_protocol(tmp_path, schedule(prepared, tmp_path, seeds=[0, 1, 2], widths=[16, 32]).grid)
    other = schedule(prepared, tmp_path, protocol=PROTOCOL | {"batch_rows": 16}).grid
    with pytest.raises(ValueError, match=r"protocol.batch_rows must stay 8 .* got 16: choose another out"):
        check_same_protocol(tmp_path, other)
    with pytest.raises(ValueError, match=r"search.rates must stay None"):
        check_same_protocol(tmp_path, schedule(prepared, tmp_path, **SEARCH).grid)
    with pytest.raises(
        ValueError, match=r"got one without 1 of them, such as 16_1\^2_.*: keep them, and choose with only"
    ):
        check_same_protocol(tmp_path, schedule(prepared, tmp_path, layouts=["1", "2"]).grid)


# The command


def grid_file(folder: Path, **changes) -> Path:
    path = folder / "grid.yaml"
    path.write_text(yaml.safe_dump({**AXES, "protocol": PROTOCOL, **changes}))
    return path


def command(prepared, tmp_path, *more: str) -> list[str]:
    return ["sweep", str(grid_file(tmp_path)), f"--data={prepared}", f"--out={tmp_path / 'sweep'}", *more]


def test_what_is_given_takes_the_place_of_what_the_grid_says(tmp_path):
    config = SweepConfig(grid=str(grid_file(tmp_path)), data="", out="", layouts=["2"], seeds=[5], widths=[32])
    assert [cell.name for cell in read_grid(config)] == ["32_2_8-steps_lr-0.01_seed-5"]


def test_lists_on_the_command_line_are_texts_or_numbers_as_the_field_wants(prepared, tmp_path, capsys):
    assert main(command(prepared, tmp_path, "--dry_run", "--layouts", "8", "2^4", "--widths", "16", "32")) == 0
    table = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in table[1:5]] == [["8", "16"], ["2^4", "16"], ["8", "32"], ["2^4", "32"]]
    assert not (tmp_path / "sweep").exists()


def test_a_dry_run_shows_sizes_flops_memory_and_time_and_what_cannot_be_trained(prepared, tmp_path, capsys):
    assert main(command(prepared, tmp_path, "--dry-run", "--widths", "16", "6", "--seeds", "0", "1")) == 0
    out = capsys.readouterr().out
    row = out.splitlines()[1].split()
    assert row[:4] == ["1", "16", "—", "2"]
    assert int(row[4].replace(",", "")) == 330 * 16 + 4 * 16**2 + 3 * 16 * 32 + 3 * 16
    assert row[5] == f"{8 * 8 * 47:,}"
    assert "cannot be trained: 6_1_8-steps_lr-0.01_seed-0 and its other seeds: head_dim must be even" in out


def test_a_cell_that_no_memory_here_holds_is_not_started_and_the_others_go_on(prepared, tmp_path, capsys):
    limits = ["--widths", "16", str(1 << 18), "--layouts", "1", "--jobs", "1", "--threads", "1"]
    assert main(command(prepared, tmp_path, *limits)) == 2
    said = capsys.readouterr().err
    assert "cells/16_1_8-steps_lr-0.01_seed-0 finished" in said
    assert re.search(
        r"262144_1_8-steps_lr-0.01_seed-0 failed: it needs [\d,.]+ GiB for its tensors, and there are", said
    )
    assert not (tmp_path / "sweep" / "cells" / f"{1 << 18}_1_8-steps_lr-0.01_seed-0").exists()


@pytest.mark.parametrize(
    ("code", "reason"), [(-9, "SIGKILL ended it, as for want of memory, see "), (3, "exit code 3")]
)
def test_a_run_that_ends_without_a_word_is_named_by_how_it_ended(code, reason, prepared, tmp_path):
    jobs = FakeJobs(lambda config: 2.0)
    jobs.start = lambda name, command, log: FakeJob(code)
    planned = schedule(prepared, tmp_path)
    runner = Runner(planned, list(planned.grid), jobs)
    with pytest.raises(SomeFailed):
        runner.run()
    assert all(why.startswith(reason) for why in runner.failed.values())


def test_a_dry_run_counts_the_trials_that_are_left(prepared, tmp_path):
    run(prepared, tmp_path, **SEARCH)
    planned = schedule(prepared, tmp_path, **SEARCH, seeds=[0, 1])
    cells = list(planned.grid)
    assert [planned.trials_due(cell) for cell in cells] == [[]] * 4
    for trial in (tmp_path / "trials").glob("*lr-0.01*"):
        shutil.rmtree(trial)
    planned = schedule(prepared, tmp_path, **SEARCH)
    assert [task.name for task in planned.trials_due(cells[0])] == ["trials/16_1_4-steps_lr-0.01_seed-0"]


def test_a_dry_run_says_that_matched_time_waits_for_what_is_measured(prepared, tmp_path, capsys):
    options = ["--match", "time", "--reference", "1"]
    assert main(command(prepared, tmp_path, "--dry-run", *options)) == 0
    out = capsys.readouterr().out
    reference, other = (line.split() for line in out.splitlines()[1:3])
    assert other[:7] == ["1^2", "16", "learned", "1", other[4], "—", "—"]
    assert other[-2:] == reference[-2:]
    assert "tokens that are — follow from the rates of short runs, which come first" in out


@pytest.mark.parametrize("grid", ["", "[]", "a: [", "\xff"])
def test_a_damaged_grid_in_the_folder_is_named(grid, prepared, tmp_path, capsys):
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "grid.yaml").write_bytes(grid.encode("latin-1"))
    assert main(command(prepared, tmp_path)) == 2
    assert f"grid.yaml is damaged, got {tmp_path / 'sweep'}: restore it, or move it away" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--only", "64_*"], r"only must match names of cells, such as 16_1_8-steps_lr-0.01_seed-0, got 64_\*"),
        (["--jobs", "0"], "jobs must be 1 or more, got 0"),
        (["--on", "slurm"], "jobs must be given on a cluster"),
        (["--slurm", "{timeout_min: 5}"], "slurm must be left out where on is local"),
        (["--match", "flops"], "reference must be given with match"),
        (["--device", "abacus"], "device must be auto, cpu"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(options, complaint, prepared, tmp_path, capsys):
    assert main(command(prepared, tmp_path, *options)) == 2
    said = capsys.readouterr().err
    assert re.search(complaint, said)
    assert said.count("\n") == 1
    assert not (tmp_path / "sweep").exists()


def test_a_grid_that_is_nowhere_is_refused_with_those_that_are_shipped(prepared, tmp_path, capsys):
    assert main(["sweep", "papr", f"--data={prepared}", f"--out={tmp_path / 'sweep'}"]) == 2
    assert "grid must be a YAML file or one of paper, paper-tuned, got 'papr'" in capsys.readouterr().err


def test_a_folder_of_something_else_is_left_alone(prepared, tmp_path, capsys):
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "thesis.tex").write_text("")
    assert main(command(prepared, tmp_path)) == 2
    assert "out must be a new or empty folder, or that of a sweep" in capsys.readouterr().err


def test_a_sweep_that_ended_before_it_wrote_its_grid_can_be_started_again(prepared, tmp_path, monkeypatch):
    def full(path, text):
        path.with_name(f".{path.name}.partial").write_text("")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("frailt.experiments.sweep.write_whole", full)
    assert main(command(prepared, tmp_path)) == 2
    assert sorted(entry.name for entry in (tmp_path / "sweep").iterdir()) == [".grid.yaml.partial", ".lock"]
    monkeypatch.undo()
    check_same_protocol(tmp_path / "sweep", schedule(prepared, tmp_path).grid)


def test_a_file_in_the_place_of_the_folder_is_named(prepared, tmp_path, capsys):
    (tmp_path / "sweep").write_text("mine")
    assert main(command(prepared, tmp_path)) == 2
    assert f"out must be a folder, got the file {tmp_path / 'sweep'}" in capsys.readouterr().err
    assert (tmp_path / "sweep").read_text() == "mine"


def test_two_sweeps_in_one_folder_are_refused(prepared, tmp_path, capsys):
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "grid.yaml").write_text(yaml.safe_dump(schedule(prepared, tmp_path).grid.settings()))
    with (tmp_path / "sweep" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert main(command(prepared, tmp_path)) == 2
    assert "out is in use by another sweep" in capsys.readouterr().err


@pytest.mark.long
def test_a_real_sweep_killed_and_started_again_loses_nothing_and_does_nothing_twice(prepared, tmp_path):
    out = tmp_path / "sweep"
    shell = [sys.executable, "-m", "frailt", *command(prepared, tmp_path, "--jobs", "2", "--threads", "1")]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    first = subprocess.Popen(shell, env=environment, stderr=subprocess.DEVNULL)
    started = time.monotonic()
    while not list(out.glob("cells/*/run.json")) and time.monotonic() - started < 120:
        time.sleep(0.05)
    first.send_signal(signal.SIGKILL)  # its runs go on, and are found again
    first.wait()
    again = subprocess.run(shell, env=environment, capture_output=True, text=True, timeout=300)
    assert again.returncode == 0, again.stderr
    records = [json.loads(path.read_text()) for path in sorted(out.glob("cells/*/run.json"))]
    assert [record["status"] for record in records] == ["finished"] * 2
    for folder in out.glob("cells/*"):
        steps = [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
        assert steps == sorted(steps)
        assert {"even_stories", "odd_stories"} <= json.loads((folder / "run.json").read_text())["validation"].keys()
    before = {path: path.stat().st_mtime_ns for path in out.glob("cells/*/run.json")}
    assert sweep(SweepConfig(grid=str(tmp_path / "grid.yaml"), data=str(prepared), out=str(out), jobs=1)) is None
    assert before == {path: path.stat().st_mtime_ns for path in out.glob("cells/*/run.json")}


@pytest.mark.long
def test_a_sweep_through_submitit_trains_every_cell(prepared, tmp_path, monkeypatch):
    pytest.importorskip("submitit")
    monkeypatch.setattr("frailt.experiments.runner.POLL_S", 0.5)
    planned = schedule(prepared, tmp_path / "sweep")
    planned.out.mkdir()
    Runner(planned, list(planned.grid), ClusterJobs(tmp_path / "jobs", 2, {"timeout_min": 10}, cluster="local")).run()
    assert all(planned.is_finished(cell) for cell in planned.grid)
