"""How many CPU threads decode fastest: of a small model one often does, and two may be many times slower."""

import time

import torch

from frailt.model import FraiLTForCausalLM

from .cache import InPlaceCache
from .step import Step

MEASURE_S = 0.15
"""Seconds for which each number of threads is tried, twice."""


def choose_threads(model: FraiLTForCausalLM, rows: int, wanted: int | None = None) -> str:
    """Set torch's threads to what was `wanted`, else to the number with which steps of so many rows go fastest.

    Tried are 1, 2, 4 and so on up to what torch would take. Before anything is compiled, since the number becomes part
    of a graph.

    Returns:
        What was chosen, and by what; "" where nothing was measured.
    """
    most = torch.get_num_threads()
    if wanted is not None:
        torch.set_num_threads(wanted)
        return ""
    if model.device.type != "cpu" or most == 1:
        return ""
    tried = sorted({2**power for power in range(most.bit_length())} | {most})
    rates = dict.fromkeys(tried, 0.0)
    steps = _Steps(model, rows)
    for threads in [*tried, *tried]:
        torch.set_num_threads(threads)
        rates[threads] = max(rates[threads], steps.per_second(MEASURE_S))
    best = max(tried, key=lambda threads: rates[threads])
    torch.set_num_threads(best)
    shown = ", ".join(f"{threads}: {rows * rate:,.0f}" for threads, rate in rates.items())
    return f"threads {best}, as measured (tokens/s by threads: {shown})"


class _Steps:
    """Plain steps over a cache that is half full."""

    def __init__(self, model: FraiLTForCausalLM, rows: int) -> None:
        length = min(model.config.max_position_embeddings, 256)
        self.step, self.half = Step(model), length // 2
        self.layers = InPlaceCache(model.config.num_hidden_layers, length).in_place
        config = model.config
        assert config.num_key_value_heads is not None
        assert config.head_dim is not None
        keys = torch.zeros(rows, config.num_key_value_heads, 1, config.head_dim, dtype=model.dtype)
        for layer in self.layers:
            layer.lazy_initialization(keys, keys)
            layer.keys.zero_(), layer.values.zero_()
        self.tokens = torch.zeros(rows, dtype=torch.long)
        self.mask = torch.zeros(rows, 1, 1, length, dtype=model.dtype)

    @torch.inference_mode()
    def per_second(self, seconds: float) -> float:
        self._run()
        began, done = time.perf_counter(), 0
        while (passed := time.perf_counter() - began) < seconds:
            self._run()
            done += 1
        return done / passed

    def _run(self) -> None:
        for layer in self.layers:
            layer.filled = self.half
        self.step(self.tokens, self.layers, torch.zeros_like(self.tokens), self.mask)
