"""The command: what it prints, what it refuses, and sending a folder to the hub, whose API is a stand-in here."""

import json
import re
import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub.errors import HfHubHTTPError
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from frailt.cli import _parse, main
from frailt.data.whole_files import damage
from frailt.exports import hub
from frailt.exports.config import ExportConfig
from frailt.training.checkpoint import load_checkpoint

from . import llama_in_numpy

DOCUMENTED = [
    shlex.split(line, comments=True)
    for line in (Path(__file__).parents[2] / "docs" / "export.md").read_text(encoding="utf-8").splitlines()
    if line.startswith("frailt ")
]


def refusal(capsys, *arguments) -> str:
    capsys.readouterr()
    assert main(["export", *map(str, arguments)]) == 2
    out, errors = capsys.readouterr()
    assert out == ""
    assert len(errors.splitlines()) == 1, errors
    return errors.removeprefix("frailt export: error: ").rstrip("\n")


def said(capsys, *arguments) -> dict[str, str]:
    capsys.readouterr()
    code = main(["export", *map(str, arguments)])
    out, errors = capsys.readouterr()
    assert (code, errors) == (0, "")
    return dict(re.split(r"\s{2,}", line, maxsplit=1) for line in out.splitlines())


def test_sizes_before_and_after_are_printed(saved, capsys, tmp_path):
    checkpoint, out = saved("2^4"), tmp_path / "llama"
    rows = said(capsys, "--checkpoint", checkpoint, "--to", "llama", "--out", out)
    model, _ = load_checkpoint(checkpoint)
    llama = LlamaForCausalLM.from_pretrained(out)
    before, after = ((folder / "model.safetensors").stat().st_size for folder in (checkpoint, out))
    assert rows["written"] == str(out)
    assert rows["model"] == "A Llama of 8 layers, unrolled from a FraiLT 2^4"
    assert rows["parameters"] == f"{model.num_parameters():,} unique, {llama.num_parameters():,} unrolled"
    assert rows["bytes of weights"] == f"{before:,} in the checkpoint, {after:,} exported"
    assert float(re.findall(r"at most (\S+) from", rows["logits"])[0]) < 1e-5


def test_an_export_with_its_code_is_as_large_as_the_checkpoint(saved, capsys, tmp_path):
    checkpoint = saved("2^4")
    rows = said(capsys, "--checkpoint", checkpoint, "--to", "hub", "--out", tmp_path / "hub", "--iterations", 7)
    size = (checkpoint / "model.safetensors").stat().st_size
    assert rows["model"] == "FraiLT 2^4 whose groups run 7, 7 times"
    assert rows["bytes of weights"] == f"{size:,} in the checkpoint, {size:,} exported"
    assert json.loads((tmp_path / "hub" / "config.json").read_text())["auto_map"].keys() == {
        "AutoConfig",
        "AutoModel",
        "AutoModelForCausalLM",
    }


def test_a_run_folder_stands_for_its_last_checkpoint(run, capsys, tmp_path):
    assert said(capsys, "--checkpoint", run, "--to", "llama", "--out", tmp_path / "a")
    assert damage(tmp_path / "a") is None
    assert "Trained by frailt" in (tmp_path / "a" / "README.md").read_text()


def test_the_licence_that_somebody_wrote_into_the_card_goes_along(saved, tmp_path):
    card = saved() / "README.md"
    card.write_text(card.read_text().replace("cc-by-4.0", "mit"))
    assert main(["export", "--checkpoint", str(card.parent), "--to", "llama", "--out", str(tmp_path / "a")]) == 0
    assert "license: mit" in (tmp_path / "a" / "README.md").read_text()


@pytest.mark.parametrize("to", ["llama", "hub", "gguf"])
def test_the_chat_template_goes_along(to, saved, tmp_path):
    template = "{% for message in messages %}{{ message.content }}{% endfor %}"
    checkpoint, out = saved(), tmp_path / "out.gguf"
    (checkpoint / "chat_template.jinja").write_text(template)
    assert main(["export", "--checkpoint", str(checkpoint), "--to", to, "--out", str(out)]) == 0
    if to == "gguf":
        assert llama_in_numpy.read(out)[0]["tokenizer.chat_template"] == template
    else:
        assert AutoTokenizer.from_pretrained(str(out)).chat_template == template


# What is refused


@pytest.mark.parametrize("to", ["llama", "gguf", "hub"])
def test_nothing_that_is_there_is_written_over(to, saved, capsys, tmp_path):
    out = tmp_path / "there.gguf"
    out.write_text("mine")
    assert "out must be new, and there is something at" in refusal(
        capsys, "--checkpoint", saved(), "--to", to, "--out", out
    )
    assert out.read_text() == "mine"
    (tmp_path / "folder.gguf").mkdir()
    assert "out must be new" in refusal(
        capsys, "--checkpoint", tmp_path / "checkpoint", "--to", to, "--out", tmp_path / "folder.gguf"
    )


