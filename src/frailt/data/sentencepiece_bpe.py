"""Sentencepiece BPE models: train one, and rebuild one as a Hugging Face backend that gives the same ids."""

import ctypes
import io
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SAMPLE_BYTES = 50_000_000  # UTF-8 bytes of documents that a tokenizer is trained on at most
SMALLEST_VOCABULARY = 256 + 3  # the bytes, <unk>, <s>, </s>; the characters come on top
_TRAINING_LINE_CHARACTERS = 1 << 16


@dataclass(frozen=True, kw_only=True)
class SpecialTokens:
    """The tokens with a role; None where the vocabulary has none for it."""

    bos: str | None
    eos: str | None
    unk: str | None
    pad: str | None


def train_sentencepiece(documents: Iterable[str], vocab_size: int, *, sample_bytes: int = SAMPLE_BYTES) -> bytes:
    """Train a BPE model and give it serialized; `frailt.data.tokenizer.train_tokenizer` says how.

    Raises:
        ValueError: `vocab_size` is too small for the bytes and characters, or larger than the documents support.
    """
    import sentencepiece

    if vocab_size <= SMALLEST_VOCABULARY:
        raise ValueError(
            f"vocab_size must be above {SMALLEST_VOCABULARY} (256 bytes, <unk>, <s>, </s>; characters come on top), "
            f"got {vocab_size}"
        )
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=_training_lines(documents, sample_bytes),
            model_writer=model,
            model_type="bpe",
            vocab_size=vocab_size,
            # The rarest characters, one in 2,000 taken together, are spelled in bytes; see docs/decisions.md.
            character_coverage=0.9995,
            byte_fallback=True,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            allow_whitespace_only_pieces=True,
            split_digits=True,
            unk_id=0,
            bos_id=1,
            eos_id=2,
            pad_id=-1,
            max_sentence_length=4 * _TRAINING_LINE_CHARACTERS + 1,
            num_threads=1,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise ValueError(_training_failure(str(error), vocab_size)) from error
    _give_freed_memory_back()
    return model.getvalue()


def _give_freed_memory_back() -> None:
    """To the system: glibc would keep what the trainer freed, 150 MB after a full sample, to the end of the process."""
    if sys.platform == "linux":
        with suppress(AttributeError):  # another C library
            ctypes.CDLL(None).malloc_trim(0)


def _training_lines(documents: Iterable[str], sample_bytes: int) -> Iterator[str]:
    """The lines of the first documents. Lines, so that no piece crosses a newline; without null, which is refused."""
    read_bytes = 0
    for document in documents:
        for line in document.replace("\0", "").split("\n"):
            for start in range(0, len(line), _TRAINING_LINE_CHARACTERS):
                yield line[start : start + _TRAINING_LINE_CHARACTERS]
        read_bytes += len(document.encode("utf-8"))
        if read_bytes >= sample_bytes:
            return


def _training_failure(message: str, vocab_size: int) -> str:
    if found := re.search(r"Vocabulary size too high.*<= (\d+)", message):
        return f"vocab_size must be at most {found[1]}, the largest that these documents support, got {vocab_size}"
    if found := re.search(r"smaller than required_chars. \d+ vs (\d+)", message):
        return f"vocab_size must be above {found[1]}, the bytes and characters of these documents, got {vocab_size}"
    if "sentences_.empty()" in message:
        return "a tokenizer cannot be trained: there are no documents to train it on"
    return f"sentencepiece could not train a tokenizer of vocab_size {vocab_size}: {message.strip().splitlines()[0]}"


