"""GGUF files, read back with the `gguf` package and run in numpy by llama.cpp's rules."""

import numpy as np
import pytest
import sentencepiece
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from frailt.cli import main
from frailt.data.builtin import stories
from frailt.data.tokenizer import encode_stories, load_tokenizer
from frailt.exports import gguf_file
from frailt.exports.gguf_file import tensors, write_gguf
from frailt.exports.gguf_vocabulary import departures
from frailt.model.convert import unroll
from frailt.training.checkpoint import load_checkpoint, save_checkpoint

from ..model.tiny import tiny_model

gguf = pytest.importorskip("gguf")
llama_in_numpy = pytest.importorskip("tests.exports.llama_in_numpy")


@pytest.fixture
def exported(saved, tmp_path, capsys):
    """Saves and exports a tiny model; gives the model, the file's path and what was said."""

    def exported(layout="1,(2)^3,1^2", *options, **overrides):
        checkpoint, out = saved(layout, **overrides), tmp_path / "out" / "model.gguf"
        arguments = ["export", "--checkpoint", str(checkpoint), "--to", "gguf", "--out", str(out), *options]
        assert main(arguments) == 0, capsys.readouterr().err
        return load_checkpoint(checkpoint)[0].eval(), out, capsys.readouterr().out

    return exported


def both(model, path) -> tuple[np.ndarray, np.ndarray]:
    """Logits of a model, in float64, and of a file, on 31 tokens."""
    ids = torch.randint(3, 330, (1, 31), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        wanted = model.double()(ids).logits[0].numpy()
    fields, found, _ = llama_in_numpy.read(path)
    return wanted, llama_in_numpy.logits(fields, found, ids[0].tolist())


def distance(model, path) -> float:
    """The largest difference of their logits."""
    wanted, found = both(model, path)
    return float(np.abs(found - wanted).max())


# The model


@pytest.mark.parametrize(
    ("layout", "tied"), [("1,(2)^3,1^2", True), ("2^4", True), ("1,(2)^2", False), ("3", True), ("3", False)]
)
def test_the_files_forward_pass_gives_the_models_logits(layout, tied, exported):
    model, path, _ = exported(layout, tie_word_embeddings=tied)
    assert distance(model, path) < 1e-5


def test_the_other_encodings_iterations_and_rope_scaling_give_the_models_logits(exported):
    rope = {"rope_type": "linear", "factor": 3.0, "rope_theta": 777.0}
    model, path, _ = exported("1,(2)^2", iteration_encoding="sinusoidal", iterations=3, rope_parameters=rope)
    assert model.config.num_hidden_layers == 7
    assert distance(model, path) < 1e-5


def test_a_checkpoint_in_narrow_numbers_is_not_rounded_again_in_float32(saved, vocabulary, tmp_path):
    checkpoint, path = saved("1^2"), tmp_path / "a.gguf"
    save_checkpoint(checkpoint, load_checkpoint(checkpoint)[0].bfloat16(), vocabulary, "")
    assert main(["export", "--checkpoint", str(checkpoint), "--to", "gguf", "--out", str(path)]) == 0
    assert distance(load_checkpoint(checkpoint)[0].eval(), path) < 1e-5


@pytest.mark.parametrize(("dtype", "most"), [("float16", 0.01), ("q8_0", 0.1)])
def test_smaller_numbers_give_nearly_the_models_logits(dtype, most, exported):
    model, path, _ = exported("2^4", "--dtype", dtype, hidden_size=64, num_attention_heads=8, num_key_value_heads=4)
    wanted, found = both(model, path)
    assert 1e-4 < np.linalg.norm(found - wanted) / np.linalg.norm(wanted) < most


@torch.no_grad()
def test_transformers_own_reader_gives_the_models_logits_where_it_is_told_of_the_biases(exported):
    """Another reader than ours: it undoes the order of q and k itself. It reads no `mlp_bias` from the tensors."""
    model, path, _ = exported("1,1^2")
    ids = torch.randint(3, 330, (1, 31), generator=torch.Generator().manual_seed(1))
    llama = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, mlp_bias=True).eval()
    torch.testing.assert_close(llama(ids).logits, model(ids).logits, atol=1e-5, rtol=0)
    without = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name).eval()
    assert (without(ids).logits - model(ids).logits).abs().max() > 0.1


def test_transformers_own_reader_gives_the_tokenizers_ids(exported, vocabulary):
    _, path, _ = exported("1^2")
    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    texts = list(stories(5, seed=7))
    assert tokenizer(texts)["input_ids"] == encode_stories(vocabulary, texts)


