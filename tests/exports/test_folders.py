"""Exported folders load in a process that has transformers and not this package."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

from frailt import FraiLTForCausalLM
from frailt.cli import main
from frailt.data.builtin import stories
from frailt.data.tokenizer import encode_stories
from frailt.exports.folders import code_files
from frailt.model.convert import from_llama
from frailt.training.checkpoint import load_checkpoint

from .conftest import save_tiny

TEXTS = [*stories(20, seed=3), "Two  spaces, then\n\nlines. ", "A 🦊 and 1234", ""]
WITHOUT_US = """
import json, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "frailt":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocked())
asked = json.load(open("asked.json"))
import numpy as np, torch
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoTokenizer

def load(folder, **trust):
    model = AutoModelForCausalLM.from_pretrained(folder, **trust).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder, **trust)  # without, transformers asks whether to trust the config
    config = AutoConfig.from_pretrained(folder, **trust)
    base = AutoModel.from_pretrained(folder, **trust).eval()
    ids = torch.tensor(asked["ids"])
    with torch.no_grad():
        logits = model(ids).logits
        assert torch.equal(model.lm_head(base(ids).last_hidden_state), logits)
        told = model.generate(ids[:, :5], max_new_tokens=20, do_sample=False).tolist()
    np.save(f"{folder}.npy", logits.numpy())
    return {
        "model": [type(model).__module__, type(model).__name__, type(base).__name__],
        "depth": config.num_hidden_layers,
        "eos": model.generation_config.eos_token_id,
        "texts": tokenizer(asked["texts"])["input_ids"],
        "told": told,
    }

found = {"llama": load("1^2.llama")}
try:
    AutoModelForCausalLM.from_pretrained("1^2.hub", trust_remote_code=False)
    raise SystemExit("was loaded without trust")
except ValueError as error:
    assert "trust_remote_code" in str(error), error
