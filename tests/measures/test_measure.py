"""`frailt measure`: records, resuming, and how bad input ends."""

import math
import shlex
import shutil
from pathlib import Path
from statistics import fmean

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from frailt.cli import _parse
from frailt.data.packing import PreparedData
from frailt.data.texts import texts
from frailt.judge.completions import read_completions
from frailt.measures.measure import WORDS_PER_PASS
from frailt.measures.table import MEASURES
from frailt.measures.words import words
from frailt.training.checkpoint import load_checkpoint

from ..judge.conftest import write_completions
from .commands import measure, record_of, refusal, rows_of

TEXT_ALONE = {"words", "ended", "repetition_4", "distinct_1", "distinct_2", "distinct_3"}


# What is measured


def test_all_measures_are_recorded_with_what_they_are(told, plain_run, prepared, capsys):
    assert measure(told, evaluator=plain_run, corpus=prepared) == 0
    printed = capsys.readouterr().out
    record, rows, read = record_of(told), rows_of(told), read_completions(told)
    long_enough = {m.name for m in MEASURES if record["without"].get(m.name, 0) < 6}
    assert set(record["measures"]) == long_enough
    assert {"words", "evaluator_bits_per_byte", "copied_words_most"} <= long_enough
    for name, found in record["measures"].items():
        assert {"mean", "low", "high", "n", "unit", "about"} == set(found)
        assert found["n"] == 6 - record["without"].get(name, 0)
        assert found["low"] is None or found["low"] <= found["mean"] <= found["high"]
        assert name in printed
    assert record["status"] == "finished"
    assert (record["completions_sha256"], record["completions"]) == (read.sha256, read.about)
    assert record["evaluator"]["layout"] == "2"
    assert record["corpus"]["hash"] == PreparedData.open(prepared).data_hash
    assert [(row["prompt_id"], row["sample"]) for row in rows] == [(p, s) for p in range(3) for s in range(2)]


def test_perplexity_is_that_of_each_text_alone_averaged_by_story(told, plain_run):
    assert measure(told, evaluator=plain_run) == 0
    model, tokenizer = load_checkpoint(plain_run)
    by_story, bits = [], []
    for story in read_completions(told).stories:
        prompt, whole = (
            tokenizer(text, split_special_tokens=True)["input_ids"]
            for text in (story.prompt, story.prompt + story.completion)
        )
        same = [a == b for a, b in zip(prompt, whole, strict=False)]
        first = [*same, False].index(False)
        with torch.no_grad():
            log = model(input_ids=torch.tensor([whole])).logits[0, :-1].double().log_softmax(-1)
        nats = -log.gather(-1, torch.tensor(whole[1:])[:, None])[first - 1 :].sum().item()
        by_story.append(nats / (len(whole) - first))
        bits.append(nats / math.log(2) / len(story.completion.encode()))
    found, rows = record_of(told)["measures"], rows_of(told)
    assert [row["evaluator_nats_per_token"] for row in rows] == pytest.approx(by_story, rel=1e-5)
    assert [row["evaluator_bits_per_byte"] for row in rows] == pytest.approx(bits, rel=1e-5)
    assert found["evaluator_nats_per_token"]["mean"] == pytest.approx(fmean(by_story), rel=1e-5)
    perplexity = found["evaluator_perplexity"]
    for end in ("mean", "low", "high"):
        assert perplexity[end] == pytest.approx(math.exp(found["evaluator_nats_per_token"][end]))


def test_a_copied_story_is_found_and_its_beginning_does_not_count(prepared, tmp_path):
    story = next(text for i, text in enumerate(texts(PreparedData.open(prepared), "train")) if i == 70)
    half = len(story) // 2
    half += story[half:].index(" ")
    folder = write_completions(
        tmp_path / "told",
        {
            story[:half]: [story[half:].upper(), " and then the xylophone was gone"],
            "Nothing": ["", " zzyzx"],
        },
    )
    assert measure(folder, corpus=prepared) == 0
    copied, other, empty, unknown = rows_of(folder)
    assert copied["copied_words"] == copied["words"] == len(words(story[half:]))
    assert copied["copied_run"] == " ".join(words(story[half:]))
    assert copied["copied_share"] == 1.0
    assert other["copied_words"] < other["words"]
    assert (empty["words"], empty["copied_words"], empty["copied_share"]) == (0, 0, None)
    assert (unknown["copied_words"], unknown["copied_share"]) == (0, 0.0)
    record = record_of(folder)
    assert record["measures"]["copied_words_most"]["mean"] == copied["words"]
    assert record["measures"]["copied_words_most"]["low"] is None
    assert record["without"]["copied_share"] == 1


