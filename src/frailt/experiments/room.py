"""What a run of a sweep will need, and whether this machine has so much memory."""

from dataclasses import fields

from frailt.planning.config import PlanConfig
from frailt.planning.plan import Plan, plan
from frailt.training.config import TrainConfig

GIB = 2**30


def planned(config: TrainConfig, flops_per_s: float | None = None) -> Plan:
    """The plan of a run.

    Args:
        config: what the run is told.
        flops_per_s: of its device; None measures it.

    Raises:
        ValueError: its sizes do not fit.
    """
    settings = {field.name: getattr(config, field.name) for field in fields(TrainConfig)}
    return plan(PlanConfig(**settings, flops_per_s=flops_per_s))


def lack_of_memory(config: TrainConfig) -> str | None:
    """Why a run cannot be trained here, where its tensors alone are more than the memory; None where it may.

    Started all the same it could be ended by the kernel, and what runs beside it with it.
    """
    try:
        found = planned(config, flops_per_s=1.0)
    except ValueError:  # training will say so
        return None
    needed, there = found.peak.total, found.device.memory_bytes
    if needed <= there:
        return None
    return (
        f"it needs {needed / GIB:,.1f} GiB for its tensors, and there are {there / GIB:,.1f}: lower batch_rows, or "
        "leave it out by only"
    )
