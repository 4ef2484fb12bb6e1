"""FraiLT against Llama, and against its own blocks run by hand as the paper's equation says."""

import re
from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.llama.modeling_llama import LlamaDecoderLayer, LlamaRotaryEmbedding

from frailt import FraiLTConfig, FraiLTForCausalLM, Layout

from .tiny import LOOPED, tiny_config, tiny_model, tokens, vary_norms

PADDING = torch.tensor([[0, 0, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1, 1]])


def llama_config(config: FraiLTConfig, layers: int = 1) -> LlamaConfig:
    """The same sizes, written out here rather than by `frailt.model.convert`."""
    return LlamaConfig(
        vocab_size=config.vocab_size,
        hidden_size=config.hidden_size,
        intermediate_size=config.intermediate_size,
        num_hidden_layers=layers,
        num_attention_heads=config.num_attention_heads,
        num_key_value_heads=config.num_key_value_heads,
        max_position_embeddings=config.max_position_embeddings,
        rms_norm_eps=config.rms_norm_eps,
        tie_word_embeddings=config.tie_word_embeddings,
        attn_implementation=config._attn_implementation,
    )


def as_llama_layers(model: FraiLTForCausalLM) -> list[list[LlamaDecoderLayer]]:
    """Every block of every group as a stock decoder layer with a copy of its weights."""
    config, layers = llama_config(model.config), []
    for group in model.model.groups:
        layers.append([])
        for block in group.blocks:
            layer = LlamaDecoderLayer(config, layer_idx=0).to(model.dtype)
            layer.load_state_dict(deepcopy(block.state_dict()), strict=True)
            layers[-1].append(layer.eval())
    return layers


def encoding_by_hand(model: FraiLTForCausalLM, g: int, l: int, m: int) -> Tensor | float:
    """E_l(m) of group g with m from 0, from the definitions; 0 where there is none."""
    config, trained = model.config, model.config.groups[g].iterations
    if trained == 1 or config.iteration_encoding == "none":
        return 0.0
    if config.iteration_encoding == "learned":
        return model.state_dict()[f"model.groups.{g}.encodings.{l}.weight"][min(m, trained - 1)]
    half = config.hidden_size // 2
    angles = [m / 10000 ** (i / half) for i in range(half)]
    waves = torch.cat([torch.tensor(angles).sin(), torch.tensor(angles).cos()])
    return config.initializer_range * waves


def states_by_hand(
    model: FraiLTForCausalLM, ids: Tensor, counts: list[int], layer_of=None
) -> tuple[Tensor, list[Tensor]]:
    """X(m, l) = B_l(X(m, l-1) + E_l(m)) of every application, and the logits. `layer_of(g, l, m)` gives B_l."""
    blocks = as_llama_layers(model)
    layer_of = layer_of or (lambda g, l, m: blocks[g][l])
    x = nn.functional.embedding(ids, model.model.embed_tokens.weight)
    positions = LlamaRotaryEmbedding(llama_config(model.config))(x, torch.arange(ids.shape[1])[None])
    mask = None  # sdpa is causal by itself
    if model.config._attn_implementation == "eager":
        mask = torch.full((ids.shape[1],) * 2, torch.finfo(x.dtype).min, dtype=x.dtype).triu(1)[None, None]
    states = [x]
    for g, count in enumerate(counts):
        for m in range(count):
            for l in range(len(blocks[g])):
                x = layer_of(g, l, m)(
                    x + encoding_by_hand(model, g, l, m), attention_mask=mask, position_embeddings=positions
                )
                states.append(x)
    return model.lm_head(model.model.norm(x)), states


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("kv_heads", [6, 3, 1])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("mask", [None, PADDING], ids=["full", "padded"])
def test_a_layout_without_loop_is_llama_to_the_last_bit(attention, kv_heads, tied, mask):
    config = tiny_config("3", num_key_value_heads=kv_heads, tie_word_embeddings=tied, attn_implementation=attention)
    llama = vary_norms(LlamaForCausalLM(llama_config(config, layers=3))).eval()
    model = FraiLTForCausalLM(config).eval()
    renamed = {re.sub(r"model\.layers\.", "model.groups.0.blocks.", k): v for k, v in llama.state_dict().items()}
    model.load_state_dict(renamed, strict=True)
    given = {"input_ids": tokens(), "attention_mask": mask, "labels": tokens()}
    ours, theirs = model(**given), llama(**given)
    assert torch.equal(ours.logits, theirs.logits)
    assert torch.equal(ours.loss, theirs.loss)


@pytest.mark.parametrize("layout", LOOPED)
@pytest.mark.parametrize("encoding", ["learned", "none"])
def test_a_loop_is_its_blocks_run_by_hand_to_the_last_bit(layout, encoding):
    model = tiny_model(layout, iteration_encoding=encoding)
    logits, _ = states_by_hand(model, tokens(), [m for _, m in model.config.groups])
    assert torch.equal(model(tokens()).logits, logits)