def test_every_tensor_is_the_models(exported):
    model, path, _ = exported("1,(2)^2")
    _, found, kinds = llama_in_numpy.read(path)
    llama = unroll(model)
    wanted = dict(tensors(llama))
    assert found.keys() == wanted.keys()
    assert set(kinds.values()) == {"F32"}
    for name, tensor in wanted.items():
        assert np.array_equal(found[name], tensor.numpy()), name
    block = model.model.groups[0].blocks[0]
    query = found["blk.0.attn_q.weight"].reshape(6, 4, 2, 48).swapaxes(1, 2).reshape(48, 48)
    assert np.array_equal(query, block.self_attn.q_proj.weight.detach().numpy())
    key = found["blk.0.attn_k.weight"].reshape(3, 4, 2, 48).swapaxes(1, 2).reshape(24, 48)
    assert np.array_equal(key, block.self_attn.k_proj.weight.detach().numpy())
    first = model.model.groups[1].encodings[0].weight[0].detach().numpy()
    assert np.array_equal(found["blk.0.ffn_down.bias"], first)
    assert "output.weight" not in found
    assert not [name for name in found if name.endswith(("ffn_up.bias", "ffn_gate.bias"))]


def test_a_first_encoding_makes_the_head_a_tensor_of_its_own(exported):
    model, path, _ = exported("2^4")
    _, found, _ = llama_in_numpy.read(path)
    assert np.array_equal(found["output.weight"], model.lm_head.weight.detach().numpy())
    assert not np.array_equal(found["token_embd.weight"], found["output.weight"])


def test_matrices_whose_rows_are_no_whole_blocks_stay_float16_and_are_listed(exported):
    _, path, said = exported("1^2", "--dtype", "q8_0", intermediate_size=64)  # rows of 64 in, of 48 elsewhere
    _, _, kinds = llama_in_numpy.read(path)
    assert {name for name, kind in kinds.items() if kind == "Q8_0"} == {f"blk.{k}.ffn_down.weight" for k in (0, 1)}
    half = {name for name, kind in kinds.items() if kind == "F16"}
    [line] = [line for line in said.splitlines() if line.startswith("float16, not q8_0")]
    assert set(line.partition("q8_0")[2].partition(":")[0].replace(" ", "").split(",")) == half
    assert {"token_embd.weight", "output.weight", "blk.0.attn_q.weight"} <= half
    assert {kind for name, kind in kinds.items() if "norm" in name or "bias" in name} == {"F32"}


@pytest.mark.parametrize(
    ("options", "intermediate", "kind"),
    [((), 64, 0), (("--dtype", "float16"), 64, 1), (("--dtype", "q8_0"), 64, 7), (("--dtype", "q8_0"), 67, 1)],
)
def test_the_file_type_is_what_its_matrices_are(options, intermediate, kind, exported):
    _, path, _ = exported("1^2", *options, intermediate_size=intermediate)
    fields, _, _ = llama_in_numpy.read(path)
    assert fields["general.file_type"] == kind


# Metadata and tokenizer


def test_the_metadata_is_complete(exported):
    _, path, _ = exported("1,(2)^3", num_attention_heads=6, rms_norm_eps=1e-3)
    fields, _, _ = llama_in_numpy.read(path)
    told = {name: value for name, value in fields.items() if name.startswith(("general.", "llama."))}
    assert told == {
        "general.architecture": "llama",
        "general.type": "model",
        "general.name": "FraiLT 1,(2)^3 48",
        "general.description": "A Llama of 7 layers, unrolled from a FraiLT 1,(2)^3",
        "general.license": "cc-by-4.0",
        "general.file_type": 0,
        "llama.vocab_size": 330,
        "llama.context_length": 31,
        "llama.embedding_length": 48,
        "llama.block_count": 7,
        "llama.feed_forward_length": 67,
        "llama.attention.head_count": 6,
        "llama.attention.head_count_kv": 3,
        "llama.attention.key_length": 8,
        "llama.attention.value_length": 8,
        "llama.attention.layer_norm_rms_epsilon": pytest.approx(1e-3),
        "llama.rope.dimension_count": 8,
        "llama.rope.freq_base": 10000.0,
    }


def test_a_run_folder_says_what_it_was_trained_on(run, tmp_path):
    assert main(["export", "--checkpoint", str(run), "--to", "gguf", "--out", str(tmp_path / "a.gguf")]) == 0
    fields, _, _ = llama_in_numpy.read(tmp_path / "a.gguf")
    assert fields["general.dataset.0.name"] == "builtin"


def test_the_vocabulary_is_that_of_the_sentencepiece_model(exported, saved, tmp_path):
    _, path, _ = exported()
    fields, _, _ = llama_in_numpy.read(path)
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "checkpoint" / "tokenizer.model"))
    told = {name.removeprefix("tokenizer.ggml."): value for name, value in fields.items() if "tokenizer.ggml." in name}
    ids = range(len(pieces))
    assert told.pop("tokens") == [pieces.id_to_piece(i) for i in ids]
    assert told.pop("scores") == pytest.approx([pieces.get_score(i) for i in ids])
    types = told.pop("token_type")
    assert types[:3] == [2, 3, 3]
    assert [i for i in ids if types[i] == 6] == [i for i in ids if pieces.is_byte(i)]
    assert set(types[259:]) == {1}
    assert told == {
        "model": "llama",
        "pre": "default",
        "bos_token_id": 1,
        "eos_token_id": 2,
        "eot_token_id": 1,
        "eos_token_ids": [1, 2],
        "unknown_token_id": 0,
        "padding_token_id": 2,
        "add_bos_token": True,
        "add_eos_token": False,
        "add_space_prefix": True,
        "remove_extra_whitespaces": False,
    }


