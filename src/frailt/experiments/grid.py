"""The grid of an experiment: which models are trained, on how much, and the protocol they share. No torch.

A grid is a YAML file; `grids/paper.yaml` is the paper's. Each combination of its axes is a cell, and each cell one
`frailt train`.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, Literal

import yaml

from frailt.model.layout import Layout
from frailt.training.config import ModelConfig, TrainConfig
from frailt.training.iteration_counts import IterationCounts

from .settings import named, numbers, require, typed

Match = Literal["params", "flops", "time"]
WITHIN = 0.02
"""How far, relatively, a cell whose width or budget is solved may be from its reference."""

BY_WIDTH = "1/sqrt(hidden_size)"
"""What a protocol may say for `model.initializer_range`: by the width of each cell."""

_AXES = ("layouts", "widths", "encodings", "seeds", "budgets", "learning_rates")
_BUDGETS = ("passes", "tokens", "steps")
_OF_THE_CELL = {"data", "out", "from_checkpoint", "seed", "learning_rate", *_BUDGETS}
_OF_THE_CELL_IN_MODEL = {"layout", "hidden_size", "iteration_encoding"}


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One model to train, at one place of the grid.

    Args:
        layout: in normal form.
        width: hidden size; where cells are matched, that of the reference beside which this cell stands.
        encoding: iteration encoding; learned for a layout without a loop, which has none.
        seed: of weights and of the order of rows.
        unit: what the budget is counted in: passes, tokens or steps.
        amount: how many of these; where cells are matched, the reference's.
        learning_rate: peak; None until a search has found it.
        searched: whether a search finds it; the cell is then named without it.
    """

    layout: str
    width: int
    encoding: str
    seed: int
    unit: str
    amount: float
    learning_rate: float | None = None
    searched: bool = False

    @property
    def name(self) -> str:
        """A name for files, equal for equal cells and unlike for others, in every grid."""
        parts = [str(self.width), self.layout.replace(",", "+")]
        if self.encoding != "learned":
            parts.append(self.encoding)
        parts.append(f"{self.amount:g}-{self.unit}")
        if not self.searched:
            parts.append(f"lr-{self.learning_rate:g}")
        return "_".join([*parts, f"seed-{self.seed}"])


@dataclass(kw_only=True)
class Search:
    """How the learning rate of each layout, width and encoding is found: by short runs, the same for all of them.

    The rate with the lowest loss on the validation stories of even number is taken. Where it is the highest or lowest
    one tried, the next one beyond, by the factor between neighbours there, is tried too.

    Args:
        rates: those that all begin with.
        share: of a cell's budget that a trial gets.
        seed: of the trials.
        widen: at most so many rates beyond the first ones, for each model.
        widths: those at which rates are searched; others take the rate of the nearest, on a logarithmic scale. By
            default all.
    """

    rates: list[float]
    share: float = 0.125
    seed: int = 0
    widen: int = 2
    widths: list[int] | None = None

    def __post_init__(self) -> None:
        self.rates = sorted(set(numbers("search.rates", self.rates)))
        if len(self.rates) < 2 or self.rates[0] <= 0:
            raise ValueError(f"search.rates must be two or more different rates above 0, got {self.rates}")
        if not 0 < self.share <= 1:
            raise ValueError(f"search.share must be above 0 and at most 1, got {self.share}")
        if self.widen < 0 or self.seed < 0:
            name = "widen" if self.widen < 0 else "seed"
            raise ValueError(f"search.{name} must be 0 or more, got {getattr(self, name)}")
        if self.widths is not None:
            self.widths = _axis("search.widths", self.widths)

    def width_for(self, width: int) -> int:
        """The width at which the rate for `width` is searched."""
        return min(self.widths or [width], key=lambda other: (abs(math.log(other / width)), other))