@pytest.mark.parametrize("layout", LOOPED)
def test_a_loop_with_sinusoidal_encodings_is_its_blocks_run_by_hand(layout):
    model = tiny_model(layout, iteration_encoding="sinusoidal")
    logits, _ = states_by_hand(model, tokens(), [m for _, m in model.config.groups])
    torch.testing.assert_close(model(tokens()).logits, logits, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("encoding", ["learned", "sinusoidal", "none"])
def test_eager_attention_is_the_same_loop(encoding):
    model = tiny_model("1,(2)^3", iteration_encoding=encoding, attn_implementation="eager")
    logits, _ = states_by_hand(model, tokens(), [1, 3])
    torch.testing.assert_close(model(tokens()).logits, logits, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("encoding", ["learned", "sinusoidal"])
def test_encodings_tell_iterations_apart(encoding):
    model = tiny_model("1^3", iteration_encoding=encoding)
    other = deepcopy(model)
    vectors = [model.model.groups[0].encodings[0](m).detach().clone() for m in range(3)]
    assert all(not torch.equal(vectors[a], vectors[b]) for a, b in [(0, 1), (0, 2), (1, 2)])
    swapped = {0: vectors[1], 1: vectors[0], 2: vectors[2]}
    other.model.groups[0].encodings[0].forward = swapped.__getitem__
    assert not torch.allclose(model(tokens()).logits, other(tokens()).logits, atol=1e-3)


def test_the_encoding_is_added_to_the_residual_stream_itself():
    """Blocks whose projections onto the stream are zero let exactly the embedding and the encodings through."""
    model = tiny_model("1,(2)^3", attn_implementation="eager")
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "o_proj" in name or "down_proj" in name:
                weight.zero_()
    out = model(tokens(), output_hidden_states=True)
    tables = [encoding.weight for encoding in model.model.groups[1].encodings]
    wanted = model.model.embed_tokens(tokens()) + sum(table.sum(0) for table in tables)
    torch.testing.assert_close(model.model.norm(wanted), out.hidden_states[-1])


@pytest.mark.parametrize("layout", ["1^3", "1,(2)^3", "2^2"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_gradients_are_the_sums_over_unrolled_copies(layout, attention):
    model = tiny_model(layout, attn_implementation=attention).double()
    model(tokens(), labels=tokens()).loss.backward()

    unrolled = deepcopy(model)
    unrolled.zero_grad()
    blocks = as_llama_layers(unrolled)
    applications = Layout.parse(layout).applications()
    copies = {(g, l, m): deepcopy(blocks[g][l]) for g, m, l in applications}
    logits, _ = states_by_hand(unrolled, tokens(), [m for _, m in model.config.groups], lambda g, l, m: copies[g, l, m])
    nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1).float(), tokens()[:, 1:].flatten()).backward()

    checked = 0
    for g, group in enumerate(model.model.groups):
        for l, block in enumerate(group.blocks):
            for name, weight in block.named_parameters():
                mine = [dict(copies[g, l, m].named_parameters())[name].grad for m in range(group.iterations)]
                torch.testing.assert_close(weight.grad, sum(mine), rtol=1e-9, atol=1e-12)
                assert weight.grad.abs().max() > 0
                checked += 1
    assert checked == 9 * sum(blocks for blocks, _ in model.config.groups)
    torch.testing.assert_close(model.lm_head.weight.grad, unrolled.lm_head.weight.grad, rtol=1e-9, atol=1e-12)


def test_every_encoding_vector_gets_a_gradient_of_its_own():
    model = tiny_model("1,(2)^3")
    model(tokens(), labels=tokens()).loss.backward()
    for encoding in model.model.groups[1].encodings:
        rows = encoding.weight.grad
        assert rows.shape == (3, 48)
        assert (rows.abs().amax(dim=1) > 0).all()
        assert len({tuple(row.tolist()) for row in rows}) == 3


@pytest.mark.parametrize("layout", ["3", "1^5", "1,(2)^3,1^2"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_a_later_token_changes_no_earlier_logit(layout, attention):
    model = tiny_model(layout, attn_implementation=attention)
    ids = tokens()
    before = model(ids).logits
    for changed in range(1, ids.shape[1]):
        other = ids.clone()
        other[:, changed] = (other[:, changed] + 1) % model.config.vocab_size
        after = model(other).logits
        torch.testing.assert_close(after[:, :changed], before[:, :changed], atol=1e-6, rtol=1e-6)
        assert not torch.allclose(after[:, changed:], before[:, changed:], atol=1e-3)


@pytest.mark.parametrize("use_reentrant", [True, False])
@pytest.mark.parametrize("encoding", ["learned", "sinusoidal", "none"])
def test_gradients_are_the_same_with_checkpointing(use_reentrant, encoding):
    def gradients(checkpointing: bool) -> tuple[dict[str, Tensor], int]:
        model = tiny_model("1,(2)^3", iteration_encoding=encoding).train()
        if checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": use_reentrant})
        calls = []
        model.model.slots[4].register_forward_hook(lambda *_: calls.append(1))
        model(tokens(), labels=tokens(), use_cache=False).loss.backward()
        return {name: weight.grad for name, weight in model.named_parameters()}, len(calls)

    plain, calls = gradients(False)
    checkpointed, calls_again = gradients(True)
    assert (calls, calls_again) == (1, 2)
    for name, gradient in plain.items():
        torch.testing.assert_close(checkpointed[name], gradient, msg=name)


def test_the_model_compiles_whole_and_stays_the_model():
    """With the backend that traces forward and backward but generates no code, which would take minutes."""
    model = tiny_model("1^2")
    torch._dynamo.reset()
    compiled = torch.compile(deepcopy(model), fullgraph=True, backend="aot_eager")
    ours, theirs = model(tokens(), labels=tokens()), compiled(tokens(), labels=tokens())
    torch.testing.assert_close(theirs.logits, ours.logits, atol=1e-5, rtol=1e-5)
    ours.loss.backward()
    theirs.loss.backward()
    for (name, weight), other in zip(model.named_parameters(), compiled.parameters(), strict=True):
        torch.testing.assert_close(other.grad, weight.grad, atol=1e-5, rtol=1e-4, msg=name)


@pytest.mark.parametrize("compiled", [False, True])
def test_rows_without_padding_have_no_mask_but_packed_ones_do(compiled, monkeypatch):
    masks = []

    def attention(module, query, key, value, attention_mask, **kwargs):
        masks.append(attention_mask)
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)

    monkeypatch.setitem(ALL_ATTENTION_FUNCTIONS._local_mapping, "sdpa", attention)
    model = tiny_model("1^2", attn_implementation="sdpa")
    torch._dynamo.reset()
    run = torch.compile(model, backend="eager") if compiled else model
    run(tokens(), use_cache=False)
    assert masks == [None, None]
    packed = torch.arange(tokens().shape[1]) % 4
    model(tokens(), position_ids=packed[None].expand_as(tokens()), use_cache=False)
    assert masks[2].shape[-2:] == (tokens().shape[1], tokens().shape[1])


def test_one_compiled_block_serves_all_iterations():
    model, graphs = tiny_model("(2)^5"), []
    wanted = model(tokens()).logits
    torch._dynamo.reset()
    for block in model.model.groups[0].blocks:
        block.compile(backend=lambda graph, _: graphs.append(graph) or graph.forward, fullgraph=True)
    torch.testing.assert_close(model(tokens(), use_cache=False).logits, wanted, atol=1e-5, rtol=1e-5)
    assert len(graphs) <= 2


@pytest.mark.parametrize("encoding", ["learned", "sinusoidal", "none"])
def test_a_loop_runs_in_bfloat16(encoding):
    model = tiny_model("1,(2)^3", iteration_encoding=encoding)
    exact = model(tokens()).logits
    rounded = deepcopy(model).to(torch.bfloat16)(tokens()).logits
    assert rounded.dtype == torch.bfloat16
    assert 0 < (rounded.float() - exact).norm() < 0.05 * exact.norm()
    with torch.autocast("cpu", torch.bfloat16):
        assert 0 < (model(tokens()).logits.float() - exact).norm() < 0.05 * exact.norm()


def test_logits_to_keep_are_the_last_ones():
    model = tiny_model()
    every = model(tokens()).logits
    torch.testing.assert_close(model(tokens(), logits_to_keep=2).logits, every[:, -2:])
    torch.testing.assert_close(model(tokens(), logits_to_keep=torch.tensor([1, 4])).logits, every[:, [1, 4]])


def test_embeddings_may_be_given_instead_of_tokens_but_not_beside_them():
    model = tiny_model()
    embedded = model.get_input_embeddings()(tokens())
    assert torch.equal(model(inputs_embeds=embedded).logits, model(tokens()).logits)
    for given in ({}, {"input_ids": tokens(), "inputs_embeds": embedded}):
        with pytest.raises(ValueError, match="exactly one of input_ids and inputs_embeds"):
            model(**given)


def test_targets_of_minus_100_do_not_count():
    model, labels = tiny_model(), tokens()
    labels[:, :4] = -100
    wanted = nn.functional.cross_entropy(model(tokens()).logits[:, 3:-1].flatten(0, 1), labels[:, 4:].flatten())
    torch.testing.assert_close(model(tokens(), labels=labels).loss, wanted)
