"""The memory of a training step, in closed form: parameters, gradients, optimiser state, activations, logits.

A step is followed from the loss down to the embedding. For each `Moment` that may be the fullest a sum says what is
held then; the largest is the peak. Counted is what PyTorch holds in tensors when it runs the model without
torch.compile, which needs no more: the same as `torch.cuda.max_memory_allocated`, without the CUDA context and what
kernels take beside it. `docs/planning.md` derives each term and has a table of measured peaks.

Activations grow with depth, the block *applications*; parameters, gradients and optimiser state with unique blocks.
Looping saves the second kind and not the first.

Legend: N tokens of one forward pass (rows * T), T context, D hidden size, F MLP width, H query heads, G key-value
heads, K head width, V vocabulary; c bytes of a computed number, 2 in bfloat16 autocast and 4 in float32.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Literal

from frailt.model import FraiLTConfig
from frailt.model.attention import PADDED_HEAD_DIM
from frailt.model.cost import parameters
from frailt.model.layout import Layout

NUMBER_BYTES = 4
"""Of a float32: parameters, gradients, optimiser state, residual stream and loss are never anything else."""
NORM_BACKWARD_TENSORS = 6
"""Tensors of (N, D) in float32 at the fullest moment of an RMSNorm's backward: the gradient that comes in, that of the
states, that of their mean square spread out again, and three inside the backward of the square."""

Kernel = Literal["eager", "sdpa", "sdpa_padded", "narrow"]


@dataclass(frozen=True, kw_only=True)
class Step:
    """How one process takes one optimiser step.

    Args:
        rows: rows of one forward pass.
        context: T, in tokens.
        bfloat16: whether the forward pass runs in bfloat16 autocast; parameters are float32 either way.
        kernel: the attention kernel. `eager` stands for every kernel that stores the T x T square.
        gradient_checkpointing: whether blocks keep their input alone and are run again in the backward pass.
        accumulates: whether gradients of an earlier forward pass of the same step are held already.
        processes: how many share the work.
        sharded: whether they share parameters, gradients and optimiser state too (FSDP); else each has all (DDP).
    """

    rows: int
    context: int
    bfloat16: bool = False
    kernel: Kernel = "sdpa"
    gradient_checkpointing: bool = False
    accumulates: bool = False
    processes: int = 1
    sharded: bool = False

    def __post_init__(self) -> None:
        for name in ("rows", "context", "processes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, got {getattr(self, name)}")

    @property
    def tokens(self) -> int:
        """N, tokens of one forward pass."""
        return self.rows * self.context

    @property
    def computed_bytes(self) -> int:
        """c, bytes of a number that a matrix product gives."""
        return 2 if self.bfloat16 else NUMBER_BYTES


@dataclass(frozen=True, kw_only=True)
class Moment:
    """What one process holds at one moment of a step, in bytes."""

    name: str
    parameters: int
    optimizer_state: int
    """AdamW's two means."""
    gradients: int
    shared: int
    """Because of other processes: DDP's buckets; under FSDP gathered parameters, and gradients not yet scattered."""
    weight_copies: int = 0
    """The bfloat16 copies that autocast makes of weights, one per unique weight."""
    activations: int = 0
    """Kept from the forward pass for the backward pass, logits aside."""
    logits: int = 0
    """Logits, their log-probabilities, and the gradients of both."""
    temporary: int = 0
    """What an operation needs while it runs."""

    @property
    def total(self) -> int:
        """All of it."""
        return sum(getattr(self, field.name) for field in fields(self) if field.name != "name")


@dataclass(frozen=True, kw_only=True)
class Saved:
    """Bytes that autograd keeps of one block application for the backward pass, weights aside."""

    attention: int
    """Input norm, projections, kernel."""
    norm: int
    """The norm before the MLP, without its output."""
    mlp: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.attention + self.norm + self.mlp


def training_peak(config: FraiLTConfig, step: Step) -> Moment:
    """The fullest moment of a training step."""
    return max(moments(config, step), key=lambda moment: moment.total)


def moments(config: FraiLTConfig, step: Step) -> Iterator[Moment]:
    """Every moment of a step that may be the fullest, from the loss to the update."""
    return _Accounts(config, step).moments()