found["hub"] = load("1^2.hub", trust_remote_code=True)
assert not any(name.partition(".")[0] == "frailt" for name in sys.modules)
print(json.dumps(found))
"""
IDS = torch.randint(3, 330, (2, 31), generator=torch.Generator().manual_seed(2))


@pytest.fixture(scope="module")
def elsewhere(vocabulary, tmp_path_factory) -> tuple[FraiLTForCausalLM, dict, Path]:
    """A model, what one process without this package made of both folders, and where the logits are that it got."""
    folder = tmp_path_factory.mktemp("elsewhere")
    checkpoint = save_tiny(folder / "checkpoint", vocabulary, "1^2,(2)^2")
    for to in ("llama", "hub"):
        out = str(folder / f"1^2.{to}")  # a dot, which the name of a module cannot have
        assert main(["export", "--checkpoint", str(checkpoint), "--to", to, "--out", out]) == 0
    (folder / "asked.json").write_text(json.dumps({"ids": IDS.tolist(), "texts": TEXTS}))
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "PYTHON"))}
    done = subprocess.run(
        [sys.executable, "-I", "-c", WITHOUT_US],
        env=environment | {"HF_HOME": str(folder / "home"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return load_checkpoint(checkpoint)[0].eval(), json.loads(done.stdout.splitlines()[-1]), folder


@pytest.mark.parametrize(
    ("to", "module", "names"),
    [
        ("llama", "transformers.models.llama.", ["LlamaForCausalLM", "LlamaModel"]),
        ("hub", "transformers_modules.", ["FraiLTForCausalLM", "FraiLTModel"]),
    ],
)
@torch.no_grad()
def test_an_exported_folder_loads_without_this_package(to, module, names, elsewhere, vocabulary):
    model, found, folder = elsewhere
    assert found[to]["model"][0].startswith(module)
    assert found[to]["model"][1:] == names
    np.testing.assert_allclose(np.load(folder / f"1^2.{to}.npy"), model(IDS).logits.numpy(), atol=1e-5, rtol=0)
    told = model.generate(IDS[:, :5], max_new_tokens=20, do_sample=False).tolist()
    assert found[to]["told"] == told
    assert len({tuple(story) for story in told}) == 2
    assert found[to]["depth"] == 6
    assert found[to]["eos"] == [1, 2]
    assert found[to]["texts"] == encode_stories(vocabulary, TEXTS)


def exported(saved, tmp_path, layout, *options, to="llama", **overrides) -> tuple[FraiLTForCausalLM, Path]:
    checkpoint, out = saved(layout, **overrides), tmp_path / "exported"
    assert main(["export", "--checkpoint", str(checkpoint), "--to", to, "--out", str(out), *options]) == 0
    return load_checkpoint(checkpoint)[0].eval(), out


def test_a_stock_llama_has_no_code_and_no_trace_of_ours(saved, tmp_path):
    _, out = exported(saved, tmp_path, "2^4")
    config = json.loads((out / "config.json").read_text())
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert config["model_type"] == "llama"
    assert "auto_map" not in config
    assert config["mlp_bias"]
    assert not config["tie_word_embeddings"]
    assert config["eos_token_id"] == [1, 2]
    assert not list(out.glob("*.py"))
    again, info = LlamaForCausalLM.from_pretrained(out, output_loading_info=True)
    assert not any(info.values()), info
    assert again.generation_config.eos_token_id == [1, 2]
    assert again.generation_config.bos_token_id == 1
    assert again.generation_config.pad_token_id == 2


@pytest.mark.parametrize("layout", ["1,(2)^2,1", "3"])
def test_greedy_stories_of_the_export_are_the_models_padded_or_not(layout, saved, vocabulary, tmp_path):
    model, out = exported(saved, tmp_path, layout, max_position_embeddings=64)
    llama, tokenizer = AutoModelForCausalLM.from_pretrained(out), AutoTokenizer.from_pretrained(out)
    tokenizer.padding_side = "left"
    batch = tokenizer(["Once upon a time", "The", "One day, Tom saw"], return_tensors="pt", padding=True)
    settings = {"max_new_tokens": 17, "do_sample": False}
    told = llama.generate(**batch, **settings)
    assert torch.equal(told, model.generate(**batch, **settings))
    assert len(set(told[:, -1].tolist()) | set(told[:, -9].tolist())) > 1


def test_a_plain_model_comes_back_through_convert_and_tells_the_same_stories(saved, vocabulary, tmp_path):
    model, out = exported(saved, tmp_path, "3")
    again = from_llama(LlamaForCausalLM.from_pretrained(out, attn_implementation=model.config._attn_implementation))
    ids = torch.tensor(encode_stories(vocabulary, ["Once upon a time"]))
    assert torch.equal(again(ids).logits, model(ids).logits)
    settings = {"max_new_tokens": 20, "do_sample": False}
    assert torch.equal(again.generate(ids, **settings), model.generate(ids, **settings))
    assert again.config.layout == "3"


@pytest.mark.parametrize("to", ["llama", "hub"])
def test_another_iteration_count_is_exported_on_request(to, saved, tmp_path):
    _, out = exported(saved, tmp_path, "1,(2)^3", "--iterations", "5", to=to)
    model, _ = load_checkpoint(tmp_path / "checkpoint", iterations=5)
    again = AutoModelForCausalLM.from_pretrained(out)
    assert again.config.num_hidden_layers == 11
    ids = torch.randint(3, 330, (2, 9))
    torch.testing.assert_close(again(ids).logits, model(ids).logits, atol=1e-5, rtol=0)
    card = (out / "README.md").read_text()
    assert "Its groups run 1, 5 times; figures on this card" in card
    assert "are of the checkpoint, where they ran 1, 3 times." in card


def test_a_folder_with_its_code_is_a_checkpoint_too(saved, tmp_path, capsys):
    model, out = exported(saved, tmp_path, "2^4", to="hub")
    assert type(AutoModelForCausalLM.from_pretrained(out)) is FraiLTForCausalLM  # ours, where it is installed
    assert main(["export", "--checkpoint", str(out), "--to", "llama", "--out", str(tmp_path / "again")]) == 0
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "again")
    ids = torch.randint(3, 330, (2, 9))
    torch.testing.assert_close(again(ids).logits, model(ids).logits, atol=1e-5, rtol=0)


def test_the_code_that_travels_is_what_the_model_imports():
    assert [file.name for file in code_files()] == [
        "configuration_frailt.py",
        "cost.py",
        "early_exit.py",
        "encodings.py",
        "exiting.py",
        "layout.py",
        "modeling_frailt.py",
        "views.py",
    ]


@pytest.mark.parametrize(("to", "trusts"), [("llama", False), ("hub", True)])
def test_the_card_says_how_the_export_came_about_and_is_loaded(to, trusts, saved, tmp_path):
    _, out = exported(saved, tmp_path, "2^4", to=to)
    card = (out / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: transformers\nlicense: cc-by-4.0\n---\n")
    assert "It is small." in card
    assert "## More" in card
    assert "import frailt" not in card
    assert ("trust_remote_code=True" in card) == trusts
    assert ("mlp_bias" in card) == (to == "llama")
    assert "figures on this card" not in card
