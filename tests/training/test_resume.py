"""A run that is stopped, however it is, goes on and ends as if nothing had happened."""

import errno
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from scripts.soak import rows_of, soak
from transformers import AutoModelForCausalLM, TrainerCallback

from frailt.cli import main
from frailt.data.packing import PackedRows
from frailt.data.whole_files import damage, tidy
from frailt.training import checkpoint as checkpoint_module
from frailt.training import keeper
from frailt.training.checkpoint import load_checkpoint
from frailt.training.config import ModelConfig
from frailt.training.resume import checkpoints, last_good, step_folder
from frailt.training.run_folder import RunFolder
from frailt.training.run_log import RunLog
from frailt.training.stopping import RUN_AGAIN, Stopped
from frailt.training.train import train
from frailt.training.trainer import FraiLTTrainer
from frailt.training.validation import validation_loss

from .faults import BreakGradient, Kill, KillAfter


@pytest.fixture(scope="module")
def config(prepared, tiny, tmp_path_factory):
    """Twelve steps with everything that must not be lost on the way: logs over 3 steps, evaluations, checkpoints."""
    out = tmp_path_factory.mktemp("resume") / "whole"
    return tiny(
        prepared, out, steps=12, evaluations=4, log_every_steps=3, save_every_steps=2, learning_rate=0.01,
        save_total_limit=None,
    )  # fmt: skip


@pytest.fixture(scope="module")
def uninterrupted(config):
    train(config)
    return Path(config.out)


def assert_same_run(folder, reference):
    for name in ("best", "last"):
        ours, theirs = (load_file(path / name / "model.safetensors") for path in (folder, reference))
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs), name
    assert rows_of(folder) == rows_of(reference)
    records = [json.loads((path / "run.json").read_text()) for path in (folder, reference)]
    assert [record["status"] for record in records] == ["finished"] * 2
    for key in ("validation", "best_share_nats_per_token", "tokens", "steps", "model", "data"):
        assert records[0][key] == records[1][key]
    assert "error" not in records[0]


# Bit for bit


