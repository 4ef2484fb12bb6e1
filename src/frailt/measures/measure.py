"""`frailt measure`: what can be said of completions without a judge.

Every measure is of one completion, then averaged: so each can be looked up in measures.jsonl.
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from frailt.data.packing import PreparedData
from frailt.data.texts import texts
from frailt.judge.completions import Completions, read_completions
from frailt.training.checkpoint import quiet_transformers
from frailt.training.hardware import choose_device
from frailt.training.run_folder import versions

from .config import MeasureConfig
from .copies import Runs, copied
from .corpus import corpus_record
from .evaluator import Evaluator, evaluator_record, load_evaluator
from .likelihood import Asked, Likelihood, ask, nats
from .records import finished, write
from .table import Row, shown, summarise
from .words import distinct, repetition, told_words, words

_MOST_NATS = 700.0
"""Per token: beyond it there is no perplexity that a float holds."""

WORDS_PER_PASS = 500_000
"""Words of completions that are looked for in one pass over the corpus: they take some 200 MB."""


def measure(config: MeasureConfig) -> str:
    """Measure each folder that was not measured so before.

    Returns:
        A line per folder and measure.

    Raises:
        ValueError, FileNotFoundError, FileExistsError: completions, evaluator or corpus cannot be used, or a folder was
            measured with others.
    """
    device = choose_device(config.device)
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    quiet_transformers()
    folders = _folders(config.completions)
    about_evaluator = evaluator_record(config.evaluator) if config.evaluator is not None else None
    corpus = PreparedData.open(config.corpus) if config.corpus is not None else None
    about_corpus = corpus_record(corpus) if corpus is not None else None
    shared = {"evaluator": about_evaluator, "corpus": about_corpus}
    settings = {folder.folder: {"completions_sha256": folder.sha256, **shared} for folder in folders}
    records = {folder.folder: finished(folder.folder, settings[folder.folder]) for folder in folders}
    unmeasured = [folder for folder in folders if records[folder.folder] is None]
    evaluator = load_evaluator(config.evaluator, device) if config.evaluator is not None and unmeasured else None
    for some in _passes(unmeasured):
        rows = [_text_rows(folder) for folder in some]
        if corpus is not None:
            _note_other_corpus(some, corpus)
            _add_copies(some, rows, corpus)
        for folder, own in zip(some, rows, strict=True):
            record = {**settings[folder.folder], "completions": folder.about}
            if evaluator is not None and about_evaluator is not None:
                record["evaluator"] = _add_likelihoods(folder, own, evaluator, about_evaluator, config.batch_size)
            means, without = summarise(own)
            record |= {"measures": means, "without": without, "versions": versions()}
            records[folder.folder] = write(folder.folder, own, record)
    return "\n".join(_told(folder, records[folder.folder], folder not in unmeasured) for folder in folders)


def _folders(paths: Sequence[str]) -> list[Completions]:
    found: dict[Path, Completions] = {}
    for path in paths:
        folder = read_completions(path)
        _check_text(folder)
        if found.setdefault(folder.folder.resolve(), folder) is not folder:
            raise ValueError(f"completions must be different folders, got {path} twice")
    return list(found.values())


def _check_text(folder: Completions) -> None:
    for number, story in enumerate(folder.stories, 1):
        try:
            (story.prompt + story.completion).encode()
        except UnicodeEncodeError as error:
            raise ValueError(
                f"completions must be text, got half a surrogate pair in {folder.folder}, line {number} of "
                "completions.jsonl: tell them again with frailt complete"
            ) from error


def _passes(folders: Sequence[Completions]) -> Iterator[list[Completions]]:
    """Folders that are looked for in the corpus together: as many as memory should be spent on, or one."""
    some, size = list[Completions](), 0
    for folder in folders:
        own = sum(story.completion.count(" ") for story in folder.stories)
        if some and size + own > WORDS_PER_PASS:
            yield some
            some, size = [], 0
        some.append(folder)
        size += own
    if some:
        yield some


def _text_rows(folder: Completions) -> list[Row]:
    """What needs no other model and no corpus."""
    rows = []
    for story in folder.stories:
        told = told_words(story.prompt, story.completion)
        rows.append(
            {
                "prompt_id": story.prompt_id,
                "sample": story.sample,
                "words": len(told),
                "ended": story.ended,
                "repetition_4": repetition(told, 4),
                **{f"distinct_{n}": distinct(told, n) for n in (1, 2, 3)},
            }
        )
    return rows


def _note_other_corpus(folders: Sequence[Completions], corpus: PreparedData) -> None:
    for folder in folders:
        if folder.about.get("data_hash") not in (None, corpus.data_hash):
            _note(
                f"corpus is prepared otherwise than the one that {folder.folder} was trained on: copies of stories "
                "that are not in it are not found"
            )


def _add_copies(folders: Sequence[Completions], rows: Sequence[list[Row]], corpus: PreparedData) -> None:
    """The longest copied runs, for several folders in one pass over the corpus."""
    told = [told_words(story.prompt, story.completion) for folder in folders for story in folder.stories]
    runs = Runs(told)
    count = corpus_record(corpus)["stories"]
    with tqdm(texts(corpus, "train"), total=count, unit="story", desc="corpus", leave=False, disable=None) as bar:
        for story in bar:
            runs.read(words(story))
    flat = [row for own in rows for row in own]
    for row, text, lengths in zip(flat, told, runs.shared(), strict=True):
        found = copied(text, lengths)
        row |= {"copied_words": len(found.run), "copied_share": found.share, "copied_run": " ".join(found.run)}


def _add_likelihoods(
    folder: Completions, rows: list[Row], evaluator: Evaluator, about: dict[str, Any], batch_size: int
) -> dict[str, Any]:
    """Perplexity of each completion; returns what the record says of the evaluator."""
    about = {**about, "same_checkpoint": about["sha256"] == folder.about["checkpoint_sha256"], "beyond_context": 0}
    if about["same_checkpoint"]:
        _note(f"evaluator told {folder.folder} itself, and finds its own words likely: no perplexity there")
        return about
    _note_weaker(folder, about)
    stories = folder.stories
    asked = ask(evaluator.tokenizer, [story.prompt for story in stories], [story.completion for story in stories])
    reasons = [_why_not(text, evaluator.tokenizer.unk_token_id) for text in asked]
    scored = [i for i, reason in enumerate(reasons) if reason is None]
    with tqdm(unit="text", desc=folder.folder.name, leave=False, disable=None) as bar:
        values = nats(
            evaluator.model,
            [asked[i] for i in scored],
            context=evaluator.context,
            batch_size=batch_size,
            progress=bar.update,
        )
    for i, value in zip(scored, values, strict=True):
        found = Likelihood(value, asked[i].tokens, len(stories[i].completion.encode()))
        if not found.nats_per_token < _MOST_NATS:  # also where it is not a number
            raise ValueError(
                f"evaluator must give probabilities, got {found.nats_per_token} nats per token for a completion in "
                f"{folder.folder}: its weights are damaged, or its training diverged"
            )
        rows[i] |= {
            "evaluator_tokens": found.tokens,
            "evaluator_nats_per_token": found.nats_per_token,
            "evaluator_bits_per_byte": found.bits_per_byte,
        }
    for row, reason in zip(rows, reasons, strict=True):
        if reason is not None:
            row |= {"evaluator_nats_per_token": None, "evaluator_bits_per_byte": None, "evaluator_without": reason}
    if evaluator.context is not None:
        about["beyond_context"] = sum(len(asked[i].ids) - 1 > evaluator.context for i in scored)
    return about


def _why_not(text: Asked, unknown: int | None) -> str | None:
    """Why a text has no likelihood; None where it has one."""
    if not text.tokens:
        return "no text"
    if unknown is not None and unknown in text.ids[text.first :]:
        return "characters that the evaluator's tokenizer does not know"
    return None


def _note_weaker(folder: Completions, evaluator: dict[str, Any]) -> None:
    """Of two models that were validated on the same data."""
    if evaluator["data_hash"] is None or evaluator["data_hash"] != folder.about.get("data_hash"):
        return
    own, other = evaluator["validation_nats_per_token"], folder.about.get("validation_nats_per_token")
    if isinstance(own, float) and isinstance(other, float) and own >= other:
        _note(
            f"evaluator should be the stronger model: its validation loss is {own:.4f}, "
            f"that of {folder.folder} {other:.4f}"
        )


def _told(folder: Completions, record: dict[str, Any] | None, before: bool) -> str:
    assert record is not None
    beginnings = len({story.prompt_id for story in folder.stories})
    head = f"{folder.folder}: {len(folder.stories)} completions of {beginnings} beginnings"
    without = [f"{name} ({n})" for name, n in record.get("without", {}).items()]
    last = [f"  completions without a value: {', '.join(without)}"] if without else []
    return "\n".join([head + (", measured before" if before else ""), *shown(record["measures"]), *last])


def _note(text: str) -> None:
    print(f"frailt measure: {text}", file=sys.stderr)
