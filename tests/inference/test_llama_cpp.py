"""What needs no llama.cpp: settings, its absence, and what it is told, by a stand-in. `make interop` really runs it."""

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace

import pytest

from frailt.cli import main
from frailt.inference import llama_cpp
from frailt.inference.config import GenerateConfig

CONTEXT = 23
BAD = [
    ({"compile": "on"}, "compile is for engine torch"),
    ({"device": "cuda"}, "device must be auto or cpu for engine llama.cpp, got cuda"),
    ({"exit_threshold": 0.5}, "exit_threshold is for engine torch"),
    ({"checkpoint": "a.gguf", "iterations": 3}, r"iterations of a \.gguf file are those it was exported with, got 3"),
    ({"checkpoint": "a.gguf", "engine": "torch"}, r"checkpoint must be a folder for engine torch, got a\.gguf"),
]


@pytest.mark.parametrize(("changes", "message"), BAD)
def test_what_llama_cpp_cannot_do_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        GenerateConfig(**({"checkpoint": "c", "engine": "llama.cpp"} | changes))


def test_without_the_extra_one_line_says_what_to_install(capsys, monkeypatch):
    monkeypatch.setattr(llama_cpp.importlib.util, "find_spec", lambda name: None)
    assert main(["generate", "--checkpoint", "a.gguf", "--engine", "llama.cpp"]) == 2
    out, errors = capsys.readouterr()
    line = "frailt generate: error: engine llama.cpp needs the llama-cpp-python package: pip install 'frailt[llama]'\n"
    assert (out, errors) == ("", line)


@pytest.fixture
def asked(monkeypatch, tmp_path) -> SimpleNamespace:
    """A stand-in whose ids are 3 + byte, which says "é!" and ends; it keeps what it is told."""
    asked = SimpleNamespace(opened=[], chains=[], read=[], closed=0, file=tmp_path / "a.gguf")
    asked.file.touch()
    api = ModuleType("llama_cpp")
    api.__spec__ = ModuleSpec("llama_cpp", None)

    class Llama:
        model, ctx, metadata = "model", "ctx", {}

        def __init__(self, path, **options):
            asked.opened.append((path, options))

        def tokenize(self, text, add_bos, special):
            assert add_bos
            assert not special
            return [1, *(3 + byte for byte in text)]

        def reset(self):
            asked.read.append([])

        def eval(self, tokens):
            asked.read[-1] += tokens

        def close(self):
            asked.closed += 1

    def sample(chain, ctx, place):
        said = [*(3 + byte for byte in " é!".encode()), 2]
        new = len([id for id in asked.read[-1] if id >= 3]) - asked.behind
        return said[min(new, len(said) - 1)]

    def piece(vocabulary, token, buffer, size, lstrip, special):
        buffer[0] = bytes([token - 3])
        return 1

    def link(name):
        return lambda *values: (name, *values)

    asked.behind = 0
    for name in ("greedy", "temp", "top_k", "top_p", "dist"):
        setattr(api, f"llama_sampler_init_{name}", link(name))
    api.GGML_TYPE_F32, api.Llama = "float32", Llama
    api.llama_model_get_vocab, api.llama_model_n_ctx_train = link("vocabulary"), lambda model: CONTEXT
    api.llama_sampler_chain_default_params = link("defaults")
    api.llama_sampler_chain_init = lambda params: asked.chains.append([]) or asked.chains[-1]
    api.llama_sampler_chain_add = lambda chain, each: chain.append(each)
    api.llama_sampler_free = lambda chain: chain.append("freed")
    api.llama_sampler_sample, api.llama_token_to_piece = sample, piece
    api.llama_vocab_is_eog = lambda vocabulary, token: token == 2
    monkeypatch.setitem(sys.modules, "llama_cpp", api)
    return asked


def told(capsys, asked, *arguments) -> str:
    capsys.readouterr()
    arguments = ["--checkpoint", asked.file, "--engine", "llama.cpp", *arguments]
    assert main(["generate", *map(str, arguments)]) == 0, capsys.readouterr().err
    return capsys.readouterr().out


def test_a_file_is_opened_with_its_own_context_and_a_cache_in_float32(asked, capsys):
    told(capsys, asked, "--threads", 3)
    options = {"n_ctx": 0, "n_threads": 3, "n_threads_batch": 3, "verbose": False}
    assert asked.opened == [(str(asked.file), options | {"type_k": "float32", "type_v": "float32"})]
    assert asked.closed == 1


