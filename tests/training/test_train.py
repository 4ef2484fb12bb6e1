import json
import math
from dataclasses import fields
from importlib.metadata import version

import numpy as np
import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainingArguments, pipeline

from frailt import FraiLTConfig, FraiLTForCausalLM
from frailt.cli import main
from frailt.data.packing import PackedRows, PreparedData
from frailt.evaluation.config import EvaluateConfig
from frailt.evaluation.loss import evaluate
from frailt.model.cost import cost
from frailt.model.narrow_attention import library
from frailt.training import train as train_module
from frailt.training.checkpoint import load_checkpoint, save_checkpoint
from frailt.training.choices import check_devices
from frailt.training.config import ModelConfig, TrainConfig
from frailt.training.depth import Depth
from frailt.training.iteration_counts import CountSchedule, IterationCounts
from frailt.training.processes import Processes
from frailt.training.rows import ShuffledRows
from frailt.training.train import _without_folder, train
from frailt.training.trainer import FraiLTTrainer
from frailt.training.validation import share_of_rows, validation_loss


def record_of(folder) -> dict:
    return json.loads((folder / "run.json").read_text())


def metrics_of(folder, name) -> list:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [row[name] for row in rows if name in row]


def continuing(tiny, prepared, out, checkpoint, **changes) -> TrainConfig:
    config = tiny(prepared, out, **changes)
    config.model, config.from_checkpoint = ModelConfig(), str(checkpoint)
    return config


def loss_by_hand(model, data, split="validation", context=47) -> float:
    """The protocol, written down again: the stream in rows that overlap by one token, all targets weighing the same."""
    stream = np.fromfile(data / f"{split}.bin", dtype="<u2").astype(np.int64)
    nats = 0.0
    with torch.no_grad():
        for start in range(0, len(stream) - 1, context):
            row = torch.tensor(stream[start : start + context + 1])
            scores = model(input_ids=row[None, :-1]).logits[0].double()
            nats += sum(float(scores[i].logsumexp(0) - scores[i, token]) for i, token in enumerate(row[1:].tolist()))
    return nats / (len(stream) - 1)


# The run folder


def test_the_configuration_in_the_folder_reads_back_equal(run, prepared, tiny):
    read = yaml.safe_load((run / "config.yaml").read_text())
    assert set(read) == {field.name for field in fields(TrainConfig)}
    sections = {"model": ModelConfig(**read["model"]), "iteration_counts": IterationCounts(**read["iteration_counts"])}
    config = TrainConfig(**(read | sections))
    assert config == tiny(prepared, run, steps=24, evaluations=3, log_every_steps=4, learning_rate=0.01)


def test_the_record_says_what_was_trained_on_what_with_what(run, prepared):
    record, data = record_of(run), PreparedData.open(prepared)
    model, _ = load_checkpoint(run)
    costs = cost(model.config, 47)
    assert record["status"] == "finished"
    assert record["versions"]["torch"] == version("torch")
    assert record["versions"]["transformers"] == version("transformers")
    assert record["data"] == {"source": "builtin", "data_hash": data.data_hash}
    assert record["model"]["layout"] == "2^2"
    assert record["model"]["parameters"]["total"] == model.num_parameters() == costs.parameters.total
    assert record["model"]["forward_flops_per_token"] == costs.forward_flops_per_token
    assert (record["steps"], record["tokens"]) == (24, 24 * 8 * 47)
    assert (record["precision"], record["attention"]) == ("float32", "sdpa_padded" if library() is None else "narrow")
    assert record["validation"]["targets"] == data.manifest.splits["validation"].tokens - 1


def test_the_metrics_have_units_in_their_names(run):
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    names = set().union(*rows)
    assert names == {
        "step", "tokens", "training_s", "loss_nats_per_token", "learning_rate", "gradient_norm", "tokens_per_s",
        "model_flops_utilisation", "waiting_share", "peak_memory_bytes",
        "validation_nats_per_token", "targets", "final_validation_nats_per_token", "evaluating_s",
    }  # fmt: skip
    assert [row["step"] for row in rows if "loss_nats_per_token" in row] == [4, 8, 12, 16, 20, 24]
    assert [row["step"] for row in rows if "validation_nats_per_token" in row] == [8, 16, 24]
    assert all(row["tokens"] == row["step"] * 8 * 47 for row in rows)


