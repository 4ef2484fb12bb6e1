"""What `frailt plan` is told: all that `frailt train` is, and where the run shall be. No torch."""

from dataclasses import dataclass

from frailt.training.config import TrainConfig

from .accelerators import ACCELERATORS

HERE, OTHER = "this", "other"
DEFAULT_VOCAB_SIZE = 32_000
"""Llama-2's, where neither data nor a vocabulary is given."""


@dataclass(kw_only=True)
class PlanConfig(TrainConfig):
    """A training run that is not started: everything that `frailt train` takes, its data and out left to choice.

    Args:
        data: prepared corpus; from it the vocabulary and the length of a pass. Without it give tokens or steps.
        out: taken as in frailt train, and left alone.
        vocab_size: vocabulary, in tokens; by default that of data or checkpoint, else 32,000, Llama-2's.
        on: the device; this is the machine here, other one described by flops_per_s and memory_gb, the rest are known
            by name, such as h100, h200, a100, l40s, l4, rtx4090.
        flops_per_s: peak rate of matrix products, instead of the named device's or the measured one.
        memory_gb: memory in GB of 10^9 bytes, instead of the device's.
        utilisation: share of that rate at which training computes.
        processes: data-parallel processes, one device each.
    """

    data: str = ""
    out: str = ""
    vocab_size: int | None = None
    on: str = HERE
    flops_per_s: float | None = None
    memory_gb: float | None = None
    utilisation: float = 0.4
    processes: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.on not in (HERE, OTHER, *ACCELERATORS):
            raise ValueError(f"on must be one of {HERE}, {OTHER}, {', '.join(ACCELERATORS)}, got {self.on!r}")
        if self.on == OTHER and (self.flops_per_s is None or self.memory_gb is None):
            raise ValueError(f"flops_per_s and memory_gb must be given where on is {OTHER}")
        for name in ("flops_per_s", "memory_gb"):
            if getattr(self, name) is not None and not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}")
        for name in ("vocab_size", "processes"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, got {getattr(self, name)}")
        if self.parallel == "fsdp" and self.processes == 1:
            raise ValueError("processes must be 2 or more where parallel is fsdp, got 1")
        if not 0 < self.utilisation <= 1:
            raise ValueError(f"utilisation must be above 0 and at most 1, got {self.utilisation}")