def saved_per_application(config: FraiLTConfig, step: Step) -> Saved:
    """What autograd keeps of one block application; with gradient checkpointing, of the one that is being run again."""
    # None only until a config is made
    assert config.num_key_value_heads is not None
    assert config.head_dim is not None
    assert config.intermediate_size is not None
    tokens, computed, hidden = step.tokens, step.computed_bytes, config.hidden_size
    # A norm keeps its input, the normalised input and one number per token. Its output is what projections keep: once
    # for all of them in float32, a bfloat16 copy for each under autocast.
    norm = NUMBER_BYTES * (2 * hidden + 1)
    into_attention, into_mlp = (3, 2) if step.bfloat16 else (1, 1)
    heads, groups, width = config.num_attention_heads, config.num_key_value_heads, config.head_dim
    if step.kernel == "eager":  # query, repeated keys and values, output; weights in float32, and as multiplied
        square = (NUMBER_BYTES + (computed if step.bfloat16 else 0)) * heads * step.context
        kernel = 4 * computed * heads * width + square
    elif step.kernel == "narrow":  # query, repeated keys and values, output, and the logarithms of the softmax's sums
        kernel = 4 * computed * heads * width + NUMBER_BYTES * heads
    else:  # query, key, value, output, and the logarithm of each softmax's sum
        padded = max(width, PADDED_HEAD_DIM) if step.kernel == "sdpa_padded" else width
        kernel = 2 * computed * (heads + groups) * padded + NUMBER_BYTES * heads
        kernel += computed * heads * width if padded > width else 0  # the output without its padding
    return Saved(
        attention=tokens * (norm + into_attention * computed * hidden + kernel),
        norm=tokens * norm,
        # gate, up, the gate's activation, their product
        mlp=tokens * computed * (into_mlp * hidden + 4 * config.intermediate_size),
    )