def test_without_evaluator_and_corpus_the_text_alone_is_measured(told):
    assert measure(told) == 0
    record = record_of(told)
    assert set(record["measures"]) | set(record["without"]) == TEXT_ALONE
    assert record["evaluator"] is record["corpus"] is None


def test_completions_without_a_value_are_counted_and_not_taken_for_0(prepared, plain_run, tmp_path):
    folder = write_completions(tmp_path / "told", {"Tom": ["", " sat down"], "Lily": [" ran. " * 60, ""]})
    assert measure(folder, evaluator=plain_run) == 0
    record, rows = record_of(folder), rows_of(folder)
    assert rows[0]["evaluator_without"] == "no text"
    assert rows[0]["evaluator_nats_per_token"] is rows[0]["repetition_4"] is None
    assert record["without"] == {
        "repetition_4": 3,
        "distinct_1": 3,
        "distinct_2": 3,
        "distinct_3": 3,
        "evaluator_nats_per_token": 2,
        "evaluator_perplexity": 2,
        "evaluator_bits_per_byte": 2,
    }
    assert record["measures"]["evaluator_perplexity"]["n"] == 2
    assert record["measures"]["repetition_4"]["mean"] == pytest.approx(56 / 57)
    assert record["evaluator"]["beyond_context"] == 1


def test_a_model_is_not_measured_under_itself(told, run, capsys):
    assert measure(told, evaluator=run) == 0
    assert "evaluator told" in capsys.readouterr().err
    record = record_of(told)
    assert record["evaluator"]["same_checkpoint"] is True
    assert not any(name.startswith("evaluator") for name in record["measures"])


@pytest.fixture
def word_model(tmp_path):
    """An evaluator that knows two words and has an id for all others."""
    vocabulary = {"<unk>": 0, "<s>": 1, "</s>": 2, "Tom": 3, "sat": 4}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    special = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    PreTrainedTokenizerFast(tokenizer_object=backend, **special).save_pretrained(tmp_path / "words")
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 2, "num_hidden_layers": 1}
    model = LlamaForCausalLM(LlamaConfig(**sizes, vocab_size=5, max_position_embeddings=11))
    model.save_pretrained(tmp_path / "words")
    return model, tmp_path / "words"


def test_what_the_evaluator_cannot_read_is_left_out_with_the_reason(word_model, tmp_path):
    folder = write_completions(tmp_path / "told", {"Tom": [" sat", " zzz sat"]})
    assert measure(folder, evaluator=word_model[1]) == 0
    known, unknown = rows_of(folder)
    assert known["evaluator_tokens"] == 1
    assert unknown["evaluator_without"] == "characters that the evaluator's tokenizer does not know"
    assert record_of(folder)["measures"]["evaluator_perplexity"]["n"] == 1


def test_an_evaluator_that_diverged_is_refused(word_model, tmp_path, capfd):
    model, path = word_model
    model.lm_head.weight.data.fill_(math.nan)
    model.save_pretrained(path)
    folder = write_completions(tmp_path / "told", {"Tom": [" sat"]})
    assert "evaluator must give probabilities, got nan" in refusal(capfd, measure(folder, evaluator=path))
    assert not (folder / "measures.json").exists()


@pytest.mark.parametrize(("hash_of", "is_told"), [("this", True), ("another", False)])
def test_a_weaker_evaluator_is_told_where_both_were_validated_on_the_same(
    hash_of, is_told, prepared, plain_run, tmp_path, capsys
):
    data_hash = PreparedData.open(prepared).data_hash if hash_of == "this" else "another"
    about = {"validation_nats_per_token": 0.5, "data_hash": data_hash}
    folder = write_completions(tmp_path / "told", {"Tom": [" sat."]}, **about)
    assert measure(folder, evaluator=plain_run) == 0
    assert ("should be the stronger model" in capsys.readouterr().err) == is_told


def test_a_corpus_that_the_model_was_not_trained_on_is_told(told, prepared, prepared_in_bytes, capsys):
    shutil.copytree(told, told.with_name("again"))
    assert measure(told, corpus=prepared) == 0
    assert "corpus is" not in capsys.readouterr().err
    assert measure(told.with_name("again"), corpus=prepared_in_bytes) == 0
    said = capsys.readouterr().err
    assert f"corpus is prepared otherwise than the one that {told.with_name('again')} was trained on" in said


