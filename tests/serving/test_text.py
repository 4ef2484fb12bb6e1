"""Text that is shown while it comes, against the text that it comes to."""

from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frailt.data.builtin import stories
from frailt.data.tokenizer import encode_stories, train_tokenizer
from frailt.inference.generate import continuation
from frailt.serving.text import Detokenizer, StopStrings, Told

from ..conftest import make_byte_tokenizer

PIECES = train_tokenizer(list(stories(40)), 330)
BYTES = make_byte_tokenizer()
TEXTS = ["", "Once upon a time", " two  spaces", "a\n\nb", "naïve 🦊", "x 🦊 y 🐻‍❄️"]


@pytest.mark.parametrize("tokenizer", [PIECES, BYTES], ids=["pieces", "bytes"])
@given(data=st.data())
def test_pieces_of_text_are_together_the_continuation(tokenizer, data):
    bos = tokenizer.bos_token_id
    ids = st.lists(st.integers(0, len(tokenizer) - 1).filter(lambda id_: id_ != bos), max_size=12)
    spelt = st.sampled_from(TEXTS).map(lambda text: encode_stories(tokenizer, [text])[0][1:])
    parts = st.lists(st.one_of(ids, spelt), max_size=4).map(lambda parts: list(chain(*parts)))
    before, new = data.draw(parts), data.draw(parts)
    found = Detokenizer(tokenizer, before)
    shown = [found.add(token) for token in new]
    assert "".join([*shown, found.end()]) == continuation(tokenizer, [bos, *before], new)


def test_a_character_is_shown_when_it_is_whole():
    for tokenizer in (PIECES, BYTES):
        found = Detokenizer(tokenizer, [])
        shown = [found.add(token) for token in encode_stories(tokenizer, ["a 🦊 b"])[0][1:]]
        assert "".join(shown) == "a 🦊 b"
        assert sum("🦊" in part for part in shown) == 1


def test_few_tokens_are_decoded_for_each():
    found = Detokenizer(PIECES, encode_stories(PIECES, ["Once upon a time. " * 20])[0][1:])
    for token in encode_stories(PIECES, ["there was a girl. " * 20])[0][1:]:
        found.add(token)
        assert len(found._tokens) <= 2


@given(st.lists(st.text("ab", min_size=1, max_size=4), max_size=3), st.lists(st.text("ab", max_size=3), max_size=9))
def test_stop_strings_are_never_shown_nor_what_could_become_one(stops, parts):
    found, came, shown = StopStrings(stops), "", ""
    for part in parts:
        came, shown = came + part, shown + found.add(part)
        if found.met:
            break
        begun = [length for stop in stops for length in range(1, len(stop)) if came.endswith(stop[:length])]
        assert len(shown) == len(came) - max(begun, default=0)
    whole = "".join(parts)
    assert found.met == any(stop in whole for stop in stops)
    assert not any(stop in shown for stop in stops)
    if found.met:
        assert whole.startswith(shown)
        assert any(whole.startswith(stop, len(shown)) for stop in stops)
    else:
        assert shown + found.end() == whole


def test_a_stop_string_ends_a_text_with_the_token_that_completes_it():
    tokens = encode_stories(BYTES, ["one END two"])[0][1:]
    told = Told(Detokenizer(BYTES, []), ["END"])
    assert "".join(map(told.add, tokens)) == "one "
    assert (told.finish_reason, told.tokens) == ("stop", len("one END"))
    assert told.end("length") == ""
    assert told.finish_reason == "stop"


def test_what_was_kept_back_is_shown_when_the_text_ends():
    told = Told(Detokenizer(BYTES, []), ["END"])
    assert "".join(map(told.add, encode_stories(BYTES, ["the EN"])[0][1:])) == "the "
    assert told.end("length") == "EN"
    assert told.finish_reason == "length"