@dataclass(kw_only=True)
class Grid:
    """Axes, and what all cells share.

    Args:
        layouts: such as 8 or 2^4.
        widths: hidden sizes.
        encodings: iteration encodings of the looped layouts.
        seeds: one run of each cell per seed; differences between layouts are paired by it.
        budgets: each one of {passes: n}, {tokens: n}, {steps: n}.
        learning_rates: peak rates; one is a fixed protocol. Not beside search.
        search: finds the learning rate instead.
        also: smaller grids beside this one, each with some of these axes changed.
        match: params: widths are solved so that every layout has the unique parameters of the reference; flops, time:
            budgets are solved so that every layout trains for the reference's FLOPs, or for its time at measured rates.
        reference: the layout that the others are matched to.
        protocol: what every `frailt train` is told, in its terms. `model.initializer_range` may be
            1/sqrt(hidden_size).
    """

    layouts: list[str]
    widths: list[int]
    encodings: list[str] = field(default_factory=lambda: ["learned"])
    seeds: list[int] = field(default_factory=lambda: [0])
    budgets: list[dict[str, float]] = field(default_factory=lambda: [{"passes": 1}])
    learning_rates: list[float] | None = None
    search: Search | None = None
    also: list[dict[str, Any]] = field(default_factory=list)
    match: Match | None = None
    reference: str | None = None
    protocol: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.search is not None and not isinstance(self.search, Search):
            given = typed(Search, self.search, "search.")
            require(Search, given, "search.")
            self.search = Search(**given)
        if (self.search is None) == (self.learning_rates is None):
            raise ValueError("one of search and learning_rates must be given, and only one")
        if self.match not in (None, "params", "flops", "time"):
            raise ValueError(f"match must be params, flops or time, got {self.match!r}")
        if (self.match is None) != (self.reference is None):
            raise ValueError("reference must be given with match, and only with it: the layout to match to")
        if self.reference is not None:
            self.reference = str(Layout.parse(str(self.reference)))
        for name in _AXES:
            if name != "learning_rates" or self.learning_rates is not None:
                setattr(self, name, _axis(name, getattr(self, name)))
        self._check_protocol()
        self.also = [self._beside(axes) for axes in self.also]
        if len({cell.name for cell in self}) != len(list(self)):
            raise ValueError("cells must have different names: write learning rates and budgets with fewer digits")

    def _beside(self, axes: Any) -> dict[str, Any]:
        taken = [name for name in _AXES if name != "learning_rates" or self.search is None]
        if not isinstance(axes, Mapping) or set(axes) - set(taken):
            raise ValueError(f"also must be mappings of axes ({', '.join(taken)}), got {axes!r}")
        return {name: _axis(name, values) for name, values in axes.items()}

    def _check_protocol(self) -> None:
        model = self.protocol.get("model") or {}
        if not isinstance(model, Mapping):
            raise ValueError(f"protocol.model must be settings, got {model!r}")
        for given, own, where in (
            (self.protocol, _OF_THE_CELL, "protocol."),
            (model, _OF_THE_CELL_IN_MODEL, "protocol.model."),
        ):
            if taken := sorted(set(given) & own):
                raise ValueError(f"{where}{taken[0]} must be left out: the axes of the grid say it for each cell")
        typed(TrainConfig, self.protocol, "protocol.")
        by_width = {"initializer_range"} if model.get("initializer_range") == BY_WIDTH else set()
        typed(ModelConfig, {name: model[name] for name in model if name not in by_width}, "protocol.model.")
        typed(IterationCounts, self.protocol.get("iteration_counts") or {}, "protocol.iteration_counts.")

    @classmethod
    def read(cls, path: Path, **changes: Any) -> "Grid":
        """Read a YAML file; `changes` take the place of what it says.

        Raises:
            FileNotFoundError, ValueError: there is none, or it is no grid.
        """
        try:
            found = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ValueError(f"grid must be a YAML file, got {path}: {' '.join(str(error).split())}") from error
        if not isinstance(found, dict):
            raise ValueError(f"grid must hold axes such as 'widths: [64]', got {path}")
        given = named(cls, found | changes, "")
        require(cls, given, "")
        return cls(**given)

    def __iter__(self) -> Iterator[Cell]:
        """All cells, whole sets first: by seed, then grid by grid, then in the order written."""
        seen = set()
        grids = [{name: getattr(self, name) for name in _AXES}]
        grids += [grids[0] | beside for beside in self.also]
        for seed in dict.fromkeys(seed for axes in grids for seed in axes["seeds"]):
            for axes in grids:
                if seed in axes["seeds"]:
                    for cell in self._cells(axes, seed):
                        if cell not in seen:
                            seen.add(cell)
                            yield cell

    def _cells(self, axes: dict[str, Any], seed: int) -> Iterator[Cell]:
        rates = [None] if self.search else axes["learning_rates"]
        for budget, width, layout, encoding, rate in product(
            axes["budgets"], axes["widths"], axes["layouts"], axes["encodings"], rates
        ):
            (unit, amount), parsed = next(iter(budget.items())), Layout.parse(str(layout))
            yield Cell(
                layout=str(parsed),
                width=width,
                encoding=encoding if parsed.is_looped else "learned",
                seed=seed,
                unit=unit,
                amount=amount,
                learning_rate=rate,
                searched=self.search is not None,
            )

    def train_config(self, cell: Cell, data: str, out: str, **changes: Any) -> TrainConfig:
        """What `frailt train` is told for a cell.

        Args:
            cell: with its learning rate.
            data: prepared corpus.
            out: run folder.
            changes: instead of the cell's own: hidden_size, intermediate_size, or a budget.

        Raises:
            ValueError: a value that training refuses.
        """
        protocol = {name: value for name, value in self.protocol.items() if name != "model"}
        counts = protocol.pop("iteration_counts", None)
        if Layout.parse(cell.layout).is_looped:
            protocol["iteration_counts"] = IterationCounts(**(counts or {}))
        else:  # it has none to choose
            protocol.pop("evaluate_iterations", None)
        model = dict(self.protocol.get("model") or {})
        model |= {"layout": cell.layout, "hidden_size": cell.width, "iteration_encoding": cell.encoding}
        model |= {name: changes.pop(name) for name in ("hidden_size", "intermediate_size") if name in changes}
        if model.get("initializer_range") == BY_WIDTH:
            model["initializer_range"] = round(model["hidden_size"] ** -0.5, 6)
        budget = {cell.unit: cell.amount} if cell.unit == "passes" else {cell.unit: int(cell.amount)}
        if set(changes) & set(_BUDGETS):
            budget = {}
        assert cell.learning_rate is not None, "the rate is searched first"
        return TrainConfig(
            data=data,
            out=out,
            model=ModelConfig(**model),
            **{**protocol, **budget, "learning_rate": cell.learning_rate, "seed": cell.seed, **changes},
        )

    def settings(self) -> dict[str, Any]:
        """The grid as YAML has it; reads back as an equal one."""
        return asdict(self)


