"""Text that is given while it comes, against the text that it comes to."""

from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frailt.data.builtin import stories
from frailt.data.tokenizer import encode_stories, train_tokenizer
from frailt.inference.detokenizer import Detokenizer
from frailt.inference.generate import continuation

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


def test_a_run_of_bytes_is_decoded_once(monkeypatch):
    found, decoded = Detokenizer(PIECES, []), []
    decode = found._decode
    monkeypatch.setattr(found, "_decode", lambda tokens: decoded.append(len(tokens)) or decode(tokens))
    line, word = PIECES.convert_tokens_to_ids("<0x0A>"), encode_stories(PIECES, ["once"])[0][1]
    shown = [found.add(token) for token in [line] * 500 + [word]]
    assert "".join(shown) == continuation(PIECES, [PIECES.bos_token_id], [line] * 500 + [word])
    assert len(decoded) == 2
