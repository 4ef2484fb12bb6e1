"""The kernel for narrow heads against torch's attention in double precision."""

import os
import shutil

import pytest
import torch
from torch import nn

from frailt.model import FraiLTConfig, FraiLTForCausalLM, narrow_attention

COMPILERS = (os.environ.get("CC", "cc"), "gcc", "clang")
pytestmark = pytest.mark.skipif(not any(map(shutil.which, COMPILERS)), reason="no C compiler")


def test_a_compiler_builds_it():
    assert narrow_attention.library() is not None


def rows(batch, heads, tokens, width, seed=0, groups=None):
    generator = torch.Generator().manual_seed(seed)
    made = [torch.randn(batch, tokens, count, width, generator=generator) for count in (heads, groups or heads)]
    made.append(torch.randn(batch, tokens, groups or heads, width, generator=generator))
    return [tensor.transpose(1, 2).requires_grad_() for tensor in made]  # laid out as projections leave them


def exact(query, key, value):
    wide = [tensor.detach().double().requires_grad_() for tensor in (query, key, value)]
    return wide, nn.functional.scaled_dot_product_attention(*wide, is_causal=True, enable_gqa=True)


@pytest.mark.parametrize("width", [8, 16])
@pytest.mark.parametrize("tokens", [2, 3, 15, 16, 17, 100, 512])
@pytest.mark.parametrize("threads", [1, 3])
def test_outputs_and_gradients_are_those_of_causal_attention(width, tokens, threads, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    inputs = rows(2, 2, tokens, width, seed=tokens)
    found, _ = narrow_attention.narrow_attention(*inputs, width**-0.5)
    wide, wanted = exact(*inputs)
    given = torch.randn(found.shape, generator=torch.Generator().manual_seed(1))
    found.backward(given)
    wanted.backward(given.double())
    torch.testing.assert_close(found.double(), wanted, atol=1e-5, rtol=1e-5)
    for own, other in zip(inputs, wide, strict=True):
        torch.testing.assert_close(own.grad.double(), other.grad, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("size", [1e-4, 1.0, 30.0])
def test_scores_may_be_small_or_large(size):
    query, key, value = rows(1, 2, 64, 8)
    with torch.no_grad():
        query *= size
    found, _ = narrow_attention.narrow_attention(query, key, value, 1.0)
    wide = [tensor.detach().double() for tensor in (query, key, value)]
    wanted = nn.functional.scaled_dot_product_attention(*wide, is_causal=True, scale=1.0)
    torch.testing.assert_close(found.double(), wanted, atol=1e-5, rtol=1e-4)


def test_what_is_no_number_stays_none():
    query, key, value = rows(1, 1, 40, 8)
    with torch.no_grad():
        key[0, 0, 20] = float("nan")
    found, _ = narrow_attention.narrow_attention(query, key, value, 1.0)
    assert found[0, 0, 20:].isnan().all()
    assert not found[0, 0, :20].isnan().any()


def test_the_operators_are_what_torch_expects_of_operators():
    inputs = rows(1, 2, 20, 8)
    torch.library.opcheck(narrow_attention.narrow_attention, (*inputs, 0.3))


def model(**changes):
    torch.manual_seed(0)
    config = FraiLTConfig(
        layout="1,(2)^2", hidden_size=32, num_attention_heads=4, vocab_size=60, intermediate_size=32, **changes
    )
    return FraiLTForCausalLM(config)


@pytest.mark.parametrize("groups", [4, 2])
def test_a_model_has_the_same_loss_and_gradients_as_with_torchs_kernel(groups):
    made = model(num_key_value_heads=groups)
    ids = torch.randint(60, (2, 33), generator=torch.Generator().manual_seed(0))
    found = {}
    for kernel in ("narrow", "sdpa"):
        made.set_attn_implementation(kernel)
        made.zero_grad()
        loss = made(input_ids=ids, labels=ids).loss
        loss.backward()
        found[kernel] = [loss.detach(), *(parameter.grad.clone() for parameter in made.parameters())]
    for own, other in zip(*found.values(), strict=True):
        torch.testing.assert_close(own, other, atol=1e-6, rtol=1e-4)


def test_masks_and_caches_are_left_to_torch():
    made = model().eval()
    ids = torch.randint(60, (2, 9), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    mask[0, :3] = 0
    found = {}
    for kernel in ("narrow", "sdpa"):
        made.set_attn_implementation(kernel)
        found[kernel] = made.generate(ids, attention_mask=mask, max_new_tokens=5, do_sample=False, pad_token_id=0)
    assert torch.equal(*found.values())


def test_it_goes_with_compiling():
    made = model()
    made.set_attn_implementation("narrow")
    ids = torch.randint(60, (2, 33), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(torch.compile(made, backend="aot_eager", fullgraph=True)(ids).logits, made(ids).logits)


@pytest.mark.parametrize(
    "inputs",
    [
        [torch.zeros(1, 1, 4, 8, dtype=torch.float64)] * 3,
        [torch.zeros(1, 1, 4, 8), torch.zeros(1, 1, 4, 8), torch.zeros(1, 1, 4, 8, dtype=torch.bfloat16)],
        [torch.zeros(1, 1, 4, 8), torch.zeros(1, 1, 3, 8), torch.zeros(1, 1, 3, 8)],
        [torch.zeros(1, 1, 4, 12)] * 3,
    ],
)
def test_what_the_kernel_would_misread_is_refused(inputs):
    with pytest.raises(ValueError, match="narrow attention takes float32 tensors of one shape"):
        narrow_attention.narrow_attention(*inputs, 1.0)


def test_it_is_for_heads_and_rows_that_it_is_faster_for():
    cpu = torch.device("cpu")
    found = [narrow_attention.is_available(cpu, *sizes) for sizes in ((8, 2048), (16, 512), (16, 2048), (12, 64))]
    assert found == [True, True, False, False]


def test_lower_precision_is_left_to_torch():
    made = model()
    made.set_attn_implementation("narrow")
    ids = torch.randint(60, (2, 33), generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        loss = made(input_ids=ids, labels=ids, use_cache=False).loss
    made.set_attn_implementation("sdpa_padded")
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(loss, made(input_ids=ids, labels=ids, use_cache=False).loss)


@pytest.fixture
def build(tmp_path, monkeypatch):
    """Finds or builds the kernel as a process would that keeps it under `tmp_path` and has these variables."""

    def built(**environment: str):
        for name, value in ({"XDG_CACHE_HOME": str(tmp_path)} | environment).items():
            monkeypatch.setenv(name, value)
        return narrow_attention.library.__wrapped__()

    return built


def test_a_damaged_library_is_built_again_and_found_by_the_next(tmp_path, build):
    kept = tmp_path / "frailt" / narrow_attention._name(narrow_attention._compiler())
    kept.parent.mkdir()
    kept.write_bytes(b"")
    assert build() is not None
    written = kept.stat()
    assert written.st_size > 0
    assert build() is not None
    assert kept.stat() == written


def test_a_folder_that_takes_none_is_done_without(build):
    assert build(XDG_CACHE_HOME="/proc/nowhere") is not None


def test_a_compiler_that_fails_is_named_and_torchs_kernel_taken(tmp_path, build, capsys):
    compiler = tmp_path / "broken"
    compiler.write_text("#!/bin/sh\necho unknown option >&2; exit 3\n")
    compiler.chmod(0o755)
    assert build(CC=f"{compiler} -v") is None
    told = capsys.readouterr().err
    assert "no kernel for narrow heads, torch's is taken" in told
    assert "ended with 3: unknown option" in told


def test_without_a_compiler_there_is_none(tmp_path, build):
    assert build(PATH="", CC="") is None
    assert not any(tmp_path.iterdir())