class _Accounts:
    """The sizes, in bytes, that the moments of one step are made of."""

    def __init__(self, config: FraiLTConfig, step: Step) -> None:
        layout, unique = Layout(config.groups), parameters(config)
        self.config, self.step = config, step
        self.unique = NUMBER_BYTES * unique.total
        self.table = NUMBER_BYTES * config.vocab_size * config.hidden_size  # embedding, or head
        self.block = NUMBER_BYTES * unique.blocks // layout.unique_blocks
        self.shards = step.processes if step.sharded else 1
        self.saved = saved_per_application(config, step)
        self.applications = layout.applications(config.iterations)
        self.stream = NUMBER_BYTES * step.tokens * config.hidden_size  # the residual stream, once
        # Of each application the backward pass finds all that autograd kept, or its input alone.
        self.kept = self.stream if step.gradient_checkpointing else self.saved.total
        # Token ids and targets; RoPE's cosines and sines; the mask, where a kernel takes one.
        self.inputs = 16 * step.tokens + 2 * NUMBER_BYTES * step.context * (config.head_dim or 0)
        self.inputs += NUMBER_BYTES * step.context**2 if step.kernel == "eager" else 0
        # Gradients of an earlier forward pass are held throughout, under FSDP too whole, because transformers' Trainer
        # sends them once a step; else they come into being block by block.
        self.earlier = self.unique if step.accumulates else 0

    def moments(self) -> Iterator[Moment]:
        yield from self._head()
        yield from self._blocks()
        # One gradient of the embedding is among all gradients. Where it is tied there are two and their sum; and where
        # gradients are held already they are added to those.
        tables = (2 if self.config.tie_word_embeddings else 0) + (1 if self.earlier else 0)
        yield self._moment(
            "backward of the embedding",
            gradients=self.unique // self.shards + tables * self.table,
            activations=self.inputs,
        )
        yield self._moment("update", gradients=self.unique // self.shards)

    def _head(self) -> Iterator[Moment]:
        """Loss, head and final norm: all that blocks keep is there."""
        step, logit = self.step, self.step.tokens * self.config.vocab_size
        kept = self.inputs + len(self.applications) * self.kept
        # The final norm's input and normalised input; its output, as the head multiplies it.
        norm = 2 * self.stream + NUMBER_BYTES * step.tokens
        head = step.computed_bytes * step.tokens * self.config.hidden_size
        every_copy = self._copies(self.unique)
        later = self._copies(self.table) if step.gradient_checkpointing else every_copy
        yield self._moment(
            "loss",
            gradients=self.earlier,
            weight_copies=every_copy,
            activations=kept + norm + head,
            # Logits, their log-probabilities; under autocast the logits twice, for the loss is computed in float32.
            logits=(2 * NUMBER_BYTES + (step.computed_bytes if step.bfloat16 else 0)) * logit,
        )
        yield self._moment(
            "backward of the loss",
            gradients=self.earlier,
            weight_copies=later,
            activations=kept + norm + head,
            logits=3 * NUMBER_BYTES * logit,  # log-probabilities, their gradient, that of the logits
        )
        yield self._moment(
            "backward of the head",
            gradients=self.earlier + self.table,
            weight_copies=later,
            activations=kept + norm + head,
            logits=step.computed_bytes * logit,
            temporary=head,
        )
        yield self._moment(
            "backward of the final norm",
            gradients=self.earlier + self._gradient_of_head(),
            weight_copies=later - self._copies(self.table),
            activations=kept + norm,
            temporary=NORM_BACKWARD_TENSORS * self.stream,
        )

    def _blocks(self) -> Iterator[Moment]:
        """The backward pass of one application after another, the last first."""
        step, config, saved = self.step, self.config, self.saved
        again = step.gradient_checkpointing
        assert config.intermediate_size is not None
        inner = step.computed_bytes * step.tokens * config.intermediate_size  # one of the MLP's wide tensors
        down = step.computed_bytes * config.intermediate_size * config.hidden_size  # gradient of its last matrix
        # Gradients of a looped block are summed over its applications before they are handed over, as computed.
        summed = self.block if again else self.block // NUMBER_BYTES * step.computed_bytes
        summed = self.block // self.shards if step.sharded else summed  # each time sent and added to the shard
        finished = 0 if self.earlier else self.block // self.shards
        gradients = self.earlier + self._gradient_of_head()
        copies = 0 if again else self._copies(self.unique - self.table)
        kept = self.inputs + len(self.applications) * self.kept
        begun = set()
        for at, application in reversed(list(enumerate(self.applications))):
            kept -= self.kept
            own = saved.total + (self.stream if again else 0)
            for part, activations, temporary in (
                # Fullest at the product of the MLP's two branches, unless attention stores the square; with a narrow
                # MLP in the norm before it.
                ("MLP", own - inner, self.stream + 3 * inner + down),
                ("norm", own - saved.mlp, (1 + NORM_BACKWARD_TENSORS) * self.stream),
                ("attention", own - saved.mlp - saved.norm, self.stream + self._square()),
            ):
                yield self._moment(
                    f"backward of the {part}, group {application.group}, iteration {application.iteration}, "
                    f"block {application.block}",
                    at=at,
                    gradients=gradients,
                    weight_copies=copies + (self._copies(self.block) if again else 0),
                    activations=kept + activations,
                    temporary=temporary,
                )
            block = (application.group, application.block)
            if block not in begun:
                begun.add(block)
                gradients += summed
            if application.iteration == 0:  # the last to come back
                gradients += finished - summed
                copies -= 0 if again else self._copies(self.block)

    def _moment(self, name: str, at: int | None = None, **parts: int) -> Moment:
        return Moment(
            name=name,
            parameters=self.unique // self.shards,
            optimizer_state=2 * self.unique // self.shards,
            shared=self._shared(at),
            **parts,
        )

    def _copies(self, weights_bytes: int) -> int:
        """Bytes of the bfloat16 copies of so many bytes of float32 weights."""
        return weights_bytes // 2 if self.step.bfloat16 else 0

    def _gradient_of_head(self) -> int:
        """From the head on: where it is tied, its gradient waits for that of the embedding."""
        if self.config.tie_word_embeddings:
            return self.table
        return 0 if self.earlier else self.table // self.shards

    def _square(self) -> int:
        """What the backward pass of attention holds of the T x T square beside what was kept: two gradients of it.

        The bfloat16 copy that was multiplied is gone by then.
        """
        if self.step.kernel != "eager":
            return 0
        number = 2 * NUMBER_BYTES - (self.step.computed_bytes if self.step.bfloat16 else 0)
        return number * self.step.tokens * self.config.num_attention_heads * self.step.context

    def _shared(self, at: int | None) -> int:
        """At the backward pass of application `at`; None before and after that of blocks."""
        if self.step.processes == 1:
            return 0
        if not self.step.sharded:
            return self.unique  # the buckets in which DDP sends gradients
        plain = [self.config.groups[application.group].iterations == 1 for application in self.applications]
        resident = self.unique - sum(plain) * self.block  # looped blocks, embedding, norm and head stay gathered
        if at is None:
            return resident + plain[-1] * self.block
        # A plain block is gathered while the one after it is in use; the gradients of one are under way meanwhile.
        gathered = sum(plain[max(at - 1, 0) : at + 1])
        return resident + (gathered + (at + 1 < len(plain))) * self.block
