"""What the shipped tasks ask about; none of this needs lm-eval."""

import math
import subprocess
import sys
from importlib import import_module

import pytest
import yaml

from frailt.data.builtin import stories as builtin_stories
from frailt.data.packing import PreparedData
from frailt.data.splits import VALIDATION_SHARE, held_out_by_hash
from frailt.tasks import FOLDER
from frailt.tasks.stories import (
    BUILTIN_STORIES,
    CHOICES,
    PIECE_BYTES,
    ending_documents,
    endings,
    name_documents,
    names,
    perplexity,
    perplexity_documents,
    pieces,
    read_stories,
    surprise,
)

STORIES = [
    f"{who} found a {what} on the hill. It was a good day to play. Then {who} gave the {what} to {whom} with a smile."
    for who, what, whom in [
        ("Ann", "ball", "Bob"),
        ("Tim", "leaf", "Sue"),
        ("Rose", "drum", "Max"),
        ("Lily", "coat", "Jack"),
        ("Ben", "bell", "Mia"),
    ]
]


@pytest.fixture
def text_file(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text("<|endoftext|>".join(f"\n{story}\n" for story in STORIES), encoding="utf-8")
    return path


# Stories


def test_builtin_stories_are_ones_that_a_prepared_corpus_holds_out():
    held_out = held_out_by_hash(VALIDATION_SHARE, 0)
    found = read_stories()
    assert len(set(found)) == BUILTIN_STORIES
    assert all(held_out(story.encode()) for story in found)
    assert found[0] == next(story for story in builtin_stories(1000) if held_out(story.encode()))
    assert read_stories("builtin") == found


def test_stories_of_a_file_are_stripped_and_in_order(text_file):
    assert list(read_stories(str(text_file))) == STORIES


def test_a_folder_with_splits_gives_its_validation_split(text_file, tmp_path):
    folder = tmp_path / "corpus"
    folder.mkdir()
    (folder / "train.txt").write_text("Not this one.<|endoftext|>Nor this.")
    text_file.rename(folder / "valid.txt")
    assert list(read_stories(str(folder))) == STORIES


def test_a_prepared_corpus_gives_the_stories_that_it_was_prepared_from(prepared):
    found = read_stories(str(prepared))
    split = PreparedData.open(prepared).split("validation").manifest
    assert len(found) == split.documents
    assert sum(len(story.encode()) for story in found) == split.utf8_bytes
    assert set(found) <= set(builtin_stories(150))


def test_there_must_be_stories(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        read_stories(str(tmp_path / "nowhere.txt"))
    (tmp_path / "blank.txt").write_text(" \n")
    with pytest.raises(ValueError, match=r"stories must not be all white space, got .*blank\.txt"):
        read_stories(str(tmp_path / "blank.txt"))


# What is asked


@pytest.mark.parametrize(
    "story",
    [
        *builtin_stories(20),
        "word",
        "two  spaces " * 100 + "end",
        "lines\n\nof a story\n" * 80 + "end",
        "é" * (2 * PIECE_BYTES + 1),
        "鸟飞。" * 300 + "😃" * 130,
    ],
)
def test_the_pieces_of_a_story_are_all_of_it(story):
    rows = pieces([story])
    assert "".join(row["piece"] for row in rows) == story
    for row, before in zip(rows, ["", *(r["before"] + r["piece"] for r in rows)], strict=False):
        assert row["before"] == before
        assert 0 < len(row["piece"].encode()) <= PIECE_BYTES
        assert not before or " " not in story or (row["piece"][0].isspace() and not before[-1].isspace())


def test_surprise_sums_to_that_of_the_story():
    story = read_stories()[0]
    found = [surprise(row, [(-2.0, False)]) for row in pieces([story])]
    assert sum(one["bits_per_byte"][0] for one in found) == -2.0 * len(found) < -2.0
    assert sum(one["bits_per_byte"][1] for one in found) == len(story.encode())
    assert sum(one["word_perplexity"][1] for one in found) == len(story.split())
    assert surprise({"piece": " é."}, [(-1.0, True)])["byte_perplexity"] == (-1.0, 4)


def test_perplexities_are_lm_evals_and_infinite_where_it_has_none():
    assert perplexity([(-3.0, 2), (-5.0, 6)]) == pytest.approx(math.e)
    assert perplexity([(-1200.0, 1)]) == math.inf


def test_an_ending_stands_after_its_own_story_and_after_others():
    rows = endings(STORIES)
    assert [row["label"] for row in rows] == [0, 1, 2, 3, 0]
    for story, row in zip(STORIES, rows, strict=True):
        assert row["befores"][row["label"]] + row["ending"] + "." == story
        assert row["ending"].startswith(" Then ")
        assert len(set(row["befores"])) == CHOICES


def test_an_ending_has_as_many_sentences_as_make_eight_words():
    before, ending = (
        'Once there was a very small boy called Tim. "Mine?" he asked.',
        '\nMom smiled at him. "It is all yours!"',
    )
    (row, *_) = endings([before + ending, *STORIES])
    assert (row["befores"][0], row["ending"] + '!"') == (before, ending)


def test_stories_that_are_one_sentence_have_no_ending():
    others = [
        "They all lived happily ever after in one house.",
        f"{STORIES[0]} And so they played until the sun was down",
    ]
    assert len(endings([*STORIES, *others])) == len(STORIES)
    with pytest.raises(ValueError, match="stories must be 4 or more with endings of 8 words, got 2 of 3"):
        endings([*STORIES[:2], "Short."])


def test_the_name_is_the_last_that_was_there_before():
    (row,) = names(["Ann and Bob met Sue. Then Bob said to Ann that Sue went. Everybody thanked Ann's mother, Rose."])
    assert row == {
        "before": "Ann and Bob met Sue. Then Bob said to Ann that Sue went. Everybody thanked",
        "name": " Ann",
    }
    assert [row["name"] for row in names(["It was Tim. Tim saw Tom. They saw Tom too."])] == [" Tom"]
    assert [row["name"] for row in names(["It was Tim. She saw Tim go. They saw Tim."])] == [" Tim"]
    with pytest.raises(ValueError, match="stories must name somebody twice, got 1 that do not"):
        names(["Ann saw Bob. They saw Annabel."])


def test_all_is_a_function_of_the_stories(text_file):
    for documents in (perplexity_documents, ending_documents, name_documents):
        first, again = (documents(stories=str(text_file), version=1, pretrained="x")["test"] for _ in range(2))
        assert first.to_list() == again.to_list()
        assert documents(version=1)["test"].to_list() != first.to_list()


@pytest.mark.parametrize("corpus", [STORIES, list(builtin_stories(200))])
def test_no_two_tasks_ask_for_what_ends_at_the_same_place(corpus):
    """See the top of stories.py."""
    ends = [
        {row["before"] + row["piece"] for row in pieces(corpus)},
        {row["befores"][row["label"]] + row["ending"] for row in endings(corpus)},
        {row["before"] + row["name"] for row in names([*corpus, "It was Tim. She saw Tim go."])},
    ]
    assert len(set.union(*ends)) == sum(map(len, ends))


# The files


class _Loader(yaml.SafeLoader):
    """As lm-eval reads its files, without lm-eval."""


_Loader.add_constructor("!function", lambda loader, node: loader.construct_scalar(node))


def shipped():
    found = {path.stem: yaml.load(path.read_text(), _Loader) for path in FOLDER.glob("*.yaml")}
    assert len(found) == 4
    return found


def test_every_file_is_named_as_its_task_and_the_group_has_all():
    files = shipped()
    assert all(file.get("task" if name != "frailt_stories" else "group") == name for name, file in files.items())
    assert set(files["frailt_stories"]["task"]) == set(files) - {"frailt_stories"}


def test_what_files_name_is_there():
    for name, file in shipped().items():
        if name == "frailt_stories":
            continue
        for key in ("custom_dataset", "process_results"):
            module, _, function = file.get(key, "json.dumps").rpartition(".")
            assert callable(getattr(import_module(module), function))
        module, _, function = file["custom_dataset"].rpartition(".")
        columns = getattr(import_module(module), function)()[file["test_split"]].features
        assert {file["doc_to_text"], file["doc_to_target"], file.get("doc_to_choice", "before")} <= {*columns, "before"}
        assert file["target_delimiter"] == ""
        assert file["num_fewshot"] == 0


def test_the_folder_is_printed_for_the_command_of_lm_eval():
    done = subprocess.run([sys.executable, "-m", "frailt.tasks"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(FOLDER)


def test_pieces_fit_into_a_context_of_512_whatever_the_tokenizer(prepared):
    tokenizer = PreparedData.open(prepared).tokenizer()
    most = max(len(tokenizer.encode(row["piece"])) for row in pieces(read_stories()))
    assert most <= PIECE_BYTES + 2 <= 512
