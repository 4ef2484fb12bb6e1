"""`frailt generate --engine llama.cpp`: stories told by llama.cpp, through llama-cpp-python.

Greedy tells the stories of PyTorch's engine where the file is in float32: keys and values are kept in float32 too,
which llama.cpp would not do by itself. Drawn stories are not those of PyTorch's engine: llama.cpp's own samplers draw
them, in our order and so from the same distribution, but with random numbers of its own. There too the seed, the prompt
and its number fix them.
"""

import codecs
import ctypes
import importlib.util
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import numpy as np

from .config import GenerateConfig

LONGEST_PIECE_BYTES = 1024
"""Of one token's text; sentencepiece's own limit is 16 characters, or what its training was told."""


def generate(config: GenerateConfig, prompts: Sequence[str]) -> None:
    """Print stories, as `frailt generate` does, one at a time.

    Raises:
        ImportError: llama-cpp-python is not installed.
        ValueError, FileNotFoundError: checkpoint or prompts cannot be used.
    """
    if importlib.util.find_spec("llama_cpp") is None:
        raise ImportError("engine llama.cpp needs the llama-cpp-python package: pip install 'frailt[llama]'")
    with ExitStack() as stack:
        path = Path(config.checkpoint).expanduser()
        if path.suffix != ".gguf":
            path = export(config, Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="frailt-"))))
        teller = stack.enter_context(closing(Teller(path, config.threads)))
        encoded = [teller.encode(prompt) for prompt in prompts]
        for number in range(len(prompts) * config.samples):
            which = number // config.samples
            print(("\n---\n\n" if number else "") + prompts[which], end="", flush=config.stream)
            for text in teller.stream(encoded[which], config, number):
                print(text, end="", flush=config.stream)
            print(flush=True)


def export(config: GenerateConfig, folder: Path) -> Path:
    """The checkpoint as a float32 GGUF file in `folder`, written by `frailt export`.

    By the command, since neither of exports and inference imports the other.

    Raises:
        ValueError: it cannot be exported; with the command's own words.
    """
    path, began = folder / "model.gguf", time.perf_counter()
    command = ["export", "--checkpoint", config.checkpoint, "--to", "gguf", "--out", str(path)]
    if config.iterations is not None:
        command += ["--iterations", str(config.iterations)]
    done = subprocess.run([sys.executable, "-m", "frailt", *command], capture_output=True, text=True)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise ValueError(lines[-1].removeprefix("frailt export: error: "))
    took = f"exported to a temporary GGUF file in {time.perf_counter() - began:.0f} s"
    print(f"frailt generate: {took}; frailt export --to gguf writes one to keep", file=sys.stderr)
    return path


class Teller:
    """A GGUF file, open in llama.cpp.

    Raises:
        FileNotFoundError: it is not there.
        ValueError: llama.cpp cannot read it.
    """

    def __init__(self, path: Path, threads: int | None = None) -> None:
        import llama_cpp

        if not path.is_file():
            raise FileNotFoundError(f"checkpoint must be a GGUF file, and there is none at {path}")
        self.api: Any = llama_cpp
        options = {"type_k": llama_cpp.GGML_TYPE_F32, "type_v": llama_cpp.GGML_TYPE_F32}
        options |= {"n_threads": threads, "n_threads_batch": threads}  # of a step, and of reading a prompt
        try:
            self.llama = llama_cpp.Llama(str(path), n_ctx=0, verbose=False, **options)
        except ValueError as error:
            raise ValueError(f"checkpoint must be a GGUF file that llama.cpp reads, got {path}: {error}") from error
        self.vocabulary = llama_cpp.llama_model_get_vocab(self.llama.model)
        self.context = int(llama_cpp.llama_model_n_ctx_train(self.llama.model))  # n_ctx is this, rounded up

    def close(self) -> None:
        """Give the memory back."""
        self.llama.close()

    def encode(self, prompt: str) -> list[int]:
        """BOS and the prompt's ids.

        Raises:
            ValueError: it leaves no room in the context.
        """
        tokens = [int(token) for token in self.llama.tokenize(prompt.encode(), add_bos=True, special=False)]
        if len(tokens) >= self.context:
            raise ValueError(
                f"prompt must leave room in the context of {self.context} tokens, got {len(tokens)} "
                f"in {prompt[:40]!r}: shorten it"
            )
        return tokens

    def stream(self, prompt: list[int], config: GenerateConfig, number: int) -> Iterator[str]:
        """The story behind a prompt's ids, in pieces.

        Args:
            prompt: as `encode` gives it.
            config: how to choose tokens, and how many at most.
            number: the story's, of all that are told; with the seed it fixes what is drawn.
        """
        text = codecs.getincrementaldecoder("utf-8")("replace")  # a character may be several tokens
        space_is_added = self.llama.metadata.get("tokenizer.ggml.add_space_prefix", "true") == "true"
        bare = len(prompt) == 1 and space_is_added
        for token in self.tokens(prompt, config, number):
            shown = text.decode(self._piece(token))
            if bare and shown:
                shown, bare = shown.removeprefix(" "), False
            yield shown
        yield text.decode(b"", final=True)

    def tokens(self, prompt: list[int], config: GenerateConfig, number: int) -> Iterator[int]:
        """Ids behind a prompt, up to what ends a story, which is left out."""
        room = min(config.max_new_tokens or self.context, self.context - len(prompt))
        sampler = self._sampler(config, number)
        try:
            self.llama.reset()
            read = prompt
            for _ in range(room):
                self.llama.eval(read)
                token = int(self.api.llama_sampler_sample(sampler, self.llama.ctx, -1))
                if token == prompt[0] or self.api.llama_vocab_is_eog(self.vocabulary, token):
                    return
                yield token
                read = [token]
        finally:
            self.api.llama_sampler_free(sampler)

    def _sampler(self, config: GenerateConfig, number: int) -> Any:
        """llama.cpp's samplers for these settings; the chain owns and frees them."""
        api = self.api
        chain = api.llama_sampler_chain_init(api.llama_sampler_chain_default_params())
        if config.greedy:
            links = [api.llama_sampler_init_greedy()]
        else:
            # Below 2^32 - 1, which means a seed of llama.cpp's own choice.
            seed = int(np.random.default_rng([config.seed, number]).integers(2**32 - 1))
            links = [api.llama_sampler_init_temp(config.temperature)]
            links += [api.llama_sampler_init_top_k(config.top_k)] if config.top_k else []
            links += [api.llama_sampler_init_top_p(config.top_p, 1)] if config.top_p < 1 else []
            links += [api.llama_sampler_init_dist(seed)]
        for link in links:
            api.llama_sampler_chain_add(chain, link)
        return chain

    def _piece(self, token: int) -> bytes:
        """A token's text, its leading space included; nothing for a control token."""
        buffer = ctypes.create_string_buffer(LONGEST_PIECE_BYTES)
        length = self.api.llama_token_to_piece(self.vocabulary, token, buffer, len(buffer), 0, False)
        assert 0 <= length <= len(buffer), token
        return buffer.raw[:length]
