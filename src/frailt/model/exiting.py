"""How a group runs under early exit: iterations go on with the tokens that have not stopped.

A block is applied to these tokens of all rows of the batch laid end to end, (1, R, D): norms, projections and MLP look
at one token at a time and need no more. Attention needs the others' keys and values. So in the place of a slot the
block is handed a `_SlotOfSome`, which fills these in, lays the queries out in their rows again, and calls the slot.

Shapes: B batch, T tokens, R tokens that still run, B' rows that have some of them, A the most of them in one row, S
keys that a query is compared with, D hidden size, H query heads, G key-value heads, K head width, V vocabulary.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from .cost import application_flops, head_flops
from .early_exit import EarlyExit, ExitTally

KERNELS = ("eager", "sdpa", "sdpa_padded")
"""Kernels that take any mask."""


class Span(NamedTuple):
    """Where new tokens are among the keys of a slot."""

    before: int
    """Tokens that are there already."""
    keys: int
    """Keys that a query is compared with, S."""
    kept: bool
    """Whether keys are kept for later passes."""


class Slot(Protocol):
    """What early exit asks of an attention slot: the model's own, or that of a decoding step."""

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, **kwargs: Any) -> tuple[Tensor, Tensor | None]:
        """As `FraiLTAttentionSlot.forward`."""

    def store(self, key: Tensor, value: Tensor, past_key_values: Any = None) -> tuple[Tensor, Tensor]:
        """Keep keys and values of new tokens, (B, G, T, K)."""

    def span(self, tokens: int, past_key_values: Any = None) -> Span:
        """Where so many new tokens will be."""


class GroupExit:
    """Runs one looped group of a model under `rule`, and counts.

    Args:
        rule: when tokens stop.
        tally: what was counted.
        number: of the group, from 0.
        model: with a head where the criterion is kl.
    """

    def __init__(self, rule: EarlyExit, tally: ExitTally, number: int, model: PreTrainedModel) -> None:
        self.rule, self.tally, self.number, self.model = rule, tally, number, model

    @torch.compiler.disable
    def __call__(
        self,
        group: Any,
        hidden_states: Tensor,  # (B, T, D)
        slots: Sequence[Slot],
        position_embeddings: tuple[Tensor, Tensor],
        attention_mask: Tensor | None = None,
        past_key_values: Any = None,
        **kwargs: Any,
    ) -> Tensor:
        """What `FraiLTGroup.forward` gives, where each token has as many iterations as it wants.

        Raises:
            ValueError: the model trains, its kernel takes no masks, or states of every application are asked for.
        """
        self._check(group, kwargs)
        rule, iterations = self.rule, group.iterations
        never = rule.threshold == 0 or rule.minimum >= iterations
        run = _Pass(self, hidden_states, slots[0], position_embeddings, attention_mask, past_key_values, kwargs)
        real = run.real.flatten().nonzero()[:, 0]
        if not (never := never or not len(real)):
            run.go_on_with(real)
        applied = iter(slots)
        before = self._look(run) if not never and rule.minimum == 1 else None
        for m in range(iterations):
            if not len(run.active) and not run.span.kept:
                break
            for place, (block, encoding) in enumerate(zip(group.blocks, group.encodings, strict=True)):
                run.apply(block, encoding(m), next(applied), place)
            done = m + 1
            if never or done < rule.minimum - 1 or done == iterations or not len(run.active):
                continue
            now = self._look(run)
            if done >= rule.minimum:
                goes_on = ~(self._distance(now, before) < rule.threshold)
                if not goes_on.all():
                    run.stop(goes_on)
                    now = now[goes_on]
            before = now
        tokens = int(run.real.sum())
        each = application_flops(self.model.config, rows=1, pairs=run.span.keys)
        full_flops = run.real.numel() * iterations * len(group.blocks) * each
        self.tally.add(self.number, run.iterations * run.real, tokens, run.spent_flops, full_flops)
        return run.finish()

    def _look(self, run: "_Pass") -> Tensor:
        """What the criterion compares, of each token that runs: states (R, D), or logarithms of predictions (R, V)."""
        if self.rule.criterion == "l2":
            return run.rows
        run.spent_flops += head_flops(self.model.config, len(run.rows))
        logits = self.model.lm_head(self.model.model.norm(run.rows))
        return logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1)

    def _distance(self, now: Tensor, before: Tensor) -> Tensor:
        """The criterion, (R,)."""
        if self.rule.criterion == "l2":
            return (now - before).norm(dim=-1) / now.norm(dim=-1)
        return (now.exp() * (now - before)).sum(-1)

    def _check(self, group: Any, kwargs: dict[str, Any]) -> None:
        config = self.model.config
        if group.training:
            raise ValueError("early exit needs a model in evaluation mode, got one that trains: call eval() first")
        if config._attn_implementation not in KERNELS:
            raise ValueError(
                f"attn_implementation must be one of {', '.join(KERNELS)} with early exit, got "
                f"{config._attn_implementation}: change it by set_attn_implementation"
            )
        if kwargs.get("cache") is not None:
            raise ValueError("continuous batching has a paged cache, which early exit does not fill: use generate")
        for name in ("output_attentions", "output_hidden_states"):
            if kwargs.get(name, getattr(config, name, False)):
                raise ValueError(
                    f"{name} must be off with early exit, got {kwargs.get(name, True)}: tokens that stopped have "
                    f"none, ask the model without it"
                )


