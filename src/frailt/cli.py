"""The command line: parse, call one function, show what it returns.

Only the command that is asked for is imported, so that help answers at once. Bad input ends in one line and exit code
2.
"""

import errno
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, is_dataclass
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import frailt
from frailt.training.stopping import RUN_AGAIN, ProcessLost, Stopped


@dataclass(frozen=True)
class Command:
    """A command: its configuration class and the function that takes it, each as module:name."""

    config: str
    function: str
    about: str
    positional: str | None = None
    """A field that is given without its name."""
    positional_help: str = ""
    short: tuple[str, str] = ("", "")
    """An option's short name and its whole one."""
    takes_presets: bool = False
    """Whether --config may name a preset that is shipped."""


COMMANDS = {
    "info": Command(
        "frailt.info:InfoConfig",
        "frailt.info:info",
        "parameters, FLOPs and cache of a layout",
        positional="layout",
        positional_help="See the notation in the README: 8, 2^4, (2)^4, 1,(2)^4,1.",
    ),
    "prepare": Command("frailt.data.prepare:PrepareConfig", "frailt.data.prepare:prepare", "tokenize a corpus, once"),
    "train": Command(
        "frailt.training.config:TrainConfig",
        "frailt.training.train:train",
        "train a model",
        short=("--from", "--from_checkpoint"),
        takes_presets=True,
    ),
    "plan": Command(
        "frailt.planning.config:PlanConfig",
        "frailt.planning.plan:plan",
        "memory, tokens and time that training will need",
        short=("--from", "--from_checkpoint"),
        takes_presets=True,
    ),
    "evaluate": Command(
        "frailt.evaluation.config:EvaluateConfig", "frailt.evaluation.loss:evaluate", "loss of a checkpoint"
    ),
    "generate": Command("frailt.inference.config:GenerateConfig", "frailt.inference.generate:generate", "tell stories"),
    "complete": Command(
        "frailt.inference.config:CompleteConfig",
        "frailt.inference.complete:complete",
        "complete story beginnings with several checkpoints, for a judge",
    ),
    "serve": Command(
        "frailt.serving.config:ServeConfig",
        "frailt.serving.serve:serve",
        "answer OpenAI's clients with one checkpoint's stories",
    ),
    "export": Command(
        "frailt.exports.config:ExportConfig",
        "frailt.exports.export:export",
        "write a model for other programs: a stock Llama, a GGUF file, a folder with its code",
    ),
    "sweep": Command(
        "frailt.experiments.config:SweepConfig",
        "frailt.experiments.sweep:sweep",
        "train every cell of a grid, such as the paper's",
        positional="grid",
        positional_help="YAML file with axes and protocol, or the name of one that is shipped: paper, paper-tuned.",
    ),
    "report": Command(
        "frailt.report.config:ReportConfig", "frailt.report.report:report", "tables and figures of sweeps"
    ),
    "judge": Command(
        "frailt.judge.config:JudgeConfig", "frailt.judge.judge:judge", "grade stories by a language model"
    ),
    "judge-quality": Command(
        "frailt.judge.config:JudgeQualityConfig",
        "frailt.judge.quality:judge_quality",
        "what a judge's grades are worth: agreement, order, length, intervals",
    ),
    "measure": Command(
        "frailt.measures.config:MeasureConfig",
        "frailt.measures.measure:measure",
        "measure completions without a judge: perplexity, repetition, copies",
    ),
    "real-stories": Command(
        "frailt.measures.config:RealStoriesConfig",
        "frailt.measures.real:real_stories",
        "real stories in the form of completions, as a yardstick",
    ),
    "compare": Command(
        "frailt.experiments.compare:CompareConfig", "frailt.experiments.compare:compare", "finished runs side by side"
    ),
}