@pytest.mark.parametrize("stream", ["true", "false"])
@pytest.mark.parametrize(("prompt", "story"), [("One", "One é!"), ("", "é!")])
def test_a_story_is_what_was_said_up_to_its_end(prompt, story, stream, asked, capsys):
    asked.behind = len(prompt)
    arguments = ["--greedy", "true", "--stream", stream] + (["--prompt", prompt] if prompt else [])
    assert told(capsys, asked, *arguments) == f"{story}\n"
    assert asked.chains == [[("greedy",), "freed"]]


def test_a_story_is_at_most_so_many_tokens_as_asked_and_no_token_is_read_in_vain(asked, capsys):
    assert told(capsys, asked, "--max_new_tokens", 3) == "é\n"
    assert [len(read) for read in asked.read] == [1 + 2]


def test_samplers_come_in_our_order_each_story_with_a_seed_of_its_own(asked, capsys):
    options = ["--samples", 2, "--temperature", 0.5, "--top_p", 0.9, "--top_k", 7]
    assert told(capsys, asked, *options, "--seed", 1) == "é!\n\n---\n\né!\n"
    told(capsys, asked, *options, "--seed", 1)
    told(capsys, asked, *options, "--seed", 2)
    seeds = [chain[3][1] for chain in asked.chains]
    assert [[*chain[:3], chain[4]] for chain in asked.chains] == 6 * [
        [("temp", 0.5), ("top_k", 7), ("top_p", 0.9, 1), "freed"]
    ]
    assert seeds[:2] == seeds[2:4]
    assert len(set(seeds)) == 4
    assert all(0 <= seed < 2**32 - 1 for seed in seeds)
    told(capsys, asked, "--top_p", 1)
    assert [link[0] for link in asked.chains[-1][:-1]] == ["temp", "dist"]


def test_a_prompt_that_leaves_no_room_is_refused_before_any_story_is_told(asked, capsys, tmp_path):
    (tmp_path / "prompts.txt").write_text("short\n" + CONTEXT * "x" + "\n")
    arguments = ["--checkpoint", asked.file, "--engine", "llama.cpp", "--prompts_file", tmp_path / "prompts.txt"]
    assert main(["generate", *map(str, arguments)]) == 2
    out, errors = capsys.readouterr()
    assert out == ""
    assert f"prompt must leave room in the context of {CONTEXT} tokens, got {CONTEXT + 1} in 'xxx" in errors


def test_a_file_that_is_not_there_is_one_line(asked, capsys):
    asked.file.unlink()
    assert main(["generate", "--checkpoint", str(asked.file), "--engine", "llama.cpp"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line == f"frailt generate: error: checkpoint must be a GGUF file, and there is none at {asked.file}"


def test_a_checkpoint_is_exported_with_its_iterations_and_the_file_removed(asked, capsys, monkeypatch):
    commands = []

    def run(command, **options):
        commands.append(command)
        (file,) = [each for each in command if each.endswith(".gguf")]
        llama_cpp.Path(file).touch()
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(llama_cpp.subprocess, "run", run)
    assert main(["generate", "--checkpoint", "runs/a", "--engine", "llama.cpp", "--iterations", "[1,5,1]"]) == 0
    [[_, *command]] = commands
    [(path, _)] = asked.opened
    made = ["export", "--checkpoint", "runs/a", "--to", "gguf", "--out", path, "--iterations", "[1, 5, 1]"]
    assert command == ["-m", "frailt", *made]
    assert not llama_cpp.Path(path).exists()
    out, errors = capsys.readouterr()
    assert out == "é!\n"
    assert errors.startswith("frailt generate: exported to a temporary GGUF file in ")


def test_a_checkpoint_that_cannot_be_exported_is_one_line(asked, capsys, monkeypatch):
    failed = SimpleNamespace(returncode=2, stderr="frailt export: error: no such thing\n")
    monkeypatch.setattr(llama_cpp.subprocess, "run", lambda command, **options: failed)
    assert main(["generate", "--checkpoint", "runs/a", "--engine", "llama.cpp"]) == 2
    assert capsys.readouterr() == ("", "frailt generate: error: no such thing\n")
