"""What asking makes of an endpoint that misbehaves: no grade is lost, invented or paid for twice."""

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import anyio
import pytest

pytest.importorskip("inspect_ai", reason="needs the extra judge")

from frailt.judge.ask import Asker
from frailt.judge.completions import read_completions
from frailt.judge.ledger import Ledger
from frailt.judge.purse import CapReached, Purse
from frailt.judge.questions import questions
from frailt.judge.wire import _seconds

from .server import (
    COMPLETION_TOKENS,
    PROMPT_TOKENS,
    Server,
    call,
    cut,
    fails,
    grade,
    graded,
    hang,
    message,
    no_json,
    no_usage,
    says,
    slow,
)

PAID = PROMPT_TOKENS + COMPLETION_TOKENS


class Asking:
    """Asks all questions of a configuration, as a run does but without Inspect's log."""

    def __init__(self, config, first: int | None = None):
        self.config = config
        self.questions = questions(config, [read_completions(folder) for folder in config.completions])[:first]
        self.folder = read_completions(config.completions[0]).folder.parent
        self.ledger = Ledger(self.folder / "replies.jsonl")
        self.purse = Purse(config, self.ledger)

    def run(self) -> "Asking":
        anyio.run(self._all)
        return self

    async def _all(self):
        self.asker = Asker(self.config, self.ledger, self.purse)
        async with anyio.create_task_group() as group:
            for question in self.questions:
                group.start_soon(self.asker.ask, question)

    @property
    def outcomes(self):
        return [asked.outcome for asked in self.ledger.all]

    @property
    def grades(self):
        return [self.ledger.grade(question.key) for question in self.questions]


TRANSIENT = {
    "429": fails(429),
    "408": fails(408),
    "500": fails(500),
    "503": fails(503, "<busy>"),
    "a cut connection": cut,
    "a hang": hang,
}
INVALID = {
    "no JSON": no_json,
    "arguments that are no JSON": says(message(tool_calls=[call(arguments='{"grammar": 7,')])),
    "missing fields": says(message(tool_calls=[call(arguments={"assessment": "x"})])),
    "out of range": says(graded(plot=11)),
    "no whole number": says(graded(plot=7.5)),
    "a refusal": says(message(refusal="No."), "stop"),
    "words": says(message(content="Grammar: 7, creativity: 6, consistency: 8, plot: 5"), "stop"),
    "two calls": says(message(tool_calls=[call(), call(number=1)])),
    "another tool": says(message(tool_calls=[call("search")])),
    "no choices": lambda handler, request: handler.reply(200, b'{"object": "chat.completion", "choices": []}', {}),
}


@pytest.mark.parametrize("behaviour", TRANSIENT.values(), ids=TRANSIENT)
def test_what_passes_is_asked_again_and_graded_once(config, behaviour):
    with Server([behaviour, behaviour]) as server:
        asking = Asking(config(server, timeout_s=0.5, connections=1), 1).run()
    assert asking.outcomes[-1] == "grade"
    assert set(asking.outcomes[:-1]) <= {"failed", "lost"}
    assert len(server.requests) == len(asking.ledger.all) == 3
    assert asking.purse.tokens == server.paid_tokens == PAID
    assert asking.asker.ended is None


@pytest.mark.parametrize("behaviour", INVALID.values(), ids=INVALID)
def test_a_reply_without_a_valid_call_is_asked_again_and_paid(config, behaviour):
    with Server([behaviour]) as server:
        asking = Asking(config(server, connections=1), 1).run()
    assert asking.outcomes == ["invalid", "grade"]
    assert asking.ledger.all[0].grades is None
    assert asking.ledger.all[0].reason
    assert asking.grades[0].grades == {"grammar": 7, "creativity": 6, "consistency": 8, "plot": 5}
    reported = sum(asked.tokens_from == "reported" for asked in asking.ledger.all)
    assert server.paid_tokens == PAID * reported
    assert asking.purse.tokens >= server.paid_tokens


