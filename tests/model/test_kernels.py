"""Attention kernels: equal to eager where they run, one line where they cannot."""

import pytest
import torch

from frailt import FraiLTConfig, FraiLTForCausalLM

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")


def config(**changes) -> FraiLTConfig:
    return FraiLTConfig(
        **({"layout": "1,(2)^3", "hidden_size": 64, "num_attention_heads": 4, "vocab_size": 97} | changes)
    )


@needs_gpu
@pytest.mark.parametrize("kernel", ["sdpa", "flex_attention", "flash_attention_2"])
@pytest.mark.parametrize("padded", [False, True])
def test_kernels_on_a_gpu_agree_with_eager(kernel, padded):
    if kernel == "flash_attention_2":
        pytest.importorskip("flash_attn")
    dtype = torch.bfloat16 if "flash" in kernel else torch.float32
    model = FraiLTForCausalLM(config()).to("cuda", dtype).eval()
    tokens = torch.randint(97, (3, 31), device="cuda")
    mask = torch.ones_like(tokens)
    mask[0, :5] = int(not padded)
    model.set_attn_implementation("eager")
    expected = model(tokens, attention_mask=mask).logits
    model.set_attn_implementation(kernel)
    found = model(tokens, attention_mask=mask).logits
    seen = mask.bool()
    torch.testing.assert_close(found[seen], expected[seen], atol=5e-2 if dtype == torch.bfloat16 else 1e-4, rtol=1e-3)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_flex_attention_without_a_gpu_is_refused_in_one_line():
    with pytest.raises(ValueError, match=r"^attn_implementation flex_attention needs a GPU, and there is none[^\n]*$"):
        FraiLTForCausalLM._from_config(config(), attn_implementation="flex_attention")
    model = FraiLTForCausalLM(config())
    with pytest.raises(ValueError, match="needs a GPU"):
        model.set_attn_implementation("flex_attention")
