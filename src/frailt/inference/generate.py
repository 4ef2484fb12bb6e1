"""Telling stories: from a prompt, a file of prompts, or nothing, in batches; a story ends at the next BOS or at EOS."""

import re
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedTokenizerFast
from transformers.generation import BaseStreamer

from frailt.data.tokenizer import encode_stories, story_token_ids
from frailt.training.checkpoint import load_checkpoint, quiet_transformers
from frailt.training.hardware import choose_device

from .config import GenerateConfig
from .prompts import read_prompts

_BYTE_PIECE = re.compile(r"<0x[0-9A-F]{2}>")


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
    device = choose_device(config.device)
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    prompts = _prompts(config)
    quiet_transformers()
    model, tokenizer = load_checkpoint(config.checkpoint, device=device, iterations=config.iterations)
    settings = GenerationConfig(
        max_new_tokens=config.max_new_tokens,
        do_sample=not config.greedy,
        **({} if config.greedy else {"temperature": config.temperature, "top_p": config.top_p, "top_k": config.top_k}),
    )
    prompts = [prompt for prompt in prompts for _ in range(config.samples)]
    streamer = _PromptThenStory(tokenizer, prompts[0]) if config.stream else None
    told = tell(model, tokenizer, prompts, settings, seed=config.seed, batch_size=config.batch_size, streamer=streamer)
    for number, story in enumerate(told):
        if streamer is None:
            print(("\n---\n\n" if number else "") + str(story), flush=True)


def tell(
    model: Any,
    tokenizer: PreTrainedTokenizerFast,
    prompts: Sequence[str],
    settings: GenerationConfig,
    *,
    seed: int = 0,
    batch_size: int = 16,
    streamer: BaseStreamer | None = None,
) -> Iterator[Story]:
    """Continue each prompt; "" begins from nothing. Batches are padded on the left.

    Args:
        model: a causal language model of transformers.
        tokenizer: its tokenizer, which adds BOS.
        prompts: beginnings.
        settings: how to draw; without `max_new_tokens` each story may fill the context. Left as they are.
        seed: fixes what is drawn, for the same prompts and batch size.
        batch_size: prompts at a time.
        streamer: shows the text as it comes; batch size 1.

    Raises:
        ValueError: a prompt that is too long, or has characters that the tokenizer does not know.
    """
    bos, stops = story_token_ids(tokenizer)
    context = model.config.max_position_embeddings
    encoded = [encode(tokenizer, prompt, context) for prompt in prompts]
    model.eval()
    torch.manual_seed(seed)
    for start in range(0, len(prompts), batch_size):
        batch = encoded[start : start + batch_size]
        longest, shortest = max(map(len, batch)), min(map(len, batch))
        ids = torch.full((len(batch), longest), stops[-1])
        for row, tokens in enumerate(batch):
            ids[row, longest - len(tokens) :] = torch.tensor(tokens)
        lengths = torch.tensor([len(tokens) for tokens in batch])
        mask = (torch.arange(longest)[None] >= longest - lengths[:, None]).long()
        room = context - shortest  # what a longer one has beyond its own room is cut off below
        now = deepcopy(settings)
        now.max_new_tokens = min(settings.max_new_tokens or room, room)
        now.bos_token_id, now.eos_token_id, now.pad_token_id = bos, stops, stops[-1]
        output = model.generate(
            ids.to(model.device), attention_mask=mask.to(model.device), generation_config=now, streamer=streamer
        )
        told = zip(prompts[start : start + batch_size], batch, output[:, longest:].tolist(), strict=True)
        for prompt, tokens, new in told:
            new = new[: context - len(tokens)]
            end = next((i for i, token in enumerate(new) if token in stops), None)
            yield Story(prompt, continuation(tokenizer, tokens, new[:end]), end is not None)


def encode(tokenizer: PreTrainedTokenizerFast, prompt: str, context: int) -> list[int]:
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


class _PromptThenStory(BaseStreamer):
    """Shows the prompt as it was given, then the story while it is told, as `tell` gives it in the end."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, prompt: str) -> None:
        self.tokenizer, self.stops = tokenizer, story_token_ids(tokenizer)[1]
        self.prompt: list[int] | None = None
        self.new: list[int] = []
        self.shown = 0
        print(prompt, end="", flush=True)

    def put(self, value: torch.Tensor) -> None:
        """Take the prompt's ids (1, T), then each new id (1,)."""
        if self.prompt is None:
            self.prompt = value[0].tolist()
        elif value.item() not in self.stops:
            self.new.append(int(value.item()))
            settled = len(self.new)
            while settled and _BYTE_PIECE.fullmatch(str(self.tokenizer.convert_ids_to_tokens(self.new[settled - 1]))):
                settled -= 1  # bytes are decoded together: what a run of them says is known at its end
            self._show(self._text(settled).rstrip("\ufffd"))  # nor is the beginning of a character shown

    def end(self) -> None:
        """Show what waited."""
        self._show(self._text(len(self.new)))
        print(flush=True)

    def _text(self, tokens: int) -> str:
        assert self.prompt is not None
        return continuation(self.tokenizer, self.prompt, self.new[:tokens])

    def _show(self, text: str) -> None:
        print(text[self.shown :], end="", flush=True)
        self.shown = max(self.shown, len(text))