@pytest.mark.parametrize("behaviour", INVALID.values(), ids=INVALID)
def test_after_so_many_replies_a_story_is_unscored_with_the_reason_and_never_asked_again(config, behaviour):
    with Server(otherwise=behaviour) as server:
        settings = config(server, connections=1, max_attempts=2)
        first = Asking(settings, 1).run()
        assert first.grades == [None]
        reason = first.ledger.unscored(first.questions[0].key, 2)
        assert reason.startswith("2 replies without a valid call, the last: ")
        assert all(asked.grades is None for asked in first.ledger.all)
        Asking(settings, 1).run()
        assert len(server.requests) == 2


def test_one_forced_call_is_asked_for_with_the_assessment_first(config):
    with Server() as server:
        asking = Asking(config(server, temperature=0.25, max_tokens=77), 1).run()
    (request,) = server.requests
    assert request["tool_choice"] == {"type": "function", "function": {"name": "grade"}}
    (offered,) = request["tools"]
    fields = offered["function"]["parameters"]
    assert list(fields["properties"]) == ["assessment", "grammar", "creativity", "consistency", "plot"]
    assert fields["required"] == list(fields["properties"])
    assert [one["role"] for one in request["messages"]] == ["system", "user"]
    assert request["messages"][1]["content"] == asking.questions[0].prompt
    assert (request["model"], request["temperature"], request["max_tokens"]) == ("judge-1", 0.25, 77)


def test_a_call_of_any_tool_may_be_required_instead_of_the_one_by_name(config):
    with Server() as server:
        Asking(config(server, tool_choice="required"), 1).run()
    (request,) = server.requests
    assert request["tool_choice"] == "required"
    assert len(request["tools"]) == 1


def test_rotated_orders_turn_prompt_and_tool_with_each_repeat(config):
    with Server() as server:
        Asking(config(server, orders="rotated", repeats=4, connections=1)).run()
    seen = set()
    for request in server.requests:
        order = list(request["tools"][0]["function"]["parameters"]["properties"])[1:]
        assert f"1. {order[0].capitalize()}:" in request["messages"][1]["content"]
        seen.add(tuple(order))
    assert len(seen) == 4
    assert len(server.requests) == 24


def test_the_ledger_keeps_prompt_and_answer_to_the_letter(config):
    with Server() as server:
        asking = Asking(config(server), 1).run()
    (asked,) = Ledger(asking.ledger.path).all
    assert asked.prompt == server.prompts()[0]
    assert json.loads(asked.raw)["choices"][0]["message"] == graded()
    assert (asked.status, asked.prompt_tokens, asked.completion_tokens) == (200, PROMPT_TOKENS, COMPLETION_TOKENS)


def test_no_more_requests_are_under_way_than_connections(config):
    with Server(otherwise=slow(0.3)) as server:
        Asking(config(server, connections=2)).run()
    assert server.most_at_once == 2


def test_retries_are_bounded_and_what_failed_is_left_open_not_unscored(config):
    with Server(otherwise=fails(503)) as server:
        asking = Asking(config(server, retries=2, connections=1), 1).run()
    assert len(server.requests) == 3
    assert not asking.ledger.settled(asking.questions[0].key, 1)
    assert asking.purse.tokens == 0


def test_an_endpoint_that_fails_again_and_again_ends_the_run(config):
    with Server(otherwise=fails(500)) as server:
        asking = Asking(config(server, retries=1, connections=1)).run()
    assert isinstance(asking.asker.ended, ConnectionError)
    assert len(server.requests) == 6  # three stories, each sent twice, of six


@pytest.mark.parametrize("status", [302, 401, 402, 403, 404, 405])
def test_a_refused_request_ends_the_run_at_once(config, status):
    with Server(otherwise=fails(status, "no such model")) as server:
        asking = Asking(config(server, connections=1)).run()
    assert len(server.requests) == 1
    assert f"(status {status}: no such model); check base_url, model" in str(asking.asker.ended)


