"""What all cells of a report must share: the data, and every setting that bears on results and is no axis of a grid."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from frailt.experiments.grid import BY_WIDTH
from frailt.experiments.records import Run, at
from frailt.model.layout import Layout

from .words import short

AXES = frozenset(
    {
        "model.layout", "model.hidden_size", "model.intermediate_size", "model.iteration_encoding", "seed",
        "learning_rate", "passes", "tokens", "steps",
    }
)  # fmt: skip
"""What a grid varies from cell to cell."""

WITHOUT_BEARING = frozenset(
    {
        "data", "out", "device", "threads", "compile", "parallel", "accumulation_steps", "gradient_checkpointing",
        "evaluations", "evaluation_share", "evaluate_iterations", "log_every_steps", "report_to", "save_every_minutes",
        "save_every_steps", "save_total_limit", "on_nonfinite",
    }
)  # fmt: skip
"""Where and how a run runs, and what it notes meanwhile. Where the data lies may differ; which data it is may not."""

Settings = dict[str, Any]


def settings_of(run: Run) -> Settings:
    """The fingerprint of the data, and the settings that cells must share, by dotted name.

    The precision is the one that was computed in, where the record has it: `auto` may be either. How often loops run in
    training is no setting of a layout without one.
    """
    flat: Settings = {"data_hash": run.record["data"]["data_hash"]}
    for name, value in run.config.items():
        inner = value if name == "model" and isinstance(value, dict) else None
        flat |= {f"model.{key}": each for key, each in inner.items()} if inner is not None else {name: value}
    if (precision := at(run.record, "precision")) is not None:
        flat["precision"] = precision
    without = AXES | WITHOUT_BEARING | (frozenset() if _is_looped(run) else {"iteration_counts"})
    return {name: value for name, value in flat.items() if name not in without}


def _is_looped(run: Run) -> bool:
    try:
        return Layout.parse(str(run.record["model"]["layout"])).is_looped
    except (KeyError, ValueError):  # a damaged record is named when it is read as a cell
        return True


def protocol_of(runs: Mapping[str, Run]) -> Settings:
    """The settings of the largest group of runs that agree with each other; of groups as large, that of the first run.

    Voted setting by setting, it could be a protocol that no run has.
    """
    unlike: dict[str, Run] = {}
    for run in runs.values():
        unlike.setdefault(repr(settings_of(run)), run)
    groups = [_group_of(run, list(runs.values())) for run in unlike.values()]
    return max(groups, key=lambda group: group[1], default=({}, 0))[0]


def _group_of(first: Run, runs: Sequence[Run]) -> tuple[Settings, int]:
    """What the runs that agree with `first` share, and their number; what it does not name, most of them decide."""
    protocol = {
        name: _most_frequent([each for run in runs for each in _readings(run, name) if each in _readings(first, name)])
        for name in settings_of(first)
    }
    group = [run for run in runs if departure(run, protocol) is None]
    for name in dict.fromkeys(name for run in group for name in settings_of(run) if name not in protocol):
        if values := [each for run in group for each in _readings(run, name)]:
            protocol[name] = _most_frequent(values)
            group = [run for run in group if departure(run, {name: protocol[name]}) is None]
    return protocol, len(group)


def departure(run: Run, protocol: Settings) -> str | None:
    """How a run differs from the protocol, in words; None where it does not.

    A setting that one of them does not name agrees: versions of the library add settings, with what was done before
    as default.
    """
    settings = settings_of(run)
    for name, value in protocol.items():
        if name in settings and value not in _readings(run, name):
            return f"{name} must be {short(value)} as in most cells, got {short(settings[name])}"
    return None


def _readings(run: Run, name: str) -> list[Any]:
    """What a run may be said to have at `name`: its value, and for a width-dependent one also the rule."""
    settings = settings_of(run)
    if name not in settings:
        return []
    value = settings[name]
    width = run.record["model"]["hidden_size"]
    if name == "model.initializer_range" and isinstance(width, int) and value == round(width**-0.5, 6):
        return [value, BY_WIDTH]
    return [value]


def _most_frequent(values: Sequence[Any]) -> Any:
    counts = Counter(map(repr, values))
    return max(values, key=lambda value: counts[repr(value)])  # the first of those that are as frequent
