"""What a checkpoint's run folder says of it."""

import json
import shutil

import pytest

from frailt.training.checkpoint import AboutRun, about_run


def test_a_run_tells_of_its_last_checkpoint(run, prepared, monkeypatch):
    record = json.loads((run / "run.json").read_text())
    assert about_run(run) == AboutRun(
        seed=0,
        source="builtin",
        data_hash=record["data"]["data_hash"],
        context=47,
        nats_per_token=record["validation"]["nats_per_token"],
        trained_tokens=record["tokens"],
    )
    monkeypatch.chdir(run / "last")
    assert about_run(".") == about_run(run)


def test_the_loss_of_last_is_not_that_of_best(run):
    assert about_run(run / "best").nats_per_token is None
    assert about_run(run / "best").context == 47


def test_nothing_is_known_outside_a_run_folder(run, tmp_path):
    shutil.copytree(run / "last", tmp_path / "last")
    assert about_run(tmp_path / "last") == AboutRun()
    (tmp_path / "run.json").write_text("{}")  # of something else
    assert about_run(tmp_path / "last") == AboutRun()


@pytest.mark.parametrize("text", ["{", "[1]", '{"data": 1}'])
def test_a_damaged_record_is_one_line(text, run, tmp_path):
    shutil.copytree(run / "last", tmp_path / "last")
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(ValueError, match=r"run\.json is damaged: restore it, or copy last to another folder"):
        about_run(tmp_path / "last")
