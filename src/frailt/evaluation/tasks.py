"""`frailt evaluate --tasks`: tasks of lm-eval, run in this process on a checkpoint."""

import logging
import os
import random
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from difflib import get_close_matches
from glob import escape
from importlib.metadata import version
from importlib.util import find_spec
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import torch

from frailt.model import FraiLTConfig
from frailt.tasks import FOLDER
from frailt.tasks.stories import read_stories
from frailt.training.checkpoint import in_short, load_checkpoint, load_config, quiet_transformers
from frailt.training.hardware import choose_device
from frailt.training.run_folder import versions

from .config import EvaluateConfig
from .written import in_json

SEED = 1234
"""Of what tasks draw, such as examples before a question; lm-eval's own command has the same."""
RESAMPLES = 1000
"""For the standard errors that lm-eval finds by drawing documents anew."""


@dataclass(frozen=True, kw_only=True)
class TaskResults:
    """What tasks found; printed as lm-eval's table, or as JSON where that was asked for."""

    checkpoint: str
    layout: str
    iterations: tuple[int, ...]
    context: int
    data: str | None
    """What the shipped tasks were made of; None is the built-in stories."""
    limit: int | None
    results: dict[str, dict[str, Any]]
    """By task or group, then by metric, as lm-eval names them."""
    task_versions: dict[str, Any]
    num_fewshot: dict[str, int]
    documents: dict[str, int]
    """That were asked about, by task."""
    requests: int
    requests_cut: int
    """Those that lost their beginning, being longer than the context."""
    elapsed_s: float
    versions: dict[str, str | None]
    table: str
    as_json: bool = False

    def __str__(self) -> str:
        if self.as_json:
            return in_json(self, "as_json", "table")
        head = {
            "layout": f"{self.layout}, iterations {', '.join(map(str, self.iterations))}",
            "context": f"{self.context} tokens",
            "documents": ", ".join(f"{count:,} of {name}" for name, count in self.documents.items()),
        }
        if self.requests_cut:
            head["cut"] = f"{self.requests_cut:,} of {self.requests:,} requests, to the end that the context holds"
        return "\n".join([*(f"{name:<9} {value}" for name, value in head.items()), "", self.table.rstrip()])


def evaluate_tasks(config: EvaluateConfig) -> TaskResults:
    """Run tasks on a checkpoint in float32.

    Raises:
        ImportError: the extra `tasks` is not installed.
        ValueError, FileNotFoundError: a task, its documents or the checkpoint cannot be used.
    """
    if find_spec("lm_eval") is None:
        raise ImportError("tasks need lm-eval: pip install 'frailt[tasks]'")
    device = choose_device(config.device)
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    quiet_transformers()
    context = _context(config, load_config(config.checkpoint))
    with _quiet():
        loaded = _load(config)
        from lm_eval.evaluator import evaluate
        from lm_eval.utils import make_table

        from .harness import TaskModel

        at_load = None if isinstance(config.iterations, str) else config.iterations
        model, tokenizer = load_checkpoint(config.checkpoint, device=device, iterations=at_load)
        asked = TaskModel(model.float().eval(), tokenizer, context=context, batch_rows=config.batch_rows)
        for draws in (random.seed, np.random.seed, torch.manual_seed):
            draws(SEED)
        began = time.perf_counter()
        found = evaluate(asked, loaded, limit=config.limit, bootstrap_iters=RESAMPLES, log_samples=False)
    return TaskResults(
        checkpoint=Path(config.checkpoint).name,
        layout=str(model.config.layout),
        iterations=model.config.iterations_per_group,
        context=context,
        data=config.data and Path(config.data).name,
        limit=config.limit,
        results=found["results"],
        task_versions=found["versions"],
        num_fewshot=found["n-shot"],
        documents={name: count["effective"] for name, count in found["n-samples"].items()},
        requests=asked.requests,
        requests_cut=asked.requests_cut,
        elapsed_s=round(time.perf_counter() - began, 3),
        versions=versions() | {"lm_eval": version("lm_eval")},
        table=make_table(found),
        as_json=config.json,
    )


