"""Two processes over gloo train as one does, sharded or not, and a checkpoint of one kind goes on as another."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from frailt.cli import main
from frailt.training.processes import Processes, shard
from frailt.training.resume import checkpoints, last_good
from frailt.training.train import train

WORKER = Path(__file__).with_name("worker.py")


@pytest.fixture(scope="module")
def config(prepared, tiny, tmp_path_factory):
    out = tmp_path_factory.mktemp("processes") / "one"
    return tiny(
        prepared, out, layout="1,(2)^3", steps=10, evaluations=3, save_every_steps=4, learning_rate=0.01,
        save_total_limit=None, clip_norm=0.5,
    )  # fmt: skip


@pytest.fixture(scope="module")
def one(config):
    """The run of one process."""
    train(config)
    return Path(config.out)


def launched(config, *action: str, processes: int = 2) -> subprocess.Popen:
    file = Path(config.out).with_suffix(".yaml")
    file.write_text(yaml.safe_dump(json.loads(json.dumps(config, default=vars))))
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}",
        str(WORKER), str(file), *action,
    ]  # fmt: skip
    return subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )


def run(config, *action: str, processes: int = 2) -> tuple[int, str]:
    process = launched(config, *action, processes=processes)
    _, errors = process.communicate(timeout=120)
    return process.returncode, errors


def numbers(folder, name: str) -> list[float]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [row[name] for row in rows if name in row]


def assert_same_up_to_rounding(folder, reference):
    assert json.loads((folder / "run.json").read_text())["status"] == "finished"
    for name in (
        "loss_nats_per_token",
        "gradient_norm",
        "validation_nats_per_token",
        "final_validation_nats_per_token",
    ):
        assert numbers(folder, name) == pytest.approx(numbers(reference, name), abs=2e-5), name
    assert numbers(folder, "step") == numbers(reference, "step")
    weights, others = (load_file(path / "last" / "model.safetensors") for path in (folder, reference))
    # Adam divides by the root of a squared gradient: where that is tiny, rounding shows.
    torch.testing.assert_close(weights, others, rtol=0, atol=1e-3)


@pytest.mark.parametrize(("parallel", "accumulation_steps"), [("ddp", 2), ("fsdp", 1), ("fsdp", 2)])
def test_two_processes_give_the_losses_of_one(parallel, accumulation_steps, config, one, tmp_path):
    config = replace(config, out=str(tmp_path / "run"), parallel=parallel, accumulation_steps=accumulation_steps)
    code, errors = run(config, "check")
    assert code == 0, errors
    assert_same_up_to_rounding(tmp_path / "run", one)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["parallel"] == parallel
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "run" / "last")
    assert model.config.architectures == ["FraiLTForCausalLM"]


def test_a_run_goes_on_sharded_or_not_with_two_processes_or_one(config, one, tmp_path):
    config = replace(config, out=str(tmp_path / "run"))
    for step, parallel in ((5, "fsdp"), (9, "ddp")):  # one saves after a step with an evaluation, which gathers
        code, errors = run(replace(config, parallel=parallel), "die", "-1", str(step))
        assert code != 0
        assert checkpoints(tmp_path / "run")[0].name == f"step-{step - 1:08d}", errors
    train(replace(config, threads=1))
    assert_same_up_to_rounding(tmp_path / "run", one)
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert [row["from_step"] for row in record["went_on"]] == [4, 8]


def test_a_dead_process_ends_the_others_with_one_line_and_the_run_goes_on(config, one, tmp_path):
    config = replace(config, out=str(tmp_path / "run"), parallel="ddp")
    code, errors = run(config, "die", "1", "6")
    assert code != 0
    ours = [line for line in errors.splitlines() if "another process of the run" in line]
    assert len(ours) == 1, errors
    assert ours[0].startswith("frailt train: error: another process of the run died or hung: ")
    assert "run the same command again" in ours[0]
    assert last_good(tmp_path / "run")[0].name == "step-00000004"
    train(replace(config, parallel="auto"))
    assert_same_up_to_rounding(tmp_path / "run", one)


def test_sigterm_to_the_launcher_saves_once(config, tmp_path):
    config = replace(config, out=str(tmp_path / "run"), steps=100_000, log_every_steps=1)
    process = launched(config, "die", "0", "0")
    ends = time.monotonic() + 90
    while not (tmp_path / "run" / "metrics.jsonl").exists() and time.monotonic() < ends:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "frailt train: stopped by SIGTERM; checkpoint " in errors
    good, complaints = last_good(tmp_path / "run")
    assert complaints == []
    assert json.loads((good / "state.json").read_text())["step"] >= numbers(tmp_path / "run", "step")[-1]


# What cannot run as asked


def test_rows_that_cannot_be_shared_are_refused(config, tmp_path, monkeypatch):
    assert replace(config, batch_rows=12, accumulation_steps=2).rows_per_pass(3) == 2
    with pytest.raises(ValueError, match=r"batch_rows must be divisible by processes \* accumulation_steps, got 8 and"):
        config.rows_per_pass(3)


def test_sharding_over_one_process_is_refused(config, tmp_path, capfd):
    with pytest.raises(
        ValueError, match="parallel fsdp needs several processes: torchrun --nproc_per_node N -m frailt"
    ):
        train(replace(config, out=str(tmp_path / "run"), parallel="fsdp"))


@pytest.mark.parametrize("engine", ["FSDP", "DEEPSPEED"])
def test_an_engine_of_accelerates_that_would_not_run_is_refused(engine, config, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv(f"ACCELERATE_USE_{engine}", "true")
    assert main(["train", "--data", config.data, "--out", str(tmp_path / "run"), "--device", "cpu"]) == 2
    assert "frailt shards by --parallel fsdp" in capfd.readouterr().err
    assert not (tmp_path / "run").exists()


def test_looped_blocks_stay_gathered_and_others_do_not(config, monkeypatch):
    from frailt import FraiLTConfig, FraiLTForCausalLM
    from frailt.training import processes as module

    asked, kept = [], []

    def record(part, **options):
        part.set_reshard_after_backward = kept.append
        asked.append((type(part).__name__, options))

    monkeypatch.setattr(module, "fully_shard", record)
    monkeypatch.setattr(module, "init_device_mesh", lambda *args: None)
    one_of_two = Processes(torch.device("cpu"))
    one_of_two.count = 2
    model = FraiLTForCausalLM(FraiLTConfig(layout="1,(2)^3,1", hidden_size=8, num_attention_heads=2, vocab_size=11))
    with pytest.raises(RuntimeError, match="parallel fsdp left"):  # nothing was sharded
        shard(model, one_of_two)
    resharded = [options["reshard_after_forward"] for name, options in asked if name == "FraiLTBlock"]
    assert resharded == [True, False, False, True]
    assert kept == [False, False]
