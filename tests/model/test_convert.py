import struct

import numpy as np
import pytest
import sentencepiece
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from frailt import FraiLTForCausalLM
from frailt.model.convert import from_llama, load_llama2c, to_llama, unroll

from .tiny import tiny_model, tokens, vary_norms


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_plain_model_becomes_a_llama_and_comes_back_to_the_last_bit(tied, dtype, tmp_path):
    tiny_model("3", tie_word_embeddings=tied, eos_token_id=[1, 2], pad_token_id=0).save_pretrained(tmp_path)
    model = FraiLTForCausalLM.from_pretrained(tmp_path, dtype=dtype)
    ids = tokens(length=31)
    llama = to_llama(model)
    assert type(llama) is LlamaForCausalLM
    assert llama.config.num_hidden_layers == 3
    assert not llama.training
    assert torch.equal(llama(ids).logits, model(ids).logits)
    again = from_llama(llama)
    assert again.config.layout == "3"
    assert torch.equal(again(ids).logits, model(ids).logits)
    assert again.config.to_dict() == model.config.to_dict() | {
        "_name_or_path": "",
        "architectures": again.config.architectures,
        "dtype": again.config.dtype,
    }
    assert again.generation_config.eos_token_id == [1, 2]


@pytest.mark.parametrize("convert", [unroll, lambda model: from_llama(to_llama(model))])
def test_a_converted_model_generates_as_before(convert):
    model = tiny_model("3" if convert is not unroll else "2^2")
    model.generation_config.eos_token_id, model.generation_config.temperature = [3, 9], 0.5
    converted = convert(model)
    assert converted.generation_config == model.generation_config
    assert converted.generation_config is not model.generation_config


def test_the_copy_shares_nothing_with_the_model():
    model = tiny_model("2", eos_token_id=[1, 2])
    llama = to_llama(model)
    before = model(tokens()).logits
    with torch.no_grad():
        for tensor in (*llama.parameters(), *llama.buffers()):
            tensor.zero_()
    llama.config.eos_token_id.append(5)
    llama.config.rope_parameters["rope_theta"] = 1.0
    assert torch.equal(model(tokens()).logits, before)
    assert model.config.eos_token_id == [1, 2]
    assert model.config.rope_parameters["rope_theta"] == 10000.0


def test_a_llama_of_other_rope_and_eps_becomes_a_model_with_equal_logits():
    config = LlamaConfig(
        vocab_size=97,
        hidden_size=48,
        intermediate_size=67,
        num_hidden_layers=2,
        num_attention_heads=6,
        num_key_value_heads=2,
        max_position_embeddings=31,
        rms_norm_eps=1e-3,
        initializer_range=0.2,
        attention_dropout=0,
        rope_parameters={"rope_type": "linear", "factor": 3.0, "rope_theta": 777.0},
    )
    llama = vary_norms(LlamaForCausalLM(config)).eval()
    assert torch.equal(from_llama(llama)(tokens()).logits, llama(tokens()).logits)


@pytest.mark.parametrize(("layout", "iterations"), [("1^2", None), ("1,(2)^3", None), ("1^2", 1), ("2", [2])])
def test_a_model_that_loops_or_did_is_no_llama(layout, iterations):
    with pytest.raises(ValueError, match="layout must have no loop") as raised:
        to_llama(tiny_model(layout, iterations=iterations))
    assert "\n" not in str(raised.value)
    assert layout in str(raised.value)


@pytest.mark.parametrize("bias", ["attention_bias", "mlp_bias"])
def test_a_llama_with_biases_is_refused(bias):
    config = LlamaConfig(
        vocab_size=97, hidden_size=48, intermediate_size=67, num_hidden_layers=1, num_attention_heads=6, **{bias: True}
    )
    with pytest.raises(ValueError, match="attention_bias and mlp_bias must be false"):
        from_llama(LlamaForCausalLM(config))


