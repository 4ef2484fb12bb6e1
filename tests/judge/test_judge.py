"""Whole runs of `frailt judge`, with Inspect, against a real server."""

import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("inspect_ai", reason="needs the extra judge")

from inspect_ai.log import list_eval_logs, read_eval_log

from frailt.judge.judge import judge
from frailt.judge.ledger import Ledger
from frailt.judge.purse import CapReached
from frailt.training.stopping import Stopped

from .conftest import write_completions
from .server import GRADES, Server, fails, grade, graded, message, says, slow

KEY = "sk-do-not-write-me"
NAMES = ["grammar", "creativity", "consistency", "plot"]


def grades_in(out: Path) -> list[dict]:
    (path,) = out.glob("*/grades.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


def judged_in(out: Path) -> dict:
    (path,) = out.glob("*/judged.json")
    return json.loads(path.read_text())


def test_every_story_is_graded_and_inspect_opens_the_log(config, tmp_path):
    refuses = says(message(refusal="No."), "stop")
    with Server([refuses] * 2) as server:
        said = judge(config(server, connections=1, max_attempts=2, price_in=1.0, price_out=2.0))
        assert judge(config(server, connections=1, max_attempts=2, price_in=1.0, price_out=2.0)) == said
    assert len(server.requests) == 7
    lines, about = grades_in(tmp_path / "judged"), judged_in(tmp_path / "judged")
    assert [(line["prompt_id"], line["sample"]) for line in lines] == [(p, s) for p in range(3) for s in range(2)]
    (unscored,) = (line for line in lines if line["grades"] is None)
    assert unscored["unscored"].endswith("refusal: 'No.'")
    assert [line["grades"] for line in lines if line is not unscored] == [{name: GRADES[name] for name in NAMES}] * 5
    assert (about["status"], about["wanted"], about["graded"], about["unscored"]) == ("finished", 6, 5, 1)
    assert about["means"]["grammar"]["value"] == 7.0
    assert about["completions"]["sampling"] == {"samples": 2} | about["completions"]["sampling"]
    assert sum(line["cost_usd"] for line in lines) == pytest.approx(7 * (300 + 80) / 1e6)
    for line in lines:
        assert line["prompt"] in server.prompts()

    (info,) = list_eval_logs(str(tmp_path / "judged" / "logs"))
    log = read_eval_log(info)
    assert log.status == "success"
    values = [next(iter(sample.scores.values())) for sample in log.samples]
    assert sum(score.value == {name: GRADES[name] for name in NAMES} for score in values) == 5
    assert sum("unscored: 2 replies" in score.explanation for score in values) == 1
    assert {score.name: score.metrics["mean"].value for score in log.results.scores} == {n: GRADES[n] for n in NAMES}


def test_equal_stories_are_asked_for_once_over_all_checkpoints_and_paid_once(config, told, tmp_path):
    same = {"Once": ["a.", "a."], "Twice": ["a.", "b."]}
    one = write_completions(tmp_path / "one", same)
    two = write_completions(tmp_path / "two", same, checkpoint="runs/plain")
    with Server() as server:
        judge(config(server, completions=[str(one)]))
        assert len(server.requests) == 3
        judge(config(server, completions=[str(one), str(two)], repeats=2))
    assert len(server.requests) == 6
    assert len(set(server.prompts())) == 3
    for path in (tmp_path / "judged").glob("*/grades.jsonl"):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        assert len(lines) == 8
        assert sum(line["prompt_tokens"] for line in lines) == 6 * 300
        assert sum(line["same_as_another"] for line in lines) == 2


PROGRAM = """
import json, sys
from frailt.judge.config import JudgeConfig
from frailt.judge.judge import judge
judge(JudgeConfig(**json.loads(sys.argv[1])))
"""


def test_killed_in_the_middle_it_asks_for_nothing_again_that_is_graded(config, tmp_path):
    with Server(otherwise=slow(0.05)) as server:
        settings = config(server, connections=1, repeats=2)
        program = [sys.executable, "-c", PROGRAM, json.dumps(vars(settings))]
        started = subprocess.Popen(program, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        replies, deadline = tmp_path / "judged" / "replies.jsonl", time.monotonic() + 60
        while not (replies.exists() and replies.read_bytes().count(b"\n") >= 4):
            assert time.monotonic() < deadline
            assert started.poll() is None
            time.sleep(0.02)
        os.kill(started.pid, signal.SIGKILL)
        started.wait()
        kept = Ledger(replies).all
        assert 4 <= len(kept) < 12
        before = len(server.requests)
        with replies.open("ab") as file:
            file.write(b'{"question": "cut')
        judge(settings)
        asked_after = server.prompts()[before:]
    assert before - len(kept) in (0, 1)  # one may have been under way
    assert len(asked_after) == 12 - len(kept)
    lines = grades_in(tmp_path / "judged")
    assert len(lines) == len({line["question"] for line in lines}) == 12
    assert all(line["grades"] for line in lines)
    ledger = Ledger(replies).all
    assert len({asked.question for asked in ledger}) == len(ledger) == 12


@pytest.mark.parametrize(("sent", "raised"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Stopped)])
def test_stopped_by_a_signal_it_keeps_what_is_under_way(config, tmp_path, sent, raised):
    def stops(handler, request):
        os.kill(os.getpid(), sent)
        slow(0.2)(handler, request)

    before = signal.getsignal(sent)
    with Server([grade, stops]) as server:
        with pytest.raises(raised, match=r"2 of 6 are settled and kept, .*; run again to go on"):
            judge(config(server, connections=1))
        assert len(server.requests) == len(grades_in(tmp_path / "judged")) == 2
        judge(config(server, connections=1))
    assert len(server.requests) == 6
    assert signal.getsignal(sent) is before


def test_a_cap_ends_the_run_in_one_line_and_more_money_goes_on(config, tmp_path):
    with Server() as server:
        prices = {"price_in": 10.0, "price_out": 30.0, "max_tokens": 40, "connections": 1}
        with pytest.raises(CapReached) as error:
            judge(config(server, spend_cap_usd=0.016, **prices))
        asked = len(server.requests)
        assert re.fullmatch(
            rf"spend_cap_usd of \$0\.02 leaves no room for another request: {asked} of 6 are settled and kept, "
            rf"[\d,]+ tokens, \$0\.01 spent; raise the cap to go on",
            str(error.value),
        )
        assert 0 < asked < 6
        assert judged_in(tmp_path / "judged")["status"] == "unfinished"
        assert len(grades_in(tmp_path / "judged")) == asked
        judge(config(server, spend_cap_usd=1.0, **prices))
    assert len(server.requests) == 6


def test_an_endpoint_that_is_not_there_is_one_line_and_grades_nothing(config, tmp_path):
    with pytest.raises(ConnectionError, match=r"127\.0\.0\.1:9 fails again and again .*run again to go on"):
        judge(config(retries=0))
    assert grades_in(tmp_path / "judged") == []
    assert judged_in(tmp_path / "judged")["means"]["plot"] is None


def test_the_key_is_sent_and_written_nowhere_even_if_the_server_repeats_it(config, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))  # where Inspect keeps traces
    leaks = says(graded(assessment=f"Your key is {KEY}."))
    script = [fails(500, f"Incorrect API key: {KEY}"), fails(429, KEY), leaks]
    with Server(script, fails(401, f"bad {KEY}")) as server, pytest.raises(ValueError, match="status 401") as error:
        judge(config(server, connections=1))
    assert {headers["authorization"] for headers in server.headers} == {f"Bearer {KEY}"}
    out, err = capfd.readouterr()
    assert KEY not in out + err + str(error.value)
    assert "bad [key]" in str(error.value)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} >= {".eval", ".json", ".jsonl"}
    for path in files:
        assert KEY.encode() not in path.read_bytes(), path
    (info,) = list_eval_logs(str(tmp_path / "judged" / "logs"))  # which is compressed
    assert KEY not in read_eval_log(info).model_dump_json()
    assert "Your key is [key]." in read_eval_log(info).model_dump_json()