def test_the_files_tokenizer_gives_the_checkpoints_ids(exported, vocabulary):
    _, path, said = exported()
    fields, _, _ = llama_in_numpy.read(path)
    texts = [*stories(5, seed=7), "Two  spaces, then\n\nlines.", " A 🦊 and 1234", ""]
    assert [llama_in_numpy.ids_of(fields, text) for text in texts] == encode_stories(vocabulary, texts)
    assert "note" not in said


def test_ids_that_the_tokenizer_has_not_are_unused_tokens(exported):
    model, path, _ = exported("1^2", vocab_size=337)
    fields, found, _ = llama_in_numpy.read(path)
    assert fields["tokenizer.ggml.tokens"][330:] == [f"[PAD{i}]" for i in range(330, 337)]
    assert fields["tokenizer.ggml.token_type"][330:] == [5] * 7
    assert len(fields["tokenizer.ggml.scores"]) == len(found["token_embd.weight"]) == 337
    assert distance(model, path) < 1e-5


@pytest.mark.reference
def test_a_tokenizer_that_drops_spaces_is_written_as_it_is_with_a_note(reference_data, tmp_path):
    tokenizer = load_tokenizer(str(reference_data / "tok512.model"))
    llama = unroll(tiny_model("1^2", vocab_size=512))
    write_gguf(tmp_path / "a.gguf", llama, tokenizer, name="a")
    fields, _, _ = llama_in_numpy.read(tmp_path / "a.gguf")
    assert fields["tokenizer.ggml.remove_extra_whitespaces"]
    assert any("extra spaces" in line for line in departures(tokenizer, 512))
    assert llama_in_numpy.ids_of(fields, "Once upon a time") == tokenizer("Once upon a time")["input_ids"]


# What cannot be written


def refusal(capsys, *arguments) -> str:
    capsys.readouterr()
    assert main(["export", "--to", "gguf", *map(str, arguments)]) == 2
    out, errors = capsys.readouterr()
    assert out == ""
    assert len(errors.splitlines()) == 1, errors
    return errors


REFUSED = [
    ({"hidden_act": "gelu"}, "hidden_act must be silu in a gguf file, got gelu: export --to llama instead"),
    (
        {"rope_parameters": {"rope_type": "yarn", "factor": 2.0, "rope_theta": 1e4}},
        "rope_type must be default or linear in a gguf file written here, got yarn",
    ),
    ({"vocab_size": 329}, "the tokenizer must have at most the model's 329 ids, got 330"),
]


@pytest.mark.parametrize(("overrides", "said"), REFUSED)
def test_what_llama_cpp_would_compute_otherwise_is_refused(overrides, said, saved, capsys, tmp_path):
    checkpoint = saved("1^2", **overrides)
    assert said in refusal(capsys, "--checkpoint", checkpoint, "--out", tmp_path / "a.gguf")
    assert not list(tmp_path.glob("*.gguf*"))


def test_a_tokenizer_that_is_not_sentencepieces_is_refused(byte_tokenizer, capsys, tmp_path):
    save_checkpoint(tmp_path / "bytes", tiny_model("1^2", vocab_size=258), byte_tokenizer, "")
    said = refusal(capsys, "--checkpoint", tmp_path / "bytes", "--out", tmp_path / "a.gguf")
    assert "a gguf file needs a sentencepiece tokenizer" in said


def test_without_the_extra_one_line_says_what_to_install(saved, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(gguf_file.importlib.util, "find_spec", lambda name: None)
    said = refusal(capsys, "--checkpoint", saved("1^2"), "--out", tmp_path / "a.gguf")
    assert said == "frailt export: error: a gguf file needs the gguf package: pip install 'frailt[gguf]'\n"


def test_numbers_that_float16_cannot_hold_are_refused(vocabulary, tmp_path):
    llama = unroll(tiny_model("1^2", vocab_size=330))
    with torch.no_grad():
        llama.lm_head.weight[3, 3] = 1e5
    with pytest.raises(ValueError, match=r"output\.weight has numbers that float16 cannot hold, up to 1e\+05"):
        write_gguf(tmp_path / "a.gguf", llama, vocabulary, "float16", name="a")
    assert not list(tmp_path.iterdir())


def test_a_file_that_could_not_be_finished_leaves_nothing(vocabulary, tmp_path, monkeypatch):
    def full(self, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(gguf.GGUFWriter, "write_tensors_to_file", full)
    with pytest.raises(OSError, match="No space left"):
        write_gguf(tmp_path / "a.gguf", unroll(tiny_model("1^2", vocab_size=330)), vocabulary, name="a")
    assert not list(tmp_path.iterdir())
