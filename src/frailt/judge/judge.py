"""`frailt judge`: grade stories, whatever the endpoint does; killed or capped, the same command goes on.

judge.json             what the judge is asked, and with what settings
replies.jsonl          every request and what came back; all else is read from it
CHECKPOINT/            grades.jsonl and judged.json of each checkpoint
logs/                  Inspect's logs: inspect view --log-dir OUT/logs
"""

import json
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import Any

from tqdm import tqdm

from frailt.data.locks import locked
from frailt.data.whole_files import write_whole
from frailt.training.stopping import Stopped

from . import tool
from .completions import Completions, read_completions
from .config import JudgeConfig
from .judged import write_judged
from .ledger import Ledger
from .prompt import CATEGORIES, SYSTEM, template
from .purse import CapReached, Purse, expected
from .questions import Question, questions

_MUST_STAY = ("model", "endpoint", "temperature", "max_tokens", "orders", "system", "template", "tool")


def judge(config: JudgeConfig) -> str:
    """Grade all that is not graded yet; with `dry_run` say what is left and what it may cost.

    Raises:
        ValueError: settings or completions cannot be used, the endpoint refuses, or a cap leaves no room (CapReached);
            what is graded is kept.
        ConnectionError: the endpoint fails again and again; the same command goes on.
        BlockingIOError: another run uses the folder.
        Stopped, KeyboardInterrupt: SIGTERM or SIGINT came; what was under way is waited for and kept.
        ImportError: the extra `judge` is not there.
    """
    folders = [read_completions(folder) for folder in config.completions]
    if len({folder.sha256 for folder in folders}) < len(folders):
        raise ValueError("completions must be different folders, got the same stories twice")
    wanted, out = questions(config, folders), Path(config.out).expanduser()
    settings = settings_of(config)
    check_same_judge(out, settings)
    if config.dry_run:
        ledger = Ledger(out / "replies.jsonl")
        return _plan(config, wanted, _left(config, wanted, ledger), ledger)
    _need_extra()
    config.key()  # before anything is written
    with locked(out, "judge"):
        check_same_judge(out, settings)
        ledger = Ledger(out / "replies.jsonl")
        left = _left(config, wanted, ledger)
        purse = Purse(config, ledger)
        write_whole(out / "judge.json", json.dumps(settings | {"versions": _versions()}, indent=1) + "\n")
        if left:
            print(_plan(config, wanted, left, ledger), flush=True)
        try:
            ended = _ask_all(config, left, ledger, purse, out) if left else None
        finally:
            judged = [write_judged(config, folder, ledger, out) for folder in folders]
    open_ones = len(_left(config, wanted, ledger))
    if ended or open_ones:
        why = ended or ConnectionError(f"{config.endpoint} failed for {open_ones} of {len(wanted)} questions")
        graded = f"{len(wanted) - open_ones} of {len(wanted)} are settled and kept, {purse.told()}"
        on = "raise the cap" if isinstance(why, CapReached) else "run again"
        raise type(why)(f"{why}: {graded}; {on} to go on")
    return summary(config, folders, judged, purse)


def settings_of(config: JudgeConfig) -> dict[str, Any]:
    """What judge.json holds: all that makes it this judge, and the defaults that were taken."""
    return {
        "model": config.model,
        "endpoint": config.endpoint,
        "temperature": config.temperature,
        "max_tokens": config.max_tokens,
        "orders": config.orders,
        "tool_choice": config.tool_choice,
        "repeats": config.repeats,
        "max_attempts": config.max_attempts,
        "price_in": config.price_in,
        "price_out": config.price_out,
        "seed": config.seed,
        "system": SYSTEM,
        "template": template(),
        "tool": {"name": tool.NAME, "description": tool.ABOUT, "fields": tool.parameters()},
    }


