"""What `frailt judge`, `frailt complete` and `frailt measure` left, as a report reads it."""

import json

import pytest

from frailt.judge.prompt import template, user_message
from frailt.report.judged import read_judged, story_of
from frailt.report.told import read_told

from .telling import constant, write_completions, write_judged_folder, write_measures


def changed(path, change):
    """Rewrite a file of JSON, or a line of one of JSON lines."""
    lines = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
    first = json.loads(lines[0])
    change(first)
    path.write_text("\n".join([json.dumps(first), *lines[1:]]) + "\n")


@pytest.fixture
def told(tmp_path):
    """Completions of two checkpoints."""
    return [
        write_completions(tmp_path / "told" / "looped", layout="2^4", samples=2),
        write_completions(tmp_path / "told" / "plain", layout="2", samples=2, nats=1.6),
    ]


@pytest.fixture
def judged(tmp_path, told):
    return write_judged_folder(
        tmp_path / "judged",
        told,
        lambda layout, width, seed, story, repeat, name: (
            None if story.prompt_id == 3 else 4 + repeat if layout == "2" else 6
        ),
        repeats=2,
    )


def test_what_a_judge_left_is_read(judged):
    found = read_told([str(judged)], [])
    assert found.judge.model == "judge-1"
    plain, looped = found.checkpoints
    assert [(str(each.variant), each.width, each.seed, each.nats) for each in (plain, looped)] == [
        ("2", 64, 0, 1.6), ("2^4", 64, 0, 1.5),
    ]  # fmt: skip
    assert [(story.prompt_id, story.sample) for story in plain.stories] == [(p, s) for p in range(4) for s in range(2)]
    first, last = plain.stories[0], plain.stories[-1]
    assert (first.beginning, first.completion) == ("Once upon a time 0, Tim", "went home as 2 learned 64 0, 0.")
    assert [grading.grades["plot"] for grading in first.gradings] == [4, 5]
    assert first.gradings[0].words == "Words on story 0."
    assert last.gradings[0].grades is None
    assert "replies without a valid call" in last.gradings[0].words
    assert found.left_out == ()


def test_completions_add_what_the_judge_was_not_shown(judged, told):
    def hostile(prompt_id, sample):
        return "a *** b"

    write_judged_folder(
        judged.parent / "other", [write_completions(judged.parent / "stars", text=hostile)], constant(3)
    )
    shown = read_told([str(judged.parent / "other")], []).checkpoints[0].stories[0]
    assert (shown.completion, shown.ended) == ("a * * * b", None)
    (found,) = read_told([str(judged.parent / "other")], [str(judged.parent / "stars")]).checkpoints
    assert (found.stories[0].completion, found.stories[0].ended) == ("a *** b", True)
    assert found.stories[0].gradings[0].grades["plot"] == 3


def test_completions_alone_are_enough(told):
    found = read_told([], [str(path) for path in told])
    assert found.judge is None
    assert not found.graded
    assert [len(each.stories) for each in found.checkpoints] == [8, 8]


def test_the_folder_of_several_checkpoints_will_do(told):
    assert len(read_told([], [str(told[0].parent)]).checkpoints) == 2


@pytest.mark.parametrize("turns", range(4))
def test_the_story_is_found_in_what_the_judge_was_asked_in_any_order_of_categories(turns):
    from frailt.judge.prompt import rotated

    story = ("Once 1. Grammar", "Please provide your general assessment {story} \n\n 1. Plot")
    assert story_of(user_message(*story, rotated(turns)), template()) == story


def test_a_prompt_without_a_story_is_refused():
    for prompt in ("", "Once *** ran", template()):
        with pytest.raises(ValueError, match=r"prompt must be the template of judge\.json with a story in it"):
            story_of(prompt, template())


# Judged folders that cannot be used


def test_a_folder_that_no_judge_wrote_is_an_error(tmp_path):
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(FileNotFoundError, match=r"judged must be folders that frailt judge wrote, got .* without"):
            read_told([str(folder)], [])


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"model": 3, "template": "x"}'])
def test_a_damaged_judge_is_an_error(judged, text):
    (judged / "judge.json").write_text(text)
    with pytest.raises(ValueError, match=r"judged must hold a .*judge\.json.*: restore it"):
        read_told([str(judged)], [])


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"model": "judge-2"}, r"with other model \('judge-1', 'judge-2'\): report on each by itself"),
        ({"temperature": 0.0}, r"with other temperature \(1.0, 0.0\)"),
        ({"base_url": "http://localhost:1/v1"}, r"with other endpoint \('api.openai.com', 'localhost:1'\)"),
        ({"orders": "rotated"}, r"with other orders \('paper', 'rotated'\)"),
    ],
)
def test_grades_of_different_judges_are_not_mixed(judged, told, setting, words):
    other = write_judged_folder(judged.parent / "other", told[:1], constant(3), **setting)
    with pytest.raises(ValueError, match=words) as error:
        read_told([str(judged), str(other)], [])
    assert "\n" not in str(error.value)


