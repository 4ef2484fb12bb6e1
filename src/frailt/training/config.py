"""What a training run is told. Plain dataclasses without torch, so that the command line can show them at once."""

from dataclasses import dataclass, field
from typing import Any, Literal

from frailt.model.counts import parse_counts

from .iteration_counts import IterationCounts

Precision = Literal["auto", "float32", "bfloat16"]
CompileMode = Literal["auto", "off", "block", "whole"]
Parallel = Literal["auto", "ddp", "fsdp"]


@dataclass(kw_only=True)
class ModelConfig:
    """The model to train; names, defaults and rules are those of `FraiLTConfig`, which checks them.

    Args:
        layout: groups of blocks, such as 8, 2^4, (2)^4 or 1,(2)^4,1.
        hidden_size: width of the residual stream.
        intermediate_size: width of the MLP; by default two thirds of 4 * hidden_size, rounded up to 32.
        num_attention_heads: attention heads.
        num_key_value_heads: key-value heads; by default as many as attention heads.
        iteration_encoding: learned (the paper's), sinusoidal or none.
        tie_word_embeddings: whether the head is the transposed embedding.
        initializer_range: standard deviation of the initial weights.
        rope_theta: base of the rotary position encoding.
        rope_parameters: more of it in Llama's own terms, such as {rope_type: yarn, factor: 4.0,
            original_max_position_embeddings: 512}, for contexts beyond those of rope_theta.
    """

    layout: str | int = "2^4"
    hidden_size: int = 64
    intermediate_size: int | None = None
    num_attention_heads: int = 8
    num_key_value_heads: int | None = None
    iteration_encoding: str = "learned"
    tie_word_embeddings: bool = True
    initializer_range: float = 0.02
    rope_theta: float = 10000.0
    rope_parameters: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        self.layout = str(self.layout)  # YAML reads a bare 8 as a number
        if self.rope_parameters is not None and "rope_theta" in self.rope_parameters:
            raise ValueError("rope_parameters must leave rope_theta to the field of that name")
        if not 0 < self.rope_theta < float("inf"):
            raise ValueError(f"rope_theta must be above 0, got {self.rope_theta}")