@pytest.mark.parametrize("status", [400, 413, 422])
def test_what_is_refused_before_anything_is_answered_ends_the_run_after_three_stories(config, status):
    with Server(otherwise=fails(status, "no tools here")) as server:
        asking = Asking(config(server, connections=1)).run()
    assert len(server.requests) == 3
    assert f"(status {status}: no tools here); check base_url" in str(asking.asker.ended)
    assert not any(asking.ledger.settled(question.key, 1) for question in asking.questions)


def test_one_story_that_is_refused_is_unscored_and_holds_up_no_other(config):
    def picky(handler, request):
        refused = "ran Dot" in request["messages"][1]["content"]
        (fails(400, "content policy") if refused else grade)(handler, request)

    with Server(otherwise=picky) as server:
        settings = config(server, connections=1, max_attempts=2)
        for _ in range(2):  # where it came first, nothing had been answered yet
            asking = Asking(settings).run()
    assert asking.asker.ended is None
    (refused,) = (question for question in asking.questions if not asking.ledger.grade(question.key))
    assert refused.completion == "ran Dot."
    assert asking.ledger.unscored(refused.key, 2).endswith("status 400: content policy")
    assert server.paid_tokens == asking.purse.tokens == 5 * PAID


def test_an_account_without_money_ends_the_run_at_once(config):
    body = json.dumps({"error": {"message": "You exceeded your quota", "code": "insufficient_quota"}}).encode()
    with Server(otherwise=lambda handler, request: handler.reply(429, body, {})) as server:
        asking = Asking(config(server, connections=1)).run()
    assert len(server.requests) == 1
    assert str(asking.asker.ended).startswith("the endpoint refused (status 429: You exceeded your quota); check")


def test_an_endpoint_that_comes_to_refuse_all_ends_the_run_and_no_story_is_lost(config):
    empty = fails(400, "credit balance too low")
    with Server([grade], otherwise=empty) as server:
        settings = config(server, connections=1, repeats=2, max_attempts=1)
        asking = Asking(settings).run()
        assert len(server.requests) == 1 + 5
        assert "refused 5 stories on end (status 400: credit balance too low); check" in str(asking.asker.ended)
        again = Asking(settings).run()
        assert again.outcomes[6:] == ["refused"] * 3  # no answer since then: these stay open
        server.otherwise = grade
        asking = Asking(config(server, connections=1, repeats=2, max_attempts=2)).run()
    assert all(asking.grades)
    assert server.paid_tokens == asking.purse.tokens == 12 * PAID


def test_retry_after_may_be_a_date():
    soon = datetime.now(UTC) + timedelta(seconds=90)
    assert 85 < _seconds(format_datetime(soon, usegmt=True)) <= 90
    assert [_seconds(text) for text in ("7", "9999", "soon", "Wed, 21 Oct 2015 07:28:00 GMT", None)] == [
        7.0, 300.0, None, 0.0, None,
    ]  # fmt: skip


def test_retry_after_is_heeded_and_back_off_doubles_up_to_a_minute(config, tmp_path):
    asker = Asker(config(backoff_s=2.0), Ledger(tmp_path / "none"), None)
    assert asker._wait_s(1, 7.0) == 7.0
    for failures, longest in ((1, 2), (2, 4), (3, 8), (9, 60)):
        waits = [asker._wait_s(failures, None) for _ in range(50)]
        assert longest / 2 <= min(waits) < max(waits) <= longest


# Money


