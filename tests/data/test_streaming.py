import json
import random
import shutil
import subprocess
import sys
import threading
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from frailt.data import splits as splits_module
from frailt.data import streaming
from frailt.data.packing import PreparedData
from frailt.data.prefetch import Prefetcher
from frailt.data.prepare import PrepareConfig, prepare
from frailt.data.streaming import StreamedRows

CONTEXT = 211  # some 400 rows a pass


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch):
    monkeypatch.setattr(streaming, "CHUNK_CHARACTERS", 3000)


@pytest.fixture(autouse=True)
def _no_thread_is_left():
    yield
    for thread in threading.enumerate():
        if thread.name == "frailt-prefetch":
            thread.join(5)
            assert not thread.is_alive()


@pytest.fixture(scope="module")
def corpus(documents, tmp_path_factory) -> Path:
    """Seven shards of three kinds, with empty documents and some that are twice there."""
    folder = tmp_path_factory.mktemp("corpus") / "shards"
    folder.mkdir()
    for index in range(7):
        part = [f"\n{text} " for text in [*documents[index * 30 : index * 30 + 30], "", documents[index]]]
        match index % 3:
            case 0:
                parquet.write_table(pyarrow.table({"text": part}), folder / f"{index}.parquet", row_group_size=7)
            case 1:
                (folder / f"{index}.txt").write_text("<|endoftext|>".join(part))
            case 2:
                (folder / f"{index}.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in part))
    return folder


@pytest.fixture(scope="module")
def validation(documents, corpus) -> str:
    """Documents of which some are in the corpus too."""
    path = corpus.parent / "validation.txt"
    path.write_text("<|endoftext|>".join(["A fox.", *documents[::20], "An owl."]))
    return str(path)


@pytest.fixture
def make(tmp_path, corpus, model_file):
    """Prepare the corpus, streamed, with changes to the configuration."""

    def make(name="streamed", **changes) -> PreparedData:
        settings = {"source": str(corpus), "tokenizer": str(model_file), "out": str(tmp_path / name), "stream": True}
        return prepare(PrepareConfig(**(settings | changes)))

    return make


@pytest.fixture
def rows_of():
    """The rows of a streamed corpus; closed at the end."""
    opened = []

    def rows_of(data, context=CONTEXT) -> StreamedRows:
        opened.append(data.split("train").rows(context))
        return opened[-1]

    yield rows_of
    for rows in opened:
        rows.close()


def expected_rows(tokens, context, count):
    """The first rows of a stream that repeats its tokens."""
    stream = np.resize(tokens, count * context + 1).astype(np.int64)
    return stream[:-1].reshape(count, context), stream[1:].reshape(count, context)


def told(caught) -> str:
    assert "\n" not in str(caught.value)
    return str(caught.value)


# The same data as prepared


@pytest.mark.parametrize("context", [61, 211, 1031])
@pytest.mark.parametrize("separate", [True, False])
def test_rows_are_those_of_the_prepared_corpus_and_pass_follows_pass(make, rows_of, validation, context, separate):
    how = {"validation": validation} if separate else {"validation_share": 0.2}
    whole, streamed = make("whole", stream=False, **how), make(**how)
    tokens = whole.split("train").tokens
    full_rows = (len(tokens) - 1) // context
    inputs, targets = rows_of(streamed, context).batch(range(full_rows))
    assert inputs.dtype == targets.dtype == np.int64
    assert np.array_equal(inputs, whole.split("train").rows(context).batch(range(full_rows))[0])
    assert np.array_equal(targets, whole.split("train").rows(context).batch(range(full_rows))[1])
    passes = rows_of(streamed, context).batch(range(3 * full_rows))
    assert np.array_equal(passes, expected_rows(tokens, context, 3 * full_rows))
    assert np.array_equal(streamed.split("validation").tokens, whole.split("validation").tokens)


def test_validation_documents_are_not_trained_on(make, rows_of, validation):
    data = make(validation=validation)
    held_out = set(Path(validation).read_text().split("<|endoftext|>"))
    trained = [text for _, text in islice(data.split("train").documents(), 400)]
    assert len(held_out) == 13
    assert len(set(trained)) == 210 - 11, "in two passes every other document came"
    assert not held_out & set(trained)


def test_no_more_documents_are_read_than_asked_for(make, rows_of, documents):
    limits = {"max_documents": 40, "validation_share": 0.2}
    whole, streamed = make("whole", stream=False, **limits), make(**limits)
    found = rows_of(streamed).batch(range(200))
    assert np.array_equal(found, expected_rows(whole.split("train").tokens, CONTEXT, 200))


def test_builtin_stories_can_be_streamed(make, rows_of):
    how = {"source": "builtin", "stories": 31, "validation_share": 0.2, "seed": 3}
    whole, streamed = make("whole", stream=False, **how), make(**how)
    assert np.array_equal(rows_of(streamed).batch(range(99)), expected_rows(whole.split("train").tokens, CONTEXT, 99))
    assert streamed.data_hash != make("other", **(how | {"seed": 4})).data_hash


def test_a_dataset_on_the_hub_is_streamed_at_the_commit_it_was_prepared_at(make, rows_of, hub):
    whole = make("whole", stream=False, source="some/dataset", validation_share=0.5)
    streamed = make(source="some/dataset", validation_share=0.5)
    assert whole.manifest.revision == streamed.manifest.revision == "c0ffee"
    assert list(streamed.manifest.stream.shards) == ["train-00000-of-00002", "train-00001-of-00002"]
    hub.clear()
    rows = rows_of(PreparedData.open(streamed.folder), 3)
    assert np.array_equal(rows.batch(range(7)), expected_rows(whole.split("train").tokens, 3, 7))
    assert hub == [("some/dataset", "train", True, "c0ffee")]
    again = rows_of(streamed, 3)
    again.restore(rows.state())
    assert np.array_equal(again.batch([7]), rows.batch([7]))


def test_a_tokenizer_is_trained_on_the_train_split_of_a_streamed_corpus(make):
    how = {"tokenizer": None, "vocab_size": 401, "validation_share": 0.2}
    assert make(**how).manifest.tokenizer_sha256 == make("whole", stream=False, **how).manifest.tokenizer_sha256


def test_a_held_out_share_is_read_only_until_there_is_enough_to_validate_on(make, monkeypatch):
    whole = make("whole", stream=False, validation_share=0.2)
    monkeypatch.setattr(splits_module, "STREAMED_VALIDATION_BYTES", 5000)
    data = make(validation_share=0.2)
    split = data.manifest.splits["validation"]
    assert 5000 <= split.utf8_bytes < 7000
    assert np.array_equal(data.split("validation").tokens, whole.split("validation").tokens[: split.tokens])


# Processes, and going on


def batches(rows, ranks, rank, start, steps, batch_rows=2):
    """What one of some processes reads: at every step the ranks' rows follow each other."""
    for step in range(steps):
        first = start + (step * ranks + rank) * batch_rows
        yield list(range(first, first + batch_rows)), rows.batch(range(first, first + batch_rows))


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_processes_share_the_rows_without_overlap_or_gap(make, rows_of, validation, ranks):
    data = make(validation=validation)
    inputs, targets = rows_of(data).batch(range(12 * 8))
    seen = []
    for rank in range(ranks):
        for indices, found in batches(rows_of(data), ranks, rank, 0, steps=48 // ranks):
            assert np.array_equal(found, (inputs[indices], targets[indices]))
            seen += indices
    assert sorted(seen) == list(range(96))


def test_a_run_goes_on_with_another_number_of_processes_where_it_was(make, rows_of, validation):
    data = make(validation=validation)
    uninterrupted = rows_of(data).batch(range(1200))
    states = []
    for rank in range(3):
        rows = rows_of(data)
        for _ in batches(rows, 3, rank, 0, steps=90):
            pass
        states.append(json.loads(json.dumps(rows.state(540))))
    assert states[0] == states[1] == states[2], "whichever process writes it"
    assert states[0]["pass"] > 0
    for rank in range(2):
        resumed = rows_of(PreparedData.open(data.folder))
        resumed.restore(states[0])
        for indices, found in batches(resumed, 2, rank, 540, steps=150):
            assert np.array_equal(found, [part[indices] for part in uninterrupted])


def test_a_run_can_stop_anywhere(make, rows_of):
    data = make(validation_share=0.2)
    inputs, targets = rows_of(data).batch(range(1100))
    draw = random.Random(0)
    rows, at = rows_of(data), 0
    while at < 1080:
        if draw.random() < 0.5:
            state = rows.state()
            rows = rows_of(data)
            rows.restore(state)
            assert rows.state() == state
        indices = sorted(draw.sample(range(at, min(at + 90, 1100)), 3))
        found = rows.batch(indices)
        assert np.array_equal(found, (inputs[indices], targets[indices]))
        at = indices[-1] + 1


def test_the_state_is_that_of_the_run_however_far_its_loader_is_ahead(make, rows_of):
    data = make(validation_share=0.2)
    steady, ahead = rows_of(data), rows_of(data)
    ahead.batch(range(400))
    for row in range(0, 400, 13):
        if row:
            steady.batch([row - 1])
        assert ahead.state(row) == steady.state(row)
    ahead.close()
    assert ahead.state(200) == steady.state(200), "also when reading has ended"
    resumed = rows_of(data)
    resumed.restore(steady.state(390))
    with pytest.raises(ValueError, match=r"row must be at least 3\d\d, got one before it"):
        resumed.state(0)


def test_what_lies_before_a_state_is_not_tokenized(make, rows_of, monkeypatch):
    data = make(validation_share=0.2)
    rows = rows_of(data)
    before = rows.batch(range(700))
    state = rows.state()
    assert (state["pass"], state["shard"]) > (0, 2)
    rows.close()  # its thread tokenizes too
    tokenized, encode = [], streaming.encode_stories
    monkeypatch.setattr(streaming, "encode_stories", lambda t, texts: tokenized.append(texts) or encode(t, texts))
    monkeypatch.setattr(streaming, "_CHUNKS_AHEAD", 1)
    monkeypatch.setattr(streaming, "CHUNK_CHARACTERS", 1)
    resumed = rows_of(data)
    resumed.restore(state)
    assert resumed.batch([700])[0][0, 0] == before[1][-1, -1]
    resumed.close()
    assert len(tokenized) < 8
    assert tokenized[0] == [next(data.split("train").documents(streaming.Place(*list(state.values())[4:])))[1]]


def test_reading_can_be_closed_and_go_on(make, rows_of):
    data = make(validation_share=0.2)
    rows = rows_of(data)
    inputs, _ = rows_of(data).batch(range(100))
    assert np.array_equal(rows.batch(range(40))[0], inputs[:40])
    rows.close()
    rows.close()
    waited_s = rows.waited_s
    assert waited_s > 0
    assert np.array_equal(rows.batch(range(40, 100))[0], inputs[40:])
    assert rows.waited_s > waited_s


def test_no_rows_are_no_step(make, rows_of):
    rows = rows_of(make(validation_share=0.2))
    assert [part.shape for part in rows.batch([])] == [(0, CONTEXT)] * 2
    assert rows.state()["row"] == 0


def test_a_process_ends_while_its_reader_is_at_work(make):
    data = make(validation_share=0.2)
    code = (
        "import sys; from frailt.data.packing import PreparedData; "
        "rows = PreparedData.open(sys.argv[1]).split('train').rows(61); rows.batch(range(5))"
    )
    found = subprocess.run([sys.executable, "-c", code, str(data.folder)], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")


# What can go wrong


@pytest.fixture
def own(make, corpus, tmp_path):
    """A streamed corpus whose shards may be changed, and a state in the middle of it."""
    shutil.copytree(corpus, tmp_path / "own")
    data = make(source=str(tmp_path / "own"), validation_share=0.2)
    rows = data.split("train").rows(CONTEXT)
    rows.batch(range(100))
    rows.close()
    return data, rows.state()


def test_a_shard_that_is_missing_or_has_changed_is_told_before_anything_is_read(own, tmp_path):
    data, state = own
    opened = data.split("train").rows(CONTEXT)
    shard = tmp_path / "own" / "4.txt"
    text = shard.read_text()
    for change, error, match in (
        (lambda: shard.write_text(text + "."), ValueError, r"4\.txt: a shard of .* has changed, \d+ bytes expected"),
        (lambda: shard.unlink(), FileNotFoundError, r"4\.txt: a shard of the streamed corpus .* is missing; put it"),
        (lambda: shutil.rmtree(shard.parent), FileNotFoundError, r"is missing; put it back as it was, or prepare the"),
    ):
        change()
        again = PreparedData.open(data.folder)  # the validation split can still be used
        for act, given in ((again.split("train").rows, [CONTEXT]), (again.verify, []), (opened.restore, [state])):
            with pytest.raises(error, match=match) as caught:
                act(*given)
            told(caught)
    assert len(again.split("validation").rows(CONTEXT)) > 0


def test_a_shard_that_is_deleted_while_training_is_told_and_the_run_can_go_on_when_it_is_back(own, tmp_path, rows_of):
    data, _ = own
    inputs, _ = rows_of(data).batch(range(600))
    rows = rows_of(data)
    rows.batch([0])
    (tmp_path / "own" / "5.jsonl").rename(tmp_path / "elsewhere")
    finished = []

    def train():
        for row in range(1, 600):
            rows.batch([row])
            finished.append(row)

    with pytest.raises(FileNotFoundError, match=r"5\.jsonl: a shard of the streamed corpus .* is missing") as caught:
        train()
    told(caught)
    done = finished[-1] + 1
    assert done > 100
    with pytest.raises(FileNotFoundError, match="is missing"):
        rows.batch([done])
    state = rows.state()
    assert state["row"] == done
    (tmp_path / "elsewhere").rename(tmp_path / "own" / "5.jsonl")
    resumed = rows_of(data)
    resumed.restore(state)
    assert np.array_equal(resumed.batch(range(done, 600))[0], inputs[done:])


def test_a_damaged_shard_is_told_as_when_preparing(make, rows_of, tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "Fine."}\n' * 40 + '{"text": "cut')
    (tmp_path / "b.txt").write_text("Held out.")
    data = make(source=str(tmp_path / "a.jsonl"), validation=str(tmp_path / "b.txt"))
    with pytest.raises(ValueError, match=r"a\.jsonl, line 41 \(the last\): not one JSON value") as caught:
        rows_of(data, 7).batch(range(100))
    told(caught)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"context": 60}, "context must be 60, as in the run that is resumed, got 211"),
        ({"data_hash": "0123456789abcdef"}, r"not the corpus that the run was reading, data_hash 0123456789ab… exp"),
        ({"row": "x"}, "the state of a streamed corpus is damaged"),
        ({"document": 10**6}, r"has no train document 1000000 in shard '\d\.\w+' any more, where the run is to go on"),
        ({"shard": 10**6}, "the state of a streamed corpus is damaged"),
        ({"token": 10**9}, "the state of a streamed corpus is damaged"),
    ],
)
def test_a_state_that_does_not_fit_is_told(own, rows_of, change, match):
    data, state = own
    rows = rows_of(data)

    def resume():
        rows.restore(state | change)
        rows.batch([state["row"]])

    with pytest.raises(ValueError, match=match) as caught:
        resume()
    told(caught)
    with pytest.raises(ValueError, match="is damaged"):
        rows.restore({})


