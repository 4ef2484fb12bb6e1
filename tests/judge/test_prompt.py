import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frailt.judge.prompt import CATEGORIES, rotated, story_sha256, template, user_message


@pytest.fixture(scope="session")
def paper(reference_data):
    text = reference_data.parent / "paper" / "frailt.txt"
    if not text.is_file():
        pytest.skip("the paper's text is not there")
    return text.read_text(encoding="utf-8")


def test_the_prompt_is_the_papers_word_for_word(paper):
    assert f"\n\n{template()}\n\n" in paper


def test_of_the_message_only_the_story_is_ours():
    before, after = template().split("{story}")
    assert user_message("Once", " upon a time", CATEGORIES) == f"{before}Once ***  upon a time{after}"


def test_asterisks_in_a_story_are_set_apart_so_that_they_are_no_separator():
    asked = user_message("a ***b", "c **** d ** e")
    assert asked.count("***") == template().count("***") + 1
    assert "a * * *b *** c * * * * d ** e" in asked


@given(st.text("*{} as\n", max_size=20), st.text("*{} as\n", max_size=20))
def test_the_separator_is_there_once_whatever_the_story(beginning, completion):
    before, after = template().split("{story}")
    story = user_message(beginning, completion).removeprefix(before).removesuffix(after)
    assert len(re.findall(r"\*{3,}", story)) == 1
    first, second = story.split(" *** ")
    assert (first.replace("*", "").replace(" ", ""), second.replace("*", "").replace(" ", "")) == (
        beginning.replace("*", "").replace(" ", ""),
        completion.replace("*", "").replace(" ", ""),
    )


def test_braces_in_a_story_are_not_filled_in():
    assert "say {story} and {0} *** {story}!" in user_message("say {story} and {0}", "{story}!")


def test_four_turns_put_each_category_at_each_place_once_and_the_first_is_the_papers():
    orders = [rotated(turns) for turns in range(4)]
    assert orders[0] == CATEGORIES == rotated(4)
    for place in range(4):
        assert {order[place] for order in orders} == set(CATEGORIES)
    assert "1. Creativity" in template(rotated(1))
    assert "4. Grammar" in template(rotated(1))


def test_a_story_is_identified_by_where_it_is_divided_too():
    assert story_sha256("ab", "c") == story_sha256("ab", "c") != story_sha256("a", "bc")
