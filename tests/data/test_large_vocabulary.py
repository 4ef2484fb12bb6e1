"""An existing tokenizer of more than 65,536 ids, and contexts past 512, from the corpus to a step of training."""

import json
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from frailt.data.packing import PreparedData
from frailt.data.prepare import PrepareConfig, prepare
from frailt.training.train import train

WORDS = 65_537
BOS = WORDS  # the largest id
DOCUMENTS = [" ".join(f"w{(index * 7919 + place * 31) % WORDS}" for place in range(41)) for index in range(97)]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory) -> str:
    """The folder of a Hugging Face tokenizer with an id for every word and, past them all, a BOS."""
    folder = tmp_path_factory.mktemp("words")
    vocabulary = {f"w{index}": index for index in range(WORDS)}
    backend = Tokenizer(models.WordLevel(vocabulary | {"<s>": BOS}, unk_token="w0"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>").save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    """Documents that use words from the whole vocabulary, `w65536` among them."""
    path = tmp_path_factory.mktemp("corpus") / "corpus.jsonl"
    path.write_text("\n".join(json.dumps({"text": f"w65536 {document}"}) for document in DOCUMENTS))
    return path


@pytest.fixture(scope="module")
def data(tokenizer, corpus, tmp_path_factory) -> PreparedData:
    out = tmp_path_factory.mktemp("large") / "data"
    return prepare(PrepareConfig(source=str(corpus), tokenizer=tokenizer, validation_share=0.3, out=str(out)))


def test_ids_above_65535_are_written_in_four_bytes_and_come_back(data):
    assert data.manifest.dtype == "uint32"
    assert data.manifest.vocab_size == WORDS + 1
    assert (data.folder / "train.bin").stat().st_size == 4 * len(data.split("train").tokens)
    tokens = np.concatenate([data.split(name).tokens for name in ("train", "validation")])
    assert np.count_nonzero(tokens == BOS) == len(DOCUMENTS)
    assert np.count_nonzero(tokens == 65_536) >= len(DOCUMENTS)
    assert sum(data.manifest.splits[name].longest_document_tokens for name in data.manifest.splits) == 2 * (1 + 1 + 41)
    texts = data.tokenizer().decode(tokens).split("<s> ")
    assert sorted(text.strip() for text in texts if text) == sorted(f"w65536 {document}" for document in DOCUMENTS)
    data.verify()


def test_ids_above_65535_are_streamed(data, tokenizer, corpus, tmp_path):
    streamed = prepare(
        PrepareConfig(
            source=str(corpus), tokenizer=tokenizer, validation_share=0.3, stream=True, out=str(tmp_path / "out")
        )
    )
    rows = streamed.split("train").rows(1031)
    inputs, targets = rows.batch([0, 1])
    rows.close()
    assert np.array_equal((inputs, targets), data.split("train").rows(1031).batch([0, 1]))
    assert inputs.max() == BOS


def test_a_model_is_trained_on_ids_above_65535_in_a_context_above_512(data, tiny, tmp_path):
    result = train(tiny(data.folder, tmp_path / "run", context=613, steps=2, batch_rows=1))
    assert result.tokens == 2 * 613
    # Of a model that knows nothing, every word is as likely.
    assert result.validation.nats_per_token == pytest.approx(np.log(WORDS + 1), abs=0.1)