@pytest.mark.parametrize(("steps", "evaluations"), [(7, 3), (5, 5), (3, 10), (4, 0)])
def test_evaluations_are_spread_evenly_and_end_with_the_last_step(steps, evaluations, prepared, tiny, tmp_path):
    train(tiny(prepared, tmp_path / "run", steps=steps, evaluations=evaluations))
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    evaluated = [row["step"] for row in rows if "validation_nats_per_token" in row]
    assert len(evaluated) == max(1, min(steps, evaluations))
    assert evaluated[-1] == steps
    assert len(set(np.diff([0, *evaluated]))) <= 2


def test_training_lowers_the_loss(run):
    losses = metrics_of(run, "loss_nats_per_token")
    assert losses[0] == pytest.approx(math.log(330), abs=0.3)
    assert losses[-1] < losses[0] - 0.5


# One number


@pytest.fixture(scope="module")
def bfloat16_run(prepared, tiny, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "bfloat16"
    train(tiny(prepared, out, precision="bfloat16", steps=3, batch_rows=2, learning_rate=0.01))
    return out


@pytest.mark.parametrize("which", ["run", "plain_run", "bfloat16_run"])
def test_log_python_command_line_and_a_loop_by_hand_give_one_validation_loss(which, prepared, request, capsys):
    folder = request.getfixturevalue(which)
    logged = record_of(folder)["validation"]["nats_per_token"]
    from_python = evaluate(EvaluateConfig(checkpoint=str(folder), data=str(prepared), threads=1))
    command = ["evaluate", "--checkpoint", str(folder), "--data", str(prepared), "--json", "true"]
    capsys.readouterr()
    assert main(command) == 0
    from_command_line = json.loads(capsys.readouterr().out)
    by_hand = loss_by_hand(AutoModelForCausalLM.from_pretrained(folder / "last"), prepared)
    assert metrics_of(folder, "final_validation_nats_per_token") == [logged]
    assert from_python.nats_per_token == pytest.approx(logged, abs=1e-6)
    assert from_command_line["nats_per_token"] == pytest.approx(logged, abs=1e-6)
    assert by_hand == pytest.approx(logged, abs=1e-6)
    assert from_command_line["bits_per_byte"] == pytest.approx(
        record_of(folder)["validation"]["bits_per_byte"], abs=1e-6
    )


def test_bfloat16_trains_in_bfloat16_and_keeps_weights_in_float32(bfloat16_run, prepared, tiny, tmp_path):
    assert record_of(bfloat16_run)["precision"] == "bfloat16"
    assert {p.dtype for p in load_checkpoint(bfloat16_run)[0].parameters()} == {torch.float32}
    train(tiny(prepared, tmp_path / "run", steps=3, batch_rows=2, learning_rate=0.01))
    ours, exact = (metrics_of(folder, "loss_nats_per_token") for folder in (bfloat16_run, tmp_path / "run"))
    assert ours != exact
    assert ours == pytest.approx(exact, abs=0.03)  # 8 bits of mantissa


# Equivalences


@pytest.fixture(scope="module")
def reference_run(prepared, tiny, tmp_path_factory):
    """Five steps, of which one has the last row, which is partial: it must weigh by its targets, not as a row."""
    rows = len(PreparedData.open(prepared).split("train").rows(47))
    seed = next(s for s in range(10_000) if rows - 1 in [ShuffledRows(rows, 40, s)[i] for i in range(40)])
    out = tmp_path_factory.mktemp("runs") / "reference"
    return seed, train(tiny(prepared, out, seed=seed)).folder


def losses_and_weights(folder):
    model, _ = load_checkpoint(folder)
    return metrics_of(folder, "loss_nats_per_token"), torch.cat([p.flatten() for p in model.parameters()])


def test_the_same_seed_gives_the_same_losses_and_another_does_not(reference_run, prepared, tiny, tmp_path):
    seed, reference = reference_run
    train(tiny(prepared, tmp_path / "same", seed=seed))
    train(tiny(prepared, tmp_path / "other", seed=seed + 1))
    losses, weights = losses_and_weights(reference)
    same, same_weights = losses_and_weights(tmp_path / "same")
    assert same == losses
    assert torch.equal(same_weights, weights)
    assert losses_and_weights(tmp_path / "other")[0][0] != losses[0]


def test_the_order_of_rows_is_of_the_seed_too(run, prepared, tiny, tmp_path):
    first = []
    for seed in (0, 0, 1):
        folder = tmp_path / f"{len(first)}"
        train(continuing(tiny, prepared, folder, run, steps=1, seed=seed))  # the same weights, so only the rows differ
        first += metrics_of(folder, "loss_nats_per_token")
    assert first[0] == first[1] != first[2]


@pytest.mark.parametrize(
    "changes",
    [{"accumulation_steps": 2}, {"gradient_checkpointing": True}],
    ids=["accumulation", "gradient_checkpointing"],
)
def test_how_a_step_is_computed_changes_nothing(changes, reference_run, prepared, tiny, tmp_path):
    seed, reference = reference_run
    train(tiny(prepared, tmp_path / "run", seed=seed, **changes))
    losses, weights = losses_and_weights(reference)
    others, other_weights = losses_and_weights(tmp_path / "run")
    assert others == pytest.approx(losses, abs=2e-6)
    # Adam divides by the root of a squared gradient: where that is tiny, rounding shows, so not bit for bit.
    torch.testing.assert_close(other_weights, weights, rtol=0, atol=1e-4)


# Optimisation


def test_matrices_decay_and_norms_and_iteration_encodings_do_not(tmp_path):
    model = FraiLTForCausalLM(
        FraiLTConfig(layout="1,(2)^3", vocab_size=13, hidden_size=8, num_attention_heads=2, tie_word_embeddings=False)
    )
    trainer = FraiLTTrainer(
        model=model,
        args=TrainingArguments(output_dir=str(tmp_path), weight_decay=0.3, use_cpu=True, report_to="none"),
        processes=Processes(torch.device("cpu")),
        validation_rows=PackedRows(np.arange(13), 5),
        evaluation_share=1.0,
        evaluation_batch_rows=1,
        skip_nonfinite=False,
        rows_of=lambda step: [],
        depth=Depth(model),
        schedule=CountSchedule(IterationCounts(), seed=0, steps=1),
    )
    groups = trainer.create_optimizer().param_groups
    names = {id(p): name for name, p in model.named_parameters()}
    decaying, others = ([names[id(p)] for g in groups if g["weight_decay"] == d for p in g["params"]] for d in (0.3, 0))
    assert sorted(decaying + others) == sorted(names.values())  # each parameter once
    assert all("proj" in name or "embed_tokens" in name or "lm_head" in name for name in decaying)
    assert len(decaying) == 3 * 7 + 2
    assert sum("norm" in name for name in others) == 3 * 2 + 1
    assert sum("encodings" in name for name in others) == 2
    assert len(others) == 9


def test_the_learning_rate_warms_up_to_its_peak_and_falls_to_nothing(prepared, tiny, tmp_path):
    train(tiny(prepared, tmp_path / "run", steps=12, warmup_share=0.25, learning_rate=0.02))
    rates = metrics_of(tmp_path / "run", "learning_rate")
    peak = rates.index(max(rates))
    assert len(rates) == 12
    assert max(rates) == pytest.approx(0.02)
    assert peak in (2, 3)
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert rates[-1] < 0.02 / 20


def test_a_longer_context_takes_llamas_rope_settings_along(prepared, tiny, tmp_path):
    yarn = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 512}
    config = tiny(prepared, tmp_path / "run", context=2048, steps=1, batch_rows=1, model={"rope_parameters": yarn})
    train(config)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "run" / "last")
    assert loaded.config.max_position_embeddings == 2048
    assert loaded.config.rope_parameters == yarn | {"rope_theta": 10000.0}
    plain = FraiLTForCausalLM(FraiLTConfig(layout="2^2", hidden_size=16, num_attention_heads=2, vocab_size=330))
    assert not torch.equal(loaded.model.rotary_emb.inv_freq, plain.model.rotary_emb.inv_freq)
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["model"]["rope_parameters"] == yarn


