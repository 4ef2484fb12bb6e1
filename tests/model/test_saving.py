import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel, AutoModelForCausalLM

from frailt import FraiLTForCausalLM, FraiLTModel

from .tiny import tiny_model, tokens

ENCODINGS = ["learned", "sinusoidal", "none"]


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("tied", [True, False])
def test_a_saved_model_comes_back_to_the_last_bit(encoding, tied, tmp_path):
    model = tiny_model(iteration_encoding=encoding, tie_word_embeddings=tied)
    model.save_pretrained(tmp_path)
    again, info = AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert type(again) is FraiLTForCausalLM
    assert not any(info.values()), info
    assert torch.equal(again(tokens()).logits, model(tokens()).logits)
    assert (again.lm_head.weight is again.model.embed_tokens.weight) == tied
    stored = load_file(tmp_path / "model.safetensors")
    unique = {name for name, _ in model.named_parameters()}
    assert set(stored) == unique
    assert ("lm_head.weight" in stored) != tied


def test_only_safetensors_and_json_are_written(tmp_path):
    tiny_model().save_pretrained(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "generation_config.json", "model.safetensors"}


def test_the_model_without_head_is_loaded_from_the_same_files(tmp_path):
    model = tiny_model()
    model.save_pretrained(tmp_path)
    base, info = AutoModel.from_pretrained(tmp_path, output_loading_info=True)
    assert type(base) is FraiLTModel
    assert not info["missing_keys"]
    assert torch.equal(base(tokens()).last_hidden_state, model.model(tokens()).last_hidden_state)


def test_a_model_saved_in_shards_comes_back(tmp_path):
    model = tiny_model()
    model.save_pretrained(tmp_path, max_shard_size="40KB")
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert len(set(index["weight_map"].values())) > 2
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert torch.equal(again(tokens()).logits, model(tokens()).logits)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_model_is_loaded_in_bfloat16_with_its_frequencies_in_float32(encoding, tmp_path):
    model = tiny_model(iteration_encoding=encoding)
    model.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert {weight.dtype for weight in again.parameters()} == {torch.bfloat16}
    for (name, buffer), wanted in zip(again.named_buffers(), model.buffers(), strict=True):
        assert buffer.dtype == torch.float32, name
        assert torch.equal(buffer, wanted), name
    logits, exact = again(tokens()).logits, model(tokens()).logits
    assert logits.dtype == torch.bfloat16
    assert 0 < (logits.float() - exact).norm() < 0.05 * exact.norm()


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_weights_put_into_a_model_made_on_the_meta_device_give_the_model(encoding, tmp_path):
    """Buffers that are not stored, the frequencies of RoPE and of the encoding, are made anew on loading."""
    model = tiny_model(iteration_encoding=encoding)
    with torch.device("meta"):
        empty = FraiLTForCausalLM(model.config)
    assert {tensor.device.type for tensor in (*empty.parameters(), *empty.buffers())} == {"meta"}
    model.save_pretrained(tmp_path)
    again = FraiLTForCausalLM.from_pretrained(tmp_path)
    for (name, buffer), wanted in zip(again.named_buffers(), model.buffers(), strict=True):
        assert torch.equal(buffer, wanted), name


def test_a_table_of_another_trained_iteration_count_is_not_loaded_silently(tmp_path):
    tiny_model("1^3").save_pretrained(tmp_path)
    with pytest.raises(RuntimeError, match="mismatch"):
        AutoModelForCausalLM.from_pretrained(tmp_path, layout="1^4")


def test_the_vocabulary_can_be_widened():
    model = tiny_model()
    before = model(tokens()).logits
    model.resize_token_embeddings(101, mean_resizing=False)
    assert model.config.vocab_size == 101
    torch.testing.assert_close(model(tokens()).logits[..., :97], before)


IMPORTS = {
    "transformers first": "import transformers, frailt",
    "frailt first, then transformers looked for, an import that fails, one name of transformers": (
        "import frailt, importlib.util\n"
        "assert importlib.util.find_spec('transformers')\n"
        "try:\n    import frailt.model.no_such_module\nexcept ImportError:\n    pass\n"
        "from transformers import AutoConfig"
    ),
    "the configuration alone": "import frailt.model.configuration_frailt",
    "the model file alone": "from frailt.model.modeling_frailt import FraiLTForCausalLM",
}
# Torch is imported once, before the forks: that is most of the time each order would take.
IN_FRESH_INTERPRETERS = """
import json, os, sys
import torch, torch._dynamo
codes, directory, ids = json.loads(sys.argv[1])
assert not {"frailt", "transformers"} & set(sys.modules)
for name, code in codes.items():
    if child := os.fork():
        assert os.waitpid(child, 0)[1] == 0, name
        continue
    exec(code)
    from transformers import AutoModelForCausalLM
    logits = AutoModelForCausalLM.from_pretrained(directory)(torch.tensor(ids)).logits
    print(json.dumps([name, logits.flatten()[:5].tolist()]), flush=True)
    os._exit(0)
"""


def test_auto_classes_know_the_model_whatever_is_imported_first(tmp_path):
    model = tiny_model("1^2")
    model.save_pretrained(tmp_path)
    wanted = model(tokens(1, 3)).logits.flatten()[:5].tolist()
    given = json.dumps([IMPORTS, str(tmp_path), tokens(1, 3).tolist()])
    done = subprocess.run(
        [sys.executable, "-c", IN_FRESH_INTERPRETERS, given], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert [json.loads(line) for line in done.stdout.splitlines()] == [[name, wanted] for name in IMPORTS]
