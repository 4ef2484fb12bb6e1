"""Early exit: tokens stop by themselves, what they leave behind follows the rule, and what is saved is not computed."""

import copy

import pytest
import torch
from torch import Tensor
from torch.nn.functional import kl_div
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForCausalLM, ContinuousBatchingConfig, DynamicCache, StaticCache
from transformers.models.llama.modeling_llama import rotate_half

from frailt import FraiLTForCausalLM
from frailt.model import EarlyExit

from .tiny import tiny_model

LAYOUT, COUNTS, LENGTH, NEW = "1,(2)^5,1^4", (1, 5, 4), 9, 5
RULES = [
    EarlyExit(criterion="l2", kv="copy", minimum=1, threshold=0.25),
    EarlyExit(criterion="l2", kv="project", threshold=0.25),
    EarlyExit(criterion="kl", kv="copy", threshold=0.02),
    EarlyExit(criterion="kl", kv="project", minimum=1, threshold=0.02),
]
each_rule = pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.criterion}-{rule.kv}")


def make(attention: str = "sdpa", seed: int = 0) -> FraiLTForCausalLM:
    """In float64, so that a token which is close to a threshold stops however its numbers are rounded."""
    sizes = {"hidden_size": 16, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 23}
    model = tiny_model(LAYOUT, seed, **sizes, vocab_size=32, initializer_range=0.5, attn_implementation=attention)
    return model.double()


@pytest.fixture(scope="module")
def model() -> FraiLTForCausalLM:
    return make()


def texts() -> list[Tensor]:
    """Three, of different lengths."""
    numbers = torch.Generator().manual_seed(1)
    return [torch.randint(3, 32, (length,), generator=numbers) for length in (LENGTH, 4, 6)]


def padded() -> dict[str, Tensor]:
    """The texts as one batch, padded on the left."""
    ids = torch.stack([torch.cat([torch.zeros(LENGTH - len(text), dtype=torch.long), text]) for text in texts()])
    mask = torch.stack([torch.arange(LENGTH) >= LENGTH - len(text) for text in texts()]).long()
    return {"input_ids": ids, "attention_mask": mask}


def places(mask: Tensor) -> Tensor:
    return (mask.cumsum(-1) - 1).clamp(min=0)


# The slow reference: one token after another, one application after another, in lists


@torch.no_grad()
def by_hand(model: FraiLTForCausalLM, text: Tensor, rule: EarlyExit) -> tuple[Tensor, dict[int, list[int]]]:
    """Logits (T, V), and how often each token went through each group in which tokens may stop."""
    kept: dict[int, list[tuple[Tensor, Tensor]]] = {}
    counts: dict[int, list[int]] = {number: [] for number in rule.groups(COUNTS)}
    logits = []
    for place, token in enumerate(text):
        state, slot = model.model.embed_tokens.weight[token], 0
        for number, group in enumerate(model.model.groups):
            runs, ran, newest = True, 0, {}
            for m in range(group.iterations):
                before = state
                for l, block in enumerate(group.blocks):
                    entries = kept.setdefault(slot, [])
                    encoding = group.encodings[l](m)
                    inner = state if encoding is None else state + encoding
                    if runs:
                        newest[l] = keys_and_values(model, block, inner, place)
                        entries.append(newest[l])
                        state = apply(model, block, inner, entries, place)
                    else:
                        entries.append(newest[l] if rule.kv == "copy" else keys_and_values(model, block, inner, place))
                    slot += 1
                ran += runs
                if runs and number in counts and ran >= rule.minimum and ran < group.iterations:
                    runs = not criterion(model, rule, state, before) < rule.threshold
            if number in counts:
                counts[number].append(ran)
        logits.append(model.lm_head(model.model.norm(state)))
    return torch.stack(logits), counts


def criterion(model, rule, state, before) -> Tensor:
    if rule.criterion == "l2":
        return (state - before).pow(2).sum().sqrt() / state.pow(2).sum().sqrt()
    now, then = (model.lm_head(model.model.norm(each)).log_softmax(-1) for each in (state, before))
    return kl_div(then, now, log_target=True, reduction="sum")


def turned(model, heads: Tensor, place: int) -> Tensor:
    cos, sin = model.model.rotary_emb(heads, torch.tensor([[place]]))
    return heads * cos[0] + rotate_half(heads) * sin[0]


def keys_and_values(model, block, inner, place) -> tuple[Tensor, Tensor]:
    normed = block.input_layernorm(inner)
    key, value = (project(normed).view(2, -1) for project in (block.self_attn.k_proj, block.self_attn.v_proj))
    return turned(model, key, place), value


