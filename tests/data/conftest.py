"""A small corpus and a tokenizer trained on it, made once."""

from pathlib import Path
from types import SimpleNamespace

import datasets
import huggingface_hub
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


@pytest.fixture
def hub(monkeypatch):
    """A dataset `some/dataset`, two train files of three documents, as if on the Hub; a list of what is asked."""
    asked = []

    def rows(files):
        for file in files:
            yield from ({"text": f"{file}{index}"} for index in range(3))
            if file == "broken":
                raise ConnectionError("reset\nby peer")

    def load(name, split, streaming, revision):
        asked.append((name, split, streaming, revision))
        files = ["a", "broken" if name == "some/broken" else "b"]
        return datasets.IterableDataset.from_generator(rows, gen_kwargs={"files": files})

    def info(self, name):
        if name.startswith("nobody/"):
            raise ConnectionError("404 Client Error.\nMore lines.")
        return SimpleNamespace(sha="c0ffee")

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", info)
    monkeypatch.setattr(datasets, "get_dataset_split_names", lambda name, revision: ["train", "test"])
    monkeypatch.setattr(datasets, "load_dataset", load)
    return asked
