import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from frailt.data import prepare as prepare_module
from frailt.data.builtin import stories
from frailt.data.packing import PreparedData
from frailt.data.prepare import PrepareConfig, prepare
from frailt.data.tokenizer import encode_stories


def write(path: Path, documents) -> str:
    path.write_text("\n<|endoftext|>\n".join(documents), encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module")
def corpus(documents, tmp_path_factory) -> str:
    return write(tmp_path_factory.mktemp("corpus") / "corpus.txt", documents)


@pytest.fixture
def make(tmp_path, corpus, model_file):
    """Prepare the small corpus, with changes to the configuration."""

    def make(name="out", **changes):
        settings = {
            "source": corpus,
            "tokenizer": str(model_file),
            "validation_share": None if "validation" in changes else 0.3,
            "out": str(tmp_path / name),
        }
        return prepare(PrepareConfig(**(settings | changes)))

    return make


def texts(data, split):
    """The documents of a split, decoded: a BOS starts each."""
    tokenizer = data.tokenizer()
    tokens = np.asarray(data.split(split).tokens)
    starts = np.flatnonzero(tokens == data.manifest.bos_token_id)
    return [tokenizer.decode(document[1:]) for document in np.split(tokens, starts[1:])]


# What the streams hold


def test_a_stream_is_bos_and_ids_of_the_stripped_stories_in_order(make, documents, tmp_path, model_file):
    padded = [f"\n  {document} \n" for document in documents]
    data = make(
        source=write(tmp_path / "train.txt", padded), validation=write(tmp_path / "valid.txt", ["One.", "Two  foxes."])
    )
    expected = encode_stories(data.tokenizer(), documents)
    assert data.split("train").tokens.tolist() == [token for story in expected for token in story]
    assert texts(data, "train") == documents
    assert texts(data, "validation") == ["One.", "Two  foxes."]


def test_the_manifest_counts_what_the_streams_hold(make, documents):
    data = make()
    whole = []
    for name in ("train", "validation"):
        split, held = data.manifest.splits[name], texts(data, name)
        lengths = [len(ids) for ids in encode_stories(data.tokenizer(), held)]
        path = data.folder / f"{name}.bin"
        assert split.documents == len(held)
        assert split.tokens == sum(lengths) == len(data.split(name).tokens) == path.stat().st_size // 2
        assert split.utf8_bytes == sum(len(text.encode()) for text in held)
        assert split.longest_document_tokens == max(lengths)
        assert split.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        for bound, count in split.length_histogram.items():
            top = int(bound.removeprefix("<="))
            assert count == sum(top // 2 < length <= top for length in lengths)
        assert sum(split.length_histogram.values()) == len(held)
        assert data.split(name).documents_longer_than(128) == sum(length > 128 for length in lengths)
        whole += held
    assert sorted(whole) == sorted(documents)
    assert data.manifest.vocab_size == 401
    assert data.manifest.stop_token_ids == [1, 2]
    assert data.manifest.elapsed_s > 0


def test_a_tokenizer_is_trained_on_the_train_split_alone(tmp_path, documents):
    marked = [f"{document} Zyzzyva." for document in documents[:20]]
    data = prepare(
        PrepareConfig(
            source=write(tmp_path / "train.txt", documents),
            validation=write(tmp_path / "valid.txt", marked * 50),
            vocab_size=401,
            out=str(tmp_path / "out"),
        )
    )
    assert data.manifest.vocab_size == 401
    assert "Z" not in "".join(documents) or not any("zy" in piece for piece in data.tokenizer().get_vocab())
    assert texts(data, "validation")[:20] == marked
    assert data.manifest.tokenizer_sample_bytes == 50_000_000


def test_a_control_token_in_a_story_does_not_start_another(make, tmp_path, documents):
    data = make(source=write(tmp_path / "a.txt", [*documents, "He wrote <s> and </s>."]), validation_share=0.2)
    count = sum(np.count_nonzero(data.split(name).tokens == 1) for name in ("train", "validation"))
    assert count == len(documents) + 1


def test_rows_come_from_the_stream(make):
    stream = make().split("train")
    rows = stream.rows(17)
    assert rows.num_targets == stream.manifest.tokens - 1
    assert rows[0][0].tolist() == stream.tokens[:17].tolist()


@pytest.mark.parametrize(("largest", "dtype"), [(65_535, "uint16"), (65_536, "uint32")])
def test_two_bytes_are_used_as_long_as_they_hold_every_id(tmp_path, largest, dtype):
    backend = Tokenizer(models.WordLevel({"a": 0, "b": largest, "<s>": 1}, unk_token="a"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>").save_pretrained(tmp_path / "words")
    source, validation = write(tmp_path / "a.txt", ["a b"]), write(tmp_path / "b.txt", ["b a"])
    config = PrepareConfig(
        source=source, validation=validation, tokenizer=str(tmp_path / "words"), out=str(tmp_path / "out")
    )
    data = prepare(config)
    assert data.manifest.dtype == dtype
    assert data.split("train").tokens.tolist() == [1, 0, largest]


# Splits


def test_a_held_out_share_is_drawn_by_text_so_no_document_is_on_both_sides(make, tmp_path, documents):
    data = make(source=write(tmp_path / "a.txt", documents * 3), validation_share=0.3)
    train, validation = texts(data, "train"), texts(data, "validation")
    assert not set(train) & set(validation)
    assert len(train) + len(validation) == 3 * len(documents)
    assert 0.15 < len(validation) / (3 * len(documents)) < 0.45
    assert [text for text in documents if text in set(train)] * 3 == train, "the order is kept"


def test_the_held_out_share_depends_on_the_seed_and_not_on_the_other_documents(make, tmp_path, documents):
    held_out = texts(make("a", validation_share=0.3), "validation")
    half = make("b", source=write(tmp_path / "half.txt", documents[::2]), validation_share=0.3)
    assert texts(half, "validation") == [text for text in documents[::2] if text in set(held_out)]
    assert texts(make("c", validation_share=0.3, seed=1), "validation") != held_out


def test_a_source_with_its_own_validation_split_keeps_it(make, tmp_path, documents):
    folder = tmp_path / "dataset" / "data"
    folder.mkdir(parents=True)
    for name, part in (("train", documents[:50]), ("validation", documents[50:60])):
        parquet.write_table(pyarrow.table({"text": part}), folder / f"{name}-00000-of-00001.parquet")
    data = make(source=str(tmp_path / "dataset"), validation_share=None)
    assert texts(data, "train") == documents[:50]
    assert texts(data, "validation") == documents[50:60]
    assert data.manifest.validation_share is None
    with pytest.raises(ValueError, match=r"share has no effect, as source .* has a validation split; leave it"):
        make("other", source=str(tmp_path / "dataset"), validation_share=0.3)


def test_what_is_not_given_is_a_share_of_5_percent_and_512_ids(make, tmp_path):
    data = make(source="builtin", stories=600, validation_share=None, tokenizer=None)
    assert data.manifest.validation_share == 0.05
    assert 0.02 < data.manifest.splits["validation"].documents / 600 < 0.09
    assert data.manifest.vocab_size == 512


def test_a_folder_of_many_shards_is_read_in_the_order_of_their_names(make, tmp_path, documents):
    folder = tmp_path / "shards"
    folder.mkdir()
    for index in range(23):
        part = documents[index * 9 : index * 9 + 9] if index < 22 else documents[22 * 9 :]
        parquet.write_table(pyarrow.table({"text": part}), folder / f"part-{index:05d}.parquet", row_group_size=4)
    many, one = make("many", source=str(folder)), make("one")
    assert many.data_hash == one.data_hash, "the same documents in one file give the same data"
    assert many.manifest.splits == one.manifest.splits


def test_train_documents_that_validation_has_are_removed_and_counted(make, tmp_path, documents):
    validation = write(tmp_path / "valid.txt", [documents[3] + "\n", documents[7], "New."])
    data = make(validation=validation)
    assert texts(data, "train") == [text for text in documents if text not in (documents[3], documents[7])]
    assert data.manifest.duplicates_removed_from_train == 2
    with pytest.raises(ValueError, match=r"duplicates is refuse, and a train document is in the validation .* begins"):
        make("other", validation=validation, duplicates="refuse")


def test_empty_documents_are_counted(make, tmp_path, documents):
    data = make(source=write(tmp_path / "a.txt", [*documents, "", " \n ", ""]))
    assert data.manifest.empty_documents_dropped == 3


def test_no_more_documents_are_read_than_asked_for(make, documents):
    data = make(max_documents=60)
    assert sorted(texts(data, "train") + texts(data, "validation")) == sorted(documents[:60])


def test_builtin_stories_are_prepared_without_a_file(make):
    data = make(source="builtin", stories=80, seed=3)
    assert sorted(texts(data, "train") + texts(data, "validation")) == sorted(stories(80, seed=3))
    assert data.manifest.stories == 80


@pytest.mark.parametrize(("share", "split"), [(1e-9, "validation"), (1 - 1e-9, "train")])
def test_a_share_that_leaves_nothing_is_told(make, documents, share, split):
    with pytest.raises(ValueError, match=f"leaves no document of {len(documents)} in the {split} split; change"):
        make(validation_share=share)


def test_a_train_split_that_duplicates_leave_empty_is_told(make, corpus):
    with pytest.raises(ValueError, match=r"no document in the train split, after 211 that are in the validation"):
        make(validation=corpus)


def test_a_corpus_of_white_space_is_told(make, tmp_path):
    with pytest.raises(ValueError, match="has no documents, only white space"):
        make(source=write(tmp_path / "a.txt", ["  ", "\n"]))


def test_half_a_surrogate_pair_is_told(make, tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "fine"}\n{"text": "ab\\ud83e"}\n')
    with pytest.raises(ValueError, match="half a surrogate pair at character 2"):
        make(source=str(tmp_path / "a.jsonl"))


# The same again


def test_equal_configurations_give_equal_bytes(make, tmp_path):
    one, two = make("one", tokenizer=None, vocab_size=401), make("two", tokenizer=None, vocab_size=401)
    for name in ("train.bin", "validation.bin", "tokenizer/tokenizer.json", "tokenizer/tokenizer.model"):
        assert (one.folder / name).read_bytes() == (two.folder / name).read_bytes()
    assert one.data_hash == two.data_hash
    assert make("three", seed=1).data_hash != make("four").data_hash


def test_the_size_of_a_batch_leaves_no_trace(make, monkeypatch):
    one = make("one")
    monkeypatch.setattr(prepare_module, "BATCH_CHARACTERS", 1000)
    two = make("two")
    assert one.data_hash == two.data_hash
    assert one.manifest.splits == two.manifest.splits


# The folder


def test_a_folder_in_use_is_kept_unless_it_is_to_be_overwritten(make):
    first = make()
    with pytest.raises(FileExistsError, match="is not empty; choose another folder, or set overwrite"):
        make(seed=1)
    assert PreparedData.open(first.folder).data_hash == first.data_hash
    second = make(seed=1, overwrite=True)
    assert second.folder == first.folder
    assert second.data_hash != first.data_hash
    assert [path.name for path in first.folder.parent.iterdir()] == ["out"]


@pytest.mark.parametrize("manifest", [None, "{}", "not json"])
def test_a_folder_that_is_not_ours_is_never_overwritten(make, tmp_path, manifest):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("years of work")
    if manifest is not None:
        (tmp_path / "out" / "manifest.json").write_text(manifest)
    with pytest.raises(FileExistsError, match="not a prepared corpus, so overwrite does not replace it"):
        make(overwrite=True)
    assert (tmp_path / "out" / "thesis.tex").exists()


def test_an_empty_folder_is_used_and_a_file_is_not(make, tmp_path):
    (tmp_path / "out").mkdir()
    make()
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError, match="is a file; choose another"):
        make("file", overwrite=True)


def test_a_preparation_that_fails_leaves_nothing(make, tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "fine"}\n' * 9 + '{"text": "cut')
    with pytest.raises(ValueError, match="cut short"):
        make(source=str(tmp_path / "a.jsonl"))
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]


def test_a_preparation_that_is_killed_leaves_nothing_to_be_read(tmp_path, model_file):
    code = (
        "from frailt.data.prepare import PrepareConfig, prepare; import sys; "
        "prepare(PrepareConfig(source='builtin', stories=900000, tokenizer=sys.argv[1], out=sys.argv[2]))"
    )
    out = tmp_path / "out"
    process = subprocess.Popen([sys.executable, "-c", code, str(model_file), str(out)])
    deadline = time.monotonic() + 60
    while not any(path.stat().st_size for path in tmp_path.glob("out.partial-*/train.bin")):
        assert process.poll() is None, "ended before it wrote anything"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    (partial,) = tmp_path.iterdir()
    for folder in (out, partial):
        with pytest.raises(FileNotFoundError, match="is not a prepared corpus"):
            PreparedData.open(folder)


def test_what_is_no_prepared_corpus_is_told(make, tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no such folder; make one with frailt prepare"):
        PreparedData.open(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"it has no manifest\.json"):
        PreparedData.open(tmp_path)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda text: text[:100], "damaged, not JSON"),
        (lambda text: "[]", "not the manifest of a prepared corpus"),
        (lambda text: text.replace("frailt-prepared-corpus", "other"), "not the manifest of a prepared corpus"),
        (lambda text: text.replace('"format_version": 1', '"format_version": 999'), "must be 1, got 999; prepare"),
        (lambda text: text.replace('"dtype"', '"type"'), "damaged, its fields must be"),
        (lambda text: text.replace('"uint16"', '"float32"'), "damaged, its fields must be"),
        (lambda text: json.dumps(json.loads(text) | {"splits": {}}), "damaged, its fields must be"),
    ],
)
def test_a_damaged_manifest_is_told(make, change, match):
    path = make().folder / "manifest.json"
    path.write_text(change(path.read_text()))
    with pytest.raises(ValueError, match=match) as caught:
        PreparedData.open(path.parent)
    assert "\n" not in str(caught.value)


def test_a_stream_or_tokenizer_that_is_not_whole_is_told(make):
    data = make()
    path = data.folder / "train.bin"
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(ValueError, match=r"train\.bin: truncated or damaged, \d+ bytes expected, got \d+; prepare"):
        PreparedData.open(data.folder)
    path.unlink()
    with pytest.raises(ValueError, match=r"train\.bin: truncated or damaged"):
        PreparedData.open(data.folder)
    data = make(overwrite=True)
    (data.folder / "tokenizer").rename(data.folder / "elsewhere")
    with pytest.raises(ValueError, match="its folder tokenizer is missing"):
        PreparedData.open(data.folder)


def test_bytes_that_have_changed_are_found_and_told(make):
    data = make()
    data.verify()
    for name in ("train.bin", "validation.bin"):
        path = data.folder / name
        before = path.read_bytes()
        path.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
        with pytest.raises(ValueError, match=rf"{name}: changed since it was prepared, SHA-256 .* put the") as caught:
            PreparedData.open(data.folder).verify()
        assert "\n" not in str(caught.value)
        path.write_bytes(before)
    data.verify()
    (data.folder / "train.bin").unlink()
    with pytest.raises(FileNotFoundError, match=r"train\.bin: missing; put it back, or prepare the corpus again"):
        data.verify()


def test_a_manifest_of_an_older_version_without_streams_is_read(make):
    data = make()
    path = data.folder / "manifest.json"
    values = json.loads(path.read_text())
    for name in ("stream", "revision"):
        del values[name]
    path.write_text(json.dumps(values))
    assert PreparedData.open(data.folder).manifest == data.manifest


def test_a_split_that_is_not_there_is_told(make):
    with pytest.raises(ValueError, match="split must be one of train, validation, got 'test'"):
        make().split("test")


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"source": ""}, "source must not be empty"),
        ({"out": ""}, "out must not be empty"),
        ({"validation_share": 0.0}, "validation_share must be between 0 and 1, both excluded, got 0.0"),
        ({"validation_share": 1.0}, "got 1.0"),
        ({"max_documents": 0}, "max_documents must be at least 1, got 0"),
        ({"vocab_size": 0}, "vocab_size must be at least 1, got 0"),
        ({"seed": -1}, "seed must be in 0"),
        ({"duplicates": "ignore"}, "duplicates must be remove or refuse, got 'ignore'"),
        ({"duplicates": "refuse", "stream": True}, "duplicates must be remove with stream"),
        ({"validation": "a.txt", "validation_share": 0.1}, "validation_share has no effect with validation"),
        ({"tokenizer": "a.model", "vocab_size": 512}, "vocab_size has no effect with tokenizer"),
        ({"source": "a.txt", "stories": 5}, "stories has no effect with source 'a.txt', only with builtin"),
        ({"separator": ""}, "separator must not be empty"),
        ({"stories": 0}, "stories must be between"),
    ],
)
def test_a_configuration_is_checked_at_birth(changes, match):
    with pytest.raises(ValueError, match=match):
        PrepareConfig(**({"source": "builtin", "out": "out"} | changes))


@pytest.mark.reference
def test_the_reference_corpus_has_the_counts_that_everyone_reports(reference_data, tmp_path):
    data = prepare(
        PrepareConfig(
            source=str(reference_data / "tinystories-train.txt"),
            validation=str(reference_data / "tinystories-valid.txt"),
            tokenizer=str(reference_data / "tok512.model"),
            out=str(tmp_path / "out"),
        )
    )
    train, validation = (data.manifest.splits[name] for name in ("train", "validation"))
    assert (train.documents, train.tokens) == (13_037, 5_316_231)
    assert (validation.documents, validation.tokens) == (976, 386_055)
    assert data.manifest.duplicates_removed_from_train == 0
