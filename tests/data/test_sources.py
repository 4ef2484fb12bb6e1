import bz2
import gzip
import itertools
import json
import lzma
import tracemalloc

import datasets
import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frailt.data import readers
from frailt.data.builtin import stories
from frailt.data.sources import SourceOptions, hub_splits, open_source, stripped

DOCUMENTS = ["Once upon a time,\nthere was a fox.", "Ünïcödé “quotes” 日本語 🦊", "The  end."]


def read(source, split="train", **options):
    return list(stripped(open_source(str(source), SourceOptions(**options)).splits[split]()))


def write(folder, name, documents=DOCUMENTS, *, separator="<|endoftext|>", field="text"):
    """A file of the format and compression that its name says."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if name.endswith(".parquet"):
        from pyarrow import parquet

        parquet.write_table(pyarrow.table({"id": list(range(len(documents))), field: documents}), path)
        return path
    if ".txt" in name:
        data = f"\n{separator}\n".join(documents).encode()
    else:
        data = "".join(json.dumps({"id": i, field: d}) + "\n" for i, d in enumerate(documents)).encode()
    if name.endswith(".gz"):
        data = gzip.compress(data)
    elif name.endswith(".bz2"):
        data = bz2.compress(data)
    elif name.endswith(".xz"):
        data = lzma.compress(data)
    elif name.endswith(".zst"):
        with pyarrow.CompressedOutputStream(str(path), "zstd") as stream:
            stream.write(data)
        return path
    path.write_bytes(data)
    return path


NAMES = [
    f"{stem}{compression}"
    for stem in ("a.txt", "a.jsonl", "a.json")
    for compression in ("", ".gz", ".bz2", ".xz", ".zst")
]


@pytest.mark.parametrize("name", [*NAMES, "a.parquet", "A.TXT"])
def test_every_format_gives_the_same_documents(tmp_path, name):
    path = write(tmp_path, name.lower()).rename(tmp_path / name)
    assert read(path) == DOCUMENTS


def test_a_source_can_be_read_again(tmp_path):
    split = open_source(str(write(tmp_path, "a.jsonl"))).train
    assert list(split()) == list(split()) == DOCUMENTS


def test_another_separator_and_another_field_are_found(tmp_path):
    assert read(write(tmp_path, "a.txt", separator="=====\n"), separator="=====\n") == DOCUMENTS
    assert read(write(tmp_path, "a.jsonl", field="story"), text_field="story") == DOCUMENTS
    assert read(write(tmp_path, "a.parquet", field="story"), text_field="story") == DOCUMENTS


@given(
    documents=st.lists(st.text("aé🦊<|> \n", max_size=30), min_size=1, max_size=6),
    block=st.integers(1, 13),
)
def test_a_text_is_split_the_same_whatever_the_blocks(tmp_path_factory, documents, block):
    text = "<|>".join(documents)
    path = tmp_path_factory.mktemp("blocks") / "a.txt"
    path.write_bytes(text.encode())
    if not text:
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(readers, "BLOCK_BYTES", block)
        found = list(open_source(str(path), SourceOptions(separator="<|>")).train())
    assert found == text.split("<|>")


def test_empty_documents_are_dropped_and_counted(tmp_path):
    dropped = []
    source = open_source(str(write(tmp_path, "a.txt", [" a ", "", "\n \t", "b"])))
    assert list(stripped(source.train(), lambda: dropped.append(1))) == ["a", "b"]
    assert len(dropped) == 2


def test_null_in_a_row_is_an_empty_document(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": null}\n{"text": "b"}\n')
    assert read(tmp_path / "a.jsonl") == ["b"]


def test_a_byte_order_mark_is_no_text(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfHello")
    assert read(tmp_path / "a.txt") == ["Hello"]


def test_builtin_gives_the_stories_asked_for():
    assert read("builtin", stories=7, seed=3) == list(stories(7, seed=3))


def test_memory_stays_flat(tmp_path):
    path = tmp_path / "a.txt.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        for _ in range(40):
            file.write((b"x" * 1000 + b"<|endoftext|>") * 1000)  # 40 MB
    documents = open_source(str(path)).train()
    tracemalloc.start()
    assert sum(1 for _ in documents) == 40_001
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 12e6


# Folders


def test_a_folder_is_its_files_in_the_order_of_their_names(tmp_path):
    write(tmp_path, "b.txt", ["3", "4"])
    write(tmp_path, "a.jsonl", ["1", "2"])
    write(tmp_path, "sub/c.parquet", ["5"])
    (tmp_path / "notes.md").write_text("not a corpus")
    source = open_source(str(tmp_path))
    assert set(source.splits) == {"train"}
    assert read(tmp_path) == list("12345")


@pytest.mark.parametrize(
    ("train", "validation"),
    [
        ("data/train-00000-of-00001.parquet", "data/validation-00000-of-00001.parquet"),
        ("train.jsonl", "valid.jsonl.gz"),
        ("tinystories-train.txt", "tinystories-valid.txt"),
        ("train/0.parquet", "dev/0.parquet"),
    ],
)
def test_a_folder_laid_out_like_a_dataset_has_its_own_splits(tmp_path, train, validation):
    write(tmp_path, train, ["1", "2"])
    write(tmp_path, validation, ["3"])
    write(tmp_path, "test-00000-of-00001.parquet", ["4"])
    assert set(open_source(str(tmp_path)).splits) == {"train", "validation"}
    assert read(tmp_path, "train") == ["1", "2"]
    assert read(tmp_path, "validation") == ["3"]


def test_files_left_out_of_a_folder_are_told(tmp_path, caplog):
    for name in ("train.txt", "validation.txt", "test.txt", "other.txt"):
        write(tmp_path, name)
    open_source(str(tmp_path))
    assert "other.txt" in caplog.text
    assert "test.txt" in caplog.text
    assert "train.txt" not in caplog.text


def test_load_dataset_reads_a_folder_laid_out_like_a_dataset_on_the_hub(tmp_path):
    write(tmp_path, "data/train-00000-of-00002.parquet", DOCUMENTS)
    write(tmp_path, "data/train-00001-of-00002.parquet", ["4"])
    write(tmp_path, "data/validation-00000-of-00001.parquet", ["5"])
    splits = hub_splits(str(tmp_path), SourceOptions())
    assert list(splits["train"]()) == [*DOCUMENTS, "4"]
    assert list(splits["validation"]()) == ["5"]
    assert {name: list(split()) for name, split in open_source(str(tmp_path)).splits.items()} == {
        name: list(split()) for name, split in splits.items()
    }
    with pytest.raises(ValueError, match=r"no field 'story'.*: id, text$"):
        list(hub_splits(str(tmp_path), SourceOptions(text_field="story"))["train"]())


@pytest.mark.parametrize(
    ("names", "read"),
    [
        (["train", "validation", "test"], {"train": "train", "validation": "validation"}),
        (["train", "valid"], {"train": "train", "validation": "valid"}),
        (["train_sft", "test_sft"], {"train": "train_sft", "test_sft": "test_sft"}),
        (["train_a", "train_b", "dev"], {"train_a": "train_a", "train_b": "train_b", "validation": "dev"}),
    ],
)
def test_splits_on_the_hub_are_known_by_the_words_in_their_names(names, read, hub, monkeypatch):
    monkeypatch.setattr(datasets, "get_dataset_split_names", lambda name, revision: names)
    splits = open_source("some/dataset").splits
    assert {split: documents.shards[0].name.rsplit("-", 3)[0] for split, documents in splits.items()} == read


def test_a_plain_file_beside_a_test_file_is_trained_on(tmp_path, caplog):
    for name in ("stories.txt", "test.txt"):
        write(tmp_path, name)
    assert [shard.name for shard in open_source(str(tmp_path)).train.shards] == ["stories.txt"]
    assert "test.txt" in caplog.text


def test_a_test_file_alone_is_no_corpus(tmp_path):
    write(tmp_path, "test.txt")
    with pytest.raises(ValueError, match="has no train split, nor any other that is read; name the file"):
        open_source(str(tmp_path)).train  # noqa: B018


def test_an_id_goes_to_the_hub_at_the_commit_that_it_is_at(hub):
    source = open_source("some/dataset")
    assert (source.kind, source.revision, set(source.splits)) == ("hub", "c0ffee", {"train"})
    assert list(source.train()) == list(source.train()) == ["a0", "a1", "a2", "b0", "b1", "b2"]
    assert hub == [("some/dataset", "train", True, "c0ffee")]


def test_a_dataset_that_is_not_on_the_hub_is_one_line(hub):
    with pytest.raises(ValueError, match=r"'nobody/nothing' is neither a file.*Hub: 404 Client Error") as caught:
        open_source("nobody/nothing")
    assert "\n" not in str(caught.value)


def test_a_hub_dataset_that_breaks_off_is_one_line(hub):
    source = open_source("some/broken")
    with pytest.raises(ValueError, match=r"dataset 'some/broken', split train: reading failed: .*") as caught:
        list(source.train())
    assert "\n" not in str(caught.value)


# Shards


def test_every_kind_of_shard_can_be_read_from_any_of_its_documents_on(tmp_path, hub):
    from pyarrow import parquet

    documents = [f"{i}\n" for i in range(23)]
    for name in ("a.txt", "b.txt.gz", "c.jsonl", "d.jsonl.zst"):
        write(tmp_path, name, documents)
    parquet.write_table(pyarrow.table({"text": documents}), tmp_path / "e.parquet", row_group_size=5)
    (tmp_path / "f.jsonl").write_text("\n\n" + "\n\n".join(json.dumps({"text": text}) for text in documents))
    found = [*open_source(str(tmp_path)).train.shards, *open_source("some/dataset").train.shards]
    found += open_source("builtin", SourceOptions(stories=23)).train.shards
    assert len(found) == 6 + 2 + 1
    for shard in found:
        whole = list(shard.read(0))
        assert len(whole) == (3 if "-of-" in shard.name else 23)
        for skip in range(len(whole) + 2):
            assert list(shard.read(skip)) == whole[skip:], shard


def test_shards_are_named_below_their_source(tmp_path):
    write(tmp_path, "b.txt")
    write(tmp_path, "sub/a.parquet")
    assert [shard.name for shard in open_source(str(tmp_path)).train.shards] == ["b.txt", "sub/a.parquet"]
    assert [shard.name for shard in open_source(str(tmp_path / "b.txt")).train.shards] == ["b.txt"]


# What a user can get wrong


def fails(source, match, error=ValueError, **options):
    with pytest.raises(error, match=match) as caught:
        read(source, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("source", ["nowhere.txt", "/nowhere/at/all", "./a/b/c", "folder/corpus.jsonl.gz", "word"])
def test_a_missing_path_is_said(source):
    fails(source, "does not exist; give a file", FileNotFoundError)


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.parquet", "a.txt.gz"])
def test_an_empty_file_is_said(tmp_path, name):
    (tmp_path / name).touch()
    fails(tmp_path / name, f"{name}: the file is empty")


@pytest.mark.parametrize("block", [1, 2, 3, 1 << 20])
@pytest.mark.parametrize(("data", "position"), [(b"caf\xe9 au lait", 3), ("日本".encode()[:-1], 3), (b"ab\xff", 2)])
def test_a_file_that_is_not_utf8_is_told_with_the_byte(tmp_path, monkeypatch, data, position, block):
    monkeypatch.setattr(readers, "BLOCK_BYTES", block)
    for name in ("a.txt", "a.jsonl"):
        (tmp_path / name).write_bytes(data)
        fails(tmp_path / name, f"{name}: not UTF-8 at byte {position} ")


@pytest.mark.parametrize("name", [*(name for name in NAMES if name[-1] in "z2t" and "." in name[3:]), "a.parquet"])
def test_a_file_that_is_cut_short_is_told(tmp_path, name):
    many = [f"{i} {hash(i * 7919)} some text" for i in range(2000)]
    path = write(tmp_path, name, many)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    fails(path, f"{name}: .*cut short")


def test_a_damaged_gz_is_told(tmp_path):
    (tmp_path / "a.txt.gz").write_bytes(b"this is not gzip")
    fails(tmp_path / "a.txt.gz", "cannot be decompressed")


def test_a_jsonl_whose_last_line_is_cut_is_told_with_the_line(tmp_path):
    path = write(tmp_path, "a.jsonl")
    path.write_bytes(path.read_bytes()[:-10])
    fails(path, r"a.jsonl, line 3 \(the last\): not one JSON value, is the file cut short")


def test_a_json_file_that_is_one_array_is_told(tmp_path):
    (tmp_path / "a.json").write_text('[{"text": "a"}]\n')
    fails(tmp_path / "a.json", "line 1: a JSON object is needed on every line, got list")


def test_a_json_file_that_is_one_long_line_is_told_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(readers, "BLOCK_BYTES", 10)
    (tmp_path / "a.json").write_text('\n\n  [{"text": "a"},' + " " * 100_000)
    monkeypatch.setattr(readers, "LONGEST_DOCUMENT_CHARACTERS", 20)
    fails(tmp_path / "a.json", "line 3: a JSON object is needed on every line, got list")
    (tmp_path / "b.jsonl").write_text('{"text": "a"}\n{"text": "' + "b" * 100_000)
    fails(tmp_path / "b.jsonl", "line 2: a JSON object is needed on every line, got one without an end")


@pytest.mark.parametrize("line", ["[" * 100_000, '{"text": ' + "[" * 100_000, '{"text": 1' + "0" * 5000 + "}"])
def test_json_that_python_gives_up_on_is_told_with_its_line(line, tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n' + line + "\n")
    fails(tmp_path / "a.jsonl", "a.jsonl, line 2: not one JSON value")


def test_a_separator_that_never_occurs_is_told(tmp_path):
    path = write(tmp_path, "a.txt", ["word " * 99] * 200, separator="####")
    fails(path, r"separator '<\|endoftext\|>' does not occur anywhere; set separator")
    assert len(read(path, separator="####")) == 200


def test_a_small_file_without_a_separator_is_one_document_and_a_line_says_so(tmp_path, caplog):
    assert read(write(tmp_path, "a.txt", ["One short story."])) == ["One short story."]
    assert "the separator '<|endoftext|>' does not occur, so the file is one document" in caplog.text


def test_a_folder_of_files_without_a_separator_has_one_document_a_file(tmp_path, caplog):
    for name in ("a.txt", "b.txt"):
        write(tmp_path, name, [f"The story {name}."])
    assert read(tmp_path) == ["The story a.txt.", "The story b.txt."]
    assert not caplog.text


def test_a_separator_that_stops_occurring_is_told_before_memory_fills(tmp_path, monkeypatch):
    monkeypatch.setattr(readers, "LONGEST_DOCUMENT_CHARACTERS", 5000)
    monkeypatch.setattr(readers, "BLOCK_BYTES", 1000)
    path = write(tmp_path, "a.txt", ["a", "b" * 20_000])
    assert list(itertools.islice(open_source(str(path)).train(), 1)) == ["a\n"]
    fails(path, r"does not occur in 5,\d\d\d characters")


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
def test_a_missing_field_is_told_with_those_there(tmp_path, name):
    fails(write(tmp_path, name, field="story"), "no field 'text'; set text_field to one of those there: id, story$")


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
def test_a_field_that_holds_no_text_is_told(tmp_path, name):
    fails(write(tmp_path, name), "field 'id' must hold text, got int", text_field="id")


def test_a_folder_without_readable_files_is_told(tmp_path):
    (tmp_path / "notes.md").write_text("x")
    fails(tmp_path, "has no file that can be read; readable are .txt")


def test_a_folder_with_a_validation_split_alone_is_told(tmp_path):
    write(tmp_path, "validation.txt")
    with pytest.raises(ValueError, match="has no train split, only validation"):
        _ = open_source(str(tmp_path)).train


@pytest.mark.parametrize("name", ["a.csv", "a", "a.gz", "a.parquet.gz"])
def test_a_name_that_tells_no_format_is_told(tmp_path, name):
    (tmp_path / name).write_text("x")
    fails(tmp_path / name, "cannot tell the format from the name; readable are")


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"separator": ""}, "separator must not be empty"),
        ({"text_field": ""}, "text_field must not be empty"),
        ({"stories": 0}, "stories must be between 1 and .* got 0"),
    ],
)
def test_options_are_checked_at_birth(options, match):
    with pytest.raises(ValueError, match=match):
        SourceOptions(**options)


@pytest.mark.reference
def test_the_reference_files_hold_as_many_stories_as_they_should_and_share_none(reference_data):
    train = read(reference_data / "tinystories-train.txt")
    validation = read(reference_data / "tinystories-valid.txt")
    assert (len(train), len(validation)) == (13_037, 976)
    assert len(set(train)) == len(train)
    assert not set(train) & set(validation)
