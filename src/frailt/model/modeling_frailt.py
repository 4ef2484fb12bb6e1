"""The Freely Long-Thinking Transformer: Block -> Group -> Transformer, in the paper's order (section 2).

    X(m, l) = B_l( X(m, l-1) + E_l(m) )          m = 1..M iterations, l = 1..L blocks of a group

Only what differs from Llama is written here; the rest is transformers' Llama itself.

A block may run many times in one pass, but attention needs one key-value cache per *application*. So each application
k has a parameter-free `FraiLTAttentionSlot` with `layer_idx = k`, which owns the cache entry and the call of the
attention kernel, and the block, which owns the weights, is handed the slot. That is what makes stock generation,
caches and engines work.

Shapes: B batch, T tokens, D hidden size, H query heads, G key-value heads, K head width, V vocabulary.
"""

from collections.abc import Callable, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn
from transformers import GenerationMixin
from transformers import initialization as init
from transformers.cache_utils import Cache, DynamicCache
from transformers.masking_utils import create_causal_mask
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS, PreTrainedModel
from transformers.models.llama.modeling_llama import (
    LlamaMLP,
    LlamaRMSNorm,
    LlamaRotaryEmbedding,
    apply_rotary_pos_emb,
    eager_attention_forward,
)
from transformers.utils import can_return_tuple
from transformers.utils.generic import merge_with_config_defaults
from transformers.utils.output_capturing import capture_outputs

from .configuration_frailt import FraiLTConfig
from .early_exit import EarlyExit, ExitTally
from .encodings import ENCODINGS, IterationEncoding
from .exiting import GroupExit, Span
from .layout import GroupShape
from .views import view_of


class FraiLTAttentionSlot(nn.Module):
    """The attention of one block application: its cache entry and its kernel call, without parameters."""

    def __init__(self, config: FraiLTConfig, layer_idx: int) -> None:
        super().__init__()
        self.config = config
        self.layer_idx = layer_idx
        self.head_dim = config.head_dim
        self.num_key_value_groups = config.num_attention_heads // config.num_key_value_heads
        self.scaling = config.head_dim**-0.5
        self.attention_dropout = config.attention_dropout
        self.is_causal = True

    def forward(
        self,
        query: Tensor,  # (B, H, T, K)
        key: Tensor,  # (B, G, T, K)
        value: Tensor,  # (B, G, T, K)
        attention_mask: Tensor | None,
        past_key_values: Cache | None = None,
        rows: Tensor | None = None,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor | None]:
        """Attend over cached and new tokens: (B, T, H, K), and the weights (B, H, T, S) where the kernel gives them.

        Under early exit queries and mask may be of some `rows` of the batch alone, (B',).
        """
        key, value = self.store(key, value, past_key_values)
        if rows is not None:
            key, value = key[rows], value[rows]
        attend: Callable = ALL_ATTENTION_FUNCTIONS.get_interface(
            self.config._attn_implementation, eager_attention_forward
        )
        return attend(
            self,
            query,
            key,
            value,
            attention_mask,
            dropout=self.attention_dropout if self.training else 0.0,
            scaling=self.scaling,
            **kwargs,
        )

    def store(self, key: Tensor, value: Tensor, past_key_values: Cache | None = None) -> tuple[Tensor, Tensor]:
        """Cache keys and values of new tokens, (B, G, T, K), and return all there are, (B, G, S, K)."""
        return (key, value) if past_key_values is None else past_key_values.update(key, value, self.layer_idx)

    def span(self, tokens: int, past_key_values: Cache | None = None) -> Span:
        """Where so many new tokens will be among the keys."""
        if past_key_values is None:
            return Span(0, tokens, False)
        before = int(past_key_values.get_seq_length(self.layer_idx))
        return Span(before, past_key_values.get_mask_sizes(tokens, self.layer_idx)[0], True)


