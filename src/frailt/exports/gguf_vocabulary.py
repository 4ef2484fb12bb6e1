"""The tokenizer in a GGUF file: sentencepiece BPE, as llama.cpp's vocabulary `llama` has it.

llama.cpp stops at every token that it counts as an end of generation: EOS, and EOT, an "end of turn". A story here ends
at EOS or where the next begins, so EOT is BOS.
"""

from typing import Any

from transformers import PreTrainedTokenizerFast

from frailt.data.tokenizer import story_token_ids

_UNUSED = 5
"""Kinds of pieces have the same numbers in sentencepiece and in GGUF, from 1, normal, to 6, a byte."""


def check_vocabulary(tokenizer: PreTrainedTokenizerFast, vocab_size: int) -> Any:
    """The sentencepiece model (its parsed protobuf) that is to be written.

    Raises:
        ValueError: the tokenizer is none that llama.cpp's vocabulary `llama` can be.
    """
    from sentencepiece import sentencepiece_model_pb2

    schema: Any = sentencepiece_model_pb2
    way_out = "export --to llama instead"
    serialized = getattr(tokenizer, "sentencepiece_model", None)
    if serialized is None:
        raise ValueError(
            f"a gguf file needs a sentencepiece tokenizer, with the tokenizer.model that it came from in the "
            f"checkpoint, and this has none: {way_out}"
        )
    model = schema.ModelProto()
    model.ParseFromString(serialized)
    if len(model.pieces) > vocab_size:
        raise ValueError(
            f"the tokenizer must have at most the model's {vocab_size} ids, got {len(model.pieces)}: {way_out}"
        )
    if not model.trainer_spec.byte_fallback:
        raise ValueError(
            f"a gguf file needs a tokenizer that spells unknown characters in bytes (byte_fallback), and this has no "
            f"pieces for them: llama.cpp would stop with an error there; {way_out}"
        )
    return model


def add_vocabulary(writer: Any, tokenizer: PreTrainedTokenizerFast, vocab_size: int) -> None:
    """Put the tokenizer into a `gguf.GGUFWriter`; ids that the model has beyond it become unused tokens."""
    model = check_vocabulary(tokenizer, vocab_size)
    rest = range(len(model.pieces), vocab_size)
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([piece.piece for piece in model.pieces] + [f"[PAD{i}]" for i in rest])
    writer.add_token_scores([piece.score for piece in model.pieces] + [-1000.0 for _ in rest])
    writer.add_token_types([int(piece.type) for piece in model.pieces] + [_UNUSED for _ in rest])

    bos, stops = story_token_ids(tokenizer)
    writer.add_bos_token_id(bos)
    writer.add_eos_token_id(stops[-1])
    if stops[-1] != bos:
        writer.add_eot_token_id(bos)
    writer.add_array("tokenizer.ggml.eos_token_ids", stops)  # what Ollama's own engine reads
    if tokenizer.unk_token_id is not None:
        writer.add_unk_token_id(tokenizer.unk_token_id)
    if tokenizer.pad_token_id is not None:
        writer.add_pad_token_id(tokenizer.pad_token_id)
    if template := tokenizer.chat_template:
        named = template.items() if isinstance(template, dict) else ()
        writer.add_chat_template([{"name": name, "template": each} for name, each in named] or template)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(model.normalizer_spec.add_dummy_prefix)
    writer.add_remove_extra_whitespaces(model.normalizer_spec.remove_extra_whitespaces)


def departures(tokenizer: PreTrainedTokenizerFast, vocab_size: int) -> list[str]:
    """Where llama.cpp gives other ids than this tokenizer, because it does not normalise text; a line for each."""
    spec = check_vocabulary(tokenizer, vocab_size).normalizer_spec
    found = []
    if spec.remove_extra_whitespaces:
        found.append("llama.cpp keeps the extra spaces that this tokenizer drops: such texts get other ids there")
    if spec.precompiled_charsmap:
        found.append(f"llama.cpp does not normalise text by {spec.name}, as this tokenizer does: other ids there")
    return found
