import json

import pytest

from frailt.judge.completions import Completion, read_completions

from .conftest import write_completions


def test_what_was_written_is_read_in_order(told):
    found = read_completions(told)
    assert [(story.prompt_id, story.sample) for story in found.stories] == [(p, s) for p in range(3) for s in range(2)]
    assert found.stories[0] == Completion(0, 0, "Once upon a time Tim", "ran Tim.", True, 5)
    assert found.about["sampling"]["temperature"] == 1.0


def test_a_checkpoint_is_named_by_contents_and_not_by_place(told, tmp_path):
    moved = told.rename(tmp_path / "elsewhere")
    first = read_completions(moved).name
    (moved / "completions.jsonl").write_text((moved / "completions.jsonl").read_text().replace("ran", "run"))
    second = read_completions(moved).name
    assert first != second
    assert first.startswith("runs-looped-")
    assert second.startswith("runs-looped-")


def lines_of(told):
    return (told / "completions.jsonl").read_text().splitlines(keepends=True)


DAMAGE = {
    "its last line is cut": lambda lines: "".join(lines)[:-1],
    "it is empty": lambda lines: "",
    "prompt 2 must have the samples 0 to 1": lambda lines: "".join(lines[:-1]),
    "there must be prompts 0 to 2, as completions.json says": lambda lines: "".join(lines[:-2]),
    "prompt 0 must have the samples 0 to 1": lambda lines: "".join([*lines, lines[0]]),
    "line 1: it is not JSON": lambda lines: "".join(["{\n", *lines[1:]]),
    "line 2: it is no JSON object": lambda lines: "".join([lines[0], "[]\n", *lines[2:]]),
    "line 1: ended must be there and be bool": lambda lines: "".join([lines[0].replace("true", "1"), *lines[1:]]),
    "prompt 0 has several texts": lambda lines: "".join([lines[0].replace("Once", "Then"), *lines[1:]]),
}


@pytest.mark.parametrize("words", DAMAGE)
def test_damaged_completions_are_refused_with_the_place(told, words):
    (told / "completions.jsonl").write_text(DAMAGE[words](lines_of(told)))
    with pytest.raises(ValueError, match=words) as error:
        read_completions(told)
    assert "completions" in str(error.value)
    assert "\n" not in str(error.value)


def test_unfinished_completions_are_refused(tmp_path):
    folder = write_completions(tmp_path / "told", {"Once": ["a"]}, status="running")
    with pytest.raises(ValueError, match="completions must be finished"):
        read_completions(folder)


def test_a_folder_of_something_else_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no completions\.json"):
        read_completions(tmp_path)


@pytest.mark.parametrize("field", ["checkpoint", "checkpoint_sha256", "model", "sampling", "prompts", "prompts_sha256"])
def test_a_head_without_a_field_is_refused(told, field):
    head = json.loads((told / "completions.json").read_text())
    del head[field]
    (told / "completions.json").write_text(json.dumps(head))
    with pytest.raises(ValueError, match=f"{field} must be there"):
        read_completions(told)
