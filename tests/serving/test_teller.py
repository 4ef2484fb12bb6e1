"""Several texts told together, against each told alone."""

import threading

import numpy as np
import pytest

from frailt.inference.batch import Batch
from frailt.inference.decoding import Decoder
from frailt.inference.drawing import Greedy, Sampling
from frailt.serving.choosing import numbers_of
from frailt.serving.errors import Refused
from frailt.serving.teller import Teller
from frailt.serving.telling import FAILED, LENGTH, STOP, STOPPING, Row

from .conftest import CONTEXT, make_model

GREEDY = Sampling(temperature=0)
STOPS = [258]


class Heard:
    """A row, and what it hears."""

    def __init__(self, prompt, room=40, sampling=GREEDY, seed=0, at=lambda heard: None):
        self.tokens, self.reason, self.ended, self.at = [], None, threading.Event(), at
        self.row = Row(prompt=prompt, room=room, sampling=sampling, numbers=numbers_of(seed, 0), hear=self.hear)

    def hear(self, token, reason):
        assert self.reason is None
        if token is not None:
            self.tokens.append(token)
        self.reason = reason
        self.at(self)
        if reason:
            self.ended.set()

    def wait(self):
        assert self.ended.wait(30)
        return self.tokens, self.reason


@pytest.fixture(scope="module")
def decoder():
    return Decoder(make_model(259))


@pytest.fixture
def tellers(decoder):
    """Makes tellers, and ends them."""
    made = []

    def make(max_concurrent=4, max_waiting=4, start=True, stops=STOPS):
        def post(events):
            for row, token, reason in events:
                row.hear(token, reason)

        made.append(
            Teller(
                decoder.step, stops=stops, max_concurrent=max_concurrent, max_waiting=max_waiting, post=post, threads=1
            )
        )
        if start:
            made[-1].start()
        return made[-1]

    yield make
    for teller in made:
        teller.close(0)
        if teller._thread.ident:
            teller.join()


def alone(decoder, prompt, room=40, stops=STOPS):
    """As `Decoder.stream` has it, which knows nothing of others."""
    tokens = list(decoder.stream(prompt, Greedy(), stops=stops, max_new_tokens=room))
    return (tokens[:-1], STOP) if tokens[-1] in stops else (tokens, LENGTH)


def test_greedy_texts_told_together_are_those_told_alone(decoder, tellers):
    prompts = [[7], [3, 100, 40], list(range(60, 90)), [9, 9, 9]]
    heard = [Heard(prompt, room) for prompt, room in zip(prompts, (40, 1, 25, 60), strict=True)]
    stops = [STOPS[0], alone(decoder, prompts[0])[0][20]]  # one that the first comes to
    tellers(stops=stops).submit([each.row for each in heard])
    expected = [alone(decoder, prompt, each.row.room, stops) for prompt, each in zip(prompts, heard, strict=True)]
    assert [each.wait() for each in heard] == expected
    assert {reason for _, reason in expected} == {STOP, LENGTH}


def test_a_text_that_fills_the_context_ends_there(decoder, tellers):
    prompt = [5] * (CONTEXT - 3)
    heard = Heard(prompt, room=3)
    tellers().submit([heard.row])
    assert heard.wait() == alone(decoder, prompt, 3)
    assert len(heard.tokens) == 3


def test_one_that_comes_later_joins_at_once_and_changes_nothing(decoder, tellers):
    teller, late, order = tellers(), None, []

    def begin(heard):
        nonlocal late
        order.append("early")
        if len(heard.tokens) == 5:
            late = Heard([42] * 200, room=10, at=lambda heard: order.append("late"))
            teller.submit([late.row])

    early = Heard([7], room=60, at=begin)
    teller.submit([early.row])
    assert early.wait() == alone(decoder, [7], 60)
    assert late.wait() == alone(decoder, [42] * 200, 10)
    assert order == ["early"] * 5 + ["early", "late"] * 10 + ["early"] * 45


@pytest.fixture
def read(decoder, monkeypatch):
    """Shapes of what the model reads."""
    shapes, forward = [], decoder.model.forward

    def noting(input_ids, **more):
        shapes.append(tuple(input_ids.shape))
        return forward(input_ids, **more)

    monkeypatch.setattr(decoder.model, "forward", noting)
    return shapes


def test_each_text_is_read_once(tellers, read):
    rows = [Heard([9] * length, room) for length, room in ((3, 5), (43, 12), (83, 19), (123, 26))]
    tellers(max_concurrent=2).submit([each.row for each in rows])
    [each.wait() for each in rows]
    assert read == [(2, 43), (1, 83), (1, 123)]


