"""Telling stories: from a prompt, a file of prompts, or nothing, in batches; a story ends at the next BOS or at EOS."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedTokenizerFast

from frailt.data.tokenizer import encode_stories, story_token_ids
from frailt.training.checkpoint import load_checkpoint, quiet_transformers
from frailt.training.hardware import choose_device

from . import llama_cpp
from .config import GenerateConfig
from .decoding import Decoder
from .detokenizer import Detokenizer
from .drawing import Sampling
from .prompts import read_prompts
from .threads import choose_threads


@dataclass(frozen=True)
class Story:
    """A beginning and what the model made of it."""

    prompt: str
    completion: str
    ended: bool
    """Whether the model ended the story itself, before the length limit."""

    def __str__(self) -> str:
        return self.prompt + self.completion


def generate(config: GenerateConfig) -> None:
    """Print stories, as `frailt generate` does.

    Raises:
        ValueError, FileNotFoundError: checkpoint or prompts cannot be used.
    """
    if config.engine == "llama.cpp":
        llama_cpp.generate(config, _prompts(config))
        return
    device = choose_device(config.device)
    prompts = _prompts(config)
    quiet_transformers()
    model, tokenizer = load_checkpoint(config.checkpoint, device=device, iterations=config.iterations)
    if config.early_exit is not None:
        model = model.with_early_exit(config.early_exit)
    sampling = (
        Sampling(temperature=0)
        if config.greedy
        else Sampling(temperature=config.temperature, top_p=config.top_p, top_k=config.top_k)
    )
    rows = min(len(prompts) * config.samples, config.batch_size)
    if chosen := choose_threads(model.eval(), rows, config.threads):
        print(f"frailt generate: {chosen}", file=sys.stderr)
    decoder = Decoder(model, config.compile)
    tally = model.exit_tally
    if tally is not None:
        tally.reset()  # of what threads were tried with
    told: dict[str, Any] = {"seed": config.seed, "max_new_tokens": config.max_new_tokens}
    if config.stream:
        print(prompts[0], end="", flush=True)
        for text in stream(decoder, tokenizer, prompts[0], sampling, **told):
            print(text, end="", flush=True)
        print(flush=True)
    else:
        prompts = [prompt for prompt in prompts for _ in range(config.samples)]
        stories = tell(decoder, tokenizer, prompts, sampling, batch_size=config.batch_size, **told)
        for number, story in enumerate(stories):
            print(("\n---\n\n" if number else "") + str(story), flush=True)
    if tally is not None:
        print(f"frailt generate: {tally}", file=sys.stderr)


def tell(
    decoder: Decoder,
    tokenizer: PreTrainedTokenizerFast,
    prompts: Sequence[str],
    sampling: Sampling,
    *,
    seed: int = 0,
    max_new_tokens: int | None = None,
    batch_size: int = 44,
) -> list[Story]:
    """Continue each prompt; "" begins from nothing. What is told depends on the prompt, its number and the seed alone.

    Args:
        decoder: of the model.
        tokenizer: its tokenizer, which adds BOS.
        prompts: beginnings.
        sampling: what is drawn among.
        seed: fixes what is drawn.
        max_new_tokens: longest continuation; by default each story may fill the context.
        batch_size: prompts at a time, at most.

    Raises:
        ValueError: a prompt that is too long, or has characters that the tokenizer does not know.
    """
    context = decoder.model.config.max_position_embeddings
    encoded = [encode(tokenizer, prompt, context) for prompt in prompts]
    found = decoder.decode(
        encoded,
        sampling.choice(decoder.model, [(seed, number) for number in range(len(prompts))]),
        stops=story_token_ids(tokenizer)[1],
        max_new_tokens=max_new_tokens,
        batch_size=batch_size,
    )
    return [
        Story(prompt, continuation(tokenizer, tokens, new.tokens), new.ended)
        for prompt, tokens, new in zip(prompts, encoded, found, strict=True)
    ]


def stream(
    decoder: Decoder,
    tokenizer: PreTrainedTokenizerFast,
    prompt: str,
    sampling: Sampling,
    *,
    seed: int = 0,
    max_new_tokens: int | None = None,
) -> Iterator[str]:
    """The completion that `tell` gives, in pieces, as it is told; see there."""
    tokens = encode(tokenizer, prompt, decoder.model.config.max_position_embeddings)
    stops = story_token_ids(tokenizer)[1]
    choice = sampling.choice(decoder.model, [(seed, 0)])
    text = Detokenizer(tokenizer, tokens[1:])
    for token in decoder.stream(tokens, choice, stops=stops, max_new_tokens=max_new_tokens):
        if token in stops:
            break
        if new := text.add(token):
            yield new
    yield text.end()


def encode(tokenizer: PreTrainedTokenizerFast, prompt: str, context: int) -> list[int]:
    """The ids of a prompt, BOS first.

    Raises:
        ValueError: the tokenizer does not know a character, or no room for a token is left in `context` tokens.
    """
    [tokens] = encode_stories(tokenizer, [prompt])
    if tokenizer.unk_token_id is not None and tokenizer.unk_token_id in tokens:
        unknown = sorted(
            {c for c in prompt if tokenizer.unk_token_id in tokenizer(c, add_special_tokens=False)["input_ids"]}
        )
        raise ValueError(
            f"prompt must be made of characters that the tokenizer knows, got {' '.join(unknown)} in {prompt[:40]!r}"
        )
    if len(tokens) >= context:
        raise ValueError(
            f"prompt must leave room in the context of {context} tokens, got {len(tokens)} "
            f"in {prompt[:40]!r}: shorten it"
        )
    return tokens


def continuation(tokenizer: PreTrainedTokenizerFast, prompt: list[int], new: list[int]) -> str:
    """The text of `new` behind `prompt`, which begins with BOS. Decoded alone it would lose its leading space."""
    before, whole = (
        str(tokenizer.decode(tokens, clean_up_tokenization_spaces=False)) for tokens in (prompt[1:], prompt[1:] + new)
    )
    return whole[len(before) :]


def _prompts(config: GenerateConfig) -> list[str]:
    if config.prompts_file is None:
        return [config.prompt or ""]
    return read_prompts(config.prompts_file, "prompts_file")