def test_rows_are_read_forwards_only(make, rows_of):
    rows = rows_of(make(validation_share=0.2))
    rows.batch([3, 5])
    with pytest.raises(IndexError, match="read forwards only: row index must be at least 6, got 5; restore a state"):
        rows.batch([9, 5])
    with pytest.raises(IndexError, match="one dimension"):
        rows.batch([[9]])
    with pytest.raises(ValueError, match="context must be at least 1 token, got 0"):
        rows.split.rows(0)


def test_a_train_split_that_is_empty_is_told_when_preparing(make, validation, tmp_path):
    with pytest.raises(ValueError, match="leaves no document in the train split"):
        make(source=validation, validation=validation)
    (tmp_path / "white.txt").write_text(" <|endoftext|> ")
    with pytest.raises(ValueError, match="has no documents, only white space"):
        make(source=str(tmp_path / "white.txt"))
    with pytest.raises(ValueError, match="leaves no document in the validation split"):
        make(validation=str(tmp_path / "white.txt"))


# The folder


def test_a_streamed_folder_says_what_it_is(make, validation, corpus):
    data = make(validation=validation)
    assert sorted(path.name for path in data.folder.iterdir()) == [
        "manifest.json",
        "tokenizer",
        "validation.bin",
        "validation.digests",
    ]
    assert f"train       streamed from {corpus}: 7 shards, " in str(data)
    assert data.manifest.stream.shards == {path.name: path.stat().st_size for path in sorted(corpus.iterdir())}
    (data.folder / "validation.digests").unlink()
    with pytest.raises(ValueError, match=r"validation\.digests is missing; prepare the corpus again"):
        PreparedData.open(data.folder)