def sentencepiece_backend(model: bytes, *, name: str) -> "tuple[Tokenizer, SpecialTokens]":
    """Rebuild a serialized BPE model as a `tokenizers` pipeline. Padding is EOS where the model has no piece for it.

    Raises:
        ValueError: it is no sentencepiece model, or has a feature whose ids could not be kept; `name` is said in it.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models

    schema = _sentencepiece_schema()
    proto = schema.ModelProto()
    try:
        proto.ParseFromString(model)
    except Exception as error:  # protobuf's DecodeError has moved between its versions
        raise ValueError(f"{name}: not a sentencepiece model, or cut short") from error
    _check_supported(proto, name)

    kinds = schema.ModelProto.SentencePiece
    pieces = {piece.piece: index for index, piece in enumerate(proto.pieces)}
    control = [piece.piece for piece in proto.pieces if piece.type in (kinds.CONTROL, kinds.UNKNOWN)]
    scores = {piece.piece: piece.score for piece in proto.pieces if piece.type == kinds.NORMAL}
    unknown = next(piece.piece for piece in proto.pieces if piece.type == kinds.UNKNOWN)

    backend = Tokenizer(
        models.BPE(
            vocab=pieces,
            merges=_merges(scores),
            unk_token=unknown,
            fuse_unk=True,
            byte_fallback=proto.trainer_spec.byte_fallback,
        )
    )
    backend.normalizer = _normalizer(proto.normalizer_spec)
    dummy_prefix = proto.normalizer_spec.add_dummy_prefix
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
        + ([decoders.Strip(" ", 1, 0)] if dummy_prefix else [])
    )
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in control])

    spec = proto.trainer_spec
    bos, eos, pad = (piece if piece in control else None for piece in (spec.bos_piece, spec.eos_piece, spec.pad_piece))
    return backend, SpecialTokens(bos=bos, eos=eos, unk=unknown, pad=pad or eos)


def _sentencepiece_schema() -> Any:
    from sentencepiece import sentencepiece_model_pb2

    return sentencepiece_model_pb2


def _check_supported(proto: Any, name: str) -> None:
    schema = _sentencepiece_schema()
    spec, kinds = proto.trainer_spec, schema.ModelProto.SentencePiece
    way_out = "use its Hugging Face folder instead"
    if not proto.pieces:
        raise ValueError(f"{name}: not a sentencepiece model, it has no pieces")
    if spec.model_type != spec.BPE:
        kind = schema.TrainerSpec.ModelType.Name(spec.model_type).lower()
        raise ValueError(f"{name}: a sentencepiece model of type bpe is needed, got {kind}; {way_out}")
    if spec.treat_whitespace_as_suffix or not proto.normalizer_spec.escape_whitespaces:
        raise ValueError(
            f"{name}: white space must be a prefix of words, written ▁, in a sentencepiece model; {way_out}"
        )
    if any(piece.type in (kinds.USER_DEFINED, kinds.UNUSED) for piece in proto.pieces):
        raise ValueError(f"{name}: user-defined or unused pieces of a sentencepiece model are not supported; {way_out}")


def _merges(scores: dict[str, float]) -> list[tuple[str, str]]:
    """Every way to put a piece together from two, best score first, as sentencepiece merges by the result's score."""
    merges = [
        (-score, piece[:cut], piece[cut:])
        for piece, score in scores.items()
        for cut in range(1, len(piece))
        if piece[:cut] in scores and piece[cut:] in scores
    ]
    merges.sort(key=lambda merge: merge[0])
    return [(left, right) for _, left, right in merges]


def _normalizer(spec: Any) -> Any:
    from tokenizers import Regex, normalizers

    steps: list[Any] = []
    if spec.precompiled_charsmap:
        steps.append(normalizers.Precompiled(spec.precompiled_charsmap))
    if spec.remove_extra_whitespaces:
        # Spaces only, as in sentencepiece, where newlines are characters like others; at the end also a literal ▁.
        steps += [
            normalizers.Replace(Regex(r"\A +"), ""),
            normalizers.Replace(Regex(r"[ ▁]+\z"), ""),
            normalizers.Replace(Regex(" {2,}"), " "),
        ]
    if spec.add_dummy_prefix:
        steps.append(normalizers.Prepend("▁"))
    steps.append(normalizers.Replace(" ", "▁"))
    return normalizers.Sequence(steps)
