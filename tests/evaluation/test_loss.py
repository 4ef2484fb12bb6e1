import json
import math
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from frailt import FraiLTForCausalLM
from frailt.data.packing import PackedRows, PreparedData
from frailt.evaluation.config import EvaluateConfig
from frailt.evaluation.loss import evaluate
from frailt.training.checkpoint import load_checkpoint
from frailt.training.validation import Loss, evaluation_rows, share_of_rows, validation_loss


def measure(checkpoint, data, **changes):
    return evaluate(EvaluateConfig(checkpoint=str(checkpoint), data=str(data), threads=1, **changes))


def losses_by_hand(model, stream, context):
    """Nats of every target: (tokens - 1,)."""
    nats = []
    with torch.no_grad():
        for start in range(0, len(stream) - 1, context):
            row = torch.tensor(np.asarray(stream[start : start + context + 1]).astype(np.int64))
            log_probabilities = model(input_ids=row[None, :-1]).logits[0].double().log_softmax(-1)
            nats.append(-log_probabilities.gather(-1, row[1:, None])[:, 0].numpy())
    return np.concatenate(nats)


def loss_by_hand(model, stream, context) -> float:
    return float(losses_by_hand(model, stream, context).mean())


# Formulas


def test_bits_per_byte_are_the_bits_of_all_targets_over_the_bytes():
    # 100 tokens at 3 bits each are 300 bits; over 60 bytes that is 5 bits a byte.
    assert Loss(nats_per_token=3 * math.log(2), targets=100).bits_per_byte(60) == pytest.approx(5.0)


def test_perplexity_is_e_to_the_loss_and_infinite_where_no_float_holds_it():
    assert Loss(nats_per_token=math.log(7), targets=1).perplexity == pytest.approx(7.0)
    assert Loss(nats_per_token=1e4, targets=1).perplexity == math.inf


def test_bits_per_byte_divide_by_the_text_of_the_split(run, prepared):
    data = PreparedData.open(prepared)
    split = data.manifest.splits["validation"]
    found = measure(run, prepared)
    tokens, starts = data.split("validation").tokens, data.manifest.bos_token_id
    stories = np.split(np.asarray(tokens), np.flatnonzero(tokens == starts)[1:])
    text_bytes = sum(len(data.tokenizer().decode(story[1:]).encode("utf-8")) for story in stories)
    assert split.utf8_bytes == text_bytes
    assert found.bits_per_byte == pytest.approx(found.nats_per_token * found.targets / math.log(2) / text_bytes)
    assert found.targets == len(tokens) - 1


@given(rows=st.integers(1, 5000), share=st.floats(1e-6, 1.0))
@settings(deadline=None)
def test_a_share_of_rows_is_evenly_spread_and_always_the_same(rows, share):
    chosen = share_of_rows(rows, share)
    assert chosen == share_of_rows(rows, share)
    assert len(chosen) == max(1, round(rows * share))
    assert chosen[0] >= 0
    assert chosen[-1] < rows
    gaps = set(np.diff(chosen).tolist())
    assert all(gap >= 1 for gap in gaps)
    assert not gaps or max(gaps) - min(gaps) <= 1
    # As much room before the first as after the last.
    assert abs(chosen[0] - (rows - 1 - chosen[-1])) <= 1


# The loss


@pytest.mark.parametrize("batch_rows", [1, 3, 64])
def test_the_loss_does_not_depend_on_how_rows_are_batched(batch_rows, run, prepared):
    model, _ = load_checkpoint(run)
    stream = PreparedData.open(prepared).split("validation").tokens[:500]  # the last row is partial
    rows = PackedRows(stream, 47)
    found = validation_loss(model, rows, batch_rows=batch_rows)
    assert found.targets == 499
    assert found.nats_per_token == pytest.approx(loss_by_hand(model, stream, 47), abs=1e-6)


def test_the_loss_of_some_rows_is_over_their_targets(run, prepared):
    model, _ = load_checkpoint(run)
    rows = PackedRows(PreparedData.open(prepared).split("validation").tokens[:100], 47)  # 47, 47 and 5 targets
    whole, *parts = (validation_loss(model, rows, indices=indices) for indices in (None, [0], [1], [2]))
    assert [part.targets for part in parts] == [47, 47, 5]
    together = sum(part.nats_per_token * part.targets for part in parts) / 99
    assert whole.nats_per_token == pytest.approx(together, abs=1e-9)


