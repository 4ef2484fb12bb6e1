"""Tokenizers: train one with sentencepiece, or load one that exists, and turn documents into ids.

Whatever a tokenizer comes from, `train_tokenizer` and `load_tokenizer` return a `PreTrainedTokenizerFast` that adds
the story separator (BOS) itself and no EOS, also after `save_tokenizer` and `AutoTokenizer.from_pretrained`. A
sentencepiece model is rebuilt piece by piece, since transformers' own conversion of a bare `tokenizer.model` gives
other ids, or no BOS (see docs/decisions.md); the tests hold it to the ids of sentencepiece.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from frailt.data.readers import first_line
from frailt.data.sentencepiece_bpe import SAMPLE_BYTES, SpecialTokens, sentencepiece_backend, train_sentencepiece

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

SENTENCEPIECE_FILE = "tokenizer.model"


# Training and loading


def train_tokenizer(
    documents: Iterable[str], vocab_size: int = 512, *, sample_bytes: int = SAMPLE_BYTES
) -> "PreTrainedTokenizerFast":
    """Train a sentencepiece BPE vocabulary: `<unk>` 0, `<s>` 1, `</s>` 2, the 256 bytes, merges, characters.

    Text is not normalized, digits stand alone, what has no piece is spelled in bytes (a newline is `<0x0A>`), runs of
    spaces stay: llama.cpp, Hugging Face and sentencepiece then give the same ids. Training reads lines, one thread, and
    so is a function of the documents.

    Args:
        documents: stripped documents; those past the first `sample_bytes` are not read.
        vocab_size: number of ids.
        sample_bytes: UTF-8 bytes of documents to train on at most.

    Raises:
        ValueError: `vocab_size` is too small for the bytes and characters, or larger than the documents support.
    """
    return _from_sentencepiece(train_sentencepiece(documents, vocab_size, sample_bytes=sample_bytes), "trained")


def load_tokenizer(source: str) -> "PreTrainedTokenizerFast":
    """Load a sentencepiece `.model` file, or a Hugging Face tokenizer from a folder or the Hub.

    The result starts every text with the story separator, which is its BOS, or its EOS where it has no BOS (then set as
    its BOS too).

    Raises:
        FileNotFoundError: the path does not exist.
        ValueError: there is no tokenizer there, or none that can be used.
    """
    path = Path(source).expanduser()
    if path.is_dir() and not (path / "tokenizer.json").exists() and (path / SENTENCEPIECE_FILE).exists():
        path = path / SENTENCEPIECE_FILE
    if path.is_file():
        if path.suffix != ".model":
            raise ValueError(
                f"tokenizer {source!r}: give a sentencepiece .model file, or the folder of a Hugging Face tokenizer"
            )
        return _from_sentencepiece(path.read_bytes(), source)
    if not path.exists() and (path.suffix == ".model" or path.is_absolute() or source.count("/") > 1):
        raise FileNotFoundError(
            f"tokenizer {source!r} does not exist; give a .model file, a folder, or an id on the Hub"
        )

    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    try:
        loaded = AutoTokenizer.from_pretrained(str(path) if path.is_dir() else source)
    except Exception as error:  # unrelated kinds, several lines each
        raise ValueError(
            f"tokenizer {source!r} is neither a sentencepiece .model file nor a Hugging Face tokenizer here or on the "
            f"Hub: {first_line(error)}"
        ) from error
    if not isinstance(loaded, PreTrainedTokenizerFast):
        raise ValueError(f"tokenizer {source!r} has no tokenizer.json; only fast tokenizers are supported")
    special = SpecialTokens(bos=loaded.bos_token, eos=loaded.eos_token, unk=loaded.unk_token, pad=loaded.pad_token)
    tokenizer = _wrap(loaded.backend_tokenizer, special, source)
    tokenizer.chat_template = loaded.chat_template
    if (path / SENTENCEPIECE_FILE).is_file():
        tokenizer.sentencepiece_model = _if_same(tokenizer, (path / SENTENCEPIECE_FILE).read_bytes())
    return tokenizer


def _if_same(tokenizer: "PreTrainedTokenizerFast", model: bytes) -> bytes | None:
    """The sentencepiece model, if the tokenizer found beside it is what we make of it; others may give other ids."""
    try:
        rebuilt = _from_sentencepiece(model, "beside")
    except ValueError:
        return None
    return model if tokenizer_hash(rebuilt) == tokenizer_hash(tokenizer) else None


def save_tokenizer(tokenizer: "PreTrainedTokenizerFast", folder: str | Path) -> None:
    """Save for `AutoTokenizer.from_pretrained`, with the sentencepiece model, where there is one, beside it.

    `save_pretrained` alone leaves the sentencepiece model out, which llama.cpp's converter wants.
    """
    _clear_call_state(tokenizer.backend_tokenizer)
    tokenizer.save_pretrained(str(folder))
    model = getattr(tokenizer, "sentencepiece_model", None)
    if model is not None:
        (Path(folder) / SENTENCEPIECE_FILE).write_bytes(model)


def _from_sentencepiece(model: bytes, name: str) -> "PreTrainedTokenizerFast":
    tokenizer = _wrap(*sentencepiece_backend(model, name=name), name)
    tokenizer.sentencepiece_model = model
    return tokenizer


def _wrap(backend: "Tokenizer", special: SpecialTokens, name: str) -> "PreTrainedTokenizerFast":
    from transformers import PreTrainedTokenizerFast

    separator = special.bos or special.eos
    if separator is None:
        raise ValueError(f"{name}: the tokenizer has neither a BOS nor an EOS token, one of which must start a story")
    _clear_call_state(backend)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=separator,
        eos_token=special.eos or separator,
        unk_token=special.unk,
        pad_token=special.pad,
        add_bos_token=True,
        add_eos_token=False,
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
    )


def _clear_call_state(backend: "Tokenizer") -> None:
    """Forget padding and truncation: a backend keeps, and would save, what its tokenizer was last called with."""
    backend.no_padding()
    backend.no_truncation()


# Use


def story_token_ids(tokenizer: "PreTrainedTokenizerFast") -> tuple[int, list[int]]:
    """The id that starts a story, and the ids that end one in generation: it and EOS (docs/decisions.md, protocol)."""
    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
    if bos is None:
        raise ValueError("the tokenizer has no BOS token; load it with frailt.data.tokenizer.load_tokenizer")
    return bos, [bos] if eos in (None, bos) else [bos, eos]


def encode_stories(tokenizer: "PreTrainedTokenizerFast", stories: Sequence[str]) -> list[list[int]]:
    """BOS + ids of each story. A `<s>` written in a story is text, as sentencepiece has it, never a control token."""
    bos, _ = story_token_ids(tokenizer)
    backend = tokenizer.backend_tokenizer
    _clear_call_state(backend)
    before = backend.encode_special_tokens
    backend.encode_special_tokens = True
    try:
        encodings = backend.encode_batch_fast(list(stories), add_special_tokens=False)
    finally:
        backend.encode_special_tokens = before
    return [[bos, *encoding.ids] for encoding in encodings]


def check_saved_tokenizer(folder: Path, stories: Sequence[str], ids: Sequence[list[int]]) -> None:
    """Raise unless the saved tokenizer, loaded as users will, gives these ids, as must its sentencepiece model.

    Args:
        folder: as `save_tokenizer` left it.
        stories: stripped texts.
        ids: what `encode_stories` gave for the first of them, at least.

    Raises:
        ValueError: the ids differ.
    """
    from transformers import AutoTokenizer

    loaded = AutoTokenizer.from_pretrained(str(folder))
    found = {"AutoTokenizer": loaded(list(stories), split_special_tokens=True)["input_ids"]}
    if (folder / SENTENCEPIECE_FILE).exists():
        import sentencepiece

        processor = sentencepiece.SentencePieceProcessor(model_file=str(folder / SENTENCEPIECE_FILE))
        found["sentencepiece"] = [[loaded.bos_token_id, *story] for story in processor.encode(list(stories))]
    for library, theirs in found.items():
        for story, ours, other in zip(stories, ids, theirs, strict=False):
            if ours != other:
                raise ValueError(
                    f"tokenizer: the saved tokenizer gives other ids through {library}, for the story that begins "
                    f"{story[:40]!r}; use another tokenizer"
                )


def vocabulary_size(tokenizer: "PreTrainedTokenizerFast") -> int:
    """The largest id plus 1; larger than the number of tokens where ids have gaps."""
    return max(tokenizer.get_vocab().values()) + 1


def tokenizer_hash(tokenizer: "PreTrainedTokenizerFast") -> str:
    """SHA-256 over what decides the ids: the pipeline, vocabulary, added tokens, and the story tokens."""
    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    deciding = {key: backend.get(key) for key in ("model", "normalizer", "pre_tokenizer", "added_tokens")}
    text = json.dumps([deciding, story_token_ids(tokenizer)], sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()
