"""Words, repetition and distinct n-grams, against counting by hand and against drawing."""

import random
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frailt.measures.words import distinct, ngrams, repetition, told_words, word_ends, words

TEXTS = st.lists(st.sampled_from("abc"), min_size=1, max_size=9)


def test_words_are_letters_and_digits_in_lower_case():
    assert words('"Don’t," said Tom\'s 2 dogs_and—CATS. İa') == [
        "don't", "said", "tom's", "2", "dogs", "and", "cats", "i\u0307a",
    ]  # fmt: skip
    assert words(" ...!\n") == []


def test_a_word_that_the_beginning_started_is_not_told():
    assert told_words("Tom was hap", "py and sad") == ["and", "sad"]
    assert told_words("Tom didn", "'t go") == ["go"]
    assert told_words("Tom was", " happy") == ["happy"]
    assert told_words("", "Tom") == ["tom"]


@given(st.text(alphabet="aB'’ .2_é"))
def test_words_end_where_their_ends_say(text):
    assert [words(text[:end])[-1] for end in word_ends(text)] == words(text)


def test_repetition_by_hand():
    # ab bc ca ab bc: of five pairs the last two stood there before.
    assert repetition(["a", "b", "c", "a", "b", "c"], 2) == pytest.approx(2 / 5)
    assert repetition(["a", "b", "c", "d"], 2) == 0
    assert repetition(["a", "a", "a", "a", "a"], 4) == pytest.approx(1 / 2)
    assert repetition(["a", "b", "c"], 4) is None


def test_distinct_of_all_ngrams_is_their_plain_share():
    text = ["a", "b", "c", "a", "b", "c", "a"]
    assert distinct(text, 1, drawn=7) == pytest.approx(3 / 7)
    assert distinct(text, 2, drawn=6) == pytest.approx(3 / 6)
    assert distinct(text, 2, drawn=7) is None


@settings(deadline=None)
@given(text=TEXTS, n=st.integers(1, 3), drawn=st.integers(1, 5))
def test_distinct_is_the_mean_over_all_ways_to_draw(text, n, drawn):
    found = ngrams(text, n)
    if len(found) < drawn:
        assert distinct(text, n, drawn) is None
        return
    ways = [len(set(way)) / drawn for way in combinations(found, drawn)]
    assert distinct(text, n, drawn) == pytest.approx(sum(ways) / len(ways))


def test_distinct_does_not_grow_or_fall_with_length_as_the_plain_share_does():
    rng = random.Random(0)
    short, long = ([rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(size)] for size in (150, 3000))
    assert abs(len(set(short)) / 150 - len(set(long)) / 3000) > 0.15
    assert distinct(short, 1) == pytest.approx(distinct(long, 1), abs=0.03)