@pytest.mark.parametrize(
    ("training_rows", "context", "vocab_size", "device", "rows"),
    [
        (8, 47, 330, "cpu", 43),  # 2,048 tokens or nearly
        (4, 512, 512, "cpu", 4),
        (64, 512, 512, "cpu", 64),
        (16, 512, 512, "cuda", 32),
        (1, 2048, 32000, "cuda", 1),  # logits of 256 MiB are a row
        (1, 2048, 128000, "cuda", 1),
    ],
)
def test_evaluation_takes_more_rows_than_training_where_that_pays(training_rows, context, vocab_size, device, rows):
    assert evaluation_rows(training_rows, context, vocab_size, torch.device(device)) == rows


@pytest.mark.parametrize("batch_rows", [1, 16])
def test_even_and_odd_stories_are_measured_apart_each_with_its_end(batch_rows, run, prepared):
    model, _ = load_checkpoint(run)
    split = PreparedData.open(prepared).split("validation")
    found = validation_loss(model, split.rows(47), batch_rows=batch_rows)
    starts = [*np.flatnonzero(split.tokens == split.bos_token_id), len(split.tokens)]
    of_odd = sum(end - start for start, end in zip(starts[1::2], starts[2::2], strict=False))
    of_odd -= len(starts) % 2  # the last story has no end to predict
    assert found.odd_stories.targets == of_odd
    assert found.even_stories.targets + of_odd == found.targets == len(split.tokens) - 1
    halves = (found.even_stories, found.odd_stories)
    assert sum(half.nats_per_token * half.targets for half in halves) == pytest.approx(
        found.nats_per_token * found.targets
    )
    # By hand, target by target, over the even stories.
    number = np.cumsum(split.tokens == split.bos_token_id) - 1
    nats = losses_by_hand(model, split.tokens, 47)
    assert found.even_stories.nats_per_token == pytest.approx(nats[number[:-1] % 2 == 0].mean(), abs=1e-5)


def test_measuring_leaves_the_model_as_it_was(run, prepared):
    model, _ = load_checkpoint(run)
    rows = PackedRows(PreparedData.open(prepared).split("validation").tokens[:100], 47)
    for training in (True, False):
        model.train(training)
        validation_loss(model, rows)
        assert model.training is training


@pytest.mark.parametrize("iterations", [1, 3, [2, 1]])
def test_other_iterations_give_the_loss_of_the_model_loaded_with_them(iterations, run, prepared):
    found = measure(run, prepared, iterations=iterations)
    model = FraiLTForCausalLM.from_pretrained(run / "last", iterations=iterations)
    stream = PreparedData.open(prepared).split("validation").tokens
    assert found.nats_per_token == pytest.approx(loss_by_hand(model, stream, 47), abs=1e-6)
    assert found.iterations == model.config.iterations_per_group
    assert abs(found.nats_per_token - measure(run, prepared).nats_per_token) > 1e-5


def test_the_train_split_and_a_shorter_context_are_measured_on_request(run, prepared):
    model, _ = load_checkpoint(run)
    data = PreparedData.open(prepared)
    found = measure(run, prepared, split="train", context=31, batch_rows=128)
    stream = data.split("train").tokens
    some = validation_loss(model, PackedRows(stream, 31), batch_rows=64)
    assert (found.split, found.context, found.targets) == ("train", 31, len(stream) - 1)
    assert found.nats_per_token == pytest.approx(some.nats_per_token, abs=1e-6)
    assert found.nats_per_token != measure(run, prepared).nats_per_token


def test_a_bfloat16_checkpoint_is_measured_in_float32(run, prepared, tmp_path):
    model, tokenizer = load_checkpoint(run)
    model.bfloat16().save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    stream = PreparedData.open(prepared).split("validation").tokens
    exact = loss_by_hand(FraiLTForCausalLM.from_pretrained(tmp_path, dtype=torch.float32), stream, 47)
    assert measure(tmp_path, prepared).nats_per_token == pytest.approx(exact, abs=1e-6)


def test_what_is_no_finite_number_is_null_in_json(run, prepared):
    found = replace(measure(run, prepared, json=True), perplexity=math.inf)
    assert json.loads(str(found), parse_constant=pytest.fail)["perplexity"] is None