def test_the_hash_of_a_streamed_corpus_is_that_of_its_data_wherever_it_lies(make, corpus, tmp_path, validation):
    shutil.copytree(corpus, tmp_path / "copy")
    hashes = {
        make("a", validation_share=0.2).data_hash,
        make("b", validation_share=0.3).data_hash,
        make("c", validation_share=0.2, seed=1).data_hash,
        make("d", validation_share=0.2, stream=False).data_hash,
        make("e", validation=validation).data_hash,
        make("f", validation=validation, max_documents=200).data_hash,
    }
    assert len(hashes) == 6
    assert make("g", source=str(tmp_path / "copy"), validation_share=0.2).data_hash in hashes
    assert make("h", validation=validation, seed=1).data_hash in hashes, "a seed that draws nothing changes nothing"
    with (tmp_path / "copy" / "1.txt").open("a") as file:
        file.write("<|endoftext|>More.")
    assert make("i", source=str(tmp_path / "copy"), validation_share=0.2).data_hash not in hashes


def test_files_that_come_to_lie_beside_the_shards_are_not_read(own, tmp_path, rows_of):
    data, state = own
    (tmp_path / "own" / "0-new.txt").write_text("New.")
    again = PreparedData.open(data.folder)
    again.verify()
    rows = rows_of(again)
    rows.restore(state)
    assert rows.batch([state["row"]])[0].shape == (1, CONTEXT)