def check_same_judge(out: Path, settings: dict[str, Any]) -> None:
    """Raise an error where `out` holds the grades of another judge, or something else."""
    try:
        began = json.loads((out / "judge.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        if out.is_dir() and any(not path.name.startswith(".") for path in out.iterdir()):
            raise FileExistsError(f"out must be a new or empty folder, or that of a judge, got {out}") from None
        return
    except ValueError as error:
        raise ValueError(f"out holds a judge whose judge.json is damaged, got {out}: restore it") from error
    for name in _MUST_STAY:
        if began.get(name) != settings[name]:
            shown = "" if name in ("system", "template", "tool") else f" {began.get(name)}, got {settings[name]}"
            raise ValueError(f"{name} must stay as it was in {out}{shown}: choose another out")


def summary(config: JudgeConfig, folders: list[Completions], judged: list[dict[str, Any]], purse: Purse) -> str:
    """Mean grades per checkpoint, with intervals over beginnings, and what was spent in all."""
    lines = [f"{'checkpoint':<40} {'graded':>7} {'unscored':>8}  " + "  ".join(f"{name:>13}" for name in CATEGORIES)]
    for folder, about in zip(folders, judged, strict=True):
        means = "  ".join(f"{_shown(about['means'][name]):>13}" for name in CATEGORIES)
        lines.append(f"{folder.name[-40:]:<40} {about['graded']:>7} {about['unscored']:>8}  {means}")
    lines.append(f"95 % intervals over beginnings. {config.model} at {config.endpoint}; {purse.spent} in all.")
    if purse.lost:
        lines.append(
            f"{purse.lost} requests had no answer; the endpoint may bill up to {purse.unknown} more, which caps count."
        )
    return "\n".join(lines)


def _ask_all(
    config: JudgeConfig, left: list[Question], ledger: Ledger, purse: Purse, out: Path
) -> BaseException | None:
    """Run the Inspect task; returns why it ended early, if it did."""
    import inspect_ai  # of the extra `judge`

    from .ask import Asker
    from .task import judge_task

    asker = Asker(config, ledger, purse)
    with tqdm(total=len(left), unit="grade", leave=False, disable=None) as bar, _stoppable(asker.end):
        logs = inspect_ai.eval(
            judge_task(left, asker, progress=bar.update),
            model="none/none",
            log_dir=str(out / "logs"),
            log_format="eval",
            display="none",
            max_samples=config.connections,
            max_tasks=1,
            retry_on_error=0,
            fail_on_error=True,
            score_display=False,
        )
    if not logs or logs[0].status == "cancelled":
        return asker.ended or KeyboardInterrupt("stopped")
    if logs[0].status != "success" and asker.ended is None:
        detail = logs[0].error.message if logs[0].error else logs[0].status
        return ValueError(f"Inspect could not finish its task ({detail})")
    return asker.ended


def _plan(config: JudgeConfig, wanted: list[Question], left: list[Question], ledger: Ledger) -> str:
    purse = Purse(config, ledger)
    most = [purse.most(question) for question in left]
    tokens = sum(one.tokens for one in most) * config.max_attempts
    usd = None if config.price_in is None else sum(one.usd or 0.0 for one in most) * config.max_attempts
    dollars = "" if usd is None else f", ${usd:,.2f}"
    cap = f"; {purse.cap()}, of which {purse.told()}" if purse.cap() else "; no cap"
    return (
        f"{len(left):,} of {len(wanted):,} to ask of {config.model} at {config.endpoint}: about "
        f"{expected(config, left, ledger)}, at most {tokens:,} tokens{dollars} if every attempt is needed{cap}"
    )


def _left(config: JudgeConfig, wanted: list[Question], ledger: Ledger) -> list[Question]:
    return [question for question in wanted if not ledger.settled(question.key, config.max_attempts)]


def _shown(mean: dict[str, Any] | None) -> str:
    if mean is None:
        return "—"
    return f"{mean['value']:.2f}" + (" ± —" if mean["half_width"] is None else f" ± {mean['half_width']:.2f}")


def _need_extra() -> None:
    for name in ("inspect_ai", "openai"):
        if find_spec(name) is None:
            raise ImportError("judge needs Inspect: pip install 'frailt[judge]'")


def _versions() -> dict[str, str]:
    return {name: version(name) for name in ("frailt", "inspect-ai", "openai")}


@contextmanager
def _stoppable(end: Callable[[BaseException], None]) -> Iterator[None]:
    """Let SIGTERM and SIGINT end the run after what is under way, which is to be paid for; a second one at once."""
    came: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        if came:
            raise KeyboardInterrupt
        came.append(number)
        end(
            KeyboardInterrupt("stopped")
            if number == signal.SIGINT
            else Stopped(f"stopped by {signal.Signals(number).name}")
        )

    if threading.current_thread() is not threading.main_thread():  # Python lets no other thread set handlers
        yield
        return
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