def _context(config: EvaluateConfig, model: FraiLTConfig) -> int:
    longest = model.max_position_embeddings
    if config.context is not None and config.context > longest:
        raise ValueError(f"context must be at most the model's {longest} tokens, got {config.context}")
    return config.context or longest


def _load(config: EvaluateConfig) -> dict[str, Any]:
    """The tasks and groups that are asked for, as lm-eval takes them.

    Raises:
        ValueError, FileNotFoundError: one is not there, or its documents cannot be had.
    """
    from lm_eval.tasks import TaskManager

    folders = [FOLDER]
    if config.tasks_path is not None:
        folders.append(Path(config.tasks_path).expanduser())
        if not folders[-1].is_dir() or not any(folders[-1].rglob("*.yaml")):
            raise FileNotFoundError(f"tasks_path must be a folder with YAML files of tasks, got {config.tasks_path}")
    _try_stories(config.data)
    wanted, metadata = config.tasks or [], {} if config.data is None else {"stories": config.data}
    manager = TaskManager(include_path=folders, include_defaults=False, metadata=metadata)
    if not {*wanted} <= {*manager.all_subtasks, *(file.stem for file in FOLDER.glob("*.yaml"))}:
        manager = TaskManager(include_path=folders, metadata=metadata)  # which reads 14,000 files
    names = [_known(manager.all_tasks, name, config.tasks_path) for name in wanted]
    try:
        loaded = manager.load(names)
    except Exception as error:  # of a dozen unrelated kinds, some of several lines
        raise ValueError(
            f"tasks must be ones that load together, with documents here or on a hub that can be reached, got "
            f"{', '.join(names)} ({type(error).__name__}: {in_short(error)})"
        ) from error
    tasks = loaded["tasks"]
    if config.data is not None and not any(_is_of_stories(task) for task in tasks.values()):
        raise ValueError(f"data must be left out where no task is made of stories, got {config.data}")
    for name, task in tasks.items():
        _set_examples(name, task, config.num_fewshot)
    return loaded


def _try_stories(data: str | None) -> None:
    """Read stories before all else, so that what is wrong with them is told first; they are kept."""
    try:
        read_stories(data)
    except (FileNotFoundError, ValueError) as error:
        raise type(error)(f"data must be stories or a prepared corpus, got {data}: {error}") from error


def _known(known: list[str], name: str, tasks_path: str | None) -> str:
    if name in known:
        return name
    if tasks_path is not None and (files := list(Path(tasks_path).expanduser().rglob(f"{escape(name)}.yaml"))):
        raise ValueError(f"tasks must be written as lm-eval reads them, got {files[0]}, which it does not take")
    near = get_close_matches(name, known) or [shipped for shipped in known if shipped.startswith("frailt_")]
    raise ValueError(
        f"tasks must be names of lm-eval's, such as {', '.join(near)}, got {name!r}: lm_eval ls tasks lists them, and "
        "tasks_path names a folder of others"
    )


def _is_of_stories(task: Any) -> bool:
    made_by = getattr(task.config, "custom_dataset", None)
    return made_by is not None and "stories" in signature(made_by).parameters


def _set_examples(name: str, task: Any, num_fewshot: int | None) -> None:
    """How many answered questions stand before each, as lm-eval's own command has it.

    Raises:
        ValueError: the task can have none.
    """
    of_task = task.get_config("num_fewshot")
    if num_fewshot and (of_task == 0 or not hasattr(task, "sampler")):
        raise ValueError(f"num_fewshot must be left out for tasks without examples, got {num_fewshot} for {name}")
    task.set_config(key="num_fewshot", value=num_fewshot if num_fewshot is not None else of_task or 0)
    task.set_fewshot_seed(seed=SEED)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what lm-eval says of itself off stdout, and its bars off stderr where that is no terminal."""
    for library in ("lm_eval", "huggingface_hub"):
        logging.getLogger(library).setLevel(logging.ERROR)
    os.environ.setdefault("DISABLE_MULTIPROC", "1")  # or it starts a process per core for standard errors
    if sys.stderr.isatty():
        with redirect_stdout(sys.stderr):
            yield
        return
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        yield