def test_what_was_chosen_is_said_and_recorded(prepared, tiny, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr("frailt.training.hardware.cpu_has_bfloat16_units", lambda: False)
    train(tiny(prepared, tmp_path / "run", steps=1, precision="auto", compile="auto"))
    kernel = "sdpa_padded" if library() is None else "narrow"
    assert f"1 thread, float32, attention {kernel}, compile off" in capfd.readouterr().err
    record = record_of(tmp_path / "run")
    assert (record["precision"], record["compile"], record["parallel"], record["threads"]) == (
        "float32", "off", "none", 1
    )  # fmt: skip
    assert record["matmul_flops_per_s"] > 1e8


# Checkpoints


def test_best_holds_the_weights_with_the_lowest_loss_on_the_share(run, prepared, tiny, tmp_path):
    # Started from a trained model with a rate that ruins it: the first evaluation is the lowest.
    result = train(
        continuing(tiny, prepared, tmp_path / "run", run, steps=8, evaluations=8, learning_rate=0.5, warmup_share=0.9)
    )
    losses = metrics_of(tmp_path / "run", "validation_nats_per_token")
    assert losses[-1] > min(losses) + 0.1
    assert result.best_share_nats_per_token == min(losses)
    rows = PreparedData.open(prepared).split("validation").rows(47)
    best, _ = load_checkpoint(tmp_path / "run" / "best")
    last, _ = load_checkpoint(tmp_path / "run" / "last")
    share = share_of_rows(len(rows), 0.2)
    assert validation_loss(best, rows, indices=share).nats_per_token == pytest.approx(min(losses), abs=1e-6)
    assert validation_loss(last, rows, indices=share).nats_per_token == pytest.approx(losses[-1], abs=1e-6)


@pytest.mark.parametrize("name", ["best", "last"])
def test_a_checkpoint_loads_with_plain_transformers(run, prepared, name):
    model = AutoModelForCausalLM.from_pretrained(run / name)
    tokenizer = AutoTokenizer.from_pretrained(run / name)
    assert type(model) is FraiLTForCausalLM
    text = "One day, Tom went out."
    ids = tokenizer(text)["input_ids"]
    assert ids == PreparedData.open(prepared).tokenizer()(text)["input_ids"]
    assert ids[0] == tokenizer.bos_token_id
    stops = [tokenizer.bos_token_id, tokenizer.eos_token_id]
    assert model.generation_config.eos_token_id == stops
    tell = pipeline("text-generation", model=str(run / name), device="cpu")
    assert tell(text, max_new_tokens=5)[0]["generated_text"].startswith(text)


@pytest.mark.parametrize("name", ["best", "last"])
def test_a_checkpoint_holds_safetensors_and_no_pickle(run, name):
    names = {path.name for path in (run / name).rglob("*")}
    assert names == {
        "README.md", "config.json", "files.json", "generation_config.json", "model.safetensors", "tokenizer.json",
        "tokenizer.model", "tokenizer_config.json",
    }  # fmt: skip


def test_the_model_card_tells_the_numbers_of_the_record(run):
    card, record = (run / "last" / "README.md").read_text(), record_of(run)
    _, front, body = card.split("---\n", 2)
    assert yaml.safe_load(front)["library_name"] == "transformers"
    assert f"{record['validation']['nats_per_token']:.4f} nats per token, on all validation rows" in body
    assert f"{record['tokens']:,} tokens" in body
    assert record["data"]["data_hash"] in body
    assert f"{record['model']['parameters']['total']:,}" in body


def test_a_checkpoint_is_replaced_whole(run, tmp_path):
    model, tokenizer = load_checkpoint(run)
    save_checkpoint(tmp_path / "best", model, tokenizer, "first")
    (tmp_path / "best" / "stale").touch()
    save_checkpoint(tmp_path / "best", model, tokenizer, "second")
    assert [path.name for path in tmp_path.iterdir()] == ["best"]
    assert (tmp_path / "best" / "README.md").read_text() == "second"
    assert not (tmp_path / "best" / "stale").exists()


# Continuing


def test_training_goes_on_from_the_weights_of_a_checkpoint(run, prepared, tiny, tmp_path):
    result = train(continuing(tiny, prepared, tmp_path / "run", run, steps=1, learning_rate=1e-9))
    assert result.validation.nats_per_token == pytest.approx(record_of(run)["validation"]["nats_per_token"], abs=1e-4)
    first = metrics_of(tmp_path / "run", "loss_nats_per_token")[0]
    assert first == pytest.approx(record_of(run)["validation"]["nats_per_token"], abs=0.3)
    assert record_of(tmp_path / "run")["model"] == record_of(run)["model"]
    read = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    read["iteration_counts"] = IterationCounts(**read["iteration_counts"])
    assert TrainConfig(**read) == continuing(tiny, prepared, tmp_path / "run", run, steps=1, learning_rate=1e-9)


def test_a_bfloat16_checkpoint_goes_on_in_float32(run, prepared, tiny, tmp_path):
    model, tokenizer = load_checkpoint(run)
    save_checkpoint(tmp_path / "half", model.bfloat16(), tokenizer, "")
    train(continuing(tiny, prepared, tmp_path / "run", tmp_path / "half", steps=1))
    assert {p.dtype for p in load_checkpoint(tmp_path / "run")[0].parameters()} == {torch.float32}


def test_another_tokenizer_is_refused(run, prepared_in_bytes, tiny, tmp_path):
    with pytest.raises(ValueError, match="data must be prepared with the checkpoint's tokenizer"):
        train(continuing(tiny, prepared_in_bytes, tmp_path / "run", run))
    assert not (tmp_path / "run").exists()


def test_a_longer_context_than_the_checkpoint_takes_is_refused(run, prepared, tiny, tmp_path):
    with pytest.raises(ValueError, match="context must be at most the checkpoint's 47 tokens, got 48"):
        train(continuing(tiny, prepared, tmp_path / "run", run, context=48))
    assert not (tmp_path / "run").exists()


# What stops a run


def test_a_diverging_run_stops_and_says_why(prepared, tiny, tmp_path):
    with pytest.raises(FloatingPointError, match=r"became (nan|inf) at .*step \d.*lower learning_rate"):
        train(tiny(prepared, tmp_path / "run", learning_rate=1e30))
    record = record_of(tmp_path / "run")
    assert record["status"] == "stopped"
    assert "lower learning_rate" in record["error"]
    assert not (tmp_path / "run" / "last").exists()


@pytest.mark.parametrize("log_every_steps", [1, 100])
def test_a_nan_in_the_weights_is_found_whether_or_not_a_step_is_logged(
    log_every_steps, run, prepared, tiny, tmp_path, capfd
):
    model, tokenizer = load_checkpoint(run)
    with torch.no_grad():
        model.model.norm.weight[0] = math.nan
    save_checkpoint(tmp_path / "broken", model, tokenizer, "")
    out, broken = str(tmp_path / "run"), str(tmp_path / "broken")
    settings = ["--data", str(prepared), "--out", out, "--from", broken, "--context", "47", "--steps", "2"]
    capfd.readouterr()
    assert main(["train", *settings, "--evaluations", "0", "--log_every_steps", str(log_every_steps)]) == 2
    errors = capfd.readouterr().err
    assert "Traceback" not in errors
    assert errors.splitlines()[-1].startswith("frailt train: error: ")
    assert "became nan" in errors.splitlines()[-1]
    assert record_of(tmp_path / "run")["status"] == "stopped"
    assert "NaN" not in (tmp_path / "run" / "run.json").read_text()


def test_a_run_that_is_interrupted_says_so(prepared, tiny, tmp_path, monkeypatch):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(FraiLTTrainer, "training_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(tiny(prepared, tmp_path / "run"))
    assert record_of(tmp_path / "run")["status"] == "stopped"


def test_a_folder_that_is_in_use_is_refused_and_left_alone(prepared, tiny, tmp_path):
    (tmp_path / "note").write_text("mine")
    with pytest.raises(FileExistsError, match="out must be a new or empty folder"):
        train(tiny(prepared, tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["note"]
    assert (tmp_path / "note").read_text() == "mine"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"device": "abacus"}, "device must be auto, cpu, cuda, cuda:N or mps, got 'abacus'"),
        ({"device": "xpu"}, r"device must be one that is here \(cpu.*\), got 'xpu'"),
        ({"report_to": ["carrier_pigeon"]}, "report_to must be trackers that are installed .*, got 'carrier_pigeon'"),
        ({"model": {"hidden_size": 18, "num_attention_heads": 4}}, "hidden_size must be divisible by num_attention_he"),
        ({"model": {"hidden_size": 18, "num_attention_heads": 6}}, "head_dim must be even"),
        ({"model": {"iteration_encoding": "rotary"}}, "iteration_encoding must be one of"),
        ({"model": {"initializer_range": 0.0}}, "initializer_range must be above 0"),
        ({"layout": "2^"}, "layout term must be"),
    ],
)
def test_what_cannot_be_trained_leaves_no_folder(changes, message, prepared, tiny, tmp_path):
    with pytest.raises(ValueError, match=message):
        train(tiny(prepared, tmp_path / "run", **changes))
    assert not (tmp_path / "run").exists()


