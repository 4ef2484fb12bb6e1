"""All that is known of checkpoints that told stories: grades, the stories themselves, measures without a judge."""

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from frailt.judge.completions import Completions, read_completions

from .checkpoints import Checkpoint, Story, Teller, teller_of
from .judged import Judge, read_judged
from .measures import IDENTITY, MEASURES, read_measures
from .words import short

_COMPLETIONS = "completions.json"


@dataclass(frozen=True)
class Told:
    """Checkpoints that may be compared: of the same beginnings, told alike, each cell once."""

    checkpoints: tuple[Checkpoint, ...]
    """By width, layout and seed."""
    yardsticks: tuple[Teller, ...]
    """Stories that no model told, such as real ones, from beginnings of their own."""
    judge: Judge | None
    left_out: tuple[str, ...]
    """One line each, as plain text."""

    @property
    def graded(self) -> list[Checkpoint]:
        return [each for each in self.checkpoints if each.is_graded]

    @property
    def measured(self) -> list[Teller]:
        return [each for each in (*self.checkpoints, *self.yardsticks) if each.measures is not None]


NOTHING = Told((), (), None, ())


def read_told(judged: Sequence[str], completions: Sequence[str]) -> Told:
    """Read the folders of one judge, and of completions with what was measured of them.

    Stories are known by their completions' hash, so that a folder of completions adds to what a judge graded, wherever
    both lie. What most checkpoints share, beginnings and sampling, is the protocol; others are left out with a line.

    Raises:
        FileNotFoundError: a folder is not what it should be.
        ValueError: folders are of different judges, or nothing is left.
    """
    judge, graded, left_out = read_judged(judged)
    found: dict[str, Teller] = {}
    for each in graded:
        first = found.setdefault(each.sha256, each)
        if first is not each:
            left_out.append(f"{each.name}: it repeats {first.name}")
    for folder in [place for given in completions for place in _places(Path(given).expanduser())]:
        try:
            _add(folder, found, left_out)
        except ValueError as error:
            left_out.append(f"{folder.name}: {str(error).replace(f'{folder}/', '').replace(str(folder), folder.name)}")
    models = [each for each in found.values() if isinstance(each, Checkpoint)]
    kept = _one_protocol(sorted(models, key=lambda each: each.place), left_out)
    yardsticks = [each for each in found.values() if not isinstance(each, Checkpoint)]
    if not kept and not yardsticks:
        reason = f"; {left_out[0]}" if left_out else ""
        raise ValueError(
            "judged and completions must hold at least one finished checkpoint, got none in "
            f"{', '.join([*judged, *completions])}{reason}"
        )
    alike = _alike_measured([*kept, *yardsticks], left_out)
    return Told(
        checkpoints=tuple(each for each in alike if isinstance(each, Checkpoint)),
        yardsticks=tuple(each for each in alike if not isinstance(each, Checkpoint)),
        judge=judge,
        left_out=tuple(" ".join(line.split()) for line in left_out),
    )


def _places(folder: Path) -> list[Path]:
    """The folder of one checkpoint, or all those in the folder that a command wrote for several."""
    for places in ([folder], sorted(folder.iterdir()) if folder.is_dir() else []):
        if found := [place for place in places if any((place / name).is_file() for name in (_COMPLETIONS, MEASURES))]:
            return found
    raise FileNotFoundError(
        f"completions must be folders that frailt complete wrote, got {folder}: no {_COMPLETIONS} in it or in what it "
        "holds"
    )


def _add(folder: Path, found: dict[str, Teller], left_out: list[str]) -> None:
    """Add what a folder holds to the checkpoint whose stories these are, or as a new one."""
    own = read_completions(folder) if (folder / _COMPLETIONS).is_file() else None
    try:
        measures = read_measures(folder)
        if own is not None and measures is not None and measures.sha256 != own.sha256:
            raise ValueError(
                f"completions_sha256 of {MEASURES} must be that of the completions, {own.sha256[:12]}…, got "
                f"{measures.sha256[:12]}…: give its frailt measure again"
            )
    except ValueError as error:
        if own is None:
            raise
        left_out.append(f"{folder.name}: {error}")
        measures = None
    if own is not None:
        teller = teller_of(own.about, name=folder.name, sha256=own.sha256, stories=_stories(own))
    else:
        assert measures is not None  # `_places` saw one of the two
        teller = teller_of(measures.completions, name=folder.name, sha256=measures.sha256)
    known = found.get(teller.sha256)
    if known is not None:
        teller = replace(known, stories=_with_texts(known.stories, teller.stories))
    found[teller.sha256] = replace(teller, measures=measures or teller.measures)


def _stories(told: Completions) -> tuple[Story, ...]:
    stories = sorted(told.stories, key=lambda story: (story.prompt_id, story.sample))
    return tuple(Story(each.prompt_id, each.sample, each.prompt, each.completion, each.ended) for each in stories)


def _with_texts(known: Sequence[Story], told: Sequence[Story]) -> tuple[Story, ...]:
    """Graded stories, as they were told and not as the judge was shown them."""
    gradings = {(each.prompt_id, each.sample): each.gradings for each in known}
    if not told:
        return tuple(known)
    return tuple(replace(each, gradings=gradings.get((each.prompt_id, each.sample), ())) for each in told)


def _one_protocol(checkpoints: Sequence[Checkpoint], left_out: list[str]) -> list[Checkpoint]:
    """Those that told the same beginnings alike, each cell once."""
    names = dict.fromkeys(name for each in checkpoints for name in each.telling)
    told = _most_frequent([{name: each.telling.get(name) for name in names} for each in checkpoints])
    wanted: dict[str, Any] = told or {}
    kept: dict[Hashable, Checkpoint] = {}
    for each in checkpoints:
        departures = [(name, value) for name, value in wanted.items() if each.telling.get(name) != value]
        if departures:
            name, value = departures[0]
            left_out.append(
                f"{each.name}: {name} must be {short(value)} as in most, got {short(each.telling.get(name))}"
            )
            continue
        first = kept.setdefault(each.identity, each)
        if first is not each:
            left_out.append(f"{each.name}: it repeats {first.name}: layout, width and seed are the same")
    return list(kept.values())


def _alike_measured(tellers: Sequence[Teller], left_out: list[str]) -> list[Teller]:
    """All of them, but without measures that rest on another evaluator or corpus than most."""
    found = list(tellers)
    for name, key in IDENTITY.items():
        bases = [each.measures.basis[name] for each in found if each.measures is not None]
        wanted = _most_frequent([basis[key] for basis in bases if basis is not None])
        for place, each in enumerate(found):
            own = each.measures.basis[name] if each.measures is not None else None
            if own is not None and own[key] != wanted:
                left_out.append(
                    f"{each.name}: {name} of {MEASURES} must be {short(wanted)} as in most, got {short(own[key])}"
                )
                found[place] = replace(each, measures=None)
    return found


def _most_frequent(values: Iterable[Any]) -> Any:
    """The value that is there most often; of those that are as often, the first; None of none."""
    found = list(values)
    counts = Counter(map(repr, found))
    return max(found, key=lambda value: counts[repr(value)], default=None)