# The thread


def test_work_is_done_ahead_but_not_without_a_bound():
    done = []
    ahead = Prefetcher((done.append(index) or index for index in range(10**9)), depth=3)
    assert [next(ahead) for _ in range(5)] == [0, 1, 2, 3, 4]
    ahead.close()
    assert 5 <= len(done) <= 5 + 3 + 1 + 3  # what waits, what is at work, and what goes through while it stops
    with pytest.raises(ValueError, match="reading was closed"):
        next(ahead)


def test_an_error_in_the_thread_comes_in_its_place_and_stays():
    def fail():
        yield 1
        raise OSError("disk on fire")

    ahead = Prefetcher(fail(), depth=3)
    assert next(ahead) == 1
    for _ in range(2):
        with pytest.raises(OSError, match="disk on fire"):
            next(ahead)
    assert list(Prefetcher(iter([1, 2]), depth=1)) == [1, 2]


@pytest.mark.parametrize("depth", [1, 2])
def test_a_thread_can_be_stopped_at_any_moment(depth):
    for taken in range(40):
        ahead = Prefetcher(iter(range(10**9)), depth)
        assert list(islice(ahead, taken % 4)) == list(range(taken % 4))
        ahead.close()
        ahead.close()


def test_a_thread_ends_with_the_object_that_it_works_for():
    ahead = Prefetcher(iter(range(10**9)), depth=2)
    next(ahead)
    del ahead
    assert "frailt-prefetch" not in [thread.name for thread in threading.enumerate()]