@pytest.mark.parametrize("step", [1, 2, 5, 7, 12])
def test_a_killed_run_ends_bit_equal_to_an_uninterrupted_one(step, config, uninterrupted, tmp_path):
    config = replace(config, out=str(tmp_path / "run"))
    with pytest.raises(Kill):
        train(config, [KillAfter(step)])
    assert not (tmp_path / "run" / "last").exists()
    train(config)
    assert_same_run(tmp_path / "run", uninterrupted)
    went_on = json.loads((tmp_path / "run" / "run.json").read_text())["went_on"]
    assert [row["from_step"] for row in went_on] == [(step - 1) // 2 * 2]


def test_dropout_goes_on_with_the_same_random_numbers(prepared, tiny, tmp_path, monkeypatch):
    from frailt.training import train as train_module

    def with_dropout(model):
        for slot in model.model.slots:
            slot.attention_dropout = 0.5
        return model

    built, loaded = train_module.build_model, train_module.load_checkpoint
    monkeypatch.setattr(train_module, "build_model", lambda *args: with_dropout(built(*args)))
    monkeypatch.setattr(train_module, "load_checkpoint", lambda folder: (with_dropout(loaded(folder)[0]), None))
    config = tiny(prepared, tmp_path / "whole", steps=6, save_every_steps=2, learning_rate=0.01)
    train(config)
    with pytest.raises(Kill):
        train(replace(config, out=str(tmp_path / "run")), [KillAfter(5)])
    train(replace(config, out=str(tmp_path / "run")))
    assert_same_run(tmp_path / "run", tmp_path / "whole")


def test_weights_and_metrics_survive_being_killed_again_and_again(config, uninterrupted, tmp_path):
    config = replace(config, out=str(tmp_path / "run"))
    for step in (3, 4, 6, 9, 11):
        with pytest.raises(Kill):
            train(config, [KillAfter(step)])
    train(config)
    assert_same_run(tmp_path / "run", uninterrupted)


def test_a_run_killed_between_its_last_step_and_its_end_only_ends(config, uninterrupted, tmp_path, monkeypatch):
    config = replace(config, out=str(tmp_path / "run"))

    def killed(*args, **kwargs):
        raise Kill

    with monkeypatch.context() as patch:
        patch.setattr("frailt.training.fit.validation_loss", killed)
        with pytest.raises(Kill):
            train(config)
    with monkeypatch.context() as patch:
        patch.setattr(FraiLTTrainer, "training_step", killed)
        train(config)
    assert_same_run(tmp_path / "run", uninterrupted)


def test_a_half_written_row_of_metrics_is_forgotten(config, uninterrupted, tmp_path):
    config = replace(config, out=str(tmp_path / "run"))
    with pytest.raises(Kill):
        train(config, [KillAfter(8)])
    with (tmp_path / "run" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 9, "tok')
    train(config)
    assert_same_run(tmp_path / "run", uninterrupted)


def test_the_same_command_on_a_finished_run_changes_nothing(config, uninterrupted, capfd):
    before = {path: path.stat().st_mtime_ns for path in uninterrupted.rglob("*") if path.is_file()}
    result = train(config)
    assert "finished; nothing to do" in capfd.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in uninterrupted.rglob("*") if path.is_file()} == before
    assert result.validation.nats_per_token == rows_of(uninterrupted)[-1]["final_validation_nats_per_token"]


def test_a_killed_run_on_a_streamed_corpus_ends_bit_equal_too(streamed, tiny, tmp_path):
    settings = {"steps": 12, "save_every_steps": 4, "batch_rows": 60, "learning_rate": 0.01}
    train(tiny(streamed, tmp_path / "whole", **settings))
    config = tiny(streamed, tmp_path / "run", **settings)
    for step in (5, 10):
        with pytest.raises(Kill):
            train(config, [KillAfter(step)])
    state = json.loads((step_folder(tmp_path / "run", 8) / "state.json").read_text())
    assert state["data"]["row"] == 8 * 60
    assert (state["data"]["pass"], state["data"]["shard"]) > (0, 0)
    train(config)
    assert_same_run(tmp_path / "run", tmp_path / "whole")


def test_a_shard_that_is_gone_ends_in_one_line_and_the_run_goes_on_when_it_is_back(streamed, tiny, tmp_path, capfd):
    settings = {"steps": 6, "save_every_steps": 2, "batch_rows": 80, "learning_rate": 0.01}
    train(tiny(streamed, tmp_path / "whole", **settings))
    config = tiny(streamed, tmp_path / "run", **settings)
    with pytest.raises(Kill):
        train(config, [KillAfter(3)])
    shard = streamed.parent / "shards" / "train-2.parquet"
    content = shard.read_bytes()
    shard.unlink()
    try:
        assert main(command(config)) == 2
    finally:
        shard.write_bytes(content)
    assert "train-2.parquet" in capfd.readouterr().err.splitlines()[-1]
    train(config)
    assert_same_run(tmp_path / "run", tmp_path / "whole")


def test_data_that_cannot_be_read_cost_no_step_that_was_done(config, uninterrupted, tmp_path, monkeypatch):
    config = replace(config, out=str(tmp_path / "run"), save_every_steps=100)
    batch, read = PackedRows.batch, []

    def fails(self, rows):
        read.append(rows)
        if len(read) == 6 + 4:  # within the seventh step; the evaluation after the third reads too
            raise OSError(errno.EIO, "Input/output error", "train.bin")
        return batch(self, rows)

    with monkeypatch.context() as patch:
        patch.setattr(PackedRows, "batch", fails)
        with pytest.raises(OSError, match="Input/output error"):
            train(config)
    assert len(checkpoints(tmp_path / "run")) == 1
    train(config)
    assert_same_run(tmp_path / "run", uninterrupted)


def test_a_streamed_corpus_has_no_passes_to_count(streamed, tiny, tmp_path):
    with pytest.raises(ValueError, match="tokens or steps must be given with a streamed corpus"):
        train(replace(tiny(streamed, tmp_path / "run"), steps=None))
    assert not (tmp_path / "run").exists()


# As a command: kills, and signals


def command(config) -> list[str]:
    """Arguments of `frailt`."""
    settings = yaml.safe_dump(json.loads(json.dumps(config, default=vars)))
    file = Path(config.out).with_suffix(".yaml")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(settings)
    return ["train", "--config", str(file)]


def test_sigkill_between_the_first_byte_of_a_checkpoint_and_its_name_loses_nothing(config, uninterrupted, tmp_path):
    config = replace(config, out=str(tmp_path / "run"))
    kill = f"""
import os, signal, sys
from frailt.data import whole_files
from frailt.cli import main
fsync = os.fsync
def killed(number):
    if list(__import__("pathlib").Path({config.out!r}).glob("checkpoints/.step-00000006*.partial/*")):
        os.kill(os.getpid(), signal.SIGKILL)
    fsync(number)
os.fsync = killed
main({command(config)!r})
"""
    ended = subprocess.run([sys.executable, "-c", kill], capture_output=True, text=True, timeout=300)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert list(tmp_path.glob("run/checkpoints/.*.partial"))
    train(config)
    assert_same_run(tmp_path / "run", uninterrupted)


@pytest.mark.long
def test_sigkill_at_random_moments_and_within_a_checkpoint_loses_nothing(prepared, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    found = soak(prepared, tmp_path, kills=3, seed=seed, steps=60, longest_s=0.7)
    assert found.complaints == []
    assert sum(found.went_on_from.values()) >= 2  # those while training and while writing; the first may come too early


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_saves_and_leaves_with_its_own_exit_code(number, config, uninterrupted, tmp_path):
    config = replace(config, out=str(tmp_path / "run"))

    class Signalled(TrainerCallback):
        def on_step_begin(self, args, state, control, **kwargs):
            if state.global_step == 4:
                os.kill(os.getpid(), number)

    with pytest.raises(Stopped, match=rf"stopped by {number.name}; checkpoint .*step-00000005 is kept"):
        train(config, [Signalled()])
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "stopped"
    train(config)
    assert_same_run(tmp_path / "run", uninterrupted)


@pytest.mark.parametrize("at", [1, 4])
def test_a_signal_within_an_evaluation_cuts_it_short_and_it_is_made_up_for(
    at, config, uninterrupted, tmp_path, monkeypatch
):
    config = replace(config, out=str(tmp_path / "run"))
    began = []

    def signalled(*args, **kwargs):
        began.append(kwargs["progress"])
        if len(began) == at:  # the first, and the one after the last step
            os.kill(os.getpid(), signal.SIGTERM)
        return validation_loss(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr("frailt.training.trainer.validation_loss", signalled)
        with pytest.raises(Stopped, match=rf"stopped by SIGTERM; checkpoint .*step-{3 * at:08d} is kept"):
            train(config)
    assert len([row for row in rows_of(tmp_path / "run") if "validation_nats_per_token" in row]) == at - 1
    train(config)
    assert_same_run(tmp_path / "run", uninterrupted)


def test_a_signal_before_the_first_step_is_heeded_too(config, uninterrupted, tmp_path, monkeypatch):
    config = replace(config, out=str(tmp_path / "run"))
    with monkeypatch.context() as patch:
        patch.setattr("frailt.training.train.set_seed", lambda seed: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(Stopped, match="stopped by SIGTERM before the first step"):
            train(config)
    train(config)
    assert_same_run(tmp_path / "run", uninterrupted)


def test_time_never_runs_backwards_in_the_metrics(uninterrupted):
    times = [json.loads(line)["training_s"] for line in (uninterrupted / "metrics.jsonl").read_text().splitlines()]
    assert times == sorted(times)


def test_sigterm_ends_the_command_with_75(config, tmp_path, monkeypatch, capfd):
    def signalled(self, args, state, control, **kwargs):
        if state.global_step == 4:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(RunLog, "on_step_begin", signalled)
    assert main(command(replace(config, out=str(tmp_path / "run")))) == RUN_AGAIN == 75
    errors = capfd.readouterr().err
    assert errors.splitlines()[-1].startswith("frailt train: stopped by SIGTERM; checkpoint ")
    assert "Traceback" not in errors
    assert checkpoints(tmp_path / "run")[0].name == "step-00000005"


def test_a_run_goes_on_without_the_kernel_that_it_began_with(stopped_run, monkeypatch, capfd):
    monkeypatch.setattr("frailt.training.hardware.is_available", lambda device, head_dim, tokens: False)
    train(stopped_run)
    assert json.loads((Path(stopped_run.out) / "run.json").read_text())["attention"] == "sdpa_padded"


# Checkpoints


def test_a_checkpoint_to_go_on_from_is_one_that_transformers_loads_and_holds_no_pickle(uninterrupted):
    folder = step_folder(uninterrupted, 6)
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert model.config.layout == "2^2"
    assert {path.suffix for path in folder.rglob("*") if path.is_file()} <= {".json", ".md", ".safetensors", ".model"}
    assert damage(folder) is None
    assert [path.name for path in checkpoints(uninterrupted)] == [f"step-{step:08d}" for step in range(12, 0, -2)]


@pytest.fixture
def stopped_run(config, tmp_path):
    """A run with checkpoints after 2, 4 and 6 steps, which was killed after 7."""
    config = replace(config, out=str(tmp_path / "run"))
    with pytest.raises(Kill):
        train(config, [KillAfter(7)])
    return config


@pytest.mark.parametrize("file", ["model.safetensors", "optimizer.safetensors", "state.json", "files.json"])
@pytest.mark.parametrize("how", ["truncated", "changed", "missing"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_taken(file, how, stopped_run, uninterrupted, capfd):
    run = Path(stopped_run.out)
    path = step_folder(run, 6) / file
    if how == "truncated":
        os.truncate(path, path.stat().st_size // 2)
    elif how == "changed":
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    else:
        path.unlink()
    good, complaints = last_good(run)
    assert good == step_folder(run, 4)
    assert len(complaints) == 1
    if (file, how) == ("model.safetensors", "truncated"):  # once to the end
        train(stopped_run)
        errors = capfd.readouterr().err
        assert f"checkpoint {step_folder(run, 6)} is damaged, {file} has other contents than were written" in errors
        assert "from step-00000004" in errors
        assert_same_run(run, uninterrupted)


def test_a_run_whose_checkpoints_are_all_damaged_stops_and_says_so(stopped_run):
    for folder in checkpoints(Path(stopped_run.out)):
        (folder / "model.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match=r"no checkpoint in .* is good .*: remove that folder to begin the run again"):
        train(stopped_run)
    assert len(checkpoints(Path(stopped_run.out))) == 3


def test_a_kill_between_two_renames_is_put_right(stopped_run, uninterrupted):
    run = Path(stopped_run.out)
    (run / "best").rename(run / ".best.replaced")
    (run / ".best.partial").mkdir()
    shutil.copytree(step_folder(run, 2), run / "checkpoints" / ".step-00000002.removed")
    tidy(run)
    tidy(run / "checkpoints")
    assert damage(run / "best") is None
    assert {path.name for path in run.iterdir()} >= {"best", "config.yaml", "run.json", "metrics.jsonl", "checkpoints"}
    assert not [path for path in run.rglob(".*") if path.name != ".lock"]
    train(stopped_run)
    assert_same_run(run, uninterrupted)


def test_a_finished_run_that_keeps_all_checkpoints_keeps_them_when_called_without_that(uninterrupted, config):
    train(replace(config, save_total_limit=2))
    assert len(checkpoints(uninterrupted)) == 6


def test_a_run_that_began_from_a_checkpoint_goes_on_without_it(config, uninterrupted, tmp_path):
    shutil.copytree(uninterrupted / "last", tmp_path / "source")
    config = replace(
        config, model=ModelConfig(), from_checkpoint=str(tmp_path / "source"), out=str(tmp_path / "run"), steps=6
    )
    with pytest.raises(Kill):
        train(config, [KillAfter(5)])
    shutil.rmtree(tmp_path / "source")
    train(config)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "finished"


def test_no_cache_is_built_while_training_though_saved_configs_have_it_on(config, tmp_path):
    class Look(TrainerCallback):
        def on_step_begin(self, args, state, control, model=None, **kwargs):
            assert model.config.use_cache is False

    train(replace(config, out=str(tmp_path / "run"), steps=4), [Look()])
    assert json.loads((tmp_path / "run" / "best" / "config.json").read_text())["use_cache"] is True


@pytest.mark.parametrize("limit", [1, 2])
def test_save_total_limit_keeps_the_latest_and_never_touches_best(limit, config, tmp_path):
    config = replace(config, out=str(tmp_path / "run"), save_total_limit=limit)
    with pytest.raises(Kill):
        train(config, [KillAfter(9)])
    steps = [8, 6][:limit]
    assert [path.name for path in checkpoints(tmp_path / "run")] == [f"step-{step:08d}" for step in steps]
    assert damage(tmp_path / "run" / "best") is None
    train(config)
    assert not (tmp_path / "run" / "checkpoints").exists()  # finished: best and last have the weights


def test_a_latest_checkpoint_that_is_damaged_costs_no_older_one(stopped_run, monkeypatch):
    run = Path(stopped_run.out)

    def prune_after_damage(folder, keep):
        (checkpoints(folder)[0] / "model.safetensors").write_bytes(b"")
        prune(folder, keep)

    prune = keeper.prune
    monkeypatch.setattr(keeper, "prune", prune_after_damage)
    with pytest.raises(Kill):
        train(replace(stopped_run, save_total_limit=1), [KillAfter(9)])
    assert len(checkpoints(run)) == 4
    assert last_good(run)[0] == step_folder(run, 6)


@pytest.mark.parametrize("moment", ["save_tokenizer", "add", "rename"])
def test_a_kill_while_a_checkpoint_is_written_leaves_the_one_before(
    moment, config, uninterrupted, tmp_path, monkeypatch
):
    config = replace(config, out=str(tmp_path / "run"))
    run, calls = tmp_path / "run", []

    def killed(original):
        def wrapped(*args, **kwargs):
            calls.append(1)
            if len(calls) > {"save_tokenizer": 6, "add": 3, "rename": 9}[moment]:
                raise Kill
            return original(*args, **kwargs)

        return wrapped

    holder = {"save_tokenizer": checkpoint_module, "add": keeper, "rename": Path}[moment]
    name = {"add": "write_training_state"}.get(moment, moment)
    with monkeypatch.context() as patch:
        patch.setattr(holder, name, killed(getattr(holder, name)))
        with pytest.raises(Kill):
            train(config)
    assert all(damage(folder) is None for folder in checkpoints(run))
    train(config)
    assert_same_run(run, uninterrupted)
    assert not [path for path in run.rglob("*") if ".partial" in path.name or ".replaced" in path.name]


# What may not change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"learning_rate": 0.02}, "learning_rate must stay 0.01 when the run in .* goes on, got 0.02: choose another"),
        ({"steps": 13}, "steps must stay 12"),
        ({"batch_rows": 16}, "batch_rows must stay 8"),
        ({"layout": "3^2"}, "model.layout must stay 2^2 when .*, got 3^2".replace("^", r"\^")),
        ({"seed": 7}, "seed must stay 0"),
        ({"rope_parameters": {"rope_type": "linear", "factor": 2.0}}, "model.rope_parameters must stay None"),
    ],
)
def test_a_changed_configuration_is_refused(change, message, stopped_run):
    changed = (
        replace(stopped_run, model=replace(stopped_run.model, **change))
        if {"layout", "rope_parameters"} & set(change)
        else replace(stopped_run, **change)
    )
    before = (Path(stopped_run.out) / "config.yaml").read_text()
    with pytest.raises(ValueError, match=message):
        train(changed)
    assert (Path(stopped_run.out) / "config.yaml").read_text() == before


def test_where_and_how_a_run_goes_on_may_change(stopped_run, prepared, uninterrupted, tmp_path):
    moved = tmp_path / "moved"
    shutil.copytree(prepared, moved)
    shutil.move(stopped_run.out, tmp_path / "elsewhere")
    train(
        replace(
            stopped_run,
            data=str(moved),
            out=str(tmp_path / "elsewhere"),
            save_every_steps=5,
            save_total_limit=1,
            report_to=[],
            on_nonfinite="skip",
            compile="off",
        )
    )
    assert_same_run(tmp_path / "elsewhere", uninterrupted)


def test_other_data_is_refused(stopped_run, prepared_in_bytes):
    with pytest.raises(ValueError, match="data must be what the run began with, got other contents in "):
        train(replace(stopped_run, data=str(prepared_in_bytes)))


def test_a_folder_that_another_process_trains_in_is_refused(config, tmp_path):
    run = RunFolder(tmp_path / "run")
    run.begin()  # the lock is of the open file: a process is refused by itself as by another
    with pytest.raises(BlockingIOError, match="out is in use by another process"):
        train(replace(config, out=str(run.path)))
    run.end()
    assert {path.name for path in run.path.iterdir()} == {".lock"}


def test_a_run_that_another_process_went_on_with_meanwhile_is_left_alone(stopped_run, monkeypatch):
    def meanwhile(self):
        (self.path / "run.json").write_text((self.path / "run.json").read_text().replace('"stopped"', '"finished"'))
        begin(self)

    begin = RunFolder.begin
    monkeypatch.setattr(RunFolder, "begin", meanwhile)
    with pytest.raises(BlockingIOError, match="out was in use by another process until now"):
        train(stopped_run)
    assert len(checkpoints(Path(stopped_run.out))) == 3


DAMAGED = [("run.json", text) for text in ("{: ", "{}", "[]", '{"x": 1}')] + [
    ("config.yaml", "{: "),
    ("config.yaml", "[]"),
]


@pytest.mark.parametrize(("file", "text"), DAMAGED)
def test_a_damaged_record_of_a_run_is_refused(file, text, stopped_run):
    (Path(stopped_run.out) / file).write_text(text)
    with pytest.raises(ValueError, match=f"{re.escape(file)} is damaged"):
        train(stopped_run)
    assert len(checkpoints(Path(stopped_run.out))) == 3


# Faults


def test_a_nan_stops_with_step_rows_and_the_last_good_checkpoint(config, tmp_path):
    config = replace(config, out=str(tmp_path / "run"))
    with pytest.raises(FloatingPointError) as stopped:
        train(config, [BreakGradient(8)])
    assert str(stopped.value).startswith("gradient norm became nan at step 8, on training rows ")
    assert f"last good checkpoint: {step_folder(tmp_path / 'run', 6)}; lower learning_rate" in str(stopped.value)
    assert len(str(stopped.value).split("training rows ")[1].split(";")[0].split(",")) == 8
    for folder in checkpoints(tmp_path / "run"):
        assert all(p.isfinite().all() for p in load_checkpoint(folder)[0].parameters())


def test_a_nan_can_be_skipped_and_is_counted(config, uninterrupted, tmp_path):
    config = replace(config, out=str(tmp_path / "run"), on_nonfinite="skip")
    result = train(config, [BreakGradient(8)])
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["skipped_steps"] == 1
    assert [row.get("skipped_steps", 0) for row in rows_of(tmp_path / "run") if "loss_nats_per_token" in row] == [
        0, 0, 1, 0
    ]  # fmt: skip
    assert result.validation.nats_per_token == pytest.approx(
        json.loads((uninterrupted / "run.json").read_text())["validation"]["nats_per_token"], abs=0.3
    )


def test_a_full_disk_while_saving_ends_in_one_line_and_keeps_the_checkpoint_before(
    config, uninterrupted, tmp_path, monkeypatch, capfd
):
    config = replace(config, out=str(tmp_path / "run"))
    calls = []

    def full(*args, **kwargs):
        calls.append(1)
        if len(calls) > 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "optimizer.safetensors")
        return saved(*args, **kwargs)

    saved = keeper.write_training_state
    with monkeypatch.context() as patch:
        patch.setattr(keeper, "write_training_state", full)
        assert main(command(config)) == 2
    assert capfd.readouterr().err.splitlines()[-1].endswith("optimizer.safetensors: No space left on device")
    assert [path.name for path in checkpoints(tmp_path / "run")] == [f"step-{step:08d}" for step in (6, 4, 2)]
    train(config)
    assert_same_run(tmp_path / "run", uninterrupted)


def test_a_full_disk_under_the_metrics_ends_in_one_line(config, tmp_path, capfd):
    config = replace(config, out=str(tmp_path / "run"), save_every_steps=12)
    (tmp_path / "run").mkdir()
    original = RunLog.on_train_begin

    def fill(self, *args, **kwargs):
        (tmp_path / "run" / "metrics.jsonl").unlink(missing_ok=True)
        (tmp_path / "run" / "metrics.jsonl").symlink_to("/dev/full")
        return original(self, *args, **kwargs)

    RunLog.on_train_begin = fill
    try:
        assert main(command(config)) == 2
    finally:
        RunLog.on_train_begin = original
    assert "No space left on device" in capfd.readouterr().err.splitlines()[-1]


def test_a_read_only_place_ends_in_one_line(config, capfd):
    assert main(["train", "--data", config.data, "--out", "/proc/frailt-run", "--steps", "1", "--device", "cpu"]) == 2
    errors = capfd.readouterr().err
    assert errors.splitlines()[-1].startswith("frailt train: error: /proc/frailt-run")
    assert "Traceback" not in errors


def test_a_deleted_data_file_ends_in_one_line(stopped_run, prepared, tmp_path, capfd):
    copy = tmp_path / "data"
    shutil.copytree(prepared, copy)
    (copy / "train.bin").unlink()
    assert main(command(replace(stopped_run, data=str(copy)))) == 2
    assert "train.bin" in capfd.readouterr().err.splitlines()[-1]
    assert len(checkpoints(Path(stopped_run.out))) == 3


def test_nothing_that_is_loaded_goes_through_pickle(stopped_run, monkeypatch):
    def refused(*args, **kwargs):
        raise AssertionError("a pickle was loaded")

    monkeypatch.setattr("pickle.load", refused)
    monkeypatch.setattr("pickle.loads", refused)
    monkeypatch.setattr("torch.load", refused)
    train(stopped_run)