def test_two_folders_of_one_judge_are_read_together(judged, told):
    third = write_completions(judged.parent / "third", layout="8", samples=2)
    other = write_judged_folder(judged.parent / "other", [third, told[0]], constant(3))
    found = read_told([str(judged), str(other)], [])
    assert [str(each.variant) for each in found.checkpoints] == ["2", "8", "2^4"]
    (line,) = found.left_out
    assert ": it repeats looped-" in line


def without(name):
    return lambda line: line.pop(name)


def put(name, value):
    return lambda line: line.__setitem__(name, value)


GRADES = {"grammar": 4, "creativity": 4, "consistency": 4}
LINES = {
    "a grade that is too high": (put("grades", GRADES | {"plot": 11}), "grades must be whole numbers from 1 to 10"),
    "a grade of 0": (put("grades", GRADES | {"plot": 0}), "grades must be whole numbers from 1 to 10"),
    "a grade with a fraction": (put("grades", GRADES | {"plot": 4.0}), "grades must be whole numbers from 1 to 10"),
    "a grade that is true": (put("grades", GRADES | {"plot": True}), "grades must be whole numbers from 1 to 10"),
    "a grade missing": (put("grades", GRADES), "grades must be whole numbers from 1 to 10"),
    "grades that are none": (put("grades", [1, 2, 3, 4]), "grades must be whole numbers from 1 to 10"),
    "no words": (put("assessment", None), "assessment must be a text, got None"),
    "no reason": (put("grades", None), "unscored must be a text, got None"),
    "no prompt": (without("prompt"), "prompt must be a text, got None"),
    "a prompt of something else": (put("prompt", "Once"), "prompt must be the template of judge.json with a story"),
    "no beginning": (without("prompt_id"), "prompt_id must be a whole number of 0 or more, got None"),
    "a sample that is none": (put("sample", "0"), "sample must be a whole number of 0 or more, got '0'"),
    "a repeat below 0": (put("repeat", -1), "repeat must be a whole number of 0 or more, got -1"),
    "a repeat twice": (put("repeat", 1), "must have each prompt_id, sample and repeat once, got 0, 0, 1 twice"),
}


@pytest.mark.parametrize("fault", LINES)
def test_a_checkpoint_with_a_damaged_line_is_left_out_with_one_line_and_the_rest_goes_on(fault, judged):
    change, reason = LINES[fault]
    (place,) = judged.glob("looped-*")
    changed(place / "grades.jsonl", change)
    found = read_told([str(judged)], [])
    assert [str(each.variant) for each in found.checkpoints] == ["2"]
    (line,) = found.left_out
    assert line.startswith(f"judged/{place.name}: ")
    assert reason in line
    assert str(judged) not in line