def test_folders_measured_together_or_alone_get_the_same(told, prepared, plain_run, tmp_path, monkeypatch):
    other = write_completions(tmp_path / "other", {"Tom": [" sat down", " ran"], "Lily": [" was there", " sang"]})
    assert measure(told, other, evaluator=plain_run, corpus=prepared) == 0
    together = [rows_of(folder) for folder in (told, other)]
    for folder in (told, other):
        (folder / "measures.json").unlink()
    assert WORDS_PER_PASS > 1000
    monkeypatch.setattr("frailt.measures.measure.WORDS_PER_PASS", 3)
    assert measure(told, other, evaluator=plain_run, corpus=prepared, batch_size=1) == 0
    for before, after in zip(together, [rows_of(folder) for folder in (told, other)], strict=True):
        for a, b in zip(before, after, strict=True):
            assert a == pytest.approx(b)


def test_the_documented_commands_parse():
    text = (Path(__file__).parents[2] / "docs" / "measures.md").read_text(encoding="utf-8").replace("\\\n", "")
    commands = [shlex.split(line, comments=True) for line in text.splitlines() if line.startswith("frailt ")]
    assert {command[1] for command in commands} == {"complete", "real-stories", "measure"}
    for command in commands:
        _parse(command[1], command[2:])


# Going on


def test_finished_folders_are_passed_over(told, plain_run, prepared, capsys):
    assert measure(told, evaluator=plain_run, corpus=prepared) == 0
    before = (told / "measures.json").stat().st_mtime_ns
    capsys.readouterr()
    assert measure(told, evaluator=plain_run, corpus=prepared) == 0
    assert (told / "measures.json").stat().st_mtime_ns == before
    assert "measured before" in capsys.readouterr().out


def test_an_evaluator_and_a_corpus_may_be_added_and_not_dropped_or_changed(
    told, plain_run, prepared, prepared_in_bytes, capfd
):
    assert measure(told) == 0
    assert measure(told, corpus=prepared) == 0
    assert measure(told, corpus=prepared, evaluator=plain_run) == 0
    before = record_of(told)
    capfd.readouterr()
    assert "evaluator must be given again" in refusal(capfd, measure(told, corpus=prepared))
    assert "corpus must be given again" in refusal(capfd, measure(told, evaluator=plain_run))
    other = refusal(capfd, measure(told, evaluator=plain_run, corpus=prepared_in_bytes))
    assert "corpus must be the one" in other
    assert "measures.json" in other
    assert record_of(told) == before


def test_measures_of_completions_that_have_changed_are_refused(told, capfd):
    assert measure(told) == 0
    text = (told / "completions.jsonl").read_text()
    (told / "completions.jsonl").write_text(text.replace("Lily", "Lilo"))
    capfd.readouterr()
    assert "completions have changed since they were measured" in refusal(capfd, measure(told))


@pytest.mark.parametrize("name", ["measures.json", "measures.jsonl"])
def test_a_damaged_record_is_written_anew(told, name, capsys):
    assert measure(told) == 0
    before = record_of(told)
    (told / name).write_text((told / name).read_text()[:-40])
    assert measure(told) == 0
    assert "is damaged, and both are written anew" in capsys.readouterr().err
    assert record_of(told) == before


# What cannot be measured


def test_bad_input_is_one_line_and_leaves_nothing(told, run, prepared, tmp_path, capfd):
    nowhere = tmp_path / "nowhere"
    for complaint, folders, options in [
        ("completions must be a folder that frailt complete wrote", [nowhere], {}),
        ("completions must be different folders", [told, told.parent / "." / told.name], {}),
        ("evaluator must be a checkpoint or run folder", [told], {"evaluator": nowhere}),
        ("is not a prepared corpus", [told], {"corpus": nowhere}),
        ("batch_size must be 1 or more, got 0", [told], {"batch_size": 0}),
    ]:
        assert complaint in refusal(capfd, measure(*folders, **options))
    assert not (told / "measures.json").exists()


def test_a_damaged_folder_names_itself_and_the_others_are_left_for_later(told, tmp_path, capfd):
    other = write_completions(tmp_path / "other", {"Tom": ["a"]})
    (other / "completions.jsonl").write_text("{")
    assert f"{other}" in refusal(capfd, measure(told, other))
    half = write_completions(tmp_path / "half", {"Tom": ["\ud800"]})
    said = refusal(capfd, measure(half))
    assert "half a surrogate pair" in said
    assert f"{half}, line 1" in said
    assert not (told / "measures.json").exists()