def apply(model, block, inner, entries, place) -> Tensor:
    query = turned(model, block.self_attn.q_proj(block.input_layernorm(inner)).view(4, -1), place)
    keys, values = (torch.stack([entry[i] for entry in entries]).repeat_interleave(2, dim=1) for i in (0, 1))
    weights = (torch.einsum("hk,shk->hs", query, keys) / query.shape[-1] ** 0.5).softmax(-1)
    state = inner + block.self_attn.o_proj(torch.einsum("hs,shk->hk", weights, values).flatten())
    return state + block.mlp(block.post_attention_layernorm(state))


# One pass, padding, caches, generate


@each_rule
def test_one_pass_over_padded_texts_is_each_text_by_hand(model, rule):
    view, batch = model.with_early_exit(rule), padded()
    with torch.no_grad():
        logits = view(**batch, position_ids=places(batch["attention_mask"])).logits
    seen = {number: set() for number in rule.groups(COUNTS)}
    for row, text in enumerate(texts()):
        wanted, counts = by_hand(model, text, rule)
        torch.testing.assert_close(logits[row, -len(text) :], wanted, atol=1e-11, rtol=0)
        for number, of_group in counts.items():
            padding = [0] * (LENGTH - len(text))
            assert view.exit_tally.latest[number][row].tolist() == padding + of_group
            seen[number] |= set(of_group)
    assert all(len(numbers) >= 2 for numbers in seen.values())  # the threshold divides the tokens
    total = {number: int(latest.sum()) for number, latest in view.exit_tally.latest.items()}
    assert view.exit_tally.iterations == total
    assert view.exit_tally.tokens == dict.fromkeys(total, sum(map(len, texts())))


@pytest.mark.parametrize(
    ("rule", "attention", "rounding"),
    [*((rule, "sdpa", 1e-11) for rule in RULES), (RULES[1], "eager", 1e-4), (RULES[2], "sdpa_padded", 1e-11)],
)  # eager attention takes the softmax in float32
@torch.no_grad()
def test_pieces_over_a_cache_are_one_pass(rule, attention, rounding, model):
    model = model if attention == "sdpa" else make(attention)
    view, batch = model.with_early_exit(rule), padded()
    mask, position_ids = batch["attention_mask"], places(batch["attention_mask"])
    whole = view(**batch, position_ids=position_ids, use_cache=False).logits
    for cache in (DynamicCache(config=view.config), StaticCache(config=view.config, max_cache_len=11)):
        pieces = [
            view(
                batch["input_ids"][:, a:b],
                attention_mask=mask[:, :b],
                position_ids=position_ids[:, a:b],
                past_key_values=cache,
            ).logits
            for a, b in [(0, 6), (6, 7), (7, 9)]
        ]
        torch.testing.assert_close(torch.cat(pieces, 1)[mask.bool()], whole[mask.bool()], atol=rounding, rtol=0)


@each_rule
def test_greedy_generate_is_the_same_by_hand_and_with_every_cache(model, rule):
    view = model.with_early_exit(rule)
    options = {"max_new_tokens": NEW, "do_sample": False, "pad_token_id": 0}
    told = view.generate(**padded(), **options)[:, LENGTH:]
    for row, text in enumerate(texts()):
        logits, _ = by_hand(model, torch.cat([text, told[row]]), rule)
        assert told[row].tolist() == logits[len(text) - 1 : -1].argmax(-1).tolist()  # each from those before it
    assert len({tuple(text) for text in told.tolist()}) == 3
    cache = {"cache_implementation": "static"} if rule.minimum == 1 else {"use_cache": False}
    assert torch.equal(view.generate(**padded(), **options, **cache)[:, LENGTH:], told)


# Full depth


@pytest.mark.parametrize("settings", [{"threshold": 0}, {"threshold": 9.0, "minimum": 4, "criterion": "kl"}])
@torch.no_grad()
def test_threshold_0_and_a_minimum_of_all_are_full_depth_bit_for_bit(model, settings):
    view, batch = model.with_early_exit(**settings), padded()
    assert torch.equal(view(**batch).logits, model(**batch).logits)
    tally = view.exit_tally
    assert tally.mean_iterations == {number: COUNTS[number] for number in tally.tokens}
    assert tally.spent_flops == tally.full_flops > 0
    options = {"max_new_tokens": NEW, "do_sample": False, "pad_token_id": 0}
    assert torch.equal(view.generate(**batch, **options), model.generate(**batch, **options))


@pytest.mark.parametrize("criterion", ["l2", "kl"])
@torch.no_grad()
def test_where_no_token_stops_it_is_full_depth_without_the_padding(model, criterion):
    batch = padded()
    seen = batch["attention_mask"].bool()
    view = model.with_early_exit(criterion=criterion, threshold=1e-300)
    torch.testing.assert_close(view(**batch).logits[seen], model(**batch).logits[seen], atol=1e-11, rtol=0)
    assert torch.equal(view(batch["input_ids"]).logits, model(batch["input_ids"]).logits)