def test_it_prints_as_a_table_and_as_one_line_of_json(run, prepared):
    found = measure(run, prepared)
    lines = dict(line.split(maxsplit=1) for line in str(found).splitlines())
    assert lines["nats_per_token"] == f"{found.nats_per_token:.6f}"
    assert lines["layout"] == "2^2"
    as_json = json.loads(str(measure(run, prepared, json=True)))
    assert as_json["nats_per_token"] == pytest.approx(found.nats_per_token, abs=1e-9)
    assert as_json["iterations"] == [2, 2]
    assert "as_json" not in as_json


# What cannot be measured


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"split": "test"}, "split must be validation or train, got 'test'"),
        ({"batch_rows": 0}, "batch_rows must be 1 or more, got 0"),
        ({"context": 0}, "context must be 1 or more, got 0"),
        ({"threads": 0}, "threads must be 1 or more, got 0"),
    ],
)
def test_a_bad_value_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        EvaluateConfig(checkpoint="c", data="d", **changes)


def test_a_context_longer_than_the_models_is_refused(run, prepared):
    with pytest.raises(ValueError, match="context must be at most the model's 47 tokens, got 48"):
        measure(run, prepared, context=48)


@pytest.mark.parametrize("iterations", [0, [1, 2, 3], 10_000])
def test_iterations_that_do_not_fit_the_layout_are_refused(iterations, run, prepared):
    with pytest.raises(ValueError, match="iterations must"):
        measure(run, prepared, iterations=iterations)


def test_data_of_another_tokenizer_is_refused_with_the_way_out(run, prepared_in_bytes):
    with pytest.raises(ValueError, match=r"another vocabulary in .*: run frailt prepare with --tokenizer"):
        measure(run, prepared_in_bytes)


def damage_weights(folder):
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[: len(weights) // 2])


def change_config(**changes):
    def change(folder):
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | changes))

    return change


DAMAGES = {
    "truncated weights": (damage_weights, "is damaged or incomplete"),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), "is damaged or incomplete"),
    "weights that are text": (lambda folder: (folder / "model.safetensors").write_text("hello"), "is damaged"),
    "a broken config.json": (lambda folder: (folder / "config.json").write_text("{"), "has a damaged config.json"),
    "a config.json with a list": (lambda folder: (folder / "config.json").write_text("[]"), "damaged config.json"),
    "no config.json": (lambda folder: (folder / "config.json").unlink(), "must be a folder with a config.json"),
    "another model type": (change_config(model_type="llama"), "must be of model type frailt, got 'llama'"),
    "another width": (change_config(hidden_size=32), "is damaged or incomplete|does not fit its own config.json"),
    "more blocks": (change_config(layout="3^2"), "does not fit its own config.json"),
    "fewer blocks": (change_config(layout="1^2"), "does not fit its own config.json"),
    "a width that is text": (change_config(hidden_size="wide"), "has a damaged config.json"),
    "a malformed layout": (change_config(layout="2^"), "layout term must be"),
    "no tokenizer": (lambda folder: [f.unlink() for f in folder.glob("tokenizer*")], "tokenizer"),
    "a broken tokenizer": (lambda folder: (folder / "tokenizer.json").write_text("{"), "tokenizer"),
    "pickled weights only": (
        lambda folder: (folder / "model.safetensors").rename(folder / "pytorch_model.bin"),
        "is damaged or incomplete",
    ),
}


@pytest.mark.parametrize("what", DAMAGES)
def test_a_damaged_checkpoint_is_one_line(what, run, prepared, tmp_path):
    damage, message = DAMAGES[what]
    shutil.copytree(run / "last", tmp_path / "checkpoint")
    damage(tmp_path / "checkpoint")
    with pytest.raises((ValueError, FileNotFoundError), match=message) as raised:
        measure(tmp_path / "checkpoint", prepared)
    assert len(str(raised.value).splitlines()) == 1


def test_a_checkpoint_that_is_not_there_is_named(prepared, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"checkpoint must be a folder with a config\.json, or a run folder"):
        measure(tmp_path / "nowhere", prepared)


def test_a_run_without_a_last_checkpoint_is_named(prepared, tmp_path):
    (tmp_path / "run.json").write_text('{"status": "running"}')
    with pytest.raises(FileNotFoundError, match="or a run folder with a last, got "):
        measure(tmp_path, prepared)
