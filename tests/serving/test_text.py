"""What a reader sees of a text while it is told."""

from hypothesis import given
from hypothesis import strategies as st

from frailt.data.tokenizer import encode_stories
from frailt.inference.detokenizer import Detokenizer
from frailt.serving.text import StopStrings, Told

from ..conftest import make_byte_tokenizer

BYTES = make_byte_tokenizer()


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