@torch.no_grad()
def test_a_maximum_is_the_shallower_view(model):
    view, shallow = model.with_early_exit(threshold=0, maximum=3), model.with_iterations(3)
    ids = padded()["input_ids"]
    assert torch.equal(view(ids).logits, shallow(ids).logits)
    assert view.config.iterations_per_group == (1, 3, 3)
    assert len(view.model.slots) == len(shallow.model.slots)


# What is saved


def flops(model: FraiLTForCausalLM, **given) -> int:
    with FlopCounterMode(display=False) as counter:
        model(**given)
    return counter.get_total_flops()


@pytest.mark.parametrize("rule", [RULES[0], RULES[3]], ids=lambda rule: f"{rule.criterion}-{rule.kv}")
def test_flops_saved_are_those_that_torch_does_not_count(rule):
    model = make("eager")
    view, batch = model.with_early_exit(rule), padded()
    tally = view.exit_tally
    assert flops(model, **batch) - flops(view, **batch) == tally.full_flops - tally.spent_flops
    assert tally.spent_flops != tally.full_flops
    tally.reset()
    caches = []
    for each in (model, view):
        caches.append(DynamicCache(config=each.config))
        each(**batch, past_key_values=caches[-1])
    tally.reset()
    step = {"input_ids": torch.tensor([[5], [6], [7]]), "attention_mask": torch.ones(3, LENGTH + 1, dtype=torch.long)}
    step["attention_mask"][:, :LENGTH] = batch["attention_mask"]
    plain, exiting = (flops(m, **step, past_key_values=c) for m, c in zip((model, view), caches, strict=True))
    assert plain - exiting == tally.full_flops - tally.spent_flops != 0
    assert tally.saved_share == 1 - tally.spent_flops / tally.full_flops
    assert tally.saved_flops_per_token == pytest.approx((plain - exiting) / 3)


@each_rule
@torch.no_grad()
def test_stopped_tokens_are_rows_of_no_product_but_those_of_the_rule(model, rule):
    view, rows = model.with_early_exit(rule), {}
    handles = [
        module.register_forward_hook(
            lambda module, given, out, name=name: rows.update({name: rows.get(name, 0) + out[..., 0].numel()})
        )
        for name, module in view.named_modules()
        if "_proj" in name
    ]
    try:
        view(**padded(), use_cache=True)
    finally:
        [handle.remove() for handle in handles]
    for number, ran in view.exit_tally.iterations.items():
        every = COUNTS[number] * sum(map(len, texts()))
        assert ran < every
        for l in range(len(view.model.groups[number].blocks)):
            block = f"model.groups.{number}.blocks.{l}"
            assert {rows[f"{block}.mlp.{name}_proj"] for name in ("gate", "up", "down")} == {ran}
            assert {rows[f"{block}.self_attn.{name}_proj"] for name in ("q", "o")} == {ran}
            wanted = every if rule.kv == "project" else ran
            assert {rows[f"{block}.self_attn.{name}_proj"] for name in ("k", "v")} == {wanted}


@torch.no_grad()
def test_a_tally_sums_passes_until_it_is_reset(model):
    view, ids = model.with_early_exit(threshold=0.35), padded()["input_ids"]
    view(ids)
    once = copy.deepcopy(view.exit_tally)
    view(ids)
    assert view.exit_tally.tokens == {number: 2 * tokens for number, tokens in once.tokens.items()}
    assert view.exit_tally.mean_iterations == once.mean_iterations
    assert view.exit_tally.saved_share == once.saved_share > 0
    assert str(once).startswith(f"iterations per token: group 1 {once.mean_iterations[1]:.2f}, group 2 ")
    view.exit_tally.reset()
    assert str(view.exit_tally) == "iterations per token: none yet; 0.0% of these loops' FLOPs saved"


# Views