@dataclass(kw_only=True)
class TrainConfig:
    """One training run: data, model, budget, optimiser, and where it runs. Baseline and FraiLT differ in `model` only.

    The same configuration for a run folder that is there already goes on from its last good checkpoint; `MAY_CHANGE`
    names what may differ then.

    Args:
        data: prepared corpus, a folder made by frailt prepare.
        out: run folder to make, or to go on with.
        from_checkpoint: checkpoint or run folder whose weights training starts from; the model is then its own. --from
            for short.
        model: the model to train.
        iteration_counts: how often looped groups run in each step; the layout's M is the size of the encoding table.
        context: tokens per row.
        passes: budget in passes over the training stream; 1 where no budget is given.
        tokens: budget in tokens.
        steps: budget in optimiser steps.
        batch_rows: rows per optimiser step, over all processes and their forward passes.
        accumulation_steps: forward passes per optimiser step; each process takes its share of the rows in so many.
        learning_rate: peak learning rate; it warms up linearly, then falls to 0 by a cosine.
        warmup_share: share of the steps that warm up.
        weight_decay: AdamW's decay, on matrices only: none on norms and iteration encodings.
        beta1: AdamW's decay rate of the mean gradient.
        beta2: AdamW's decay rate of the mean squared gradient.
        clip_norm: gradients are scaled down to this norm; 0 for no clipping.
        gradient_checkpointing: recompute activations in the backward pass, to save memory.
        precision: auto is bfloat16 on GPUs that have it, and on CPUs with matrix units for it where a measurement at
            this width says that it is faster; float32 elsewhere.
        compile: block compiles the block once for all its uses, whole the model as one graph; auto compiles blocks
            where the run is long enough to repay it.
        parallel: how several processes (torchrun, accelerate launch) share the work. ddp: each holds the model; fsdp:
            parameters, gradients and optimiser state are sharded, looped blocks gathered once a pass; auto is ddp.
        device: auto is a GPU where there is one.
        threads: CPU threads; by default torch's own choice.
        seed: fixes initial weights, the order of rows, drawn iteration counts.
        evaluations: how often the loss on a share of the validation rows is measured while training, evenly spread.
        evaluation_share: that share, of rows, evenly spread and the same each time. At the end all are measured.
        evaluate_iterations: counts, such as 1..8 or 1,2,4,8, at which the loss is measured beside the layout's own, in
            every evaluation and at the end.
        log_every_steps: steps between two lines of metrics.
        report_to: trackers that transformers knows, such as tensorboard, wandb, trackio, mlflow.
        save_every_minutes: minutes between two checkpoints to go on from.
        save_every_steps: steps between them instead, where given.
        save_total_limit: how many of them are kept while training; null keeps all, for good. best and last are beside.
        on_nonfinite: what to do where loss or gradient is infinite or no number: stop, or skip that step's update.
    """

    data: str
    out: str
    from_checkpoint: str | None = None
    model: ModelConfig = field(default_factory=ModelConfig)
    iteration_counts: IterationCounts = field(default_factory=IterationCounts)
    context: int = 512
    passes: float | None = None
    tokens: int | None = None
    steps: int | None = None
    batch_rows: int = 16
    accumulation_steps: int = 1
    learning_rate: float = 3e-3
    warmup_share: float = 0.05
    weight_decay: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.95
    clip_norm: float = 1.0
    gradient_checkpointing: bool = False
    precision: Precision = "auto"
    compile: CompileMode = "auto"
    parallel: Parallel = "auto"
    device: str = "auto"
    threads: int | None = None
    seed: int = 0
    evaluations: int = 10
    evaluation_share: float = 0.1
    evaluate_iterations: list[int] | str | None = None
    log_every_steps: int = 10
    report_to: list[str] = field(default_factory=list)
    save_every_minutes: float = 10.0
    save_every_steps: int | None = None
    save_total_limit: int | None = 2
    on_nonfinite: Literal["stop", "skip"] = "stop"

    def __post_init__(self) -> None:
        budgets = {"passes": self.passes, "tokens": self.tokens, "steps": self.steps}
        given = [name for name, value in budgets.items() if value is not None]
        if len(given) > 1:
            raise ValueError(f"only one of passes, tokens and steps may be given, got {' and '.join(given)}")
        for name in (
            "context", "batch_rows", "accumulation_steps", "log_every_steps", "threads", "tokens", "steps",
            "save_every_steps", "save_total_limit",
        ):  # fmt: skip
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, got {getattr(self, name)}")
        for name in ("learning_rate", "passes", "save_every_minutes"):
            if getattr(self, name) is not None and not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}")
        for name in ("weight_decay", "clip_norm", "evaluations", "seed"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be 0 or more, got {getattr(self, name)}")
        if self.seed >= 2**32:
            raise ValueError(f"seed must be below 2^32, which is numpy's limit, got {self.seed}")
        for name in ("beta1", "beta2", "warmup_share"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 0 and below 1, got {getattr(self, name)}")
        if not 0 < self.evaluation_share <= 1:
            raise ValueError(f"evaluation_share must be above 0 and at most 1, got {self.evaluation_share}")
        if self.evaluate_iterations is not None:
            self.evaluate_iterations = parse_counts(self.evaluate_iterations, "evaluate_iterations")
        if self.from_checkpoint is not None and self.model != ModelConfig():
            raise ValueError("model comes from from_checkpoint where that is given: leave out the model settings")

    @property
    def evaluated(self) -> list[int]:
        """The counts of `evaluate_iterations`; none where the loss is measured at the layout's own alone."""
        return list(self.evaluate_iterations or ())  # type: ignore[arg-type]  # parsed by now

    @property
    def tokens_per_step(self) -> int:
        """Tokens of one optimiser step, over all processes."""
        return self.batch_rows * self.context

    def steps_for(self, rows: int | None) -> int:
        """Optimiser steps that the budget is, for a corpus of `rows` rows; each step takes a full batch.

        Raises:
            ValueError: the budget is in passes and the corpus, being streamed, has no known number of rows.
        """
        if self.steps is not None:
            return self.steps
        if self.tokens is not None:
            return -(-self.tokens // self.tokens_per_step)
        if rows is None:
            raise ValueError("tokens or steps must be given with a streamed corpus, whose length nobody knows")
        wanted = (1.0 if self.passes is None else self.passes) * rows
        return max(1, -int(-wanted // self.batch_rows))

    def rows_per_pass(self, processes: int) -> int:
        """Rows of one forward pass of one process.

        Raises:
            ValueError: the rows of a step cannot be shared equally.
        """
        if self.batch_rows % (processes * self.accumulation_steps):
            raise ValueError(
                f"batch_rows must be divisible by processes * accumulation_steps, got {self.batch_rows} and "
                f"{processes} * {self.accumulation_steps}"
            )
        return self.batch_rows // (processes * self.accumulation_steps)


MAY_CHANGE = frozenset(
    {
        "data", "out", "device", "threads", "compile", "parallel", "accumulation_steps", "report_to",
        "save_every_minutes", "save_every_steps", "save_total_limit", "on_nonfinite",
    }
)  # fmt: skip
"""Fields that may differ when a run goes on: where and how it runs. The others say what is trained and recorded."""