def test_tokens_that_are_not_reported_are_estimated_and_said_to_be(config):
    with Server(otherwise=no_usage) as server:
        asking = Asking(config(server), 1).run()
    (asked,) = asking.ledger.all
    assert asked.tokens_from == "estimated"
    assert asked.prompt_tokens == -(-asking.questions[0].sent_bytes // 4)


def test_dollars_are_tokens_at_the_prices_given(config):
    with Server() as server:
        asking = Asking(config(server, price_in=10.0, price_out=30.0), 2).run()
    assert asking.purse.usd == pytest.approx(2 * (300 * 10 + 40 * 30) / 1e6)
    assert [asked.cost_usd for asked in asking.ledger.all] == pytest.approx([0.0042, 0.0042])


@pytest.mark.parametrize("connections", [1, 4])
@pytest.mark.parametrize("otherwise", [grade, says(graded(plot=11))], ids=["valid", "invalid"])
def test_a_cap_is_never_passed_and_leaves_less_than_one_request(config, connections, otherwise):
    with Server(otherwise=otherwise) as server:
        first = Asking(config(server, max_tokens=40))
        most = first.purse.most(first.questions[0]).tokens
        cap = most + 2 * PAID
        asking = Asking(config(server, token_cap=cap, max_tokens=40, connections=connections)).run()
    assert isinstance(asking.asker.ended, CapReached)
    assert server.paid_tokens == asking.purse.tokens <= cap
    assert len(server.requests) == 3


def test_the_cap_counts_what_runs_before_have_spent(config):
    with Server() as server:
        Asking(config(server), 2).run()
        asking = Asking(config(server, token_cap=2 * PAID)).run()
    assert len(server.requests) == 2
    assert "token_cap of 680 leaves no room" in str(asking.asker.ended)


def test_a_dollar_cap_holds_with_lines_that_were_written_without_prices(config):
    with Server() as server:
        Asking(config(server), 2).run()
        asking = Asking(config(server, price_in=1e4, price_out=0.0, spend_cap_usd=7.0)).run()
    assert asking.purse.usd == pytest.approx(6.0)
    assert len(server.requests) == 2


def test_a_request_without_an_answer_counts_against_the_cap_and_not_as_spent(config):
    with Server([cut]) as server:
        first = Asking(config(server), 1)
        most = first.purse.most(first.questions[0]).tokens
        asking = Asking(config(server, token_cap=2 * most - 1), 1).run()
        assert isinstance(asking.asker.ended, CapReached)
        assert len(server.requests) == 1
        asking = Asking(config(server, token_cap=2 * most), 1).run()
    assert asking.outcomes == ["lost", "grade"]
    assert (asking.purse.tokens, asking.purse.unknown.tokens) == (PAID, most)
    assert asking.purse.told() == f"340 tokens spent and up to {most:,} tokens more by 1 request without an answer"


def test_where_no_connection_comes_about_nothing_can_have_been_spent(config):
    asking = Asking(config(retries=0), 1).run()
    assert asking.outcomes == ["failed"]
    assert (asking.purse.tokens, asking.purse.unknown.tokens) == (0, 0)


def test_what_cannot_be_sent_is_an_error_and_no_entry(config, monkeypatch):
    async def broken(*args, **options):
        raise RuntimeError("of Inspect's own")

    asking = Asking(config(connections=1), 1)
    monkeypatch.setattr("inspect_ai.model.Model.generate", broken)
    with pytest.raises(BaseExceptionGroup) as error:
        asking.run()
    assert str(error.value.exceptions[0]) == "the request could not be made: of Inspect's own"
    assert not asking.ledger.all


def test_a_request_that_costs_more_than_guessed_raises_the_guess_for_the_next(config):
    def dear(handler, request):
        handler.answer(graded(), usage={"prompt_tokens": 5000, "completion_tokens": 10})

    with Server(otherwise=dear) as server:
        asking = Asking(config(server, connections=1, token_cap=14_000)).run()
    assert len(server.requests) == 2  # by the first guess a third would have fitted
    assert asking.purse.tokens == 10_020
    later = Purse(asking.config, Ledger(asking.ledger.path))  # and a later run knows it from the start
    assert later.most(asking.questions[0]) == asking.purse.most(asking.questions[0])