class FraiLTAttention(nn.Module):
    """Llama's attention without the kernel call, which the slot makes."""

    def __init__(self, config: FraiLTConfig) -> None:
        super().__init__()
        hidden, width = config.hidden_size, config.head_dim
        self.head_dim = width
        self.q_proj = nn.Linear(hidden, config.num_attention_heads * width, bias=False)
        self.k_proj = nn.Linear(hidden, config.num_key_value_heads * width, bias=False)
        self.v_proj = nn.Linear(hidden, config.num_key_value_heads * width, bias=False)
        self.o_proj = nn.Linear(config.num_attention_heads * width, hidden, bias=False)

    def forward(
        self,
        hidden_states: Tensor,  # (B, T, D)
        slot: FraiLTAttentionSlot,
        position_embeddings: tuple[Tensor, Tensor],
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor | None]:
        """What to add to the residual stream (B, T, D); and the weights (B, H, T, S), where the kernel gives them."""
        shape = (*hidden_states.shape[:-1], -1, self.head_dim)
        query = self.q_proj(hidden_states).view(shape).transpose(1, 2)  # (B, H, T, K)
        key = self.k_proj(hidden_states).view(shape).transpose(1, 2)  # (B, G, T, K)
        value = self.v_proj(hidden_states).view(shape).transpose(1, 2)  # (B, G, T, K)
        query, key = apply_rotary_pos_emb(query, key, *position_embeddings)
        output, weights = slot(query, key, value, **kwargs)
        output = output.reshape(*hidden_states.shape[:-1], -1).contiguous()  # (B, T, H * K)
        return self.o_proj(output), weights


class FraiLTBlock(GradientCheckpointingLayer):
    """A Llama decoder block whose input, the residual stream itself, gets the iteration encoding added (Figure 1).

    It is handed the encoding's vector rather than the iteration number: one compiled block then serves all iterations.
    """

    def __init__(self, config: FraiLTConfig) -> None:
        super().__init__()
        self.self_attn = FraiLTAttention(config)
        self.mlp = LlamaMLP(config)
        self.input_layernorm = LlamaRMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.post_attention_layernorm = LlamaRMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        # A mark for `_init_weights`, which transformers calls for no module of ours without parameters of its own.
        self.self_attn.o_proj.adds_to_stream = self.mlp.down_proj.adds_to_stream = True  # type: ignore[assignment]

    def forward(
        self,
        hidden_states: Tensor,  # (B, T, D)
        encoding: Tensor | None,  # (D,)
        slot: FraiLTAttentionSlot,
        **kwargs: Any,
    ) -> Tensor:
        """The residual stream behind the block, (B, T, D)."""
        if encoding is not None:
            hidden_states = hidden_states + encoding.to(hidden_states.dtype)
        attended, _ = self.self_attn(self.input_layernorm(hidden_states), slot, **kwargs)
        hidden_states = hidden_states + attended
        return hidden_states + self.mlp(self.post_attention_layernorm(hidden_states))


class FraiLTGroup(nn.Module):
    """L blocks run in order, M times; it owns their iteration encodings (Figure 2, section 2, second equation).

    A group trained with M = 1 has no encodings; one trained with M > 1 keeps them however often it runs now.
    """

    def __init__(self, config: FraiLTConfig, shape: GroupShape, iterations: int) -> None:
        super().__init__()
        self.iterations = iterations
        self.blocks = nn.ModuleList([FraiLTBlock(config) for _ in range(shape.blocks)])
        encoding = ENCODINGS[config.iteration_encoding if shape.iterations > 1 else "none"]
        self.encodings = nn.ModuleList([encoding(config, shape.iterations) for _ in range(shape.blocks)])
        self.exiting: GroupExit | None = None

    def forward(self, hidden_states: Tensor, slots: Sequence[FraiLTAttentionSlot], **kwargs: Any) -> Tensor:
        """The residual stream (B, T, D) behind the group; it takes a slot for each of its M * L block applications."""
        if self.exiting is not None:
            return self.exiting(self, hidden_states, slots, **kwargs)
        slot = iter(slots)
        for m in range(self.iterations):
            for block, encoding in zip(self.blocks, self.encodings, strict=True):
                hidden_states = block(hidden_states, encoding(m), next(slot), **kwargs)
        return hidden_states


