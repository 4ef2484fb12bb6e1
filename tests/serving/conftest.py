"""A tiny random model, and real servers of it, each in a process of its own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import torch
from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from frailt import FraiLTConfig, FraiLTForCausalLM
from frailt.data.tokenizer import load_tokenizer
from frailt.training.checkpoint import save_checkpoint

CONTEXT = 1511
PATIENCE_S = 60


class Running:
    """A server process."""

    def __init__(self, folder: Path, *arguments: object, environment: dict[str, str] | None = None) -> None:
        self.log = folder / "stderr"
        self.http = httpx.Client(timeout=PATIENCE_S)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "frailt", "serve", "--port=0", "--threads=1", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=self.log.open("w"),
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"} | (environment or {}),
        )

    def wait_until_ready(self) -> None:
        self.ready_line = self.process.stdout.readline()
        assert " is ready at http://127.0.0.1:" in self.ready_line, self.log.read_text()
        self.url = self.ready_line.split()[-1]
        self.root = self.url.removesuffix("/v1")

    def health(self) -> dict:
        return self.http.get(f"{self.root}/health").json()

    def wait_until_idle(self, within_s: float = PATIENCE_S) -> float:
        """Seconds until no text has a place."""
        began = time.monotonic()
        while (found := self.health())["telling"] or found["waiting"]:
            assert time.monotonic() - began < within_s, found
            time.sleep(0.01)
        return time.monotonic() - began

    def log_with(self, said: str) -> str:
        """The log, once it says so: a request is written down after it was answered."""
        began = time.monotonic()
        while said not in (log := self.log.read_text()):
            assert time.monotonic() - began < PATIENCE_S, log
            time.sleep(0.01)
        return log

    def stop(self, *signals: signal.Signals) -> int:
        for number in signals:
            self.process.send_signal(number)
            time.sleep(0.05)
        return self.process.wait(PATIENCE_S)


@contextmanager
def serving(folder: Path, *arguments: object, environment: dict[str, str] | None = None) -> Iterator[Running]:
    server = Running(folder, *arguments, environment=environment)
    try:
        server.wait_until_ready()
        yield server
    finally:
        server.process.kill()
        server.process.communicate()
        server.http.close()


def make_model(vocab_size: int) -> FraiLTForCausalLM:
    torch.manual_seed(0)
    config = FraiLTConfig(
        layout="2^2",
        hidden_size=24,
        intermediate_size=32,
        num_attention_heads=2,
        vocab_size=vocab_size,
        max_position_embeddings=CONTEXT,
        initializer_range=0.3,  # as large as this a model is sure of itself, and rounding moves no choice
    )
    return FraiLTForCausalLM(config).eval()


def make_tokenizer() -> PreTrainedTokenizerFast:
    """An id for each character that ASCII can print: whatever a random model tells is text."""
    special = ["<unk>", "<s>", "</s>"]
    characters = [character for character in map(chr, range(128)) if character.isprintable()]
    vocabulary = {piece: id_ for id_, piece in enumerate([*special, *characters])}
    backend = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>"))
    backend.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("serving")
    make_tokenizer().save_pretrained(folder / "tokenizer")
    tokenizer = load_tokenizer(str(folder / "tokenizer"))
    save_checkpoint(folder / "tiny", make_model(len(tokenizer)), tokenizer, "")
    return folder / "tiny"


@pytest.fixture(scope="session")
def model(checkpoint) -> FraiLTForCausalLM:
    return FraiLTForCausalLM.from_pretrained(checkpoint).eval()


@pytest.fixture(scope="session")
def tokenizer(checkpoint) -> PreTrainedTokenizerFast:
    return load_tokenizer(str(checkpoint))
