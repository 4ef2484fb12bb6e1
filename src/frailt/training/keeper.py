"""What a run keeps on disk of its model: best, last, and checkpoints to go on from. All processes take part."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerFast

from frailt.model import FraiLTConfig, FraiLTForCausalLM

from .checkpoint import save_checkpoint
from .model_card import model_card
from .processes import Processes, settle, whole
from .resume import optimizer_tensors, prune, random_tensors, remove_all, step_folder, write_training_state
from .run_folder import RunFolder
from .trainer import FraiLTTrainer


class Keeper:
    """Writes checkpoints of one run.

    Args:
        run: its folder.
        model: the model, unwrapped; it may be sharded.
        tokenizer: its tokenizer.
        settings: the run's resolved configuration, for the model card.
        tokens_per_step: tokens of one optimiser step.
        save_total_limit: how many checkpoints to go on from are kept; None for all.
        processes: those that train together.
    """

    def __init__(
        self,
        run: RunFolder,
        model: FraiLTForCausalLM,
        tokenizer: PreTrainedTokenizerFast,
        settings: dict[str, Any],
        *,
        tokens_per_step: int,
        save_total_limit: int | None,
        processes: Processes,
    ) -> None:
        self.run, self.model, self.tokenizer, self.settings = run, model, tokenizer, settings
        self.tokens_per_step, self.save_total_limit, self.processes = tokens_per_step, save_total_limit, processes

    def save(self, name: str, nats: float, step: int, what: str) -> None:
        """Keep `best` or `last`, with its validation loss, measured on `what`, in the model card."""
        self._save(self.run.path / name, nats, step, what)

    def save_to_go_on(self, trainer: FraiLTTrainer, state: dict[str, Any]) -> Path:
        """Keep all that the run goes on from, and drop the oldest checkpoints that are more than the limit."""
        step = trainer.state.global_step
        settle(self.model)
        optimizer = optimizer_tensors(self.model, trainer.bare_optimizer, self.processes)
        random = random_tensors(self.processes)
        assert trainer.lr_scheduler is not None
        schedule = trainer.lr_scheduler.state_dict()
        state = state | {"schedule": {key: schedule[key] for key in ("last_epoch", "_step_count", "_last_lr")}}

        def add(folder: Path) -> None:
            state["step"], state["metrics_bytes"] = step, self.run.metrics_bytes()
            write_training_state(folder, optimizer, random, state)
            replace(trainer.state, log_history=[]).save_to_json(str(folder / "trainer_state.json"))

        folder = step_folder(self.run.path, step)
        self._save(folder, None, step, "", add)
        self.processes.first_does(lambda: prune(self.run.path, self.save_total_limit))
        return folder

    def drop_checkpoints(self) -> None:
        """Remove the checkpoints of a run that is finished, unless all are kept."""
        if self.save_total_limit is not None and self.processes.first:
            remove_all(self.run.path)

    def _save(
        self,
        folder: Path,
        nats: float | None,
        step: int,
        what: str,
        add: Callable[[Path], None] = lambda folder: None,
    ) -> None:
        settle(self.model)
        held = {name: whole(p, keep=self.processes.first) for name, p in self.model.named_parameters()}
        weights = {name: tensor for name, tensor in held.items() if tensor is not None}

        def write() -> None:
            tokens = step * self.tokens_per_step
            card = model_card(self.model, self.run.record, self.settings, nats, step, tokens, what)
            with _for_generation(self.model.config):
                save_checkpoint(folder, self.model, self.tokenizer, card, weights=weights, add=add)

        self.processes.first_does(write)


@contextmanager
def _for_generation(config: FraiLTConfig) -> Iterator[None]:
    """With the cache on: transformers' Trainer switches it off while training, and what is saved shall generate too."""
    before, config.use_cache = config.use_cache, True
    try:
        yield
    finally:
        config.use_cache = before