class FraiLTPreTrainedModel(PreTrainedModel):
    """What transformers needs to know of a FraiLT: initialisation, attention kernels, outputs to record."""

    config: FraiLTConfig
    config_class = FraiLTConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _no_split_modules = ["FraiLTBlock"]  # noqa: RUF012 - the names and form are transformers'
    _skip_keys_device_placement = ["past_key_values"]  # noqa: RUF012
    _supports_flash_attn = True
    _supports_sdpa = True
    _supports_flex_attn = True
    _can_compile_fullgraph = True
    _supports_attention_backend = True
    _can_record_outputs = {"hidden_states": FraiLTBlock, "attentions": FraiLTAttention}  # noqa: RUF012

    early_exit: EarlyExit | None = None
    """When tokens stop iterating; of a view that `with_early_exit` made."""
    exit_tally: ExitTally | None = None
    """What that did so far."""
    counts_before_exit: tuple[int | list[int] | None] | None = None
    """`config.iterations` as it was before the maximum of early exit."""

    def with_iterations(self, iterations: int | Sequence[int] | None = None) -> Self:
        """The model with other iteration counts: what `from_pretrained(..., iterations=...)` gives, without a copy.

        Weights are shared: what trains, moves or converts one does it to both. Configuration, slots, caches, training
        mode and gradient checkpointing are its own; so are modules exchanged later (`resize_token_embeddings`).

        Args:
            iterations: one count for all looped groups, one per group, or None for the layout's own.

        Raises:
            ValueError: the counts do not fit the layout, or the model is spread over devices.
        """
        return view_of(self, iterations, self.early_exit)

    def with_early_exit(self, early_exit: EarlyExit | None = None, **settings: Any) -> Self:
        """The model with loops that each token leaves when it has settled; a view, as `with_iterations` gives.

        It runs in evaluation mode, on the kernels `eager`, `sdpa` and `sdpa_padded`. What it did is in `exit_tally`.

        Args:
            early_exit: an `EarlyExit`; None, without settings, for a view without.
            **settings: those of `EarlyExit`, in its place: `model.with_early_exit(threshold=0.1)`.

        Raises:
            ValueError: a setting out of its rule, or one that does not fit the model's loops.
        """
        if early_exit is not None and (settings or not isinstance(early_exit, EarlyExit)):
            raise ValueError(
                f"early_exit must be an EarlyExit, or its settings by name as in threshold=0.1, got {early_exit!r}"
            )
        rule = EarlyExit(**settings) if settings else early_exit
        [counts] = self.counts_before_exit or (self.config.iterations,)
        return view_of(self, counts, rule)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        std = self.config.initializer_range
        if isinstance(module, IterationEncoding):
            module.init_weights(std)
        elif getattr(module, "adds_to_stream", False):
            # Every application adds two terms to the residual stream, so depth counts applications, not blocks.
            init.normal_(module.weight, mean=0.0, std=std / (2 * self.config.trained_depth) ** 0.5)
        else:
            super()._init_weights(module)

    def _check_and_adjust_attn_implementation(self, attn_implementation: str | None, *args: Any, **kwargs: Any) -> str:
        wanted = attn_implementation or ""
        if ("flash" in wanted or "flex" in wanted) and self.config.head_dim < 16:
            raise ValueError(
                f"attn_implementation {wanted} needs head_dim 16 or more, got {self.config.head_dim}: "
                f"use sdpa or eager, or fewer num_attention_heads"
            )
        if "flex" in wanted and not torch.cuda.is_available():
            raise ValueError(f"attn_implementation {wanted} needs a GPU, and there is none: use sdpa or eager")
        return super()._check_and_adjust_attn_implementation(attn_implementation, *args, **kwargs)