def test_two_runs_in_one_folder_are_refused(config, tmp_path):
    (tmp_path / "judged").mkdir()
    with (tmp_path / "judged" / ".lock").open("w") as lock, Server() as server:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(BlockingIOError, match="in use by another judge"):
            judge(config(server))
        assert not server.requests


def test_a_dry_run_says_what_is_left_and_asks_and_writes_nothing(config, tmp_path):
    settings = {"dry_run": True, "price_in": 1.0, "price_out": 2.0, "spend_cap_usd": 3.0}
    said = judge(config(**settings))
    assert said.startswith("6 of 6 to ask of judge-1 at 127.0.0.1:9: about ")
    assert said.endswith("; spend_cap_usd of $3.00, of which 0 tokens, $0.00 spent")
    assert not (tmp_path / "judged").exists()


@pytest.mark.parametrize(
    "changed", [{"temperature": 0.0}, {"model": "judge-2"}, {"max_tokens": 7}, {"orders": "rotated"}]
)
def test_a_folder_is_that_of_one_judge(config, told, tmp_path, changed):
    one = write_completions(tmp_path / "one", {"Once": ["a."]})
    (tmp_path / "judged").mkdir()
    from frailt.judge.judge import settings_of

    (tmp_path / "judged" / "judge.json").write_text(json.dumps(settings_of(config())))
    (name,) = changed
    with pytest.raises(ValueError, match=f"{name} must stay as it was in .*: choose another out"):
        judge(config(completions=[str(one)], **changed))


def test_a_folder_of_something_else_is_refused(config, told):
    with pytest.raises(FileExistsError, match="out must be a new or empty folder"):
        judge(config(out=str(told)))


def test_a_disk_that_is_full_ends_the_run_and_is_not_hidden(config, monkeypatch):
    def full(self, asked):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Ledger, "add", full)
    with Server() as server:
        with pytest.raises(OSError, match="No space left on device"):
            judge(config(server, connections=1))
        assert len(server.requests) == 1


def test_without_the_extra_the_line_names_it(config, monkeypatch):
    monkeypatch.setattr("frailt.judge.judge.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'frailt\[judge\]'"):
        judge(config())


def test_what_needs_no_endpoint_needs_neither_torch_nor_inspect():
    program = "import sys, frailt.judge.judge, frailt.judge.quality; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not {"torch", "transformers", "datasets", "inspect_ai", "openai"} & set(done.stdout.split())