_TRUE_OR_FALSE = {"true", "false", "yes", "no", "on", "off"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        The exit code: 0, 2 where the input cannot be used, 75 where a run ended early and goes on when started
        again, 130 where the user stopped it.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_overview())
        return 0 if arguments else 2
    if arguments[0] == "--version":
        print(f"frailt {frailt.__version__}")
        return 0
    name = arguments.pop(0)
    if name not in COMMANDS:
        print(f"frailt: error: command must be one of {', '.join(COMMANDS)}, got {name!r}", file=sys.stderr)
        return 2
    try:
        config = _parse(name, arguments)  # before the function is loaded, and torch with it
        result = _load(COMMANDS[name].function)(config)
        if result is not None and not _rank():
            print(result)
    except Stopped as ended:
        _complain(f"frailt {name}: {ended}")
        return RUN_AGAIN
    except ProcessLost as ended:
        _complain(f"frailt {name}: error: {ended}")
        return 2
    except KeyboardInterrupt:
        print(f"frailt {name}: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever read our output has gone, as in `frailt generate | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, OSError, FloatingPointError, ImportError) as error:
        if os.environ.get("FRAILT_TRACEBACK"):
            raise
        _complain(f"frailt {name}: error: {_one_line(error)}")
        return 2
    except (MemoryError, RuntimeError) as error:
        if _is_of_the_compiler(error) and not os.environ.get("FRAILT_TRACEBACK"):
            _complain(
                f"frailt {name}: error: torch.compile failed: --compile off goes without ({_one_line(error)[:200]})"
            )
            return 2
        if not _is_out_of_memory(error) or os.environ.get("FRAILT_TRACEBACK"):
            raise
        _complain(f"frailt {name}: error: out of memory: lower batch_rows or batch_size ({_one_line(error)})")
        return 2
    return 0


def _rank() -> int:
    """Which of the processes that a launcher started this is."""
    return int(os.environ.get("RANK", "0"))


def _complain(line: str) -> None:
    print(line if not _rank() else f"[process {_rank()}] {line}", file=sys.stderr)


def _is_of_the_compiler(error: BaseException) -> bool:
    """By the names of torch's classes, since torch may not be loaded."""
    return any(kind.__name__ in ("TorchDynamoException", "InductorError") for kind in type(error).__mro__)


def _is_out_of_memory(error: BaseException) -> bool:
    """Of torch's errors only the text tells: a RuntimeError on the CPU, a subclass of it on a GPU."""
    return isinstance(error, MemoryError) or any(
        sign in str(error).lower() for sign in ("out of memory", "not enough memory", "can't allocate memory")
    )


def _parse(name: str, arguments: list[str]) -> Any:
    from jsonargparse import ArgumentError, ArgumentParser, Namespace, set_parsing_settings

    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    command = COMMANDS[name]
    config_class: Callable = _load(command.config)
    parser = ArgumentParser(prog=f"frailt {name}", description=command.about, exit_on_error=False, allow_abbrev=False)
    about = "YAML file with any of the options below."
    if command.takes_presets:
        about += f" Or a preset: {', '.join(presets())}."
        arguments = _with_presets(arguments)
    parser.add_argument("--config", action="config", help=about)
    skip = set()
    if command.positional:
        parser.add_argument(command.positional, type=str, help=command.positional_help)
        skip = {command.positional}
    parser.add_class_arguments(config_class, as_group=False, skip=skip)
    try:
        parsed = parser.parse_args(_spelt_out(arguments, command, get_type_hints(config_class)))
        for field, wanted in get_type_hints(config_class).items():
            if is_dataclass(wanted) and not isinstance(parsed[field], Namespace):
                raise ValueError(f"{field} must be settings of its own, as in {field}.NAME, got {parsed[field]!r}")
        # The first is the name from jsonargparse 4.49 on, the second goes in 5.
        parsed = (getattr(parser, "instantiate", None) or parser.instantiate_classes)(parsed)
    except UnicodeDecodeError as error:
        raise ValueError(f"config must be a UTF-8 text file, got other bytes at {error.start}") from error
    except (ArgumentError, TypeError) as error:
        raise ValueError(_reworded(_one_line(error), config_class, name)) from error
    values = {key: value for key, value in vars(parsed).items() if key != "config"}
    return config_class(**values)


def presets() -> dict[str, Path]:
    """The configurations that are shipped, by name: the paper's, then by size."""

    def order(file: Path) -> tuple[bool, int, str]:
        number, unit = re.findall(r"(\d+)(b?)", file.stem)[0]
        return not file.stem.startswith("paper"), int(number) * (1000 if unit else 1), file.stem

    files = (Path(frailt.__file__).parent / "presets").glob("*.yaml")
    return {file.stem: file for file in sorted(files, key=order)}


def _with_presets(arguments: list[str]) -> list[str]:
    """The arguments with the file of a preset where --config names one and no such file is here."""
    found = list(arguments)
    for i, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name != "--config" or not (equals or arguments[i + 1 :]):
            continue
        value = value if equals else arguments[i + 1]
        if Path(value).exists():
            continue
        if value not in presets():
            raise ValueError(f"config must be a YAML file or a preset ({', '.join(presets())}), got {value!r}")
        path = str(presets()[value])
        if equals:
            found[i] = f"{name}={path}"
        else:
            found[i + 1] = path
    return found


def _spelt_out(arguments: list[str], command: Command, types: dict[str, Any]) -> list[str]:
    """The arguments as jsonargparse wants them: short names whole, `--stream` as true, `--runs a b` as one list.

    `--dry-run` is `--dry_run`: people type the one, YAML has the other.
    """
    spelt, rest = [], list(arguments)
    while rest:
        name, equals, value = rest.pop(0).partition("=")
        if name.startswith("--"):
            name = f"--{name[2:].replace('-', '_')}"
        if name and name == command.short[0]:
            name = command.short[1]
        wanted = types.get(name.removeprefix("--")) if name.startswith("--") else None
        values = [value] if equals else []
        if wanted is bool or _is_list(wanted):
            while not equals and rest and not rest[0].startswith("--"):
                may_be_positional = command.positional and rest[0].lower() not in _TRUE_OR_FALSE
                if wanted is bool and (values or may_be_positional):
                    break
                values.append(rest.pop(0))
            if wanted is bool:
                values = values or ["true"]
            elif values and not values[0].startswith("["):
                values = [_as_list(values, wanted)]
            spelt += [name, *values]
        else:
            spelt.append(f"{name}{equals}{value}")
    return spelt


def _is_list(wanted: Any) -> bool:
    """Whether a type is a list, or a list or null."""
    kinds = [kind for kind in get_args(wanted) if kind is not NoneType] if _is_union(wanted) else [wanted]
    return all(get_origin(kind) is list for kind in kinds)


def _is_union(wanted: Any) -> bool:
    return get_origin(wanted) in (Union, UnionType)


def _as_list(values: list[str], wanted: Any) -> str:
    """Several values as YAML has a list; texts quoted, since a bare 8 would be a number."""
    if _type_in_words(wanted).startswith("[str,"):
        return json.dumps(values)
    return f"[{','.join(values)}]"


def _reworded(message: str, config_class: Callable, command: str) -> str:
    """What jsonargparse found, in words of ours: `steps must be int or null, got 'x'`."""
    if found := re.search(r'Parser key "([\w.]+)": .*(?:Got|Given) value: (.*)$', message):
        field, value = found.groups()
        shown = value if re.match(r"[-.\d\[{]", value) else repr(value)
        return f"{field} must be {_type_in_words(_type_of(config_class, field))}, got {shown}"
    if found := re.fullmatch(r"unrecognized arguments: (.*)", message):
        return _no_option(found[1].split()[0], config_class, command)
    if found := re.fullmatch(
        r"(?:Group '([\w.]+)' does not accept option|Option) '([\w.]+)'(?: is not accepted)?", message
    ):
        return _no_option(".".join(filter(None, found.groups())), config_class, command)
    if found := re.fullmatch(r"the following arguments are required: (.*)", message):
        return f"{found[1]} must be given"
    if found := re.fullmatch(r'Parser key "([\w.]+)": (.*)', message):
        return f"{found[1]}: {found[2]}"
    if message.startswith("Problems parsing config: "):
        return f"config must be YAML: {message.removeprefix('Problems parsing config: ')}"
    if message.startswith("Unexpected config:"):
        return (
            f"config must hold settings such as 'seed: 1', got {message.removeprefix('Unexpected config:').strip()!r}"
        )
    return message


def _no_option(given: str, config_class: Callable, command: str) -> str:
    """That there is no such option, and which may be meant: one that ends alike (`--layout`), or is spelt nearly so."""
    dashes, name = re.fullmatch(r"(-*)([^=]*).*", given, re.DOTALL).groups()  # type: ignore[union-attr]
    names = list(_names_of(config_class))
    alike = [each for each in names if each.endswith(f".{name}")] or get_close_matches(name, names, n=1, cutoff=0.75)
    hint = f" (is it {dashes}{alike[0]}?)" if alike and (dashes or "=" not in given) else ""
    return f"{given} is no option of frailt {command}{hint}; --help lists them"


def _names_of(config_class: Any) -> Iterator[str]:
    """The options of a command, those of nested settings with dots."""
    for name, kind in get_type_hints(config_class).items():
        yield name
        for inner in (each for each in (kind, *get_args(kind)) if is_dataclass(each)):
            yield from (f"{name}.{each}" for each in _names_of(inner))


def _type_of(config_class: Any, field: str) -> Any:
    first, _, rest = field.partition(".")
    found = get_type_hints(config_class)[first]
    return _type_of(found, rest) if rest else found


def _type_in_words(wanted: Any) -> str:
    if _is_union(wanted):
        return " or ".join(map(_type_in_words, get_args(wanted)))
    if get_origin(wanted) is Literal:
        return " or ".join(map(str, get_args(wanted)))
    if get_origin(wanted) is list:
        return f"[{_type_in_words(get_args(wanted)[0])}, ...]"
    return {NoneType: "null", bool: "true or false"}.get(wanted, wanted.__name__)


def _overview() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {command.about}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            f"frailt {frailt.__version__}: train, compare and run looped language models",
            "",
            "usage: frailt COMMAND [OPTIONS]",
            "",
            *lines,
            "",
            "frailt COMMAND --help lists a command's options with units and defaults.",
            "Every command takes --config FILE.yaml, and --print_config shows what it comes to.",
        ]
    )


def _load(path: str) -> Any:
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)


def _one_line(error: BaseException) -> str:
    """The message on one line; of errors that transformers' strict configs wrap, the cause."""
    if type(error).__name__.startswith("StrictDataclass") and error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:  # it does not name an open file
        return f"{error.strerror}: make room, then give the same command again"
    return " ".join(str(error).split()) or type(error).__name__


if __name__ == "__main__":
    sys.exit(main())
