"""Training at several iteration counts: nothing else changes, and what ran is what is counted and recorded."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from scripts.soak import rows_of
from torch._dynamo.testing import CompileCounterWithBackend
from transformers import AutoModelForCausalLM, TrainerCallback

from frailt import FraiLTConfig, FraiLTForCausalLM
from frailt.cli import main
from frailt.data.packing import PreparedData
from frailt.evaluation.config import EvaluateConfig
from frailt.evaluation.loss import evaluate
from frailt.model.cost import cost
from frailt.training import compiling
from frailt.training.build import build_model
from frailt.training.depth import Depth, at_count, expected_training_flops
from frailt.training.iteration_counts import CountSchedule, IterationCounts
from frailt.training.rows import ShuffledRows
from frailt.training.train import train

from .faults import Kill, KillAfter

SAMPLED = IterationCounts(kind="uniform", counts="1..4")


@pytest.fixture(scope="module")
def config(prepared, tiny, tmp_path_factory):
    """Twelve steps of a table of 3 at 1 to 4 iterations, and what must not be lost on the way."""
    out = tmp_path_factory.mktemp("depth") / "whole"
    return tiny(
        prepared, out, layout="1,(2)^3", steps=12, evaluations=4, log_every_steps=5, save_every_steps=2,
        learning_rate=0.01, save_total_limit=None, iteration_counts=SAMPLED, evaluate_iterations=[1, 3, 5],
    )  # fmt: skip


@pytest.fixture(scope="module")
def sampled(config):
    train(config)
    return Path(config.out)


def record_of(folder) -> dict:
    return json.loads((folder / "run.json").read_text())


def weights_of(folder) -> dict:
    return load_file(folder / "last" / "model.safetensors")


def same_weights(folder, other) -> bool:
    ours, theirs = weights_of(folder), weights_of(other)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


class Watch(TrainerCallback):
    """Counts how often the looped block ran in each step, forward and with gradients."""

    def __init__(self) -> None:
        self.applications, self.by_step = 0, []

    def on_train_begin(self, args, state, control, model=None, **kwargs):
        def count(block, *given):
            self.applications += block.training and torch.is_grad_enabled()

        model.model.groups[-1].blocks[-1].register_forward_pre_hook(count)

    def on_step_end(self, args, state, control, **kwargs):
        self.by_step.append(self.applications)
        self.applications = 0


# In place


@pytest.mark.parametrize("count", [1, 2, 3, 6])
def test_a_model_at_another_count_gives_what_its_view_gives_and_is_itself_again(count):
    sizes = {"layout": "1,(2)^3,2^3", "hidden_size": 16, "num_attention_heads": 2, "vocab_size": 31}
    model = FraiLTForCausalLM(FraiLTConfig(**sizes, initializer_range=0.2)).eval()
    ids = torch.randint(31, (2, 7))
    before, wanted = model(ids).logits, model.with_iterations(count)(ids).logits
    depth = Depth(model, [count])
    with depth.at(count):
        assert torch.equal(model(ids, use_cache=False).logits, wanted)
    with depth.at(None):
        assert torch.equal(model(ids).logits, before)
    assert torch.equal(model(ids).logits, before)
    with pytest.raises(Kill), depth.at(count):
        raise Kill
    assert torch.equal(model(ids).logits, before)
    assert [slot.layer_idx for slot in model.model.slots] == list(range(max(13, 1 + 4 * count)))


# Equivalence


@pytest.mark.parametrize("counts", [{"kind": "uniform", "counts": [3]}, {"kind": "curriculum", "counts": [3]}])
def test_one_count_through_the_sampler_is_the_plain_layout_bit_for_bit(counts, config, tmp_path):
    plain = replace(config, iteration_counts=IterationCounts(), evaluate_iterations=None, out=str(tmp_path / "plain"))
    through = replace(plain, iteration_counts=IterationCounts(**counts), out=str(tmp_path / "through"))
    for each in (plain, through):
        train(each)
    assert same_weights(tmp_path / "plain", tmp_path / "through")
    rows = rows_of(tmp_path / "through")
    assert [row.pop("mean_iterations") for row in rows if "mean_iterations" in row] == [3.0, 3.0]
    assert rows == rows_of(tmp_path / "plain")
    ours, theirs = record_of(tmp_path / "through"), record_of(tmp_path / "plain")
    assert ours["model"] == theirs["model"]
    assert ours["validation"] == theirs["validation"]
    assert ours["steps_at_iterations"] == {"3": 12}
    assert "steps_at_iterations" not in theirs


def test_a_layout_at_another_count_trains_as_the_model_loaded_with_that_count(config, prepared, tmp_path):
    config = replace(
        config, iteration_counts=IterationCounts(kind="uniform", counts=[5]), steps=1, out=str(tmp_path / "run"),
        evaluate_iterations=None, log_every_steps=1,
    )  # fmt: skip
    train(config)
    data = PreparedData.open(prepared)
    torch.manual_seed(config.seed)
    model = build_model(config, data, data.tokenizer()).train()
    view, rows = model.with_iterations(5), data.split("train").rows(config.context)
    order = ShuffledRows(len(rows), config.batch_rows, config.seed)
    inputs, targets = (torch.from_numpy(a) for a in rows.batch([order[i] for i in range(config.batch_rows)]))
    loss = torch.nn.functional.cross_entropy(view(inputs).logits.flatten(0, 1), targets.flatten())
    logged = [row["loss_nats_per_token"] for row in rows_of(tmp_path / "run") if "loss_nats_per_token" in row]
    assert logged == [pytest.approx(loss.item(), abs=1e-5)]


def test_each_step_runs_its_own_count_in_all_of_its_forward_passes(config, tmp_path):
    schedule = CountSchedule(SAMPLED, seed=config.seed, steps=config.steps)
    for passes in (1, 4):
        watch = Watch()
        train(replace(config, out=str(tmp_path / f"{passes}"), accumulation_steps=passes, evaluations=1), [watch])
        assert watch.by_step == [passes * schedule.at(step) for step in range(1, 13)]
    assert len({*watch.by_step}) == 4


def test_accumulation_changes_nothing_but_rounding(config, sampled, tmp_path):
    train(replace(config, out=str(tmp_path / "run"), accumulation_steps=2))
    torch.testing.assert_close(weights_of(tmp_path / "run"), weights_of(sampled), rtol=0, atol=1e-3)
    ours, theirs = (record_of(folder)["validation"]["nats_per_token"] for folder in (tmp_path / "run", sampled))
    assert ours == pytest.approx(theirs, abs=1e-4)


def test_gradient_checkpointing_runs_the_same_counts(config, sampled, tmp_path):
    train(replace(config, out=str(tmp_path / "run"), gradient_checkpointing=True))
    torch.testing.assert_close(weights_of(tmp_path / "run"), weights_of(sampled), rtol=0, atol=1e-3)


@pytest.mark.parametrize("step", [3, 6, 11])
def test_a_killed_run_ends_bit_equal_to_an_uninterrupted_one(step, config, sampled, tmp_path):
    config = replace(config, out=str(tmp_path / "run"))
    with pytest.raises(Kill):
        train(config, [KillAfter(step)])
    train(config)
    assert same_weights(tmp_path / "run", sampled)
    assert rows_of(tmp_path / "run") == rows_of(sampled)
    ours, theirs = record_of(tmp_path / "run"), record_of(sampled)
    for key in ("validation", "validation_at_iterations", "steps_at_iterations", "model"):
        assert ours[key] == theirs[key]


def test_the_saved_model_has_its_table_and_runs_as_the_layout_says(sampled):
    model = AutoModelForCausalLM.from_pretrained(sampled / "last")
    assert model.config.iterations is None
    assert model.model.groups[1].encodings[0].weight.shape[0] == 3
    assert len(model.model.slots) == 1 + 6


def test_vectors_that_no_count_uses_stay_as_they_began(config, prepared, tmp_path):
    """No gradient and no decay reach them."""
    few = IterationCounts(kind="uniform", counts="1,2")
    config = replace(config, iteration_counts=few, evaluate_iterations=None, out=str(tmp_path / "run"))
    train(config)
    torch.manual_seed(config.seed)
    data = PreparedData.open(prepared)
    began = build_model(config, data, data.tokenizer()).model.groups[1].encodings[0].weight
    ended = weights_of(tmp_path / "run")["model.groups.1.encodings.0.weight"]
    assert torch.equal(ended[2], began[2])
    assert not torch.allclose(ended[:2], began[:2])


# What is logged and recorded


def test_rows_say_the_mean_count_of_the_steps_since_the_last(sampled, config):
    schedule = CountSchedule(SAMPLED, seed=config.seed, steps=config.steps)
    found = {row["step"]: row["mean_iterations"] for row in rows_of(sampled) if "mean_iterations" in row}
    ran = [schedule.at(step) for step in range(1, 13)]
    assert found == {5: sum(ran[:5]) / 5, 10: sum(ran[5:10]) / 5}
    assert record_of(sampled)["steps_at_iterations"] == {str(n): ran.count(n) for n in (1, 2, 3, 4)}


def test_flops_and_utilisation_are_of_the_counts_that_ran(sampled, config):
    model = AutoModelForCausalLM.from_pretrained(sampled / "last").config
    flops = {n: cost(at_count(model, n), config.context).training_flops_per_token for n in (1, 2, 3, 4)}
    record = record_of(sampled)
    steps = {int(n): number for n, number in record["steps_at_iterations"].items()}
    mean = sum(flops[n] * number for n, number in steps.items()) / 12
    assert record["model"]["training_flops_per_token"] == round(mean)
    assert record["model"]["forward_flops_per_token"] == cost(model, config.context).forward_flops_per_token
    schedule = CountSchedule(SAMPLED, seed=config.seed, steps=config.steps)
    rows = [json.loads(line) for line in (sampled / "metrics.jsonl").read_text().splitlines()]
    for row in (row for row in rows if "model_flops_utilisation" in row):
        of_row = sum(flops[schedule.at(step)] for step in range(row["step"] - 4, row["step"] + 1)) / 5
        wanted = row["tokens_per_s"] * of_row / record["matmul_flops_per_s"]
        assert row["model_flops_utilisation"] == pytest.approx(wanted, abs=1e-4)


def test_expected_flops_are_the_mean_over_the_shares(config):
    model = FraiLTConfig(layout="1,(2)^3", hidden_size=16, num_attention_heads=2, intermediate_size=32, vocab_size=330)
    flops = [cost(at_count(model, n), config.context).training_flops_per_token for n in (1, 2, 3, 4)]
    assert expected_training_flops(config, model) == pytest.approx(sum(flops) / 4)
    fixed = replace(config, iteration_counts=IterationCounts())
    assert expected_training_flops(fixed, model) == cost(model, config.context).training_flops_per_token


def test_the_loss_at_several_counts_is_that_of_evaluate(sampled, prepared):
    record = record_of(sampled)
    at = record["validation_at_iterations"]
    assert list(at) == ["1", "3", "5"]
    for count, found in at.items():
        wanted = evaluate(EvaluateConfig(checkpoint=str(sampled), data=str(prepared), iterations=int(count), threads=1))
        assert found["nats_per_token"] == pytest.approx(wanted.nats_per_token, abs=1e-6)
        assert found["bits_per_byte"] == pytest.approx(wanted.bits_per_byte, abs=1e-6)
        assert found["targets"] == wanted.targets
    assert at["3"]["nats_per_token"] == record["validation"]["nats_per_token"]  # the layout's own, measured once
    rows = rows_of(sampled)
    last = rows[-1]["final_validation_nats_per_token_at_iterations"]
    assert last == {count: found["nats_per_token"] for count, found in at.items()}
    evaluated = [row for row in rows if "validation_nats_per_token" in row]
    assert len(evaluated) == 4
    for row in evaluated:
        found = row["validation_nats_per_token_at_iterations"]
        assert found["3"] == row["validation_nats_per_token"]
        assert len({*found.values()}) == 3


def test_a_finished_run_gives_its_losses_again(config, sampled):
    found = train(config).validation_at_iterations
    at = record_of(sampled)["validation_at_iterations"]
    assert {str(count): loss.nats_per_token for count, loss in found.items()} == {
        count: loss["nats_per_token"] for count, loss in at.items()
    }


def test_measuring_at_several_counts_does_not_change_training(config, sampled, tmp_path):
    train(replace(config, out=str(tmp_path / "run"), evaluate_iterations=None))
    assert same_weights(tmp_path / "run", sampled)
    assert not [row for row in rows_of(tmp_path / "run") if any("at_iterations" in name for name in row)]


# Compiled


@pytest.fixture
def counted(monkeypatch):
    """Graphs that are compiled, by a backend that takes no time."""
    torch._dynamo.reset()
    counter = CompileCounterWithBackend("eager")
    compile_ = torch.compile
    monkeypatch.setattr(compiling.torch, "compile", lambda function: compile_(function, backend=counter))
    limit = torch._dynamo.config.recompile_limit
    yield counter
    torch._dynamo.config.recompile_limit = limit
    torch._dynamo.reset()


def compiled(config, tmp_path, **changes):
    many = {"layout": "1^3", "steps": 40, "log_every_steps": 40, "evaluations": 1, "evaluate_iterations": None}
    model = replace(config.model, layout=many.pop("layout"))
    return replace(config, out=str(tmp_path / "run"), model=model, save_every_steps=None, **many, **changes)


def test_whole_mode_compiles_one_graph_for_each_count_of_the_set(counted, config, tmp_path):
    torch._dynamo.config.recompile_limit = 2  # of 8, as tracing is slow; `counted` puts it back
    rising = IterationCounts(kind="curriculum", counts="1..3")  # so that each of them comes
    train(compiled(config, tmp_path, compile="whole", iteration_counts=rising))
    assert counted.frame_count == 3


def test_block_mode_compiles_the_same_graphs_for_any_set(counted, config, tmp_path):
    train(compiled(config, tmp_path, compile="block", iteration_counts=IterationCounts(kind="uniform", counts="1..10")))
    assert counted.frame_count == 4  # block and head, with gradients and without


@pytest.mark.parametrize("mode", ["block", pytest.param("whole", marks=pytest.mark.long)])
def test_compiled_training_gives_the_same_losses(mode, counted, config, sampled, tmp_path):
    train(replace(config, out=str(tmp_path / "run"), compile=mode))
    for name in ("loss_nats_per_token", "validation_nats_per_token"):
        ours, theirs = ([row[name] for row in rows_of(folder) if name in row] for folder in (tmp_path / "run", sampled))
        assert ours == pytest.approx(theirs, abs=1e-4)


# What cannot be


BAD = [
    ({"iteration_counts.kind": "normal"}, "iteration_counts.kind must be fixed or uniform or poisson or"),
    ({"iteration_counts.kind": "uniform"}, "iteration_counts.counts must be given where kind is uniform"),
    ({"iteration_counts.counts": "1..3"}, "iteration_counts.counts must be left out where kind is fixed, got 1..3"),
    ({"evaluate_iterations": "3..1"}, "evaluate_iterations must rise from each count to the next, got '3..1'"),
    ({"evaluate_iterations": "1..1000"}, "iterations must stay within 1024 block applications, got 1000 with 2000"),
    ({"evaluate_iterations": "2", "model.layout": "2"}, "evaluate_iterations must be left out where the layout has no"),
    (
        {"iteration_counts.kind": "uniform", "iteration_counts.counts": "1..3", "model.layout": "2"},
        "iteration_counts.counts must be left out where the layout has no loop, got [1, 2, 3] for layout 2",
    ),
]


@pytest.mark.parametrize(("options", "message"), BAD, ids=lambda value: str(value)[:40])
def test_a_bad_value_is_one_line_and_leaves_nothing(options, message, prepared, tmp_path, capfd):
    given = [part for name, value in ({"model.layout": "2^4"} | options).items() for part in (f"--{name}", value)]
    given += ["--model.hidden_size", "16", "--model.num_attention_heads", "2", "--device", "cpu"]
    assert main(["train", "--data", str(prepared), "--out", str(tmp_path / "run"), *given]) == 2
    [line] = [line for line in capfd.readouterr().err.splitlines() if "error" in line]
    assert line.startswith(f"frailt train: error: {message}")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"iteration_counts": IterationCounts(kind="uniform", counts="1..5")}, "iteration_counts.counts"),
        ({"iteration_counts": IterationCounts(kind="curriculum", counts="1..4")}, "iteration_counts.kind"),
        ({"iteration_counts": IterationCounts()}, "iteration_counts.kind"),
        ({"evaluate_iterations": [1, 2]}, "evaluate_iterations"),
    ],
)
def test_a_run_does_not_go_on_with_other_counts(changes, field, config, tmp_path):
    config = replace(config, out=str(tmp_path / "run"))
    with pytest.raises(Kill):
        train(config, [KillAfter(3)])
    with pytest.raises(ValueError, match=rf"^{field} must stay .* when the run in .* goes on, got .*: choose another"):
        train(replace(config, **changes))


def test_a_run_that_began_before_there_were_counts_began_with_the_layouts_own(config, tmp_path):
    plain = replace(
        config, iteration_counts=IterationCounts(), evaluate_iterations=None, out=str(tmp_path / "run"), steps=4
    )
    with pytest.raises(Kill):
        train(plain, [KillAfter(3)])
    file = tmp_path / "run" / "config.yaml"
    began = yaml.safe_load(file.read_text())
    del began["iteration_counts"], began["evaluate_iterations"]
    file.write_text(yaml.safe_dump(began))
    for changes in ({"iteration_counts": SAMPLED}, {"evaluate_iterations": [1]}):
        with pytest.raises(ValueError, match=f"^{next(iter(changes))}.* must stay .* when the run"):
            train(replace(plain, **changes))
    train(plain)
    assert record_of(tmp_path / "run")["status"] == "finished"


def test_the_command_takes_counts_as_texts(config, tmp_path):
    options = [
        "--data", config.data, "--out", str(tmp_path / "run"), "--model.layout", "1^3", "--model.hidden_size", "16",
        "--model.num_attention_heads", "2", "--context", "47", "--steps", "2", "--batch_rows", "2", "--device", "cpu",
        "--threads", "1", "--evaluation_share", "0.1", "--iteration_counts.kind", "lognormal_poisson",
        "--iteration_counts.counts", "1,2,4", "--iteration_counts.mean", "2.5", "--evaluate_iterations", "1..2",
    ]  # fmt: skip
    assert main(["train", *options]) == 0
    assert main(["train", *options]) == 0  # finished; the same settings are read back
    record = record_of(tmp_path / "run")
    assert list(record["steps_at_iterations"]) == ["1", "2", "4"]
    assert list(record["validation_at_iterations"]) == ["1", "2"]