class FraiLTModel(FraiLTPreTrainedModel):
    """Embedding, N groups, final norm (Figure 3, without the head)."""

    def __init__(self, config: FraiLTConfig) -> None:
        super().__init__(config)
        config.validate_architecture()  # attributes may have been overridden since the config was made
        counts = config.iterations_per_group
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size, config.pad_token_id)
        self.groups = nn.ModuleList(
            [FraiLTGroup(config, shape, m) for shape, m in zip(config.groups, counts, strict=True)]
        )
        # A flat list beside the groups: engines such as vLLM want exactly one integer in an attention module's path.
        self.slots = nn.ModuleList([FraiLTAttentionSlot(config, k) for k in range(config.num_hidden_layers)])
        self.norm = LlamaRMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.rotary_emb = LlamaRotaryEmbedding(config=config)
        self.gradient_checkpointing = False
        self.post_init()

    @merge_with_config_defaults
    @capture_outputs
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPast:
        """Map tokens (B, T) to final states (B, T, D).

        With `output_hidden_states=True` the embedding and then one state per block application (the last after the
        final norm, as in Llama); with `output_attentions=True` one (B, H, T, S) per application.
        `config.by_application` reads both as (group, iteration, block).

        Raises:
            ValueError: not exactly one of `input_ids` and `inputs_embeds`.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("exactly one of input_ids and inputs_embeds must be given")
        if inputs_embeds is None:
            inputs_embeds = self.embed_tokens(input_ids)
        assert inputs_embeds is not None
        if use_cache and past_key_values is None:
            # Not of the config: its depth is read from text, which `torch.compile` cannot trace.
            past_key_values = DynamicCache()
        given = position_ids
        if position_ids is None:
            seen = past_key_values.get_seq_length() if past_key_values is not None else 0
            position_ids = (torch.arange(inputs_embeds.shape[1], device=inputs_embeds.device) + seen).unsqueeze(0)
        mask = create_causal_mask(
            config=self.config,
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            past_key_values=past_key_values,
            # Only those of the caller, who may have packed texts in a row: transformers looks for such, which waits for
            # the device, and gives a whole mask where it is traced.
            position_ids=given,
        )
        position_embeddings = self.rotary_emb(inputs_embeds, position_ids=position_ids)

        hidden_states = inputs_embeds
        first = 0
        for group in self.groups:
            used = group.iterations * len(group.blocks)
            hidden_states = group(
                hidden_states,
                self.slots[first : first + used],
                attention_mask=mask,
                position_embeddings=position_embeddings,
                position_ids=position_ids,
                past_key_values=past_key_values,
                use_cache=use_cache,
                **kwargs,
            )
            first += used
        return BaseModelOutputWithPast(last_hidden_state=self.norm(hidden_states), past_key_values=past_key_values)


class FraiLTForCausalLM(FraiLTPreTrainedModel, GenerationMixin):
    """The FraiLT Transformer (Figure 3): `FraiLTModel` and a linear head over the vocabulary."""

    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}  # noqa: RUF012
    _tp_plan = {"lm_head": "colwise_gather_output"}  # noqa: RUF012
    _fsdp_plan = {"lm_head": "keep_full_weight"}  # noqa: RUF012

    def __init__(self, config: FraiLTConfig) -> None:
        super().__init__(config)
        self.model = FraiLTModel(config)
        self.vocab_size = config.vocab_size
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Map tokens (B, T) to logits (B, T, V), and to the mean loss in nats per target with `labels` (B, T).

        Labels are shifted here, as everywhere in transformers; already shifted ones go in as `shift_labels` beside
        them.
        Targets of -100 do not count. `logits_to_keep` > 0 computes logits of the last tokens only.
        """
        outputs = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            **kwargs,
        )
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits, loss = self.head(outputs.last_hidden_state[:, kept, :], labels, **kwargs)
        return CausalLMOutputWithPast(
            loss=loss,
            logits=logits,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )

    def init_continuous_batching(self, *args: Any, **kwargs: Any) -> Any:
        """As in transformers, behind `generate_batch` too; early exit, which fills no paged cache, is refused here."""
        if self.early_exit is not None:
            raise ValueError("continuous batching has a paged cache, which early exit does not fill: use generate")
        return super().init_continuous_batching(*args, **kwargs)

    def head(self, hidden_states: Tensor, labels: Tensor | None = None, **kwargs: Any) -> tuple[Tensor, Tensor | None]:
        """Logits (B, T, V) of final states (B, T, D), and the mean loss with `labels`; apart, so that it compiles."""
        logits = self.lm_head(hidden_states)
        if labels is None:
            return logits, None
        return logits, self.loss_function(logits=logits, labels=labels, vocab_size=self.config.vocab_size, **kwargs)
