from dataclasses import replace

import pytest

from frailt.judge.ledger import Asked, Ledger

ASKED = Asked(
    question="q1",
    story_sha256="s",
    repeat=0,
    order=["grammar", "creativity", "consistency", "plot"],
    model="m",
    endpoint="host",
    temperature=1.0,
    prompt="a\nb “c”",
    outcome="grade",
    reason=None,
    grades={"grammar": 1, "creativity": 2, "consistency": 3, "plot": 4},
    assessment="words",
    status=200,
    raw='{"a": "\\n"}\n',
    prompt_tokens=3,
    completion_tokens=5,
    tokens_from="reported",
    cost_usd=None,
    at="2026-01-01T00:00:00+00:00",
    elapsed_s=0.5,
)
INVALID = replace(ASKED, outcome="invalid", grades=None, assessment=None, reason="words instead of a call")


def test_what_was_added_is_read_back(tmp_path):
    path = tmp_path / "replies.jsonl"
    ledger = Ledger(path)
    for asked in (INVALID, ASKED):
        ledger.add(asked)
    assert Ledger(path).all == ledger.all == [INVALID, ASKED]
    assert Ledger(path).grade("q1") == ASKED


def test_a_line_that_a_kill_cut_at_any_byte_is_dropped_and_written_over(tmp_path):
    whole = tmp_path / "whole.jsonl"
    for asked in (ASKED, INVALID):
        Ledger(whole).add(asked)
    text, first = whole.read_bytes(), whole.read_bytes().index(b"\n") + 1
    path = tmp_path / "replies.jsonl"
    for cut in range(first, len(text)):
        path.write_bytes(text[:cut])
        assert Ledger(path).all == [ASKED]
    path.write_bytes(text[:-1])
    Ledger(path).add(replace(ASKED, question="q2"))
    assert [asked.question for asked in Ledger(path).all] == ["q1", "q2"]


def test_reading_changes_nothing(tmp_path):
    path = tmp_path / "replies.jsonl"
    path.write_bytes(b'{"half": ')
    assert Ledger(path).all == []
    assert path.read_bytes() == b'{"half": '


@pytest.mark.parametrize("line", [b"{", b"{}", b"[1]", b'{"question": 1}', b""])
def test_a_damaged_line_before_the_last_is_refused_with_its_number(tmp_path, line):
    path = tmp_path / "replies.jsonl"
    Ledger(path).add(ASKED)
    path.write_bytes(path.read_bytes() + line + b"\n")
    with pytest.raises(ValueError, match="damaged line 2: restore"):
        Ledger(path)


def test_a_question_is_settled_by_a_grade_or_by_so_many_invalid_replies(tmp_path):
    ledger = Ledger(tmp_path / "replies.jsonl")
    lost = replace(INVALID, outcome="lost")
    for number, asked in enumerate([lost, lost, INVALID, lost]):
        ledger.add(asked)
        assert not ledger.settled("q1", 2), number
    ledger.add(INVALID)
    assert ledger.unscored("q1", 2) == "2 replies without a valid call, the last: words instead of a call"
    assert not ledger.settled("q1", 3)
    ledger.add(ASKED)
    assert ledger.unscored("q1", 2) is None
    assert ledger.settled("q1", 3)
