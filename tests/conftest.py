"""Fixtures shared by all tests. Sizes are distinct primes wherever the model allows, so that mixed-up axes fail."""

import gc
import os
from functools import cache
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from frailt.data.prepare import PrepareConfig, prepare
from frailt.training.config import ModelConfig, TrainConfig
from frailt.training.hardware import matmul_flops_per_s
from frailt.training.train import train

REFERENCE_DATA = Path(os.environ.get("FRAILT_REFERENCE_DATA", Path(__file__).parents[2] / "shared" / "data"))


@pytest.fixture(scope="session")
def reference_data() -> Path:
    """The folder of reference data; tests that ask for it are skipped where there is none."""
    if not REFERENCE_DATA.is_dir():
        pytest.skip(f"no reference data at {REFERENCE_DATA}; set FRAILT_REFERENCE_DATA")
    return REFERENCE_DATA


@pytest.fixture(scope="session", autouse=True)
def _quick_starts():
    """Once for all runs what half of a tiny one's time goes into: measuring the machine, and looking through libraries
    for garbage, which the Trainer has done whenever it starts."""
    gc.freeze()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("frailt.training.choices.matmul_flops_per_s", cache(matmul_flops_per_s))
        yield


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


# A small corpus and two small runs on it, made once, that the tests of training and of everything after it share.


def tiny_config(data: Path, out: Path, layout: str = "2^2", **changes) -> TrainConfig:
    """A training run of a second or two."""
    model = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32}
    settings = {
        "model": ModelConfig(layout=layout, **(model | changes.pop("model", {}))),
        "context": 47,
        "steps": 5,
        "batch_rows": 8,
        "precision": "float32",
        "device": "cpu",
        "threads": 1,
        "evaluations": 1,
        "evaluation_share": 0.2,
        "log_every_steps": 1,
    }
    return TrainConfig(data=str(data), out=str(out), **(settings | changes))


@pytest.fixture(scope="session")
def tiny():
    """`tiny_config`, for tests in folders that cannot import this one."""
    return tiny_config


@pytest.fixture(scope="session")
def prepared(tmp_path_factory) -> Path:
    """150 built-in stories with a vocabulary of 330 trained on them."""
    out = tmp_path_factory.mktemp("prepared") / "data"
    prepare(PrepareConfig(source="builtin", stories=150, vocab_size=330, validation_share=0.06, out=str(out)))
    return out


def make_byte_tokenizer() -> PreTrainedTokenizerFast:
    """One id per byte, and BOS and EOS: 258 ids, with nothing to train and nothing unknown."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE({letter: index for index, letter in enumerate([*letters, "<s>", "</s>"])}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>")


@pytest.fixture(scope="session")
def byte_tokenizer() -> PreTrainedTokenizerFast:
    return make_byte_tokenizer()


@pytest.fixture(scope="session")
def prepared_in_bytes(byte_tokenizer, tmp_path_factory) -> Path:
    """Twenty built-in stories in another vocabulary, that of `byte_tokenizer`."""
    folder = tmp_path_factory.mktemp("bytes")
    byte_tokenizer.save_pretrained(folder / "tokenizer")
    prepare(
        PrepareConfig(
            source="builtin",
            stories=20,
            validation_share=0.2,
            tokenizer=str(folder / "tokenizer"),
            out=str(folder / "data"),
        )
    )
    return folder / "data"


@pytest.fixture(scope="session")
def run(prepared, tmp_path_factory) -> Path:
    """The run folder of a small `2^2`."""
    out = tmp_path_factory.mktemp("runs") / "2^2"
    train(tiny_config(prepared, out, steps=24, evaluations=3, log_every_steps=4, learning_rate=0.01))
    return out


@pytest.fixture(scope="session")
def plain_run(prepared, tmp_path_factory) -> Path:
    """The run folder of its baseline `2`."""
    out = tmp_path_factory.mktemp("runs") / "2"
    train(tiny_config(prepared, out, "2", steps=24, evaluations=3, log_every_steps=4, learning_rate=0.01))
    return out
