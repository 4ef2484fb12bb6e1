"""CUDA graphs: a step that was recorded is started as one, where its kernels would have to be started one by one.

A graph has fixed shapes and addresses. So it attends over a fixed number of places, those that are not filled hidden by
the mask, and is recorded anew when they are, or when the cache is another.

Shapes: B rows, V vocabulary, t tokens so far, T that fit.
"""

import weakref
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .cache import InPlaceLayer

PLACES = 128
"""A graph attends over a multiple of so many places: a cache no longer than needed, and few graphs."""
RECORDED_AFTER = 8
"""Steps over the same cache: recording takes some steps' time, and a row that joins or leaves makes another cache."""

Run = Callable[..., Tensor]
Record = Callable[[Callable[[], Tensor]], Callable[[], Tensor]]


class Graphs:
    """Steps of one model over a cache, recorded and replayed.

    Args:
        run: tokens, place, missing, mask, cosines, sines, keys and values, as of `Step`, to logits (B, V).
        rotations: cosines and sines of all positions.
        record: makes what repeats a computation on the same memory, with what it gives; by default a `Recorder`.
    """

    def __init__(
        self,
        run: Run,
        rotations: tuple[Tensor, Tensor],
        record: Record | None = None,
    ) -> None:
        self._run, self._rotations, self._record = run, rotations, record or Recorder(rotations[0].device)
        self._cache: weakref.ref[Tensor] | None = None  # or a cache would live on behind its texts
        self._steps = 0
        self._length = 0
        self._replay: Callable[[], Tensor] | None = None
        self._inputs: tuple[Tensor, ...] = ()

    def step(self, tokens: Tensor, layers: Sequence[InPlaceLayer], missing: Tensor, mask: Tensor) -> Tensor | None:
        """As `Step`, but for what is filled; None where it does not pay yet.

        Args:
            tokens: (B,).
            layers: the cache of each block application.
            missing: (B,).
            mask: added to scores: (B, 1, 1, T).
        """
        if self._cache is None or self._cache() is not layers[0].keys:
            self._cache, self._steps, self._replay, self._inputs = weakref.ref(layers[0].keys), 0, None, ()
        self._steps += 1
        if self._steps <= RECORDED_AFTER:
            return None
        filled = layers[0].filled
        if self._replay is None or filled >= self._length:
            self._begin(tokens, layers, missing, mask)
        assert self._replay is not None
        own_tokens, place, *_ = self._inputs
        own_tokens.copy_(tokens)
        place.fill_(filled)
        return self._replay().clone()

    def _begin(self, tokens: Tensor, layers: Sequence[InPlaceLayer], missing: Tensor, mask: Tensor) -> None:
        """Record a step over the places up to the next multiple."""
        filled = layers[0].filled
        # Never all of the cache, and strides as they were: each of both would compile the step anew.
        self._length = max(filled + 1, min(mask.shape[-1] - 1, (filled // PLACES + 1) * PLACES))
        for layer in layers:  # the mask hides what was never written, but -inf does not hide a NaN
            layer.keys[..., filled : self._length] = 0
            layer.values[:, :, filled : self._length] = 0
        mask = mask.clone()[..., : self._length]
        mask[..., filled:] = float("-inf")
        tokens, missing, place = tokens.clone(), missing.clone(), torch.tensor([filled], device=tokens.device)
        keys, values = [layer.keys for layer in layers], [layer.values for layer in layers]

        def step() -> Tensor:
            mask.index_fill_(3, place, 0.0)
            return self._run(tokens, place, missing, mask, *self._rotations, keys, values)

        self._replay = self._record(step)
        self._inputs = (tokens, place, missing, mask)


class Recorder:
    """Makes CUDA graphs of computations on one device, which run a few times for that and must give the same each time.

    Args:
        device: a GPU, of several perhaps.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream: torch.cuda.Stream | None = None  # one for all graphs: libraries keep memory for each

    def __call__(self, step: Callable[[], Tensor]) -> Callable[[], Tensor]:
        """The same computation, started as one."""
        with torch.cuda.device(self._device):
            stream = self._stream = self._stream or torch.cuda.Stream(self._device)
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):  # compiles, and lets libraries allocate what they need
                for _ in range(3):
                    step()
            torch.cuda.current_stream().wait_stream(stream)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
                logits = step()

        def replay() -> Tensor:
            with torch.cuda.device(self._device):
                graph.replay()
            return logits

        return replay
