"""`frailt plan`: presets, what fits and what would, tokens and time, and how bad input ends."""

import json
import re
import shlex
import tomllib
from pathlib import Path

import pytest
import yaml

from frailt.cli import _parse, main, presets
from frailt.model import FraiLTConfig
from frailt.model.cost import cost
from frailt.planning.accelerators import ACCELERATORS
from frailt.planning.config import PlanConfig
from frailt.planning.memory import training_peak
from frailt.planning.needs import NOT_TENSORS_BYTES
from frailt.planning.plan import plan

PRESETS = presets()
TINY = ["--model.hidden_size", "32", "--vocab_size", "97", "--context", "16", "--tokens", "1000"]


def planned(*arguments: str):
    return plan(_parse("plan", ["--on", "h100", *arguments]))


def with_its_vocabulary(name: str) -> list[str]:
    return ["--config", name, *(["--vocab_size", "512"] if name.startswith("paper") else [])]


# Presets


def test_a_few_presets_are_shipped_as_package_data():
    assert 5 <= len(PRESETS) <= 12
    root = Path(__file__).parents[2]
    patterns = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["frailt"]
    shipped = {path for pattern in patterns for path in (root / "src" / "frailt").glob(pattern)}
    assert set(PRESETS.values()) <= shipped


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_for_training_and_planning(name):
    trained = _parse("train", ["--config", name, "--data", "data", "--out", "out"])
    as_planned = _parse("plan", ["--config", name])
    assert trained.model == as_planned.model
    assert trained.rows_per_pass(1) == as_planned.rows_per_pass(1)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_says_its_parameters_and_depth_and_is_as_large_as_its_name(name):
    costs = planned(*with_its_vocabulary(name)).costs
    header = PRESETS[name].read_text().partition("\nmodel:")[0]
    assert f"{costs.parameters.total:,} unique parameters" in header
    assert f"depth {costs.depth}" in header
    if found := re.match(r"(\d+)([mb])-", name):
        wanted = int(found[1]) * {"m": 1e6, "b": 1e9}[found[2]]
        assert costs.parameters.total == pytest.approx(wanted, rel=0.1)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_fits_on_a_gpu_of_80_gb(name):
    assert planned(*with_its_vocabulary(name)).fits


def test_the_plain_twin_has_the_parameters_of_the_looped_preset():
    looped, plain = (planned("--config", name).costs for name in ("1b-looped", "1b-plain"))
    assert looped.parameters.total - looped.parameters.iteration_encodings == plain.parameters.total
    assert looped.depth == 24


def test_a_file_of_that_name_goes_before_the_preset(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("paper-64").write_text("context: 17\n")
    assert _parse("plan", ["--config", "paper-64"]).context == 17
    assert _parse("plan", ["--config=paper-128"]).model.hidden_size == 128


# What is planned


def test_any_training_command_can_be_planned(tmp_path):
    path = tmp_path / "run.yaml"
    settings = {"data": "", "out": "runs/x", "model": {"layout": "2^4"}, "tokens": 9000, "parallel": "ddp"}
    path.write_text(yaml.safe_dump(settings))
    found = planned("--config", str(path), "--compile", "block", "--save_every_steps", "3")
    assert found.costs.layout == "2^4"
    assert not Path("runs/x").exists()


def test_data_gives_the_vocabulary_and_the_length_of_a_pass(prepared):
    found = planned("--data", str(prepared), "--context", "32", "--passes", "3")
    assert found.model.vocab_size == 330
    assert found.tokens_per_pass is not None
    assert found.tokens == pytest.approx(3 * found.tokens_per_pass, rel=0.1)
    assert "3.0" in str(found) or "3 passes" in str(found)


def test_a_checkpoint_gives_the_model(run):
    found = planned("--from", str(run), "--context", "20", "--tokens", "1000")
    assert found.model.hidden_size == FraiLTConfig.from_pretrained(run / "last").hidden_size
    assert found.step.context == 20


def test_without_data_a_vocabulary_is_assumed_and_said():
    text = str(planned())
    assert "32,000 tokens, assumed" in text
    assert re.search(r"^tokens +— \(a budget in passes needs data", text, re.MULTILINE)
    assert re.search(r"^time +—, at", text, re.MULTILINE)


def test_the_parts_of_the_table_add_up():
    found = planned("--config", "1b-looped", "--processes", "8", "--accumulation_steps", "8")
    lines = str(found).splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("memory of a process"))
    end = next(i for i, line in enumerate(lines) if line.startswith("  left free"))
    *parts, total = (float(line[26:]) for line in lines[start + 1 : end])
    assert sum(parts) == pytest.approx(total, abs=0.05)
    assert len(parts) == 7