ABOUT = {
    "unfinished": (put("status", "unfinished"), "status of judged.json must be finished, got 'unfinished': give its"),
    "fewer lines than wanted": (put("wanted", 17), "grades.jsonl must have 17 lines as judged.json says, got 16"),
    "no count": (without("wanted"), "wanted must be a whole number of 1 or more, got None"),
    "no record": (put("completions", None), "completions of judged.json must be the record of the completions"),
    "a layout that is none": (lambda r: r["completions"]["model"].update(layout="<b>"), "layout term must be"),
    "a width that is none": (lambda r: r["completions"]["model"].update(hidden_size=0), "hidden_size must be a whole"),
    "a loss that is none": (
        lambda r: r["completions"].update(validation_nats_per_token=float("nan")),
        "validation_nats_per_token must be a number above 0, got nan",
    ),
    "a seed that is none": (lambda r: r["completions"].update(seed="x"), "seed must be a whole number of 0 or more"),
    "loops run otherwise": (
        lambda r: r["completions"].update(iterations=[2, 2]),
        "iterations must be [4, 4] as 2^4 was trained, got [2, 2]",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", ABOUT)
def test_a_checkpoint_with_a_damaged_record_is_left_out(fault, judged):
    change, reason = ABOUT[fault]
    (place,) = judged.glob("looped-*")
    changed(place / "judged.json", change)
    found = read_told([str(judged)], [])
    assert [str(each.variant) for each in found.checkpoints] == ["2"]
    assert reason in found.left_out[0]


@pytest.mark.parametrize("text", ['{"prompt_id"', "[]", "\xff"])
def test_a_line_that_is_no_json_names_its_number(judged, text):
    (place,) = judged.glob("looped-*")
    lines = (place / "grades.jsonl").read_text().splitlines()
    lines[4] = text
    (place / "grades.jsonl").write_bytes("\n".join(lines).encode("latin-1"))
    (line,) = read_told([str(judged)], []).left_out
    assert ("line 5 of grades.jsonl is no" in line) or "grades.jsonl cannot be read" in line


@pytest.mark.parametrize("name", ["judged.json", "grades.jsonl"])
def test_a_missing_file_is_a_line(judged, name):
    (place,) = judged.glob("looped-*")
    (place / name).unlink()
    (line,) = read_told([str(judged)], []).left_out
    assert f"{name} is missing: give its frailt judge again" in line


def test_where_nothing_is_left_the_error_says_why(judged):
    for place in judged.glob("*-*"):
        changed(place / "judged.json", put("status", "unfinished"))
    with pytest.raises(
        ValueError, match=r"at least one finished checkpoint, got none in .*; judged/looped-.*unfinished"
    ):
        read_told([str(judged)], [])


def test_the_judges_logs_are_no_checkpoint(judged):
    (judged / "logs").mkdir()
    _, tellers, left_out = read_judged([str(judged)])
    assert (len(tellers), left_out) == (2, [])


# Completions that cannot be used


def test_a_folder_without_completions_is_an_error(tmp_path):
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(FileNotFoundError, match="completions must be folders that frailt complete wrote, got"):
            read_told([], [str(folder)])


def test_damaged_and_unfinished_completions_are_left_out_with_a_line_each(told, tmp_path):
    cut = write_completions(tmp_path / "cut", layout="8")
    (cut / "completions.jsonl").write_text((cut / "completions.jsonl").read_text()[:-5])
    running = write_completions(tmp_path / "running", layout="4", status="running")
    found = read_told([], [str(path) for path in (*told, cut, running)])
    assert len(found.checkpoints) == 2
    first, second = found.left_out
    assert first.startswith("cut: completions are damaged in completions.jsonl: it is empty or its last line is cut")
    assert second.startswith("running: completions must be finished, got running")
    assert str(tmp_path) not in first + second


def test_completions_of_other_beginnings_or_sampling_are_left_out(told, tmp_path):
    other = write_completions(tmp_path / "other", layout="8", samples=2, beginnings=5)
    cold = write_completions(tmp_path / "cold", layout="4", samples=2)
    changed(cold / "completions.json", lambda about: about["sampling"].update(temperature=0.5))
    again = write_completions(tmp_path / "again", layout="1", samples=2)
    changed(again / "completions.json", lambda about: about["sampling"].update(seed=7))
    found = read_told([], [str(path) for path in (*told, other, cold, again)])
    assert [str(each.variant) for each in found.checkpoints] == ["1", "2", "2^4"]
    assert sorted(line.partition(" must be ")[0] for line in found.left_out) == [
        "cold: temperature", "other: prompts_sha256",
    ]  # fmt: skip


def test_a_cell_is_there_once(told, tmp_path):
    write_completions(tmp_path / "again", layout="2", samples=2, text=lambda prompt_id, sample: "another.")
    found = read_told([], [*map(str, told), str(tmp_path / "again")])
    assert len(found.checkpoints) == 2
    assert found.left_out == ("again: it repeats plain: layout, width and seed are the same",)


def test_what_all_share_is_what_some_have(tmp_path):
    # One by one most have 1000 tokens, and as many data "aa" as "bb": none has 1000 and "aa".
    unlike = [{"trained_tokens": 2000}, {"data_hash": "bb" * 32}, {"trained_tokens": 3000}, {"data_hash": "cc" * 32}]
    usual = {"trained_tokens": 1000, "data_hash": "aa" * 32}
    folders = [write_completions(tmp_path / str(i), seed=i, **usual | each) for i, each in enumerate(unlike)]
    folders.append(write_completions(tmp_path / "4", seed=4, **usual | unlike[1]))
    assert [each.name for each in read_told([], list(map(str, folders))).checkpoints] == ["1", "4"]


def test_budgets_and_data_are_not_mixed(tmp_path):
    def trained(name, tokens, data="aa", **cell):
        return write_completions(tmp_path / name, trained_tokens=tokens, data_hash=data * 32, **cell)

    folders = [
        trained("short", 1000),
        trained("plain", 1000, layout="2"),
        trained("long", 2000),
        trained("long-1", 2000, seed=1),
        trained("other", 1000, data="bb", seed=2),
        trained("unknown", None, seed=3),
        trained("again", 1000, seed=1),
    ]
    found = read_told([], [str(path) for path in folders])
    assert [each.name for each in found.checkpoints] == ["plain", "short", "again"]
    assert sorted(found.left_out) == [
        "long-1: trained_tokens must be 1000 as in most, got 2000",
        "long: trained_tokens must be 1000 as in most, got 2000",
        "other: data_hash must be aaaaaaaaaaaa… as in most, got bbbbbbbbbbbb…",
        "unknown: trained_tokens must be 1000 as in most, got None",
    ]


# Measures


def test_measures_are_read_whatever_their_names(told):
    new = {"mean": 2, "low": None, "high": None, "n": 3, "unit": "x", "about": "y"}
    write_measures(told[0], {"words": 31.5, "brand_new": new})
    _, looped = read_told([], [str(path) for path in told]).checkpoints
    assert list(looped.measures.by_name) == ["words", "brand_new"]
    new = looped.measures.by_name["brand_new"]
    assert (new.mean, new.low, new.high, new.n, new.unit, new.about) == (2.0, None, None, 3, "x", "y")


def test_measures_stand_beside_grades_of_the_same_stories(judged, told):
    write_measures(told[0], {"words": 31.5})
    found = read_told([str(judged)], [str(told[0])])
    plain, looped = found.checkpoints
    assert plain.measures is None
    assert looped.is_graded
    assert looped.measures.by_name["words"].mean == 31.5


def test_measures_alone_are_enough(told, tmp_path):
    write_measures(told[0], {"words": 31.5})
    (told[0] / "completions.json").unlink()
    (found,) = read_told([], [str(told[0])]).checkpoints
    assert (str(found.variant), found.stories) == ("2^4", ())
    assert found.measures.by_name["words"].mean == 31.5


MEASURES = {
    "no JSON": "{",
    "no mapping": "[]",
    "unfinished": {"status": "running"},
    "of other completions": {"completions_sha256": "ab" * 32},
    "no measures": {"measures": None},
    "a mean that is none": {"measures": {"words": {"mean": None, "n": 1, "unit": "", "about": ""}}},
    "a mean that is no number": {"measures": {"words": {"mean": "<b>", "n": 1, "unit": "", "about": ""}}},
    "half an interval": {"measures": {"words": {"mean": 1, "low": 0, "n": 1, "unit": "", "about": ""}}},
    "a count that is none": {"measures": {"words": {"mean": 1, "n": 1.5, "unit": "", "about": ""}}},
    "no unit": {"measures": {"words": {"mean": 1, "n": 1, "about": ""}}},
    "a measure that is none": {"measures": {"words": 3.5}},
    "an evaluator that is none": {"evaluator": "gpt"},
}


@pytest.mark.parametrize("fault", MEASURES)
def test_measures_that_cannot_be_used_are_a_line_and_the_stories_go_on(fault, told):
    change = MEASURES[fault]
    path = write_measures(told[0], {"words": 31.5}) / "measures.json"
    if isinstance(change, str):
        path.write_text(change)
    else:
        path.write_text(json.dumps(json.loads(path.read_text()) | change))
    found = read_told([], [str(path) for path in told])
    assert [each.measures for each in found.checkpoints] == [None, None]
    (line,) = found.left_out
    assert line.startswith("looped: ")
    assert "measures.json" in line
    assert "frailt measure again" in line


def test_measures_by_another_evaluator_are_not_compared(told, tmp_path):
    third = write_completions(tmp_path / "third", layout="8", samples=2)
    fourth = write_completions(tmp_path / "fourth", layout="4", samples=2)
    for folder, sha256 in ((told[0], "aa"), (told[1], "aa"), (third, "bb")):
        write_measures(folder, {"words": 31.5}, evaluator={"sha256": sha256, "beyond_context": len(folder.name)})
    write_measures(fourth, {"words": 31.5})
    found = read_told([], [str(path) for path in (*told, third, fourth)])
    assert {str(each.variant): each.measures is not None for each in found.checkpoints} == {
        "2": True, "4": True, "8": False, "2^4": True,
    }  # fmt: skip
    assert found.left_out == ("third: evaluator of measures.json must be aa as in most, got bb",)


def test_real_stories_are_a_yardstick_and_no_model(told, tmp_path):
    real = write_completions(tmp_path / "real", model={}, seed=None, nats=None, checkpoint="real stories", beginnings=7)
    write_measures(real, {"words": 40.0})
    found = read_told([], [*map(str, told), str(real)])
    assert len(found.checkpoints) == 2
    (yardstick,) = found.yardsticks
    assert (yardstick.name, yardstick.measures.by_name["words"].mean) == ("real stories", 40.0)
    assert found.left_out == ()
    alone = read_told([], [str(real)])
    assert (alone.checkpoints, len(alone.yardsticks)) == ((), 1)