def grids() -> dict[str, Path]:
    """The grids that are shipped, by name."""
    return {
        file.stem: file for file in sorted((Path(__file__).parent / "grids").glob("*.yaml"), key=lambda file: file.stem)
    }


def _axis(name: str, values: Any) -> list[Any]:
    """One axis of a grid, checked."""
    if not isinstance(values, list) or not values:
        raise ValueError(f"{name} must be a list of one or more, got {values!r}")
    if name in ("layouts", "encodings"):
        values = [str(value) for value in values]  # YAML reads a bare 8 as a number
    elif name.endswith("widths") or name == "seeds":
        least = 0 if name == "seeds" else 1
        if not all(type(value) is int and value >= least for value in values):
            raise ValueError(f"{name} must be whole numbers of {least} or more, got {values}")
    elif name == "learning_rates":
        values = numbers(name, values)
    else:
        for budget in values:
            if not isinstance(budget, Mapping) or len(budget) != 1 or next(iter(budget)) not in _BUDGETS:
                raise ValueError(f"{name} must each be one of {', '.join(_BUDGETS)}, as in {{passes: 1}}, got {budget}")
            numbers(name, budget.values())
            unit, amount = next(iter(budget.items()))
            if unit != "passes" and amount != int(amount):
                raise ValueError(f"{name} must have a whole number of {unit}, got {budget}")
    if len({str(value) for value in values}) != len(values):
        raise ValueError(f"{name} must differ from each other, got {values}")
    return values