def test_time_is_flops_over_rate():
    found = planned("--config", "125m-looped", "--utilisation", "0.25", "--processes", "2")
    per_token = cost(found.model, found.step.context).training_flops_per_token
    assert found.hardware_flops_per_token == per_token
    rate = 2 * 0.25 * ACCELERATORS["h100"].bfloat16_flops_per_s
    assert found.training_s == pytest.approx(found.tokens * per_token / rate)


def test_checkpointing_runs_blocks_once_more():
    plain, again = planned("--config", "30m-looped"), planned("--config", "30m-looped", "--gradient_checkpointing")
    head = 2 * 32_000 * 512
    assert again.hardware_flops_per_token - plain.hardware_flops_per_token == plain.costs.forward_flops_per_token - head
    assert again.costs == plain.costs
    assert "with recomputation" in str(again)
    assert "with recomputation" not in str(plain)
    assert again.peak.total < plain.peak.total


@pytest.mark.parametrize(
    "arguments",
    [
        ["--config", "1b-looped", "--on", "rtx4090"],
        ["--config", "1b-looped", "--accumulation_steps", "32"],
        ["--config", "125m-looped", "--accumulation_steps", "1"],
        ["--config", "1b-plain", "--memory_gb", "18"],
        ["--config", "1b-looped", "--memory_gb", "10.5", "--batch_rows", "8", "--accumulation_steps", "2"],
    ],
    ids=" ".join,
)
def test_what_is_said_to_fit_does(arguments):
    found = planned(*arguments)
    assert not found.fits
    assert found.ways_out
    for way in found.ways_out:
        options, said = re.fullmatch(r"(--.*) \((.*) GiB\)", way).groups()
        better = planned(*arguments, *shlex.split(options))
        assert better.fits, way
        assert f"{better.needed_bytes / 2**30:,.2f}" == said
    assert "it would with" in str(found)


def test_where_nothing_helps_that_is_said():
    assert planned("--config", "1b-looped", "--memory_gb", "3").ways_out == (
        "a smaller model, context or vocabulary, or a larger device",
    )


def test_grouped_heads_in_float32_store_the_square_on_a_gpu():
    grouped = ["--model.num_key_value_heads", "2", "--precision", "float32", *TINY]
    assert planned(*grouped).step.kernel == "eager"
    assert planned(*TINY).step.kernel == "sdpa"


def test_this_machine_is_measured_and_shared_by_its_processes(monkeypatch):
    monkeypatch.setattr("frailt.planning.plan.matmul_flops_per_s", lambda device, precision: 6e9)
    arguments = ["--on", "this", "--device", "cpu", "--precision", "float32", "--batch_rows", "2", *TINY]
    alone, two = planned(*arguments), planned(*arguments, "--processes", "2")
    assert alone.device.flops_per_s == 6e9
    assert two.tokens_per_s == pytest.approx(alone.tokens_per_s)
    assert two.device.memory_bytes == alone.device.memory_bytes // 2
    assert alone.step.kernel == "sdpa_padded"
    assert planned(*arguments, "--flops_per_s", "1e12").device.flops_per_s == 1e12


def test_a_device_that_is_not_in_the_table_is_described():
    found = planned("--on", "other", "--flops_per_s", "1e14", "--memory_gb", "96", *TINY)
    assert (found.device.flops_per_s, found.device.memory_bytes) == (1e14, 96 * 10**9)
    assert found.needed_bytes == training_peak(found.model, found.step).total + NOT_TENSORS_BYTES


# Bad input

