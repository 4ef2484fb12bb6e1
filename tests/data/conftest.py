"""A small corpus and a tokenizer trained on it, made once."""

from pathlib import Path

import pytest

from frailt.data.builtin import stories
from frailt.data.tokenizer import save_tokenizer, train_tokenizer


@pytest.fixture(scope="session")
def documents() -> list[str]:
    return list(stories(211, seed=5))


@pytest.fixture(scope="session")
def trained(documents):
    """A tokenizer of 401 ids trained on the documents."""
    return train_tokenizer(documents, 401)


@pytest.fixture(scope="session")
def model_file(trained, tmp_path_factory) -> Path:
    """The sentencepiece model of `trained`."""
    folder = tmp_path_factory.mktemp("tokenizer")
    save_tokenizer(trained, folder)
    return folder / "tokenizer.model"