def test_a_damaged_checkpoint_is_refused_by_its_hashes(saved, capsys, tmp_path):
    checkpoint = saved("2^4")
    weights = bytearray((checkpoint / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (checkpoint / "model.safetensors").write_bytes(weights)
    line = refusal(capsys, "--checkpoint", checkpoint, "--to", "llama", "--out", tmp_path / "a")
    assert line == f"checkpoint {checkpoint} is damaged: model.safetensors has other contents than were written"
    (checkpoint / "model.safetensors").unlink()
    line = refusal(capsys, "--checkpoint", checkpoint, "--to", "llama", "--out", tmp_path / "a")
    assert line == f"checkpoint {checkpoint} is damaged: model.safetensors is missing"
    assert not (tmp_path / "a").exists()


def test_a_foreign_checkpoint_or_none_is_refused(capsys, tmp_path):
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    LlamaForCausalLM(LlamaConfig(vocab_size=31, **sizes)).save_pretrained(tmp_path / "llama")
    out = ["--to", "hub", "--out", tmp_path / "a"]
    assert "must be of model type frailt, got 'llama'" in refusal(capsys, "--checkpoint", tmp_path / "llama", *out)
    assert "must be a folder with a config.json" in refusal(capsys, "--checkpoint", tmp_path / "nowhere", *out)


BAD = [
    ({"to": "llama", "dtype": "float16"}, "dtype is for gguf files only, got float16 with llama"),
    ({"to": "hub", "dtype": "q8_0"}, "dtype is for gguf files only, got q8_0 with hub"),
    ({"to": "gguf", "push": "me/model"}, "push takes a folder, got me/model with a gguf file"),
    ({"to": "gguf"}, "out must end in .gguf for a gguf file, got o"),
    ({"to": "gguf", "out": ".gguf"}, "out must end in .gguf for a gguf file, got .gguf"),
]


@pytest.mark.parametrize(("changes", "message"), BAD)
def test_an_option_without_effect_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        ExportConfig(**({"checkpoint": "c", "out": "o"} | changes))


@pytest.mark.parametrize("command", DOCUMENTED, ids=lambda command: command[command.index("--to") + 1])
def test_the_documented_commands_parse(command):
    assert command[:2] == ["frailt", "export"]
    _parse(command[1], command[2:])


def test_an_unknown_target_is_refused(capsys):
    line = refusal(capsys, "--checkpoint", "c", "--out", "o", "--to", "onnx")
    assert line == "to must be llama or gguf or hub, got 'onnx'"


def test_more_iterations_than_there_is_room_for_are_refused(saved, capsys, tmp_path):
    line = refusal(
        capsys, "--checkpoint", saved("2^4"), "--to", "llama", "--out", tmp_path / "a", "--iterations", 100_000
    )
    assert "iterations must stay within" in line


# The hub


@pytest.fixture
def asked(monkeypatch):
    """What the hub was asked: it is a stand-in here, and there is a token for it."""
    asked = []

    class Api:
        def __init__(self, token=None):
            self.token = token

        def create_repo(self, repo_id, exist_ok):
            asked.append(("create_repo", self.token, repo_id, exist_ok))
            return f"https://hub/{repo_id}"

        def upload_folder(self, repo_id, folder_path, commit_message):
            asked.append(("upload_folder", self.token, repo_id, sorted(file.name for file in folder_path.iterdir())))
            if repo_id == "me/refused":
                response = SimpleNamespace(headers={}, status_code=403, request=None)
                raise HfHubHTTPError("403 Forbidden:\nno right to write", response=response)

    monkeypatch.setattr(hub, "HfApi", Api)
    monkeypatch.setattr(hub, "get_token", lambda: "hf_secret")
    return asked


def test_a_folder_is_pushed_with_its_card_and_code(asked, saved, capsys, tmp_path):
    out = tmp_path / "a"
    rows = said(capsys, "--checkpoint", saved("2^4"), "--to", "hub", "--out", out, "--push", "me/stories")
    assert rows["pushed"] == "https://hub/me/stories"
    assert "hf_secret" not in " ".join(rows.values())
    create, upload = asked
    assert create == ("create_repo", "hf_secret", "me/stories", True)
    assert upload[:3] == ("upload_folder", "hf_secret", "me/stories")
    assert {"README.md", "config.json", "model.safetensors", "modeling_frailt.py", "layout.py"} <= set(upload[3])
    assert 'model="me/stories", trust_remote_code=True' in (out / "README.md").read_text()


def test_a_push_that_the_hub_refuses_is_one_line_and_leaves_the_folder(asked, saved, capsys, tmp_path):
    out = tmp_path / "a"
    line = refusal(capsys, "--checkpoint", saved("2^4"), "--to", "llama", "--out", out, "--push", "me/refused")
    assert line.startswith(f"push to me/refused failed, {out} is written and stays: 403 Forbidden")
    assert "hf_secret" not in line
    assert damage(out) is None


def test_without_a_token_nothing_is_written(asked, saved, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(hub, "get_token", lambda: None)
    line = refusal(capsys, "--checkpoint", saved("2^4"), "--to", "hub", "--out", tmp_path / "a", "--push", "me/a")
    assert line == "push needs a token of the hub, and there is none: run hf auth login, or set HF_TOKEN"
    assert not (tmp_path / "a").exists()
    assert not asked


def test_a_name_that_is_no_repository_is_refused(asked, saved, capsys, tmp_path):
    line = refusal(capsys, "--checkpoint", saved("2^4"), "--to", "hub", "--out", tmp_path / "a", "--push", "a/b/c")
    assert line == "push must be the name of a repository such as me/model, got 'a/b/c'"
    assert not asked
