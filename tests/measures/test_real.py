"""Real stories laid out as completions."""

from frailt.cli import main
from frailt.data.packing import PreparedData
from frailt.data.texts import texts
from frailt.inference.prompts import read_prompts
from frailt.judge.completions import read_completions
from frailt.measures.words import words

from .commands import measure, record_of, refusal


def test_real_stories_are_true_continuations_that_can_be_measured(prepared, plain_run, tmp_path, capsys):
    out = tmp_path / "real"
    assert main(["real-stories", "--data", str(prepared), "--out", str(out), "--stories", "3"]) == 0
    read, data = read_completions(out), PreparedData.open(prepared)
    validation = set(texts(data, "validation"))
    lengths = [len(words(prompt)) for prompt in read_prompts()]
    for i, story in enumerate(read.stories):
        assert story.prompt + story.completion in validation
        assert len(words(story.prompt)) == lengths[i % len(lengths)]
        assert story.new_tokens > 0
    assert len({story.prompt + story.completion for story in read.stories}) == 3
    before = (out / "completions.json").stat().st_mtime_ns
    assert main(["real-stories", "--data", str(prepared), "--out", str(out), "--stories", "3"]) == 0
    assert (out / "completions.json").stat().st_mtime_ns == before
    (out / "completions.jsonl").write_text("")
    assert main(["real-stories", "--data", str(prepared), "--out", str(out), "--stories", "3"]) == 0
    assert read_completions(out).stories == read.stories
    assert measure(out, evaluator=plain_run, corpus=prepared) == 0
    record = record_of(out)
    assert record["measures"]["ended"]["mean"] == 1
    assert record["completions"]["checkpoint"] == "real stories"


def test_real_stories_need_a_folder_of_their_own_and_enough_stories(prepared, told, tmp_path, capfd):
    command = ["real-stories", "--data", str(prepared), "--out"]
    assert "out holds other completions" in refusal(capfd, main([*command, str(told)]))
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "thing").touch()
    assert "out must be a new or empty folder" in refusal(capfd, main([*command, str(tmp_path / "taken")]))
    many = [*command, str(tmp_path / "out"), "--stories", "9999"]
    assert "stories must be at most" in refusal(capfd, main(many))
    assert not (tmp_path / "out").exists()