@torch.no_grad()
def test_views_of_views_keep_what_they_do_not_change(model, tmp_path):
    ids = padded()["input_ids"]
    rule = EarlyExit(threshold=0.5)
    view = model.with_early_exit(rule).with_iterations(8)
    assert (view.early_exit, view.model.early_exit, view.config.iterations) == (rule, rule, 8)
    assert torch.equal(view(ids).logits, model.with_iterations(8).with_early_exit(rule)(ids).logits)
    assert torch.equal(view.with_early_exit()(ids).logits, model.with_iterations(8)(ids).logits)
    capped = model.with_early_exit(threshold=0.1, maximum=2)
    assert torch.equal(capped.with_early_exit()(ids).logits, model(ids).logits)
    assert torch.equal(
        capped.with_early_exit(threshold=0.1, maximum=3)(ids).logits,
        model.with_early_exit(threshold=0.1, maximum=3)(ids).logits,
    )
    other = view.with_early_exit(threshold=0.1, criterion="kl")
    assert (other.early_exit.criterion, other.exit_tally.tokens) == ("kl", {})
    assert all(a is b for a, b in zip(other.parameters(), model.parameters(), strict=True))
    assert model.early_exit is None
    assert all(group.exiting is None for group in model.model.groups)
    bare = model.model.with_early_exit(rule)
    assert torch.equal(bare(ids).last_hidden_state, model.with_early_exit(rule).model(ids).last_hidden_state)
    assert bare.with_iterations(2).early_exit == rule
    twin = copy.deepcopy(view)
    view.exit_tally.reset()
    assert torch.equal(twin(ids).logits, model.with_iterations(8).with_early_exit(rule)(ids).logits)
    assert (view.exit_tally.tokens, twin.exit_tally.tokens) == ({}, {1: 54, 2: 54})  # each counts for itself
    view.save_pretrained(tmp_path)  # early exit is no part of a checkpoint
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert loaded.early_exit is None
    torch.testing.assert_close(loaded(ids).logits, model.with_iterations(8)(ids).logits, atol=1e-5, rtol=0)


# What cannot be


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"threshold": -0.1}, r"threshold must be a finite number of 0 or more, got -0\.1: 0 is full depth"),
        ({"threshold": float("nan")}, "threshold must be a finite number of 0 or more, got nan"),
        ({"threshold": float("inf")}, "threshold must be a finite number of 0 or more, got inf"),
        ({"threshold": "0.1"}, "threshold must be a finite number of 0 or more, got '0.1'"),
        ({"threshold": True}, "threshold must be a finite number of 0 or more, got True"),
        ({"criterion": "cosine"}, "criterion must be kl or l2, got 'cosine'"),
        ({"kv": "none"}, "kv must be copy or project, got 'none'"),
        ({"minimum": 0}, "minimum must be a whole number of iterations, 1 or more, got 0"),
        ({"minimum": 1.5}, r"minimum must be a whole number of iterations, 1 or more, got 1\.5"),
        ({"maximum": -1}, "maximum must be a whole number of iterations, 1 or more, got -1"),
        ({"minimum": 4, "maximum": 3}, "minimum must be at most maximum, got 4 and 3: swap them"),
        ({"minimum": 6}, "minimum must be at most the 5 iterations that loops run now, got 6: lower it, or"),
        ({"maximum": 10**9}, "maximum must be at most the 5 iterations that loops run now, got 1000000000: lower it"),
    ],
)
def test_a_bad_setting_is_one_line(model, settings, message):
    with pytest.raises(ValueError, match=f"^{message}") as raised:
        model.with_early_exit(**({"threshold": 0.1} | settings))
    assert "\n" not in str(raised.value)


def test_a_model_that_cannot_exit_early_is_one_line(model):
    with pytest.raises(ValueError, match=r"^early exit needs a group that runs more than once, got iterations \[1\]"):
        tiny_model("3").with_early_exit(threshold=0.1)
    with pytest.raises(ValueError, match=r"^early exit needs a group that runs more than once, got iterations \[1, 1"):
        model.with_iterations(1).with_early_exit(threshold=0.1)
    with pytest.raises(ValueError, match=r"^criterion kl needs the last group to be a loop, got .*: use l2, which"):
        tiny_model("1,(2)^2,1").with_early_exit(threshold=0.1, criterion="kl")
    with pytest.raises(ValueError, match=r"^criterion kl needs a model with a head, got one without: use l2$"):
        model.model.with_early_exit(threshold=0.1, criterion="kl")
    with pytest.raises(ValueError, match=r"^early_exit must be an EarlyExit, or its settings by name as in threshold"):
        model.with_early_exit(0.1)


def test_what_is_not_supported_is_one_line(model):
    ids, view, flash = padded()["input_ids"], model.with_early_exit(threshold=0.1), tiny_model("1^2")
    training = copy.deepcopy(view).train()
    flash = flash.with_early_exit(threshold=0.1)
    flash.config._attn_implementation = "flash_attention_2"
    cases = [
        (
            lambda: training(ids),
            r"early exit needs a model in evaluation mode, got one that trains: call eval\(\) first",
        ),
        (lambda: flash(ids), "attn_implementation must be one of eager, sdpa, sdpa_padded with early exit, got flash_"),
        (lambda: view(ids, output_attentions=True), "output_attentions must be off with early exit, got True: tokens"),
        (lambda: view(ids, output_hidden_states=True), "output_hidden_states must be off with early exit, got True"),
        (
            lambda: view.generate_batch([[5, 6]], continuous_batching_config=ContinuousBatchingConfig()),
            "continuous batching has a paged cache, which early exit does not fill: use generate",
        ),
    ]
    for run, message in cases:
        with pytest.raises(ValueError, match=f"^{message}") as raised:
            run()
        assert "\n" not in str(raised.value)
