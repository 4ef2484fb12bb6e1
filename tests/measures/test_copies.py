"""Copied runs against looking for every run of words in every story."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frailt.measures.copies import LONG_COPY, Runs, copied

WORDS = st.lists(st.sampled_from(["a", "b", "c", "new"]), max_size=14)


def has(story, run) -> bool:
    return any(story[i : i + len(run)] == run for i in range(len(story) - len(run) + 1))


def shared_by_hand(text, stories) -> list[int]:
    """For each word the longest run that ends there and stands in one story."""
    return [
        max(n for n in range(end + 1) if n == 0 or any(has(story, text[end - n : end]) for story in stories))
        for end in range(1, len(text) + 1)
    ]


def shared(texts, stories) -> list[list[int]]:
    runs = Runs(texts)
    for story in stories:
        runs.read(story)
    return list(runs.shared())


@settings(deadline=None, max_examples=100)
@given(texts=st.lists(WORDS, max_size=5), stories=st.lists(WORDS, max_size=5))
def test_every_run_is_found_as_by_brute_force(texts, stories):
    assert shared(texts, stories) == [shared_by_hand(text, stories) for text in texts]


def test_long_texts_of_few_words_too():
    rng = random.Random(5)
    texts = [[rng.choice("ab") for _ in range(41)] for _ in range(5)]
    stories = [[rng.choice("abz") for _ in range(53)] for _ in range(3)] + [texts[3][5:37], texts[0]]
    found = shared(texts, stories)
    assert found == [shared_by_hand(text, stories) for text in texts]
    assert max(found[0]) == 41
    assert max(found[3]) >= 32


def test_a_run_goes_neither_over_the_end_of_a_story_nor_of_a_text():
    assert shared([["a", "b", "c", "d"]], [["a", "b"], ["c", "d"]]) == [[1, 2, 1, 2]]
    assert shared([["a", "b"], ["c", "d"]], [["a", "b", "c", "d"]]) == [[1, 2], [1, 2]]


def test_the_longest_run_and_the_share_by_hand():
    text = [f"w{i}" for i in range(40)]
    stories = [text[2 : 2 + LONG_COPY], text[8:21], text[30 : 30 + LONG_COPY - 1]]
    [found] = shared([text], stories)
    about = copied(text, found)
    assert about.run == text[8:21]
    assert about.share == pytest.approx((21 - 2) / 40)  # two runs that overlap; one word less is not long enough


@settings(deadline=None)
@given(text=WORDS, stories=st.lists(WORDS, max_size=3))
def test_the_share_is_of_the_words_that_any_long_run_covers(text, stories):
    import frailt.measures.copies as module

    long, module.LONG_COPY = module.LONG_COPY, 3
    try:
        about = copied(text, shared_by_hand(text, stories))
    finally:
        module.LONG_COPY = long
    covered = {
        place
        for begin in range(len(text))
        for end in range(begin + 3, len(text) + 1)
        if any(has(story, text[begin:end]) for story in stories)
        for place in range(begin, end)
    }
    assert about.share == (pytest.approx(len(covered) / len(text)) if text else None)


def test_an_empty_text_has_no_share():
    about = copied([], [])
    assert (about.run, about.share) == ([], None)