def test_only_so_much_is_read_between_two_steps_and_any_prompt_by_itself(tellers, read, monkeypatch):
    monkeypatch.setattr("frailt.serving.teller.READ_PER_STEP", 100)
    rows = [Heard([9] * length) for length in (40, 50, 20, 150, 3, 9)]
    tellers(max_concurrent=6).submit([each.row for each in rows])
    [each.wait() for each in rows]
    assert read == [(2, 50), (1, 20), (1, 150), (2, 9)]


def test_texts_that_ended_cost_nothing_soon(decoder, tellers, monkeypatch):
    rows, advance = [], Batch.advance
    monkeypatch.setattr(Batch, "advance", lambda batch, tokens: rows.append(len(tokens)) or advance(batch, tokens))
    heard = [Heard([9, i], room) for i, room in enumerate((3, 9, 9, 9, 9, 5))]
    tellers(max_concurrent=6).submit([each.row for each in heard])
    [each.wait() for each in heard]
    assert rows == [6] * 4 + [4] * 4  # the one that ended first is dropped with the second


def test_a_seed_draws_the_same_text_in_any_company(tellers):
    sampling = Sampling(temperature=0.9, top_p=0.9)

    def told(company):
        teller, wanted = tellers(max_concurrent=3), Heard([7, 8], sampling=sampling, seed=5)
        rows = [Heard([i, 99], 10 + 7 * i, Sampling(top_p=1.0 - i / 20), seed=i) for i in range(company)]
        teller.submit([each.row for each in [*rows[: company // 2], wanted, *rows[company // 2 :]]])
        [each.wait() for each in rows]
        return wanted.wait()

    first = told(0)
    assert first == told(6)
    assert first[0] != Heard([7, 8]).tokens


def test_seeds_and_samples_draw_different_texts():
    draws = {tuple(np.round(numbers_of(seed, sample).random(4), 6)) for seed in range(5) for sample in range(5)}
    assert len(draws) == 25


def test_no_more_wait_than_there_are_places(tellers):
    teller = tellers(max_concurrent=2, max_waiting=3, start=False)
    rows = [Heard([7]).row for _ in range(6)]
    teller.submit(rows[:4])
    assert teller.counts() == (0, 4)
    with pytest.raises(Refused) as refused:
        teller.submit(rows[4:])
    assert (refused.value.status, refused.value.headers) == (429, {"Retry-After": "1"})
    assert "texts must be at most 1 now" in refused.value.message
    teller.drop(rows[1:3])
    assert teller.counts() == (0, 2)
    teller.submit(rows[4:])


def test_a_text_that_nobody_wants_any_more_ends_within_a_step(decoder, tellers):
    teller = tellers()

    def leave(heard):
        if len(heard.tokens) == 5:
            teller.drop([heard.row])

    unwanted, other = Heard([7], room=1000, at=leave), Heard([8], room=9)
    teller.submit([unwanted.row, other.row])
    assert other.wait() == alone(decoder, [8], 9)
    last = Heard([9], room=3)
    teller.submit([last.row])
    assert last.wait() == alone(decoder, [9], 3)
    assert len(unwanted.tokens) == 5
    assert teller.counts() == (0, 0)


def test_a_failure_ends_the_texts_under_way_and_no_others(decoder, tellers, monkeypatch, capfd):
    teller, prompt = tellers(), " ".join(["se", "crets"])

    def fail(*_, **__):
        raise RuntimeError(prompt)

    with monkeypatch.context() as patch:
        patch.setattr(Batch, "join", fail)
        heard = Heard([7])
        teller.submit([heard.row])
        assert heard.wait() == ([], FAILED)
    after = Heard([7])
    teller.submit([after.row])
    assert after.wait() == alone(decoder, [7])
    said = capfd.readouterr().err
    assert "RuntimeError" in said
    assert prompt not in said


def test_closing_ends_what_waits_at_once_and_what_is_told_after_the_grace(decoder, tellers):
    teller = tellers(max_concurrent=1)
    begun = threading.Event()
    telling = Heard([7], room=CONTEXT - 1, at=lambda heard: begun.set())
    waiting = Heard([8])
    teller.submit([telling.row, waiting.row])
    assert begun.wait(30)
    teller.close(30)
    assert waiting.wait() == ([], STOPPING)
    with pytest.raises(Refused, match="stopping"):
        teller.submit([Heard([9]).row])
    teller.close(0)
    tokens, reason = telling.wait()
    assert reason == STOPPING
    assert tokens == alone(decoder, [7], len(tokens))[0]
    teller.join()