def interleaved(rows: np.ndarray, heads: int) -> np.ndarray:
    """Rows (H * K, D) from RoPE in halves, (i, i + K/2) turning together, to RoPE in pairs, (2i, 2i + 1)."""
    width = len(rows) // heads
    out = np.empty_like(rows)
    for head in range(heads):
        for i in range(width // 2):
            out[head * width + 2 * i] = rows[head * width + i]
            out[head * width + 2 * i + 1] = rows[head * width + width // 2 + i]
    return out


def llama2c_bytes(model: FraiLTForCausalLM) -> bytes:
    """The legacy file of a plain model, written as llama2.c's `legacy_export` lays it out."""
    config = model.config
    state = {name: value.numpy() for name, value in model.state_dict().items()}
    layers = config.num_hidden_layers
    sizes = (config.hidden_size, config.intermediate_size, layers, config.num_attention_heads)
    vocab = config.vocab_size if config.tie_word_embeddings else -config.vocab_size
    out = [struct.pack("<7i", *sizes, config.num_key_value_heads, vocab, config.max_position_embeddings)]

    def put(name: str, heads: int = 0) -> None:
        for layer in range(layers):
            weight = state[f"model.groups.0.blocks.{layer}.{name}.weight"]
            out.append((interleaved(weight, heads) if heads else weight).astype("<f4").tobytes())

    out.append(state["model.embed_tokens.weight"].tobytes())
    put("input_layernorm")
    put("self_attn.q_proj", config.num_attention_heads)
    put("self_attn.k_proj", config.num_key_value_heads)
    put("self_attn.v_proj")
    put("self_attn.o_proj")
    put("post_attention_layernorm")
    put("mlp.gate_proj")
    put("mlp.down_proj")
    put("mlp.up_proj")
    out.append(state["model.norm.weight"].tobytes())
    out.append(np.full(config.max_position_embeddings * config.head_dim, np.nan, "<f4").tobytes())  # RoPE: unread
    if not config.tie_word_embeddings:
        out.append(state["lm_head.weight"].tobytes())
    return b"".join(out)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("kv_heads", [6, 2])
def test_a_llama2c_file_is_read_to_the_last_bit(tied, kv_heads, tmp_path):
    model = tiny_model("3", tie_word_embeddings=tied, num_key_value_heads=kv_heads)
    path = tmp_path / "model.bin"
    path.write_bytes(llama2c_bytes(model))
    again = load_llama2c(path)
    assert again.config.layout == "3"
    assert again.config.eos_token_id == [1, 2]
    assert not again.training
    assert (again.lm_head.weight is again.model.embed_tokens.weight) == tied
    for (name, weight), wanted in zip(again.named_parameters(), model.parameters(), strict=True):
        assert torch.equal(weight, wanted), name
    assert torch.equal(again(tokens()).logits, model(tokens()).logits)


BAD_FILES = {
    "empty": lambda good: b"",
    "shorter than a header": lambda good: good[:20],
    "only a header": lambda good: good[:28],
    "truncated": lambda good: good[:-4],
    "not whole numbers": lambda good: good[:-3],
    "too long": lambda good: good + b"\0\0\0\0",
    "text": lambda good: b"Once upon a time there was a model. " * 9,
    "zip": lambda good: b"PK\x03\x04" + bytes(99),
    "zeros": lambda good: bytes(len(good)),
    "version 1 of the format": lambda good: struct.pack("<7i", 0x616B3432, 1, 48, 67, 3, 6, 6) + good[28:],
    "negative layers": lambda good: struct.pack("<7i", 48, 67, -3, 6, 3, 97, 31) + good[28:],
    "too many layers": lambda good: struct.pack("<7i", 48, 67, 5000, 6, 3, 97, 31) + good[28:],
    "heads that do not divide": lambda good: struct.pack("<7i", 48, 67, 3, 5, 5, 97, 31) + good[28:],
    "odd head width": lambda good: struct.pack("<7i", 48, 67, 3, 16, 16, 97, 31) + good[28:],
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_file_that_is_no_llama2c_checkpoint_is_refused_in_one_line(kind, tmp_path):
    path = tmp_path / "model.bin"
    path.write_bytes(BAD_FILES[kind](llama2c_bytes(tiny_model("3"))))
    with pytest.raises(ValueError, match="got") as raised:
        load_llama2c(path)
    assert "\n" not in str(raised.value)
    assert "model.bin" in str(raised.value)


def test_a_missing_file_is_said_to_be_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.bin"):
        load_llama2c(tmp_path / "none.bin")


@pytest.mark.reference
def test_a_published_checkpoint_tells_the_published_story(reference_data):
    model = load_llama2c(reference_data / "stories260K.bin")
    model.generation_config.eos_token_id = None
    story = model.generate(torch.tensor([[1]]), max_new_tokens=256, do_sample=False, pad_token_id=0)[0].tolist()
    assert len(story) == 257
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(reference_data / "tok512.model"))
    published = (reference_data / "stories260K-greedy.txt").read_text(encoding="utf-8")
    assert pieces.decode(story) == published.removesuffix("\n")


@pytest.mark.long
@pytest.mark.reference
@torch.inference_mode()
def test_a_published_checkpoint_has_its_loss_on_held_out_stories(reference_data):
    model = load_llama2c(reference_data / "stories260K.bin")
    model.set_attn_implementation("sdpa_padded")  # for speed
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(reference_data / "tok512.model"))
    text = (reference_data / "tinystories-valid.txt").read_text(encoding="utf-8")
    stories = [story.strip() for story in text.split("<|endoftext|>")]
    stream = [token for story in stories if story for token in [1, *pieces.encode(story)]]
    context, windows = 512, 700
    kept = torch.tensor(stream[: windows * context + 1])
    inputs, targets = kept[:-1].view(windows, context), kept[1:].view(windows, context)
    nats = sum(
        nn.functional.cross_entropy(model(x, use_cache=False).logits.flatten(0, 1), y.flatten(), reduction="sum")
        for x, y in zip(inputs.split(20), targets.split(20), strict=True)
    )
    assert float(nats) / (windows * context) == pytest.approx(1.492, abs=0.002)
