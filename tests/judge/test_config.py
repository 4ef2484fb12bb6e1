import re

import pytest

REFUSED = [
    ({"completions": []}, "completions must be one folder or more"),
    ({"model": " "}, "model must be"),
    ({"base_url": "api.openai.com"}, "base_url must start with http"),
    ({"base_url": "https://me:secret@host/v1"}, "base_url must hold no credentials"),
    ({"base_url": "https://host/v1?key=secret"}, "base_url must hold no credentials"),
    ({"key_variable": "sk-secret"}, "key_variable must be the name"),
    ({"repeats": 0}, "repeats must be 1 or more, got 0"),
    ({"connections": 0}, "connections must be 1 or more, got 0"),
    ({"retries": -1}, "retries must be 0 or more, got -1"),
    ({"temperature": 2.5}, "temperature must be from 0 to 2, or null, got 2.5"),
    ({"timeout_s": 0}, "timeout_s must be a number above 0, got 0"),
    ({"timeout_s": float("nan")}, "timeout_s must be a number above 0, got nan"),
    ({"price_in": 1.0}, "price_in and price_out must be given both or neither"),
    ({"price_in": 1.0, "price_out": -1.0}, "price_out must be a number, 0 or more, got -1.0"),
    ({"spend_cap_usd": 5.0}, "spend_cap_usd needs price_in and price_out; without prices give token_cap"),
    ({"token_cap": 0}, "token_cap must be 1 or more, got 0"),
]


@pytest.mark.parametrize(("changed", "words"), REFUSED, ids=[words for _, words in REFUSED])
def test_settings_that_cannot_be_are_refused_and_no_secret_is_repeated(config, changed, words):
    with pytest.raises(ValueError, match=re.escape(words)) as error:
        config(**changed)
    assert "secret" not in str(error.value)


def test_openai_needs_a_key_and_a_local_server_none(config, monkeypatch):
    assert config().key() is None
    with pytest.raises(ValueError, match="OPENAI_API_KEY: export it"):
        config(base_url="https://api.openai.com/v1/").key()
    monkeypatch.setenv("MY_KEY", "k" * 8)
    assert config(base_url="https://api.openai.com/v1", key_variable="MY_KEY").key() == "k" * 8


def test_a_key_so_short_that_answers_hold_it_by_chance_is_refused(config, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "grammar")
    with pytest.raises(ValueError, match="got OPENAI_API_KEY with 7: unset it where the server asks for none"):
        config().key()


def test_a_key_that_no_header_can_hold_is_refused_without_showing_it(config, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "geheim\n")
    with pytest.raises(ValueError, match="OPENAI_API_KEY: set it anew") as error:
        config().key()
    assert "geheim" not in str(error.value)
