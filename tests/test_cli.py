"""The command line: help, parsing, and how bad input ends: one line, exit code 2, nothing left behind."""

import gzip
import json
import re
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

import frailt
from frailt import cli
from frailt.cli import COMMANDS, main
from frailt.model.cost import cost

CONFIGS = sorted((Path(__file__).parents[1] / "configs").rglob("*.yaml"))
TRAIN = ["train", "--data", "data", "--out", "out"]

ALL_HELP = """
import contextlib, io, json, sys
from frailt.cli import COMMANDS, main

told = {}
for name in ["", *COMMANDS]:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        try:
            code = main([name, "--help"] if name else ["--help"])
        except SystemExit as stopped:
            code = stopped.code
    heavy = sorted({"torch", "transformers", "datasets", "matplotlib"} & set(sys.modules))
    told[name] = [code, heavy, out.getvalue()]
json.dump(told, sys.stdout)
"""


def refusal(capfd, *arguments) -> str:
    """The line that a command with bad input ends in."""
    capfd.readouterr()
    code = main([str(argument) for argument in arguments])
    out, errors = capfd.readouterr()
    assert code == 2
    assert out == ""
    assert errors.endswith("\n")
    assert len(errors.splitlines()) == 1, errors
    assert "Traceback" not in errors
    assert errors.startswith("frailt")
    return errors.rstrip("\n")


# Help


