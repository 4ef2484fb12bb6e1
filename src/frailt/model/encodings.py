"""Iteration encodings E_l(m): what tells a block where in the cycle it is (paper, section 2, first equation).

One module per block of a looped group; it maps the iteration number m to the vector that is added to the block's input.
**The code counts m from 0**, where the paper counts from 1: E_l(m) of the paper is ``encoding(m - 1)`` here.

A new kind is one class in this file with the `register` decorator. It says what it gives for m >= M, the iterations it
was trained with, because a group may run more often than that.
"""

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig
from transformers import initialization as init

ENCODINGS: dict[str, type["IterationEncoding"]] = {}
"""Every kind of iteration encoding, by the name that `config.iteration_encoding` takes."""


def register(name: str):
    """Class decorator: make an `IterationEncoding` known as `name`."""

    def add(cls: type["IterationEncoding"]) -> type["IterationEncoding"]:
        if name in ENCODINGS:
            raise ValueError(f"iteration encoding names must be unique, got {name!r} twice")
        ENCODINGS[name] = cls
        return cls

    return add


class IterationEncoding(nn.Module):
    """Base of all kinds. `forward(m)` gives the vector to add, of shape (D,), or None for nothing.

    Args:
        config: a `FraiLTConfig`; D is its `hidden_size`.
        iterations: the trained M of the group.
    """

    beyond: str
    """What the kind gives for m >= M, in words."""

    def __init__(self, config: PreTrainedConfig, iterations: int) -> None:
        super().__init__()
        self.iterations = iterations

    def forward(self, m: int) -> Tensor | None:
        raise NotImplementedError

    def init_weights(self, std: float) -> None:
        """Set parameters and buffers to their starting values; `std` is the model's `initializer_range`."""

    @staticmethod
    def num_parameters(hidden_size: int, iterations: int) -> int:
        """Parameters of one block's encoding, in closed form."""
        return 0


@register("learned")
class LearnedEncoding(IterationEncoding):
    """The paper's: a table of M learned vectors per block, started like the token embedding, from N(0, std)."""

    beyond = "repeats its last vector"

    def __init__(self, config: PreTrainedConfig, iterations: int) -> None:
        super().__init__(config, iterations)
        self.weight = nn.Parameter(torch.empty(iterations, config.hidden_size))

    def forward(self, m: int) -> Tensor:
        return self.weight[min(m, self.iterations - 1)]

    def init_weights(self, std: float) -> None:
        init.normal_(self.weight, mean=0.0, std=std)

    @staticmethod
    def num_parameters(hidden_size: int, iterations: int) -> int:
        return hidden_size * iterations


@register("sinusoidal")
class SinusoidalEncoding(IterationEncoding):
    """Fixed sines and cosines of the iteration number: Vaswani et al. (2017), section 3.5, with m for the position.

    Scaled by the model's `initializer_range`, so that beside the token embedding it is at first as large as
    positional encodings are beside the scaled embeddings there. The same for every block: they differ already.
    """

    beyond = "goes on with the same sines and cosines"

    def __init__(self, config: PreTrainedConfig, iterations: int) -> None:
        super().__init__(config, iterations)
        self.hidden_size = config.hidden_size
        self.scale = config.initializer_range
        # float32 whatever the weights are, as RoPE's are
        half = torch.empty((config.hidden_size + 1) // 2, dtype=torch.float32)
        self.frequencies = nn.Buffer(half, persistent=False)
        self.init_weights(self.scale)

    def forward(self, m: int) -> Tensor:
        angles = m * self.frequencies
        return self.scale * torch.cat((angles.sin(), angles.cos()))[: self.hidden_size]

    def init_weights(self, std: float) -> None:
        half = self.frequencies.shape[0]
        init.copy_(self.frequencies, 10000.0 ** (-torch.arange(half, dtype=torch.float32) / half))


@register("none")
class NoEncoding(IterationEncoding):
    """No encoding: blocks cannot tell iterations apart."""

    beyond = "gives nothing, as within M"

    def forward(self, m: int) -> None:
        return None
