"""Callbacks for transformers' Trainer that let a run end or go wrong at a step of choice."""

import os
import signal

from transformers import TrainerCallback


class Kill(BaseException):
    """Stands for a SIGKILL: nothing of ours catches it but to note the status."""


class KillAfter(TrainerCallback):
    """Ends the run in this process after a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            raise Kill


class Die(TrainerCallback):
    """SIGKILL for one rank, or all (-1), after a step."""

    def __init__(self, rank: int, step: int) -> None:
        self.rank, self.step = rank, step

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step and self.rank in (-1, int(os.environ.get("RANK", "0"))):
            os.kill(os.getpid(), signal.SIGKILL)


class BreakGradient(TrainerCallback):
    """Puts nans into the gradients of one step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_begin(self, args, state, control, model=None, **kwargs):
        def spoil(gradient):
            return gradient * float("nan") if state.global_step + 1 == self.step else gradient

        def watch(norm, inputs, output):  # not the parameters, of which FSDP2 makes others
            if output.requires_grad:
                output.register_hook(spoil)

        model.model.norm.register_forward_hook(watch)