BAD = {
    "no such preset": (["--config", "2b"], "config must be a YAML file or a preset (paper-64, "),
    "no such device": (["--on", "abacus"], "on must be one of this, other, b200, "),
    "a device half described": (["--on", "other"], "flops_per_s and memory_gb must be given where on is other"),
    "no rate": (["--flops_per_s", "0"], "flops_per_s must be above 0, got 0"),
    "no memory": (["--memory_gb", "-1"], "memory_gb must be above 0, got -1"),
    "no use": (["--utilisation", "0"], "utilisation must be above 0 and at most 1, got 0"),
    "too much use": (["--utilisation", "40"], "utilisation must be above 0 and at most 1, got 40"),
    "no process": (["--processes", "0"], "processes must be 1 or more, got 0"),
    "no vocabulary": (["--vocab_size", "0"], "vocab_size must be 1 or more, got 0"),
    "rows that cannot be shared": (["--processes", "3"], "batch_rows must be divisible by processes"),
    "shards of one": (["--parallel", "fsdp"], "processes must be 2 or more where parallel is fsdp, got 1"),
    "heads": (["--model.hidden_size", "100"], "hidden_size must be divisible by num_attention_heads"),
    "no data": (["--data", "nowhere"], "nowhere"),
    "no checkpoint": (["--from", "nowhere"], "checkpoint must be a folder with a config.json, or a run folder"),
    "two budgets": (["--tokens", "1", "--steps", "1"], "only one of passes, tokens and steps"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line(case, capfd):
    arguments, said = BAD[case]
    assert main(["plan", "--on", "h100", *arguments]) == 2
    out, errors = capfd.readouterr()
    assert out == ""
    assert len(errors.splitlines()) == 1
    assert errors.startswith("frailt plan: error: ")
    assert said in errors


CONFIGS = {
    "another model type": (
        json.dumps({"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 64}),
        "checkpoint must be of model type frailt, got 'llama' in ",
    ),
    "no model type": ("{}", "checkpoint must be of model type frailt, got None in "),
    "half a file": ('{"model_type": "frailt", "layout":', " has a damaged config.json: "),
    "not JSON": ("layout: 2^4", " has a damaged config.json: "),
    "not text": (b"\xff\xfe\x00", " has a damaged config.json: "),
    "not settings": ("[1, 2]", " has a damaged config.json: "),
    "a layout that is none": ('{"model_type": "frailt", "layout": "2^"}', " has a damaged config.json: "),
    "a width that is none": ('{"model_type": "frailt", "hidden_size": "wide"}', " has a damaged config.json: "),
    "heads that do not fit": ('{"model_type": "frailt", "hidden_size": 100}', " has a damaged config.json: "),
    "no config.json": (None, "checkpoint must be a folder with a config.json, or a run folder with a last, got "),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_a_folder_that_is_no_checkpoint_of_ours_is_one_line(case, tmp_path, capfd):
    content, said = CONFIGS[case]
    if content is not None:
        (tmp_path / "config.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    assert main(["plan", "--on", "h100", "--from", str(tmp_path), "--context", "16"]) == 2
    out, errors = capfd.readouterr()
    assert out == ""
    assert errors.startswith("frailt plan: error: checkpoint ")
    assert said in errors
    assert len(errors.splitlines()) == 1


def test_another_vocabulary_than_the_datas_is_refused(prepared):
    with pytest.raises(ValueError, match="vocab_size must be the 330 of data, got 512: leave it out"):
        plan(PlanConfig(data=str(prepared), vocab_size=512, on="h100"))


def test_presets_are_for_training_and_planning_alone(capfd):
    assert main(["info", "8", "--config", "paper-64"]) == 2
    assert "preset" not in capfd.readouterr().err


# Iteration counts

SAMPLED = ["--iteration_counts.kind", "uniform", "--iteration_counts.counts", "1..6"]


def test_memory_is_for_the_highest_count_and_flops_for_the_mean():
    options = ["--model.layout", "1,(2)^3", *TINY]
    found = planned(*options, *SAMPLED)
    at = {count: planned(*options, "--iteration_counts.kind", "uniform", "--iteration_counts.counts", f"{count}")
          for count in range(1, 7)}  # fmt: skip
    assert found.peak == at[6].peak
    assert found.peak.total > at[3].peak.total == planned(*options).peak.total
    mean = sum(one.costs.training_flops_per_token for one in at.values()) / 6
    assert found.costs.training_flops_per_token == round(mean)
    assert found.costs.parameters == at[3].costs.parameters
    assert "1 to 6: memory for 6, FLOPs for the mean of 3.5" in str(found)
    assert planned(*options, "--gradient_checkpointing", "true").hardware_flops_per_token == (
        planned(*options, "--gradient_checkpointing", "true", "--iteration_counts.kind", "uniform",
                "--iteration_counts.counts", "3").hardware_flops_per_token
    )  # fmt: skip


def test_a_plan_of_counts_that_no_run_takes_is_one_line(capsys):
    assert main(["plan", "--on", "h100", "--model.layout", "2", *TINY, *SAMPLED]) == 2
    line = "frailt plan: error: iteration_counts.counts must be left out where the layout has no loop"
    assert capsys.readouterr().err.startswith(line)