@pytest.fixture(scope="module")
def helps() -> dict:
    done = subprocess.run([sys.executable, "-c", ALL_HELP], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return json.loads(done.stdout)


def test_help_lists_the_commands(helps):
    code, _, text = helps[""]
    assert code == 0
    assert all(re.search(rf"^  {name} +{command.about}$", text, re.MULTILINE) for name, command in COMMANDS.items())


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help_exits_0_without_importing_torch(name, helps):
    code, heavy, _ = helps[name]
    assert code == 0
    assert heavy == []


@pytest.mark.parametrize("name", COMMANDS)
def test_help_describes_every_option_with_its_default(name, helps):
    text = " ".join(helps[name][2].partition("options:")[2].split())
    config = cli._load(COMMANDS[name].config)
    for field in fields(config):
        if field.name in (COMMANDS[name].positional, "model"):
            continue
        found = re.search(rf"--{field.name} (\S+) (?:--{field.name}\+ \S+ )?(.+?)\((required|type: .*?default: )", text)
        found = found or re.search(rf"--{field.name}\+ (\S+) (.+?)\((required|type: .*?default: )", text)
        assert found, field.name
        assert not found[2].startswith(("(", "--")), f"--{field.name} has no description"


def test_help_of_training_says_units(helps):
    text = " ".join(helps["train"][2].split())
    assert "--context CONTEXT tokens per row. (type: int, default: 512)" in text
    assert "--model.hidden_size HIDDEN_SIZE width of the residual stream. (type: int, default: 64)" in text
    assert "--from for short" in text


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"frailt {frailt.__version__}\n"


def test_no_command_shows_help_and_exits_2(capsys):
    assert main([]) == 2
    assert "usage: frailt COMMAND" in capsys.readouterr().out


# Parsing


def parsed(*arguments):
    return cli._parse(arguments[0], list(arguments[1:]))


@pytest.fixture
def written(tmp_path):
    """Writes a YAML file and gives its path."""

    def written(text: str) -> str:
        (tmp_path / "config.yaml").write_text(text)
        return str(tmp_path / "config.yaml")

    return written


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_shipped_configuration_parses(path):
    config = parsed(*TRAIN, "--config", str(path))
    given = yaml.safe_load(path.read_text())
    assert given
    for name, value in given.items():
        if name == "model":
            assert all(getattr(config.model, key) == inner for key, inner in value.items())
        else:
            assert getattr(config, name) == value


def test_there_are_shipped_configurations():
    assert CONFIGS


def test_options_override_the_file(written):
    path = written("steps: 3\nmodel:\n  layout: 1^2\n  hidden_size: 32\n")
    config = parsed(*TRAIN, "--config", path, "--steps", "4", "--model.hidden_size", "16")
    assert (config.steps, config.model.layout, config.model.hidden_size) == (4, "1^2", 16)


@pytest.mark.parametrize("layout", ["8", "'8'"])
def test_a_layout_in_a_file_may_be_a_bare_number(layout, written):
    assert parsed(*TRAIN, "--config", written(f"model:\n  layout: {layout}\n")).model.layout == "8"


@pytest.mark.parametrize("layout", ["8", "2^4", "(2)^4", "1,(2)^4,1"])
def test_a_layout_on_the_command_line_is_taken_as_it_is(layout):
    assert parsed(*TRAIN, "--model.layout", layout).model.layout == layout
    assert parsed("info", layout).layout == layout


@pytest.mark.parametrize("given", [["--from", "runs/a"], ["--from=runs/a"], ["--from_checkpoint", "runs/a"]])
def test_from_is_short_for_from_checkpoint(given, recwarn):
    assert parsed(*TRAIN, *given).from_checkpoint == "runs/a"
    assert not [warning for warning in recwarn if "from" in str(warning.message)]


@pytest.mark.parametrize("rate", ["1e-3", "0.001", "1.0e-3"])
def test_numbers_may_be_written_with_exponents(rate, written):
    assert parsed(*TRAIN, "--learning_rate", rate).learning_rate == 0.001
    assert parsed(*TRAIN, "--config", written(f"learning_rate: {rate}\n")).learning_rate == 0.001


def test_print_config_shows_what_can_be_read_back(capsys, written):
    with pytest.raises(SystemExit) as stopped:
        main([*TRAIN, "--steps", "7", "--print_config"])
    assert stopped.value.code == 0
    shown = capsys.readouterr().out
    assert parsed("train", "--config", written(shown)) == parsed(*TRAIN, "--steps", "7")


PARSING = [
    (
        ["nonsense"],
        "command must be one of info, prepare, train, plan, evaluate, generate, complete, serve, export, sweep, "
        "report, judge, judge-quality, measure, real-stories, compare, got 'nonsense'",
    ),
    ([*TRAIN, "--nope", "1"], "--nope is no option of frailt train"),
    ([*TRAIN, "--layout", "8"], "--layout is no option of frailt train (is it --model.layout?); --help lists them"),
    ([*TRAIN, "--model.hiden_size=8"], "(is it --model.hidden_size?); --help"),
    ([*TRAIN, "--learning-rat", "1"], "(is it --learning_rate?)"),
    ([*TRAIN, "--nope=1"], "--nope=1 is no option of frailt train"),
    ([*TRAIN, "--model.nope", "1"], "--model.nope is no option of frailt train"),
    ([*TRAIN, "stray"], "stray is no option of frailt train"),
    ([*TRAIN, "--steps", "x"], "steps must be int or null, got 'x'"),
    ([*TRAIN, "--steps", "1.5"], "steps must be int or null, got 1.5"),
    ([*TRAIN, "--steps"], "--steps: expected one argument"),
    ([*TRAIN, "--learning_rate", "fast"], "learning_rate must be float, got 'fast'"),
    ([*TRAIN, "--precision", "half"], "precision must be auto or float32 or bfloat16, got 'half'"),
    ([*TRAIN, "--gradient_checkpointing", "maybe"], "gradient_checkpointing must be true or false, got 'maybe'"),
    (["compare", "--runs", "[1, {}]"], "runs must be [str, ...]"),
    ([*TRAIN, "--model.hidden_size", "wide"], "model.hidden_size must be int, got 'wide'"),
    ([*TRAIN, "--model", "8"], "model"),
    ([*TRAIN, "--steps", "3", "--tokens", "4"], "only one of passes, tokens and steps may be given"),
    ([*TRAIN, "--config", "nowhere.yaml"], "config must be a YAML file or a preset ("),
    (["train", "--out", "out"], "data must be given"),
    (["train"], "data, out must be given"),
    (["info"], "layout must be given"),
    (["evaluate", "--checkpoint", "c", "--data", "d", "--iterations", "[1,x]"], "iterations must be counts such as"),
    (["prepare", "--source", "builtin", "--out", "o", "--duplicates", "keep"], "duplicates must be remove or refuse"),
    (["compare", "--runs", "[a]", "--plot", "loss.pdf"], "plot must end in .png or .svg, got 'loss.pdf'"),
]


@pytest.mark.parametrize(("arguments", "said"), PARSING, ids=lambda value: " ".join(value)[-40:] if value else "")
def test_what_cannot_be_parsed_is_one_line_that_names_it(arguments, said, capfd):
    assert said in refusal(capfd, *arguments)


FILES = [
    ("stepss: 3\n", "stepss is no option of frailt train (is it steps?); --help lists them"),
    ("model:\n  nope: 3\n", "model.nope is no option of frailt train"),
    ("steps: many\n", "steps must be int or null, got 'many'"),
    ("data: 5\n", "data must be str, got 5"),
    ("steps: [1\n", "config must be YAML: "),
    ("steps: 1\n  seed: 2\n", "config must be YAML: "),
    ("just text\n", "config must hold settings such as 'seed: 1', got 'just text'"),
    ("- 1\n- 2\n", "config must hold settings such as 'seed: 1'"),
    ("", "config must hold settings such as 'seed: 1', got ''"),
    ("model: 5\n", "model must be settings of its own, as in model.NAME, got 5"),
]


@pytest.mark.parametrize(("text", "said"), FILES)
def test_a_bad_file_of_settings_is_one_line_that_names_the_fault(text, said, written, capfd):
    assert said in refusal(capfd, *TRAIN, "--config", written(text))


# Endings


def test_an_interrupt_exits_130(capfd, monkeypatch):
    def interrupted(config):
        raise KeyboardInterrupt

    monkeypatch.setattr("frailt.info.info", interrupted)
    assert main(["info", "8"]) == 130
    assert capfd.readouterr().err == "frailt info: stopped\n"


def test_a_traceback_is_shown_on_request(monkeypatch):
    monkeypatch.setenv("FRAILT_TRACEBACK", "1")
    with pytest.raises(ValueError, match="hidden_size must be divisible"):
        main(["info", "8", "--hidden_size", "100"])


def test_a_fault_of_ours_is_not_passed_off_as_bad_input(monkeypatch):
    def faulty(config):
        raise AttributeError("a fault")

    monkeypatch.setattr("frailt.info.info", faulty)
    with pytest.raises(AttributeError):
        main(["info", "8"])


def test_bad_input_to_the_installed_program_exits_2_with_one_line(tmp_path):
    command = [sys.executable, "-m", "frailt", "prepare", "--source", str(tmp_path / "no.txt"), "--out", "out"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert "no.txt' does not exist" in done.stderr
    assert not list(tmp_path.iterdir())


# frailt info


def test_info_shows_the_costs_of_a_layout(capsys):
    assert main(["info", "2^4", "--hidden_size", "64", "--context", "512"]) == 0
    shown = capsys.readouterr().out
    values = dict(re.split(r"\s{2,}", line.strip(), maxsplit=1) for line in shown.splitlines() if line[:1].strip())
    costs = cost(frailt.FraiLTConfig(layout="2^4"))
    assert values["layout"] == "2^4"
    assert values["groups"] == "1 block x 4, 1 block x 4"
    assert values["depth"] == "8 block applications"
    assert values["unique parameters"] == f"{costs.parameters.total:,}"
    assert values["FLOPs per token at 512"] == f"{costs.forward_flops_per_token:,} forward"
    assert values["KV cache per token"] == f"{costs.kv_bytes_per_token(4):,} bytes in float32"


INFO = [
    (["2^4", "--hidden_size", "100"], "hidden_size must be divisible by num_attention_heads, got 100 and 8"),
    (["2^4", "--hidden_size", "24"], "head_dim must be even, because RoPE turns pairs of channels, got 3"),
    (["2^4", "--hidden_size", "0"], "hidden_size must be 1 or more, got 0"),
    (["2^4", "--num_attention_heads", "0"], "num_attention_heads must be 1 or more, got 0"),
    (["2^4", "--num_key_value_heads", "3"], "num_key_value_heads must divide num_attention_heads, got 3 and 8"),
    (["2^4", "--vocab_size", "0"], "vocab_size must be 1 or more, got 0"),
    (["2^4", "--context", "0"], "context must be 1 token or more, got 0"),
    (["2^4", "--context", "-5"], "context must be 1 token or more, got -5"),
    (["2^4", "--iteration_encoding", "rotary"], "iteration_encoding must be one of learned, sinusoidal, none"),
    (["2^4", "--iterations", "0"], "iterations must"),
    (["2^4", "--iterations", "[1,2,3]"], "iterations must"),
    (["2^4", "--iterations", "100000"], "iterations must"),
    (["(2)^5000"], "layout"),
    (["5000^2"], "layout"),
    (["99999999999^9"], "layout"),
    (["2^"], "layout"),
    (["^4"], "layout"),
    (["2^0"], "layout"),
    (["0"], "layout"),
    (["1,,1"], "layout"),
    (["(2)"], "layout"),
    (["2^-1"], "layout"),
    (["two"], "layout"),
    ([""], "layout"),
]


@pytest.mark.parametrize(("arguments", "said"), INFO, ids=lambda value: " ".join(value)[-40:] if value else "")
def test_info_refuses_what_is_no_model(arguments, said, capfd):
    assert said in refusal(capfd, "info", *arguments)


# Bad input, command by command. Each gives the arguments, with files made in a fresh folder, and what is said.

STORY = "Once there was a small dog who had a red ball and ran into the garden. "


def source(name: str, content: bytes):
    def arguments(tmp_path, **made):
        (tmp_path / name).write_bytes(content)
        return ["prepare", "--source", tmp_path / name, "--out", tmp_path / "out"]

    return arguments


def builtin(*options):
    return lambda tmp_path, **made: ["prepare", "--source", "builtin", "--out", tmp_path / "out", *options]


def in_use(command):
    def arguments(tmp_path, prepared, **made):
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "mine").write_text("kept")
        source = ["--source", "builtin"] if command == "prepare" else ["--data", prepared]
        return [command, *source, "--out", tmp_path / "out"]

    return arguments


def training(*options, data=None):
    def arguments(tmp_path, **made):
        chosen = [made.get(option, option) for option in options]
        return ["train", "--data", made[data or "prepared"], "--out", tmp_path / "out", "--steps", "1", *chosen]

    return arguments


def damaged_data(tmp_path, prepared, **made):
    shutil.copytree(prepared, tmp_path / "data")
    content = (tmp_path / "data" / "train.bin").read_bytes()
    (tmp_path / "data" / "train.bin").write_bytes(content[:-100])
    return ["train", "--data", tmp_path / "data", "--out", tmp_path / "out"]


def evaluating(*options, data="prepared"):
    return lambda run, **made: ["evaluate", "--checkpoint", run, "--data", made[data], *options]


def telling(*options, prompts: bytes | None = None):
    def arguments(tmp_path, run, **made):
        if prompts is not None:
            (tmp_path / "prompts").write_bytes(prompts)
        return ["generate", "--checkpoint", run, *(str(option).format(tmp=tmp_path) for option in options)]

    return arguments


JSON_LINES = b'{"text": "One."}\n' * 40
BAD = {
    "prepare, no such file": (
        lambda tmp_path, **made: ["prepare", "--source", tmp_path / "no.txt", "--out", tmp_path / "out"],
        "does not exist",
    ),
    "prepare, an empty file": (source("empty.txt", b""), "empty.txt: the file is empty"),
    "prepare, white space": (source("white.txt", b" \n\n "), "there are no documents"),
    "prepare, not UTF-8": (source("latin.txt", "café ".encode("latin-1") * 9), "latin.txt: not UTF-8 at byte 3"),
    "prepare, a truncated line": (source("cut.jsonl", JSON_LINES[:-5]), "cut.jsonl, line 40 (the last): not one JSON"),
    "prepare, a truncated archive": (source("cut.txt.gz", gzip.compress(STORY.encode())[:-9]), "cut short or damaged"),
    "prepare, a truncated table": (source("cut.parquet", b"PAR1 and so on"), "not a whole parquet file"),
    "prepare, another format": (source("story.pdf", b"%PDF"), "cannot tell the format from the name"),
    "prepare, no such field": (source("a.jsonl", b'{"story": "One."}\n'), "no field 'text'; set text_field to one of"),
    "prepare, no separator": (source("run-on.txt", STORY.encode() * 1000), "separator '<|endoftext|>' does not occur"),
    "prepare, a vocabulary too large": (builtin("--stories", 30, "--vocab_size", 30000), "vocab_size must be at most"),
    "prepare, a vocabulary too small": (builtin("--vocab_size", 100), "vocab_size must be above 259"),
    "prepare, nothing held out": (
        builtin("--stories", 60, "--vocab_size", 330, "--validation_share", 1e-9),
        "validation_share of 1e-09 leaves no document of 60 in the validation split",
    ),
    "prepare, a share of all": (builtin("--validation_share", 1), "validation_share must be between 0 and 1"),
    "prepare, a folder in use": (in_use("prepare"), "exists and is not empty; choose another folder"),
    "prepare, no such tokenizer": (builtin("--tokenizer", "no.model"), "tokenizer 'no.model' does not exist"),
    "train, a folder in use": (in_use("train"), "out must be a new or empty folder"),
    "train, damaged data": (damaged_data, "train.bin: truncated or damaged"),
    "train, no such device": (training("--device", "xpu"), "device must be one that is here"),
    "train, no such kind of device": (training("--device", "abacus"), "got 'abacus'"),
    "train, no such tracker": (training("--report_to", "[pigeon]"), "report_to must be trackers that are installed"),
    "train, width and heads": (training("--model.hidden_size", "100"), "hidden_size must be divisible"),
    "train, from another vocabulary": (
        training("--from", "run", "--context", "47", data="prepared_in_bytes"),
        "data must be prepared with the checkpoint's tokenizer",
    ),
    "train, from a shorter context": (training("--from", "run"), "context must be at most the checkpoint's 47 tokens"),
    "train, from and a model": (
        training("--from", "run", "--model.layout", "8"),
        "model comes from from_checkpoint where that is given",
    ),
    "train, from nowhere": (training("--from", "nowhere"), "checkpoint must be a folder with a config.json"),
    "evaluate, another vocabulary": (
        evaluating(data="prepared_in_bytes"),
        "data must be prepared with the checkpoint's tokenizer",
    ),
    "evaluate, a longer context": (evaluating("--context", "48"), "context must be at most the model's 47 tokens"),
    "evaluate, iterations": (evaluating("--iterations", "[1,2,3]"), "iterations must"),
    "evaluate, no such split": (evaluating("--split", "test"), "split must be validation or train, got 'test'"),
    "evaluate, no such device": (evaluating("--device", "xpu"), "device must be one that is here"),
    "evaluate, no checkpoint": (
        lambda tmp_path, prepared, **made: ["evaluate", "--checkpoint", tmp_path, "--data", prepared],
        "checkpoint must be a folder with a config.json",
    ),
    "generate, a prompt too long": (telling("--prompt", STORY * 9), "prompt must leave room in the context of 47"),
    "generate, no such file": (telling("--prompts_file", "{tmp}/no"), "no: No such file or directory"),
    "generate, an empty file": (telling("--prompts_file", "{tmp}/prompts", prompts=b"\n \n"), "at least one line"),
    "generate, not UTF-8": (
        telling("--prompts_file", "{tmp}/prompts", prompts="café".encode("latin-1")),
        "prompts_file must be UTF-8 text, got other bytes at 3",
    ),
    "generate, no such device": (telling("--device", "xpu"), "device must be one that is here"),
    "generate, temperature 0": (telling("--temperature", "0"), "for the likeliest token use --greedy true"),
    "compare, no run": (
        lambda tmp_path, **made: ["compare", "--runs", f"[{tmp_path}]", "--plot", tmp_path / "loss.png"],
        "runs must be folders made by frailt train",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_exit_code_2_and_nothing_left(
    case, tmp_path, prepared, prepared_in_bytes, run, capfd, monkeypatch
):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    make, said = BAD[case]
    made = {"prepared": prepared, "prepared_in_bytes": prepared_in_bytes, "run": run}
    arguments = make(tmp_path=tmp_path, **made)
    before = {path: path.read_bytes() if path.is_file() else None for path in tmp_path.rglob("*")}
    assert said in refusal(capfd, *arguments)
    assert {path: path.read_bytes() if path.is_file() else None for path in tmp_path.rglob("*")} == before


def test_a_character_that_the_tokenizer_does_not_know_is_named(run, tmp_path, capfd):
    shutil.copytree(run / "last", tmp_path / "checkpoint")
    (tmp_path / "checkpoint" / "tokenizer.model").unlink()
    path = tmp_path / "checkpoint" / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    tokenizer["model"]["byte_fallback"] = False
    path.write_text(json.dumps(tokenizer))
    said = refusal(capfd, "generate", "--checkpoint", tmp_path / "checkpoint", "--prompt", "A 🦊")
    assert "prompt must be made of characters that the tokenizer knows, got 🦊 in 'A 🦊'" in said


def test_out_of_memory_is_one_line(capfd, monkeypatch):
    def fail(config):
        raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: 9 bytes")

    monkeypatch.setattr("frailt.info.info", fail)
    assert "out of memory: lower batch_rows" in refusal(capfd, "info", "8")


def test_any_other_runtime_error_is_a_bug_and_shows_its_traceback(monkeypatch):
    def fail(config):
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr("frailt.info.info", fail)
    with pytest.raises(RuntimeError, match="shapes"):
        main(["info", "8"])


def test_lists_and_flags_may_be_given_plainly(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr("frailt.experiments.compare.compare", lambda config: seen.append(config))
    monkeypatch.setattr("frailt.inference.generate.generate", lambda config: seen.append(config))
    assert main(["compare", "--runs", "a", "b", "--plot", "c.png"]) == 0
    assert main(["compare", "--runs=[a,b]"]) == 0
    assert [config.runs for config in seen] == [["a", "b"]] * 2
    assert main(["generate", "--checkpoint", "x", "--stream"]) == 0
    assert main(["generate", "--stream", "--checkpoint", "x"]) == 0
    assert main(["generate", "--stream", "false", "--checkpoint", "x"]) == 0
    assert [config.stream for config in seen[2:]] == [True, True, False]


def test_a_bare_flag_leaves_what_follows_it(monkeypatch):
    seen = []
    monkeypatch.setattr("frailt.experiments.sweep.sweep", lambda config: seen.append(config))
    assert main(["sweep", "--dry-run", "paper", "--data", "d", "--out", "o"]) == 0
    assert main(["sweep", "--dry-run", "no", "paper", "--data", "d", "--out", "o"]) == 0
    assert [(config.dry_run, config.grid) for config in seen] == [(True, "paper"), (False, "paper")]


def test_a_config_that_is_not_utf8_is_one_line(capfd, tmp_path):
    path = tmp_path / "latin.yaml"
    path.write_bytes("data: caf\u00e9\n".encode("latin-1"))
    assert "config must be a UTF-8 text file" in refusal(capfd, "train", "--config", path)


def test_info_says_what_the_encoding_gives_beyond_the_trained_iterations(capsys):
    assert main(["info", "2^4"]) == 0
    assert "repeats its last vector" in capsys.readouterr().out
    assert main(["info", "8"]) == 0
    assert "beyond" not in capsys.readouterr().out