class _Pass:
    """One pass through a group: which tokens still run, their states, and the newest keys and values of each block."""

    def __init__(
        self,
        exiting: GroupExit,
        hidden_states: Tensor,
        slot: Slot,
        rotations: tuple[Tensor, Tensor],
        mask: Tensor | None,
        past_key_values: Any,
        kwargs: dict[str, Any],
    ) -> None:
        self.config, self.projects = exiting.model.config, exiting.rule.kv == "project"
        self.batch, self.tokens, self.width = hidden_states.shape
        self.span = slot.span(self.tokens, past_key_values)
        self.rotations, self.mask, self.past, self.kwargs = rotations, mask, past_key_values, kwargs
        self.real = self._real()  # (B, T)
        self.iterations = torch.zeros_like(self.real, dtype=torch.long)  # (B, T)
        self.states = hidden_states.reshape(-1, self.width).clone()  # (B * T, D), of tokens that do not run
        self.active = torch.arange(len(self.states), device=self.states.device)  # (R,), row * T + place
        self.rows = self.states  # (R, D), of tokens that run
        self.ever = self.active[:0]  # tokens that stopped, (stopped,)
        self.newest: dict[int, tuple[Tensor, Tensor]] = {}  # by block, each (B, G, T, K)
        self.some: _Some | None = None  # None while all tokens of the batch run
        self.spent_flops = 0

    def _real(self) -> Tensor:
        """Which tokens are no padding, (B, T): those that may attend to themselves."""
        if self.mask is None:
            return torch.ones(self.batch, self.tokens, dtype=torch.bool, device=self.rotations[0].device)
        place = torch.arange(self.tokens, device=self.mask.device)
        own = self.mask[:, 0, place, place + self.span.before]
        return (own if own.dtype == torch.bool else own == 0).expand(self.batch, -1)

    def go_on_with(self, active: Tensor) -> None:
        """From now on these tokens run, (R,)."""
        if len(active) < len(self.active):
            self.rows = self.states[active]
        self.active = active
        self.some = _Some(self) if 0 < len(active) < len(self.states) else None

    def stop(self, goes_on: Tensor) -> None:
        """Keep the states of the tokens for which this is not so, (R,), and run without them."""
        self.states[self.active] = self.rows
        self.ever = torch.cat((self.ever, self.active[~goes_on]))
        self.go_on_with(self.active[goes_on])

    def finish(self) -> Tensor:
        """States of all tokens: (B, T, D)."""
        self.states[self.active] = self.rows
        return self.states.view(self.batch, self.tokens, self.width)

    def apply(self, block: Any, encoding: Tensor | None, slot: Slot, place: int) -> None:
        """Run one block on the tokens that still run; the others leave keys and values."""
        if place == 0:
            self.iterations.view(-1)[self.active] += 1
        if self.projects and len(self.ever):
            self._project(block, encoding, place)
        if not len(self.active):
            slot.store(*self.newest[place], self.past)
            return
        some = self.some
        queries = len(self.active) if some is None else some.lines * some.most
        self.spent_flops += application_flops(self.config, rows=len(self.rows), pairs=queries * self.span.keys)
        rows = self.rows[None] if some is not None else self.rows.view(self.batch, self.tokens, self.width)
        rotations = self.rotations if some is None else some.rotations
        given: Any = _SlotOfSome(self, slot, place)
        rows = block(rows, encoding, given, position_embeddings=rotations, **self.kwargs)
        self.rows = rows.reshape(-1, self.width)

    def _project(self, block: Any, encoding: Tensor | None, place: int) -> None:
        """Keys and values that a block's projections give for tokens that have stopped."""
        states, attention = self.states[self.ever], block.self_attn
        if encoding is not None:
            states = states + encoding.to(states.dtype)
        normed = block.input_layernorm(states)
        key, value = (
            project(normed).view(1, len(normed), -1, attention.head_dim).transpose(1, 2)  # (1, G, stopped, K)
            for project in (attention.k_proj, attention.v_proj)
        )
        _, key = apply_rotary_pos_emb(key, key, *self.rotations_of(self.ever))
        self.fill(place, self.ever, key, value)
        self.spent_flops += application_flops(self.config, projected=len(normed))

    def rotations_of(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Rotations of some tokens: (1, tokens, K) twice."""
        cos, sin = (each.expand(self.batch, self.tokens, -1).flatten(0, 1)[tokens][None] for each in self.rotations)
        return cos, sin

    def fill(self, place: int, tokens: Tensor, *found: Tensor) -> tuple[Tensor, Tensor]:
        """The newest keys and values of a block, (B, G, T, K), with those found for some tokens, (1, G, tokens, K)."""
        if place not in self.newest:  # of padding they stay 0
            empty = found[0].new_zeros(self.batch, found[0].shape[1], self.tokens, found[0].shape[3])
            self.newest[place] = empty, empty
        key, value = (whole.clone() for whole in self.newest[place])
        for whole, new in zip((key, value), found, strict=True):
            whole[tokens // self.tokens, :, tokens % self.tokens] = new[0].transpose(0, 1)
        self.newest[place] = key, value
        return key, value


class _Some:
    """Where the queries of some tokens lie: (B', A) of them, in the rows of the batch that have any."""

    def __init__(self, run: _Pass) -> None:
        row, place = run.active // run.tokens, run.active % run.tokens
        counts = torch.bincount(row, minlength=run.batch)  # (B,)
        there = counts > 0
        self.lines, self.most = int(there.sum()), int(counts.max())
        self.batch_rows = None if self.lines == run.batch else there.nonzero()[:, 0]  # (B',)
        self.line = (there.cumsum(0) - 1)[row]  # (R,), from 0 to B' - 1
        self.nth = torch.arange(len(row), device=row.device) - (counts.cumsum(0) - counts)[row]  # (R,), to A - 1
        self.rotations = run.rotations_of(run.active)
        self.mask = self._mask(run, row, place)

    def _mask(self, run: _Pass, row: Tensor, place: Tensor) -> Tensor | None:
        """What each query may see, (B', 1, A, S). Queries that only fill up a row see all; nobody looks at them."""
        if run.mask is not None:
            seen = run.mask.expand(run.batch, -1, -1, -1)[row, :, place]  # (R, 1, S)
        elif run.tokens == 1:
            return None
        else:  # the kernel would have been told that it is causal
            keys = torch.arange(run.span.keys, device=row.device)
            seen = (keys <= (run.span.before + place)[:, None])[:, None]
        return self.lay_out(seen, seen.new_ones if seen.dtype == torch.bool else seen.new_zeros)

    def lay_out(self, found: Tensor, empty: Callable[..., Tensor]) -> Tensor:
        """Something of each token, (R, heads, width), in its place: (B', heads, A, width)."""
        whole = empty(self.lines, self.most, *found.shape[1:])
        whole[self.line, self.nth] = found
        return whole.transpose(1, 2)


class _SlotOfSome:
    """What a block is handed in the place of `slot`: queries, keys and values are of the tokens that still run."""

    def __init__(self, run: _Pass, slot: Slot, place: int) -> None:
        self.run, self.slot, self.place = run, slot, place

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, **kwargs: Any) -> tuple[Tensor, None]:
        """Query (1, H, R, K), key and value (1, G, R, K), to (1, R, H, K); of all tokens as the slot itself."""
        run, some = self.run, self.run.some
        if some is None:
            run.newest[self.place] = key, value
            output, _ = self.slot(query, key, value, attention_mask=run.mask, past_key_values=run.past, **kwargs)
            return output, None
        output, _ = self.slot(
            some.lay_out(query[0].transpose(0, 1), query.new_zeros),
            *run.fill(self.place, run.active, key, value),
            attention_mask=some.mask,
            past_key_values=run.past,
            rows=some.batch_rows,
            **kwargs,
        )
        return output[some.line, some.nth][None], None


def let_exit(model: PreTrainedModel, rule: EarlyExit) -> None:
    """Let the loops of `model` run under `rule`.

    Raises:
        ValueError: its groups do not fit the rule, or there is no head and the criterion is kl.
    """
    if rule.criterion == "kl" and not hasattr(model, "lm_head"):
        raise ValueError("criterion kl needs a model with a head, got one without: use l2")
    counts, tally = model.config.iterations_per_group, ExitTally()
    inner: Any = getattr(model, "model", model)
    for number in rule.groups(counts):
        inner.groups[number].exiting = GroupExit(rule, tally, number, model)
    for each in (model, inner):
        each.early_exit, each.exit_tally = rule, tally
