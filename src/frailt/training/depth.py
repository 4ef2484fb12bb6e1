"""Running a model that is being trained with other iteration counts, and what that costs."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from statistics import fmean

from frailt.model import FraiLTConfig, FraiLTForCausalLM, Layout
from frailt.model.cost import Cost, cost
from frailt.model.modeling_frailt import FraiLTAttentionSlot

from .config import TrainConfig
from .validation import Loss


class Depth:
    """Lets a model run with other counts for a while, in place, so that it may be compiled, wrapped or sharded.

    It gets the slots for the highest count at once. Elsewhere `FraiLTForCausalLM.with_iterations` is simpler.

    Args:
        model: the model, unwrapped.
        counts: all that will be asked for.
    """

    def __init__(self, model: FraiLTForCausalLM, counts: Iterable[int] = ()) -> None:
        self.layout = Layout.parse(model.config.layout or "")
        self.groups, slots = list(model.model.groups), model.model.slots
        self.usual = model.config.iterations_per_group
        deepest = max([len(slots), *(len(self.layout.applications(count)) for count in counts)])
        slots.extend([FraiLTAttentionSlot(model.config, k) for k in range(len(slots), deepest)])

    @contextmanager
    def at(self, count: int | None) -> Iterator[None]:
        """Within, all looped groups run `count` times; None leaves them as they are."""
        if count is not None:
            self._set(self.layout.iterations(count))
        try:
            yield
        finally:
            self._set(self.usual)

    def measure_each(self, counts: Iterable[int], measure: Callable[[], Loss], usual: Loss) -> dict[int, Loss]:
        """What `measure` finds at each count; `usual` where that is how often the groups run anyway."""
        found = {}
        for count in counts:
            with self.at(count):
                found[count] = usual if self.layout.iterations(count) == self.usual else measure()
        return found

    def _set(self, counts: Iterable[int]) -> None:
        for group, count in zip(self.groups, counts, strict=True):
            group.iterations = count


def check_counts(config: TrainConfig, model: FraiLTConfig) -> None:
    """Raise a ValueError, one line, where a count that the run names does not fit the layout."""
    layout = Layout.parse(model.layout or "")
    named = {"iteration_counts.counts": config.iteration_counts.several, "evaluate_iterations": config.evaluated}
    for name, counts in named.items():
        if counts and not layout.is_looped:
            raise ValueError(f"{name} must be left out where the layout has no loop, got {counts} for layout {layout}")
        if counts:
            layout.iterations(counts[-1])  # the highest


def at_count(model: FraiLTConfig, count: int | None) -> FraiLTConfig:
    """The configuration with all looped groups at `count`; None for its own counts."""
    if count is None:
        return model
    changed = deepcopy(model)
    changed.iterations = count
    return changed


def costs_by_count(config: TrainConfig, model: FraiLTConfig) -> dict[int | None, Cost]:
    """What the model costs at each count that training uses."""
    counts: list[int | None] = [*config.iteration_counts.several]
    return {count: cost(at_count(model, count), config.context) for count in counts or [None]}


def expected_training_flops(config: TrainConfig, model: FraiLTConfig) -> float:
    """FLOPs of training on one token, the mean over the counts that training uses, before any is drawn."""
    costs, shares = costs_by_count(config, model), config.iteration_counts.shares()
    return sum(shares.get(count or 0, 1.0) * own.training_flops_per_token for count, own in costs.items())


def mean_training_flops(costs: Mapping[int | None, Cost], ran: Mapping[int | None, int]) -> float:
    """The same over steps that were taken, by how many of them had each count."""
    return fmean([costs[count].training_flops_per_token for count in ran], weights=list(ran.values()))
