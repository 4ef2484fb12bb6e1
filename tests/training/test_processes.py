"""Two processes over gloo train as one does, sharded or not, and a checkpoint of one kind goes on as another."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from frailt.cli import main
from frailt.data.packing import PreparedData
from frailt.training.iteration_counts import IterationCounts
from frailt.training.processes import Processes, shard
from frailt.training.resume import checkpoints, last_good
from frailt.training.train import _data, train

from .faults import BreakGradient
from .worker import SPOILT_STEP

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def config(prepared, tiny, tmp_path_factory):
    out = tmp_path_factory.mktemp("processes") / "one"
    return tiny(
        prepared, out, layout="1,(2)^3", steps=10, evaluations=3, save_every_steps=4, learning_rate=0.01,
        save_total_limit=None, clip_norm=0.5, compile="off",
    )  # fmt: skip


@pytest.fixture(scope="module")
def one(config):
    """The run of one process."""
    train(config)
    return Path(config.out)


def launched(action: str, *configs) -> subprocess.Popen:
    """Two processes of worker.py, told an action and its configurations."""
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2",
        "-m", "tests.training.worker", *action.split(),
    ]  # fmt: skip
    for config in configs:
        file = Path(config.out).with_suffix(".yaml")
        file.write_text(yaml.safe_dump(json.loads(json.dumps(config, default=vars))))
        command.append(str(file))
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment
    )


def run(action: str, *configs) -> tuple[int, str]:
    process = launched(action, *configs)
    try:
        _, errors = process.communicate(timeout=240)
    finally:
        process.terminate()  # the launcher ends its processes then
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
        "mean_iterations",
    ):
        assert numbers(folder, name) == pytest.approx(numbers(reference, name), abs=2e-5), (folder, name)
    assert numbers(folder, "step") == numbers(reference, "step")
    for name in ("validation_nats_per_token_at_iterations", "final_validation_nats_per_token_at_iterations"):
        ours, theirs = numbers(folder, name), numbers(reference, name)
        assert all(own == pytest.approx(other, abs=2e-5) for own, other in zip(ours, theirs, strict=True)), name
    weights, others = (load_file(path / "last" / "model.safetensors") for path in (folder, reference))
    # Adam divides by the root of a squared gradient: where that is tiny, rounding shows.
    torch.testing.assert_close(weights, others, rtol=0, atol=1e-3)


CASES = {
    "ddp": {"parallel": "ddp", "accumulation_steps": 2},
    "ddp-compiled": {"parallel": "ddp", "compile": "block"},
    "fsdp": {"parallel": "fsdp", "accumulation_steps": 2},
    "fsdp-checkpointing": {"parallel": "fsdp", "gradient_checkpointing": True},
    "fsdp-compiled": {"parallel": "fsdp", "compile": "block", "gradient_checkpointing": True},
}


def test_two_processes_give_the_losses_of_one(config, one, tmp_path):
    check_cases({name: (replace(config, **CASES[name]), one) for name in ("ddp", "fsdp")}, tmp_path)


@pytest.mark.long
def test_two_processes_give_the_losses_of_one_whatever_else_is_asked_for(config, one, streamed, tmp_path):
    cases = {name: (replace(config, **how), one) for name, how in CASES.items()}

    skipping = replace(config, on_nonfinite="skip", out=str(tmp_path / "skipping-one"))
    train(skipping, [BreakGradient(SPOILT_STEP)])
    for parallel in ("ddp", "fsdp"):
        cases[f"skipping-{parallel}"] = replace(skipping, parallel=parallel), tmp_path / "skipping-one"

    counts = IterationCounts(kind="uniform", counts="1,2,4")
    drawn = replace(config, iteration_counts=counts, evaluate_iterations=[1, 4], out=str(tmp_path / "drawn-one"))
    train(drawn)
    for name in ("ddp", "ddp-compiled", "fsdp", "fsdp-checkpointing"):
        cases[f"drawn-{name}"] = replace(drawn, **CASES[name]), tmp_path / "drawn-one"

    from_shards = replace(config, data=str(streamed), batch_rows=80, steps=5, out=str(tmp_path / "streamed-one"))
    train(from_shards)
    for parallel in ("ddp", "fsdp"):
        cases[f"streamed-{parallel}"] = replace(from_shards, parallel=parallel), tmp_path / "streamed-one"
    check_cases(cases, tmp_path)


def check_cases(cases, tmp_path):
    code, errors = run("check", *(replace(case, out=str(tmp_path / name)) for name, (case, _) in cases.items()))
    assert code == 0, errors
    for name, (case, reference) in cases.items():
        assert_same_up_to_rounding(tmp_path / name, reference)
        record = json.loads((tmp_path / name / "run.json").read_text())
        assert record["parallel"] == case.parallel, name
        assert record["skipped_steps"] == name.startswith("skipping"), name
        model = AutoModelForCausalLM.from_pretrained(tmp_path / name / "last")
        assert model.config.architectures == ["FraiLTForCausalLM"], name


@pytest.mark.long
def test_a_run_goes_on_sharded_or_not_with_two_processes_or_one(config, one, tmp_path):
    config = replace(config, out=str(tmp_path / "run"))
    code, errors = run("die -1 5", replace(config, parallel="fsdp"))
    assert code != 0
    assert checkpoints(tmp_path / "run")[0].name == "step-00000004", errors  # after an evaluation, which gathers

    code, errors = run("die 1 9", replace(config, parallel="ddp"))
    assert code != 0
    ours = [line for line in errors.splitlines() if "another process of the run" in line]
    assert len(ours) == 1, errors
    assert ours[0].startswith("frailt train: error: another process of the run died or hung: ")
    assert "run the same command again" in ours[0]
    assert last_good(tmp_path / "run")[0].name == "step-00000008"

    train(replace(config, threads=1))
    assert_same_up_to_rounding(tmp_path / "run", one)
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert [row["from_step"] for row in record["went_on"]] == [4, 8]


@pytest.mark.long
def test_sigterm_to_the_launcher_saves_once(config, tmp_path):
    config = replace(config, out=str(tmp_path / "run"), steps=100_000, log_every_steps=1)
    process = launched("die 0 0", config)
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


class Beside(Processes):
    """One of two processes; what the other one, which is first, says and raises is made up."""

    def __init__(self, said=None, *, raised=False) -> None:
        self.count, self.rank, self.said, self.raised = 2, 1, said, raised

    def told_by_first(self, value):
        return self.said

    def raised_anywhere(self, *flags):
        return tuple(flag or self.raised for flag in flags)


def test_other_data_on_another_node_are_refused(prepared, config, monkeypatch):
    own = PreparedData.open(prepared).data_hash
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert _data(config, {}, Beside(own)).data_hash == own
    with pytest.raises(ValueError, match="data must be the same on all nodes, got other contents in"):
        _data(config, {}, Beside("other"))


@pytest.mark.parametrize("local_rank", ["0", "1"])
def test_the_first_process_of_each_node_looks_through_its_files(local_rank, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", local_rank)
    done = []
    Beside().first_of_each_node_does(lambda: done.append(1))
    assert done == [1] * (local_rank == "0")
    with pytest.raises(SystemExit):
        Beside(raised=True).first_of_each_node_does(lambda: None)
    with pytest.raises(ZeroDivisionError) if local_rank == "0" else nullcontext():
        Beside().first_of_each_node_does(lambda: 1 / 0)


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


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        (
            "MIXED_PRECISION",
            "bf16",
            "mixed_precision must be no, got bf16: what runs is for --precision of frailt to say",
        ),
        ("DYNAMO_BACKEND", "INDUCTOR", "dynamo_backend must be no, got inductor: what runs is for --compile of frailt"),
    ],
)
def test_what_accelerate_would_change_without_a_word_is_refused(name, value, complaint, config, tmp_path, monkeypatch):
    monkeypatch.setenv(f"ACCELERATE_{name}", value)
    with pytest.raises(ValueError, match=complaint):
        train(replace(config, out=str(tmp_path / "run")))
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
    with pytest.raises(ValueError, match="parallel must be what runs, got fsdp and"):  # nothing was sharded
        shard(model, one_of_two)
    resharded = [options["reshard_after_forward"] for name, options in asked if name == "FraiLTBlock"]
    assert resharded == [True, False, False, True]
    assert kept == [False, False]
