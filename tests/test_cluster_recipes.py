"""The recipes of docs/cluster.md and examples/cluster can be typed, and the scripts among them run."""

import importlib.util
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from frailt.cli import _parse

ROOT = Path(__file__).parents[1]
RECIPES = ROOT / "examples" / "cluster"
PAGE = (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")
SHELL_SCRIPTS = sorted(path for path in RECIPES.iterdir() if path.suffix in (".sh", ".sbatch"))

# Long options of sbatch (its man page, Slurm 23.11) and the form of their values; None where there is none.
COUNT, TIME, WORDS = r"\d+", r"(\d+-)?\d{1,2}(:\d\d){0,2}|\d+", r"[\w.,/%@=+:-]+"
GPUS, MEMORY = r"(\w+:)?\d+", r"\d+[KMGT]?"
SBATCH_OPTIONS = {
    "account": WORDS, "array": r"[\d,-]+(:\d+)?(%\d+)?", "chdir": WORDS, "comment": r".+", "constraint": r"[\w&|*()]+",
    "cpus-per-gpu": COUNT, "cpus-per-task": COUNT, "dependency": WORDS, "error": WORDS, "exclude": WORDS,
    "exclusive": None, "gpus": GPUS, "gpus-per-node": GPUS, "gpus-per-task": GPUS, "gres": r"[\w:,]+",
    "job-name": WORDS, "mail-type": r"[A-Z,_\d]+", "mail-user": r"\S+@\S+", "mem": MEMORY, "mem-per-cpu": MEMORY,
    "mem-per-gpu": MEMORY, "nodelist": WORDS, "nodes": r"\d+(-\d+)?", "no-requeue": None, "ntasks": COUNT,
    "ntasks-per-node": COUNT, "open-mode": r"append|truncate", "output": WORDS, "partition": WORDS, "qos": WORDS,
    "requeue": None, "reservation": WORDS, "signal": r"(R?B?:)?(SIG)?([A-Z]+[12]?|\d+)(@\d+)?", "time": TIME,
    "time-min": TIME,
}  # fmt: skip
SRUN_OPTIONS = {"kill-on-bad-exit": r"[01]", "wait": COUNT, "ntasks": COUNT, "nodes": COUNT, "export": WORDS}


def recipe_module():
    pytest.importorskip("submitit")
    spec = importlib.util.spec_from_file_location("submitit_train", RECIPES / "submitit_train.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def check_options(options: list[str], known: dict[str, str | None]) -> dict[str, str]:
    """`--name=value` options as a dictionary, each of a known name and form."""
    found = {}
    for option in options:
        assert option.startswith("--"), option
        name, equals, value = option[2:].partition("=")
        assert name in known, f"no such option: {option}"
        form = known[name]
        assert bool(equals) == (form is not None), option
        assert form is None or re.fullmatch(form, value), f"{option} is not of the form {form}"
        found[name] = value
    return found


def split_options(words: list[str]) -> tuple[list[str], list[str]]:
    first = next((i for i, word in enumerate(words) if not word.startswith("--")), len(words))
    return words[:first], words[first:]


def check_command(words: list[str]) -> str:
    """Parse a command line with the parser of the program that it calls; what it runs in the end."""
    while re.fullmatch(r"\w+=.*", words[0]):  # variables set for the command
        words = words[1:]
    program, *rest = words
    if program == "frailt":
        return _parse_frailt(rest)
    if program == "torchrun":
        from torch.distributed.run import get_args_parser

        parsed = get_args_parser().parse_args(rest)
        assert parsed.module
        assert parsed.training_script == "frailt"
        return _parse_frailt(parsed.training_script_args)
    if program == "accelerate":
        from accelerate.commands.launch import launch_command_parser

        parsed = launch_command_parser().parse_args(rest[1:])
        assert rest[0] == "launch"
        assert parsed.module
        assert Path(ROOT, parsed.config_file).is_file()
        assert parsed.training_script == "frailt"
        return _parse_frailt(parsed.training_script_args)
    if program == "sbatch":
        options, (script, *arguments) = split_options(rest)
        check_options(options, SBATCH_OPTIONS)
        assert Path(ROOT, script).is_file()
        return _parse_frailt(["train", *arguments])
    if program == "sh":
        assert ROOT / rest[0] in SHELL_SCRIPTS
        return _parse_frailt(["train", *rest[1:]])
    if program == "python":
        assert rest[0] == "examples/cluster/submitit_train.py"
        options, more = recipe_module().parser().parse_known_args(rest[1:])
        return _parse_frailt(["train", "--config", options.config, f"--out={options.out}", *more])
    assert program == "pip", f"unknown program in a recipe: {shlex.join(words)}"
    assert rest == ["install", "frailt[cluster]"]
    return "pip"


def _parse_frailt(words: list[str]) -> str:
    name, *arguments = words
    _parse(name, [_from_root(argument) for argument in arguments])
    return f"frailt {name}"


def _from_root(argument: str) -> str:
    return str(ROOT / argument) if argument.startswith("examples/") else argument


PAGE_COMMANDS = [
    shlex.split(line, comments=True)
    for block in re.findall(r"```sh\n(.*?)```", PAGE, flags=re.DOTALL)
    for line in block.replace("\\\n", " ").splitlines()
    if line.strip() and not line.startswith("#")
]
HEADER_COMMANDS = [  # how to call a script, in its own first lines
    shlex.split(line.lstrip("# "))
    for path in sorted(path for path in RECIPES.iterdir() if path.is_file())
    for line in path.read_text(encoding="utf-8").splitlines()
    if re.match(r"(# )? {4}(\w+=\S+ )*(sh|sbatch|python) examples/", line)
]


@pytest.mark.parametrize("command", PAGE_COMMANDS + HEADER_COMMANDS, ids=shlex.join)
def test_commands_parse(command):
    check_command(command)


def test_commands_were_found():
    assert {words[0] for words in PAGE_COMMANDS} >= {"torchrun", "accelerate", "sbatch", "python", "frailt", "sh"}
    assert len(HEADER_COMMANDS) == len(SHELL_SCRIPTS) + 1  # submitit_train.py


def test_the_page_names_every_recipe():
    assert {path.name for path in RECIPES.iterdir() if path.is_file()} == {
        path.name for path in RECIPES.iterdir() if path.is_file() and path.name in PAGE
    }


@pytest.mark.parametrize("option", sorted(set(re.findall(r"`(--[a-z_-]+)[`=: ]", PAGE))))
def test_options_named_in_the_text_exist(option):
    from torch.distributed.run import get_args_parser

    from frailt.training.config import TrainConfig

    name = option[2:].replace("-", "_")
    torchrun = {word for action in get_args_parser()._actions for word in action.option_strings}
    ours = (RECIPES / "submitit_train.py").read_text(encoding="utf-8")
    slurm = {*SBATCH_OPTIONS, *SRUN_OPTIONS}
    assert (
        name in TrainConfig.__dataclass_fields__ or option in torchrun or option[2:] in slurm or f'"{option}"' in ours
    )


@pytest.mark.parametrize("script", SHELL_SCRIPTS, ids=lambda path: path.name)
def test_shell_scripts_are_bash(script):
    subprocess.run(["bash", "-n", str(script)], check=True)


@pytest.mark.parametrize("script", sorted(RECIPES.glob("*.sbatch")), ids=lambda path: path.name)
def test_sbatch_options_exist_and_have_values_of_their_form(script):
    text = script.read_text(encoding="utf-8")
    options = check_options(re.findall(r"^#SBATCH (.*)$", text, flags=re.MULTILINE), SBATCH_OPTIONS)
    assert options.keys() >= {"nodes", "ntasks-per-node", "gpus-per-node", "time", "signal", "requeue"}
    assert options["open-mode"] == "append"  # or a requeued job overwrites the log of its first part


@pytest.mark.parametrize(
    "option", ["--node=1", "--nodes", "--nodes=two", "--requeue=yes", "--signal=TERM@soon", "-N=2"]
)
def test_the_option_check_finds_mistakes(option):
    with pytest.raises(AssertionError):
        check_options([option], SBATCH_OPTIONS)


def test_the_accelerate_config_loads():
    from accelerate.commands.config.config_args import load_config_from_file

    config = load_config_from_file(str(RECIPES / "accelerate-ddp.yaml"))
    assert str(config.distributed_type.value) == "MULTI_GPU"
    assert config.num_processes == 8


def test_the_run_that_recipes_train_parses():
    config = _parse("train", ["--config", str(RECIPES / "train.yaml")])
    assert config.batch_rows % 64 == 0  # can be shared by up to 64 processes
    assert yaml.safe_load((RECIPES / "train.yaml").read_text())["model"]["layout"] == config.model.layout


# Stand-ins for a scheduler: srun runs its command once per task and passes USR1 on, as Slurm's does.

SRUN = """#!{python}
import json, os, signal, subprocess, sys
words = sys.argv[1:]
first = next(i for i, word in enumerate(words) if not word.startswith("--"))
with open(os.environ["CALLS"], "a") as file:
    file.write(json.dumps(["srun", *words]) + "\\n")
tasks = [
    subprocess.Popen(words[first:], env=os.environ | {"SLURM_PROCID": str(i), "SLURM_LOCALID": str(i)})
    for i in range(int(os.environ["SLURM_NTASKS"]))
]
signal.signal(signal.SIGUSR1, lambda number, frame: [task.send_signal(number) for task in tasks])
print("tasks are running", flush=True)
sys.exit(max(task.wait() for task in tasks))
"""
SCONTROL = """#!{python}
import json, os, sys
if sys.argv[1:3] == ["show", "hostnames"]:
    print(sys.argv[3])
else:
    with open(os.environ["CALLS"], "a") as file:
        file.write(json.dumps(["scontrol", *sys.argv[1:]]) + "\\n")
"""
RECORDS_ITSELF = """#!{python}
import json, os, sys
with open(os.environ["CALLS"], "a") as file:
    file.write(json.dumps([os.path.basename(sys.argv[0]), *sys.argv[1:]]) + "\\n")
"""


class Cluster:
    """A folder of stand-ins on PATH, the variables that Slurm sets for a job, and what was called."""

    def __init__(self, folder: Path, tasks: int) -> None:
        self.bin, self.calls_file = folder / "bin", folder / "calls"
        self.bin.mkdir()
        self.provide("srun", SRUN)
        self.provide("scontrol", SCONTROL)
        self.environment = os.environ | {
            "PATH": f"{self.bin}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "CALLS": str(self.calls_file), "SLURM_JOB_ID": str(os.getpid()), "SLURM_JOB_NODELIST": "127.0.0.1",
            "SLURM_NNODES": "1", "SLURM_NTASKS": str(tasks), "SLURM_NTASKS_PER_NODE": str(tasks),
            "SLURM_CPUS_PER_TASK": "1", "SLURM_GPUS_ON_NODE": "1",
        }  # fmt: skip

    def provide(self, name: str, program: str) -> None:
        (self.bin / name).write_text(program.replace("{python}", sys.executable))
        (self.bin / name).chmod(0o755)

    def start(self, script: Path, *arguments: str) -> subprocess.Popen:
        command = ["bash", str(script), *arguments]
        return subprocess.Popen(
            command, env=self.environment, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True
        )

    def run(self, script: Path, *arguments: str) -> int:
        process = self.start(script, *arguments)
        try:
            process.communicate(timeout=120)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # with all that it has started
            raise
        return process.returncode

    def calls(self, program: str) -> list[list[str]]:
        lines = self.calls_file.read_text().splitlines() if self.calls_file.exists() else []
        return [words for words in map(json.loads, lines) if words[0] == program]


def stand_in(body: str) -> str:
    return f"#!/bin/bash\n{body}\n"


def test_torchrun_and_accelerate_scripts_call_what_parses(tmp_path):
    cluster = Cluster(tmp_path, tasks=1)
    cluster.provide("torchrun", RECORDS_ITSELF)
    cluster.environment |= {"HEAD": "node1:29500", "NODES": "2"}
    train = ["--config", "examples/cluster/train.yaml", "--seed", "3"]
    for script in ("torchrun.sh", "torchrun-multinode.sh"):
        assert cluster.run(RECIPES / script, *train) == 0
    one, several = cluster.calls("torchrun")
    assert check_command(one) == check_command(several) == "frailt train"
    assert "--standalone" in one
    assert several[several.index("--rdzv_endpoint") + 1] == "node1:29500"
    assert one[-4:] == several[-4:] == train


def test_several_machines_want_a_head(tmp_path):
    cluster = Cluster(tmp_path, tasks=1)
    cluster.environment.pop("HEAD", None)
    assert cluster.run(RECIPES / "torchrun-multinode.sh") != 0


@pytest.mark.parametrize(("code", "requeued"), [(0, False), (1, False), (2, False), (75, True)])
def test_the_sbatch_script_requeues_on_75_alone(tmp_path, code, requeued):
    cluster = Cluster(tmp_path, tasks=2)
    cluster.provide("frailt", stand_in(f"[ $RANK = 0 ] && exit {code}\nexit 0"))
    assert cluster.run(RECIPES / "train.sbatch", "--steps", "3") == code
    [[_, *words]] = cluster.calls("srun")
    check_options(split_options(words)[0], SRUN_OPTIONS)
    assert bool(cluster.calls("scontrol")) == requeued


@pytest.mark.parametrize("sent", [signal.SIGUSR1, signal.SIGTERM])
def test_the_torchrun_sbatch_script_passes_a_signal_on_and_requeues(tmp_path, sent):
    cluster = Cluster(tmp_path, tasks=1)
    record = 'printf \'["torchrun"\' >>"$CALLS"; printf \',"%s"\' "$@" >>"$CALLS"; echo "]" >>"$CALLS"'
    cluster.provide(
        "torchrun", stand_in(f"trap 'exit 1' USR1\n{record}\necho up\nfor i in {{1..200}}; do sleep 0.1; done")
    )
    job = cluster.start(RECIPES / "torchrun.sbatch", "--steps", "3")
    assert job.stdout is not None
    said = job.stdout.readline() + job.stdout.readline()  # of two processes: their words and line ends may mix
    assert "up" in said
    assert "tasks are running" in said
    job.send_signal(sent)
    assert job.wait(timeout=20) == 1
    assert cluster.calls("scontrol") == [["scontrol", "requeue", str(os.getpid())]]
    [command] = cluster.calls("torchrun")
    assert check_command([*command, "--data=d", "--out=o"]) == "frailt train"
    assert "SIGUSR1" in command[command.index("--signals-to-handle") + 1]


@pytest.mark.parametrize("code", [0, 1])
def test_the_torchrun_sbatch_script_does_not_requeue_unasked(tmp_path, code):
    cluster = Cluster(tmp_path, tasks=1)
    cluster.provide("torchrun", stand_in(f"exit {code}"))
    assert cluster.run(RECIPES / "torchrun.sbatch", "--steps", "3") == code
    assert not cluster.calls("scontrol")


def tiny_options(prepared: Path, out: Path) -> list[str]:
    return [
        f"--data={prepared}", f"--out={out}",
        "--model.layout=2^2", "--model.hidden_size=16", "--model.num_attention_heads=2",
        "--context=47", "--steps=4", "--batch_rows=8", "--device=cpu", "--threads=1", "--evaluations=0",
    ]  # fmt: skip


@pytest.mark.long
def test_two_processes_train_through_the_sbatch_script(tmp_path, prepared):
    cluster = Cluster(tmp_path, tasks=2)
    assert cluster.run(RECIPES / "train.sbatch", *tiny_options(prepared, tmp_path / "run")) == 0
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["status"] == "finished"
    assert record["tokens"] == 4 * 8 * 47


# submitit


@pytest.mark.long
def test_the_submitit_script_trains_on_this_machine(tmp_path, prepared):
    pytest.importorskip("submitit")
    (tmp_path / "config.yaml").write_text("learning_rate: 0.001\n")
    script = [sys.executable, str(RECIPES / "submitit_train.py"), "--config", str(tmp_path / "config.yaml")]
    own = ["--layouts", "1^2", "--out", str(tmp_path / "runs"), "--cluster", "local", "--gpus_per_node", "0"]
    options = [o for o in tiny_options(prepared, tmp_path) if not o.startswith(("--out", "--model.layout"))]
    subprocess.run([*script, *own, *options], check=True, capture_output=True, timeout=120)
    record = json.loads((tmp_path / "runs" / "1^2" / "run.json").read_text())
    assert (record["status"], record["model"]["layout"]) == ("finished", "1^2")


def test_a_preempted_submitit_job_saves_and_is_submitted_again(tmp_path):
    module = recipe_module()
    training = module.Training(["bash", "-c", f"trap 'echo saved >{tmp_path}/saved; exit 75' USR1; sleep 60 & wait"])
    training.pid = os.posix_spawnp("bash", training.command, os.environ, setsid=True)
    time.sleep(0.3)
    again = training.checkpoint()
    assert (tmp_path / "saved").read_text() == "saved\n"
    assert again.function.command == training.command


def test_a_submitit_job_fails_where_training_does(monkeypatch):
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "local")
    module = recipe_module()
    with pytest.raises(RuntimeError, match="exit code 2"):
        module.Training(["bash", "-c", "exit 2"])()
    assert module.Training(["bash", "-c", "exit 75"])() == 75
