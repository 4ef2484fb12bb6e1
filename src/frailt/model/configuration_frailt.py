"""`FraiLTConfig`: the sizes of a FraiLT and its layout."""

from collections.abc import Sequence
from dataclasses import field, fields
from typing import Any, ClassVar

from huggingface_hub.dataclasses import strict
from transformers import GenerationConfig, PreTrainedConfig
from transformers.activations import ACT2FN

from .encodings import ENCODINGS
from .layout import GroupShape, Layout

# Keys that are no field of ours but that transformers itself writes, reads or still accepts.
_ACCEPTED_KEYS = {
    "attn_implementation",
    "auto_map",
    "experts_implementation",
    "groups",
    "model_type",
    "name_or_path",
    "num_hidden_layers",
    "num_labels",
    "output_attentions",
    "quantization_config",
    "rope_scaling",
    "rope_theta",
    "torch_dtype",
}
DEFAULT_LAYOUT = "2^4"
_GROUPS_RULE = 'groups must be a list like [{"blocks": 2, "iterations": 4}]'


@strict
class FraiLTConfig(PreTrainedConfig):
    """Configuration of a FraiLT. A layout with no loop configures a Llama.

    Args:
        layout: the groups, in the notation of `frailt.model.layout`. Fixes the trained M of every group and with it the
            encoding tables. Instead of it, `groups=[{"blocks": L, "iterations": M}, ...]` may be given.
        iterations: how often groups run *now*: `None` for the trained M, one count for all looped groups, or one per
            group. Fixes depth, attention slots and caches; no parameter depends on it.
        iteration_encoding: a name from `frailt.model.encodings.ENCODINGS`; the paper's is `learned`.
        vocab_size, hidden_size, num_attention_heads, max_position_embeddings: the paper's Table 1 by default.
        intermediate_size: width of the MLP; by default Llama's rule, two thirds of 4 * hidden_size, rounded up to 32.
        num_key_value_heads: grouped-query attention where less than `num_attention_heads`.
        initializer_range: standard deviation of the initial weights; projections onto the residual stream start
            smaller by sqrt(2 * trained depth).
        eos_token_id: generation stops at either; a story ends where the next begins, so BOS is one of them.

    Raises:
        ValueError: a value out of its rule, or a key that is not known.
    """

    model_type = "frailt"
    keys_to_ignore_at_inference = ["past_key_values"]  # noqa: RUF012 - the names and form are transformers'
    base_model_tp_plan = {  # noqa: RUF012
        "groups.*.blocks.*.self_attn.q_proj": "colwise",
        "groups.*.blocks.*.self_attn.k_proj": "colwise",
        "groups.*.blocks.*.self_attn.v_proj": "colwise",
        "groups.*.blocks.*.self_attn.o_proj": "rowwise",
        "groups.*.blocks.*.mlp.gate_proj": "colwise",
        "groups.*.blocks.*.mlp.up_proj": "colwise",
        "groups.*.blocks.*.mlp.down_proj": "rowwise",
    }
    # A block runs many times in one pass: freed after each, it would be gathered as many times.
    base_model_fsdp_plan = {  # noqa: RUF012
        "embed_tokens": "free_full_weight",
        "groups.*.blocks.*": "keep_full_weight",
        "norm": "keep_full_weight",
    }
    # Llama-2 has no biases; `LlamaMLP` asks.
    attention_bias: ClassVar[bool] = False
    mlp_bias: ClassVar[bool] = False

    layout: str | None = None
    iterations: int | list[int] | None = None
    iteration_encoding: str = "learned"
    vocab_size: int = 512
    hidden_size: int = 64
    intermediate_size: int | None = None
    num_attention_heads: int = 8
    num_key_value_heads: int | None = None
    head_dim: int | None = None
    hidden_act: str = "silu"
    max_position_embeddings: int = 512
    initializer_range: float = 0.02
    rms_norm_eps: float = 1e-5
    attention_dropout: int | float = 0.0
    rope_parameters: dict | None = None
    tie_word_embeddings: bool = True
    use_cache: bool = True
    pad_token_id: int | None = None
    bos_token_id: int | None = 1
    eos_token_id: int | list[int] | None = field(default_factory=lambda: [1, 2])

    def __post_init__(self, **kwargs: Any) -> None:
        unknown = sorted(self._unknown_keys(kwargs))
        if unknown:
            known = sorted(f.name for f in fields(FraiLTConfig) if f.name not in PreTrainedConfig.__dataclass_fields__)
            raise ValueError(f"FraiLTConfig has no field {unknown[0]!r}; its own are {', '.join(known)}")
        groups = kwargs.pop("groups", None)
        if groups is not None:
            self._set_layout_of(groups)
        elif self.layout is None:
            self.layout = DEFAULT_LAYOUT
        self.layout = str(Layout.parse(self.layout))
        if self.intermediate_size is None:
            self.intermediate_size = -(-(8 * self.hidden_size // 3) // 32) * 32  # as in llama2.c, multiple_of = 32
        if self.num_key_value_heads is None:
            self.num_key_value_heads = self.num_attention_heads
        if self.head_dim is None:
            self.head_dim = self.hidden_size // max(self.num_attention_heads, 1)
        self.validate_architecture()  # here too, so that the error is ours and not wrapped in several lines
        super().__post_init__(**kwargs)

    def validate_architecture(self) -> None:
        """Check every size against its rule.

        Raises:
            ValueError: names the field, its value and the rule.
        """
        for name in (
            "vocab_size",
            "hidden_size",
            "intermediate_size",
            "num_attention_heads",
            "max_position_embeddings",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, got {getattr(self, name)}")
        heads, kv_heads = self.num_attention_heads, self.num_key_value_heads
        if self.hidden_size % heads:
            raise ValueError(
                f"hidden_size must be divisible by num_attention_heads, got {self.hidden_size} and {heads}"
            )
        if self.head_dim < 2 or self.head_dim % 2:
            raise ValueError(
                f"head_dim must be even, because RoPE turns pairs of channels, got {self.head_dim} "
                f"(hidden_size {self.hidden_size} over num_attention_heads {heads})"
            )
        if kv_heads < 1 or heads % kv_heads:
            raise ValueError(f"num_key_value_heads must divide num_attention_heads, got {kv_heads} and {heads}")
        for name in ("initializer_range", "rms_norm_eps"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}")
        if not 0 <= self.attention_dropout < 1:
            raise ValueError(f"attention_dropout must be from 0 to below 1, got {self.attention_dropout}")
        if self.hidden_act not in ACT2FN:
            raise ValueError(f"hidden_act must be one of {', '.join(ACT2FN)}, got {self.hidden_act!r}")
        if self.pad_token_id is not None and not 0 <= self.pad_token_id < self.vocab_size:
            raise ValueError(
                f"pad_token_id must be from 0 to below vocab_size, got {self.pad_token_id} and {self.vocab_size}"
            )
        if self.iteration_encoding not in ENCODINGS:
            raise ValueError(
                f"iteration_encoding must be one of {', '.join(ENCODINGS)}, got {self.iteration_encoding!r}"
            )
        self.iterations_per_group  # noqa: B018 - raises where `layout` and `iterations` do not fit

    def _set_layout_of(self, groups: Any) -> None:
        if not isinstance(groups, list | tuple):
            raise ValueError(f"{_GROUPS_RULE}, got {groups!r}")
        layout = Layout(tuple(_group_shape(group) for group in groups))
        if self.layout is not None and Layout.parse(self.layout) != layout:
            raise ValueError(f"layout and groups must say the same, got {self.layout} and {layout}: give one")
        self.layout = str(layout)

    @property
    def groups(self) -> tuple[GroupShape, ...]:
        """L and the trained M of every group."""
        return Layout.parse(self.layout).groups

    @property
    def iterations_per_group(self) -> tuple[int, ...]:
        """How often each group runs now."""
        return Layout.parse(self.layout).iterations(self.iterations)

    @property
    def trained_depth(self) -> int:
        """Block applications with the trained M; residual projections are initialised by it."""
        return Layout.parse(self.layout).depth

    @property
    def num_hidden_layers(self) -> int:
        """Depth: block applications in one pass now. Derived, so that overriding `iterations` cannot leave it stale."""
        return sum(shape.blocks * count for shape, count in zip(self.groups, self.iterations_per_group, strict=True))

    @num_hidden_layers.setter
    def num_hidden_layers(self, value: int) -> None:
        if value != self.num_hidden_layers:
            raise ValueError(
                f"num_hidden_layers follows from layout and iterations, here {self.num_hidden_layers}, got {value}: "
                f"set layout or iterations instead"
            )

    def by_application(self, entries: Sequence[Any]) -> dict[tuple[int, int, int], Any]:
        """Read a model output with one entry per block application as (group, iteration, block), counted from 0.

        Args:
            entries: `attentions`, or `hidden_states`, whose first entry, the embedding, is left out.

        Raises:
            ValueError: the number of entries fits neither.
        """
        applications = Layout.parse(self.layout).applications(self.iterations)
        extra = len(entries) - len(applications)
        if extra not in (0, 1):
            raise ValueError(f"entries must be {len(applications)}, one per block application, got {len(entries)}")
        return dict(zip(applications, entries[extra:], strict=True))

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any):
        """As in transformers. Keys this version does not know are kept as attributes: another version wrote them."""
        foreign = cls._unknown_keys(config_dict)
        # Settings of generation are left out, as in transformers, which saves no model that has them in its config.
        kept = foreign - set(GenerationConfig().to_dict())
        result = super().from_dict({k: v for k, v in config_dict.items() if k not in foreign}, **kwargs)
        config = result[0] if isinstance(result, tuple) else result
        for key in kept:
            setattr(config, key, config_dict[key])
        return result

    @classmethod
    def _unknown_keys(cls, keys) -> set[str]:
        known = _ACCEPTED_KEYS | {f.name for f in fields(cls)}
        return {key for key in keys if key not in known and not key.startswith("_")}


def _group_shape(group: Any) -> GroupShape:
    try:
        shape = GroupShape(**group) if isinstance(group, dict) else GroupShape(*group)
    except TypeError:
        shape = None
    if shape is None or not all(type(number) is int for number in shape):
        raise ValueError(f"{_GROUPS_RULE}, got the entry {group!r}")
    return shape
