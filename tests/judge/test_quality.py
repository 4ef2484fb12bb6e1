import json

import numpy as np
import pytest

from frailt.judge.config import JudgeQualityConfig
from frailt.judge.prompt import CATEGORIES, rotated
from frailt.judge.quality import difference, judge_quality, length_effect, order_effect, strictness


def lines_of(grade, *, prompts=23, samples=3, repeats=4, orders=False, told="x", seed=0):
    """Lines as in grades.jsonl, each grade by `grade(prompt, story, place, length)`."""
    rng, lines = np.random.default_rng(seed), []
    for prompt in range(prompts):
        for sample in range(samples):
            length = int(rng.integers(40, 900))
            for repeat in range(repeats):
                order = rotated(repeat) if orders else CATEGORIES
                grades = {name: grade(prompt, (prompt, sample), order.index(name), length) for name in CATEGORIES}
                lines.append(
                    {
                        "prompt_id": prompt,
                        "sample": sample,
                        "repeat": repeat,
                        "story_sha256": f"{told}-{prompt}-{sample}",
                        "order": list(order),
                        "completion_chars": length,
                        "grades": grades,
                    }
                )
    return lines


def test_the_effect_of_order_is_the_change_per_place_within_stories():
    rng = np.random.default_rng(0)
    lines = lines_of(lambda prompt, story, place, length: prompt - 0.3 * place + rng.normal(0, 0.5), orders=True)
    found = order_effect(lines, "plot")
    assert abs(found.value + 0.3) < found.half_width < 0.15


def test_in_one_order_nothing_is_known_of_its_effect():
    assert order_effect(lines_of(lambda *_: 5), "plot") is None


def test_the_effect_of_length_is_per_doubling_within_beginnings():
    rng = np.random.default_rng(1)
    lines = lines_of(lambda prompt, story, place, length: prompt + 0.5 * np.log2(length) + rng.normal(0, 0.5))
    found = length_effect(lines, "grammar")
    assert abs(found.value - 0.5) < found.half_width < 0.2


def test_a_difference_is_paired_by_beginning_so_that_hard_ones_drop_out():
    first = lines_of(lambda prompt, *_: 3.0 * prompt)
    second = lines_of(lambda prompt, *_: 3.0 * prompt + 0.3, prompts=25)
    found = difference(first, second, "plot")
    assert found.value == pytest.approx(0.3)
    assert found.half_width is None  # the same at every beginning, which does not tell the spread
    assert found.clusters == 23


def test_strictness_compares_the_same_stories_only():
    ours = lines_of(lambda prompt, *_: prompt + 1) + lines_of(lambda *_: 99, told="other")
    theirs = lines_of(lambda prompt, *_: prompt)
    assert strictness(ours, theirs, "plot").value == pytest.approx(1)
    assert strictness(lines_of(lambda *_: 1, told="other"), theirs, "plot") is None


def write(folder, name, lines):
    (folder / name).mkdir(parents=True)
    (folder / name / "grades.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / name / "judged.json").write_text("{}")


def test_the_table_holds_what_is_known_and_dashes(tmp_path):
    rng = np.random.default_rng(2)
    noisy = lambda prompt, *_: int(prompt % 8 + rng.integers(1, 3))
    plain = [line | {"grades": None} if line["repeat"] == 1 else line for line in lines_of(noisy, repeats=2)]
    write(tmp_path / "a", "plain", plain)
    write(tmp_path / "a", "looped", lines_of(noisy, repeats=1, told="y"))
    write(tmp_path / "b", "plain", lines_of(noisy, repeats=2))
    said = judge_quality(JudgeQualityConfig(judged=str(tmp_path / "a"), other=str(tmp_path / "b"))).splitlines()
    rows = {line.split("  ")[0]: line for line in said}
    assert rows["agreement with itself over repeats, ICC(1,1)"].count("—") == 4  # one repeat is left
    assert rows["change from one place in the order to the next"].count("—") == 4
    assert "mean of looped" in rows
    assert "plain less looped" in rows
    assert rows["agreement with the other judge, ICC(2,1)"].count(" to ") == 4
    alone = judge_quality(JudgeQualityConfig(judged=str(tmp_path / "b")))
    assert "other judge" not in alone
    assert alone.splitlines()[1].count(" to ") == 4


def test_a_folder_without_grades_and_damaged_grades_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="it has no grades"):
        judge_quality(JudgeQualityConfig(judged=str(tmp_path)))
    write(tmp_path, "plain", [])
    for text in ("{", "[]", "{}", '{"grades": {}}', '{"grades": 3}'):
        (tmp_path / "plain" / "grades.jsonl").write_text(f"{text}\n")
        with pytest.raises(ValueError, match="damaged grades"):
            judge_quality(JudgeQualityConfig(judged=str(tmp_path)))
