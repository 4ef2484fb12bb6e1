"""What a generation is told; plain, without torch."""

from dataclasses import dataclass, field
from typing import Literal

from frailt.model.early_exit import EarlyExit


@dataclass(kw_only=True)
class GenerateConfig:
    """Tell stories from a checkpoint.

    Args:
        checkpoint: checkpoint folder, or run folder, whose last checkpoint is taken; llama.cpp takes a .gguf file too.
        prompt: beginning of a story; without it and prompts_file, stories are told from nothing.
        prompts_file: text file with one beginning per line, or a YAML list of them.
        samples: stories per beginning.
        max_new_tokens: longest continuation; by default up to the model's context.
        greedy: always the likeliest token, instead of drawing.
        temperature: below 1 draws likelier tokens, above 1 less likely ones.
        top_p: draw among the likeliest tokens that make up this probability.
        top_k: draw among so many likeliest tokens; 0 for all.
        seed: fixes what is drawn.
        stream: show a story while it is told; one story only.
        iterations: how often looped groups run; by default as trained. One number, or one per group.
        exit_threshold: lets a token leave its loops after an iteration that changed it less than this; 0 is full depth.
            By default none leaves early.
        exit_criterion: what is compared from one iteration to the next: l2, states; kl, predictions, in nats.
        exit_kv: keys and values of tokens that have left: copy, the last computed; project, from their last state.
        exit_minimum: iterations that every token gets.
        batch_size: stories told at a time, at most.
        compile: on, off, or auto, which compiles the decoding step where there is enough to tell that it pays.
        device: auto is a GPU where there is one.
        threads: CPU threads; by default as many as decode fastest, which is measured.
        engine: torch, or llama.cpp, on the CPU; it reads a .gguf file, or a checkpoint that is exported to a temporary
            one. Its greedy stories are the same; with a seed it draws others than torch.
    """

    checkpoint: str
    prompt: str | None = None
    prompts_file: str | None = None
    samples: int = 1
    max_new_tokens: int | None = None
    greedy: bool = False
    temperature: float = 0.8
    top_p: float = 0.95
    top_k: int = 0
    seed: int = 0
    stream: bool = False
    iterations: int | list[int] | None = None
    exit_threshold: float | None = None
    exit_criterion: Literal["l2", "kl"] = "l2"
    exit_kv: Literal["copy", "project"] = "copy"
    exit_minimum: int = 2
    batch_size: int = 44
    compile: Literal["auto", "on", "off"] = "auto"
    device: str = "auto"
    threads: int | None = None
    engine: Literal["torch", "llama.cpp"] = "torch"

    def __post_init__(self) -> None:
        if self.prompt is not None and self.prompts_file is not None:
            raise ValueError("only one of prompt and prompts_file may be given")
        for name in ("samples", "max_new_tokens", "batch_size", "threads"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, got {getattr(self, name)}")
        for name in ("top_k", "seed"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be 0 or more, got {getattr(self, name)}")
        if self.seed >= 2**64:
            raise ValueError(f"seed must be below 2^64, got {self.seed}")
        if not 0 < self.temperature < float("inf"):
            raise ValueError(
                f"temperature must be above 0, got {self.temperature}; for the likeliest token use --greedy true"
            )
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be above 0 and at most 1, got {self.top_p}")
        if self.greedy and self.samples > 1:
            raise ValueError(f"samples must be 1 where greedy is true, for they would be equal, got {self.samples}")
        if self.stream and (self.samples > 1 or self.prompts_file is not None):
            raise ValueError("stream shows one story: leave out prompts_file, and samples above 1")
        changed = [name for name, usual in _EXIT.items() if getattr(self, name) != usual]
        if self.exit_threshold is None and changed:
            raise ValueError(f"{changed[0]} must come with exit_threshold, got {getattr(self, changed[0])!r} alone")
        if self.early_exit is not None and self.compile == "on":
            raise ValueError("compile must be off or auto with exit_threshold, got on: steps have no fixed shapes then")
        self._check_engine()

    def _check_engine(self) -> None:
        is_file = self.checkpoint.endswith(".gguf")
        if self.engine == "torch" and is_file:
            raise ValueError(f"checkpoint must be a folder for engine torch, got {self.checkpoint}: --engine llama.cpp")
        if self.engine == "llama.cpp":
            if self.exit_threshold is not None:
                raise ValueError("exit_threshold is for engine torch: llama.cpp runs every token in full; leave it out")
            if self.compile == "on":
                raise ValueError("compile is for engine torch; llama.cpp is compiled already: leave it out")
            if self.device not in ("auto", "cpu"):
                raise ValueError(f"device must be auto or cpu for engine llama.cpp, got {self.device}")
            if is_file and self.iterations is not None:
                raise ValueError(
                    f"iterations of a .gguf file are those it was exported with, got {self.iterations}: give the "
                    f"checkpoint, or frailt export --to gguf --iterations"
                )

    @property
    def early_exit(self) -> EarlyExit | None:
        """When tokens leave their loops; None where all run in full."""
        if self.exit_threshold is None:
            return None
        try:
            return EarlyExit(
                threshold=self.exit_threshold,
                criterion=self.exit_criterion,
                kv=self.exit_kv,
                minimum=self.exit_minimum,
            )
        except ValueError as error:  # it begins with the setting's name there
            raise ValueError(f"exit_{error}") from error


_EXIT = {"exit_criterion": "l2", "exit_kv": "copy", "exit_minimum": 2}
"""Settings of early exit as they are where there is none."""


@dataclass(kw_only=True)
class CompleteConfig:
    """Complete beginnings of stories with each of several checkpoints, for a judge or for measures of text.

    What a completion is depends on its checkpoint, its beginning and its sample's number alone: not on batches.

    Args:
        checkpoints: checkpoint or run folders.
        out: folder that gets a folder per checkpoint; what is finished there is left as it is.
        prompts: beginnings, a YAML list or a text file with one a line; by default twenty that are shipped.
        samples: completions per beginning.
        max_new_tokens: longest completion; by default up to the model's context.
        temperature: below 1 draws likelier tokens, above 1 less likely ones; 0 takes the likeliest.
        top_p: draw among the likeliest tokens that make up this probability.
        top_k: draw among so many likeliest tokens; 0 for all.
        seed: fixes what is drawn.
        iterations: how often looped groups run; by default as trained. One number, or one per group.
        batch_size: stories told at a time, at most.
        compile: on, off, or auto, which compiles the decoding step where there is enough to tell that it pays.
        device: auto is a GPU where there is one.
        threads: CPU threads; by default as many as decode fastest, which is measured.
    """

    checkpoints: list[str] = field(default_factory=list)
    out: str
    prompts: str | None = None
    samples: int = 10
    max_new_tokens: int | None = None
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int = 0
    iterations: int | list[int] | None = None
    batch_size: int = 44
    compile: Literal["auto", "on", "off"] = "auto"
    device: str = "auto"
    threads: int | None = None

    def __post_init__(self) -> None:
        if not self.checkpoints:
            raise ValueError("checkpoints must name at least one checkpoint or run folder")
        for name in ("samples", "max_new_tokens", "batch_size", "threads"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, got {getattr(self, name)}")
        for name in ("temperature", "top_k", "seed"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must be 0 or more, got {getattr(self, name)}")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be above 0 and at most 1, got {self.top_p}")
        if self.temperature == 0 and (self.samples > 1 or self.top_p < 1 or self.top_k):
            raise ValueError("temperature 0 draws nothing: samples must be 1, and top_p and top_k be left out")