def test_one_gpu_among_several_is_refused_rather_than_the_first_taken(prepared, tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(train_module, "choose_device", torch.device)
    with pytest.raises(ValueError, match=r"device must be auto, .* with one GPU visible, got cuda:1: .*CUDA_V"):
        train(tiny(prepared, tmp_path / "run", device="cuda:1"))


# What is said beside


def test_a_line_tells_of_documents_longer_than_the_context(prepared, tiny, tmp_path, capfd):
    data = PreparedData.open(prepared)
    stream = data.split("train")
    lengths = np.diff([*np.flatnonzero(stream.tokens == data.manifest.bos_token_id), len(stream.tokens)])
    context = int(np.median(lengths))
    train(tiny(prepared, tmp_path / "short", context=context, steps=1, batch_rows=1))
    assert (
        f"frailt train: {int((lengths > context).sum())} of {len(lengths)} documents are longer than the context of "
        f"{context} tokens; they continue in the next row\n"
    ) in capfd.readouterr().err
    train(tiny(prepared, tmp_path / "long", context=int(lengths.max()), steps=1, batch_rows=1))
    assert "longer than the context" not in capfd.readouterr().err


def test_report_to_tensorboard_writes_the_losses(prepared, tiny, tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    train(tiny(prepared, tmp_path / "run", steps=2, report_to=["tensorboard"]))
    [events] = (tmp_path / "run").rglob("events.out.tfevents.*")
    read = accumulator.EventAccumulator(str(events))
    read.Reload()
    told = [scalar.value for scalar in read.Scalars("train/loss")]
    assert told == pytest.approx(metrics_of(tmp_path / "run", "loss_nats_per_token"))
    assert "eval/loss" in read.Tags()["scalars"]


def test_checkpoints_cache_by_default_though_the_trainer_switches_it_off(run):
    for name in ("best", "last"):
        assert json.loads((run / name / "config.json").read_text())["use_cache"] is True


def test_the_record_says_when_the_run_began_and_ended(run):
    record = json.loads((run / "run.json").read_text())
    assert record["started"] <= record["ended"]
    assert record["started"].endswith("+00:00")


@pytest.mark.parametrize(
    ("source", "kept"), [("roneneldan/TinyStories", "roneneldan/TinyStories"), ("/a/b/c.txt", "c.txt"), ("~/x/y", "y")]
)
def test_records_name_a_dataset_whole_and_a_file_without_its_folder(source, kept):
    assert _without_folder(source) == kept


def test_several_visible_gpus_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ValueError, match=r"with one GPU visible.*CUDA_VISIBLE_DEVICES"):
        check_devices("cuda", torch.device("cuda"))
    check_devices("cpu", torch.device("cpu"))


def test_a_run_with_a_shorter_context_than_its_checkpoint_is_evaluated_as_it_was_validated(
    run, prepared, tiny, tmp_path
):
    config = continuing(tiny, prepared, tmp_path / "short", run / "last", context=31, steps=2)
    result = train(config)
    found = evaluate(EvaluateConfig(checkpoint=config.out, data=str(prepared), device="cpu"))
    assert found.context == 31
    assert found.nats_per_token == pytest.approx(result.validation.nats_per_token, abs=1e-6)
