"""What others wrote for any model of transformers, run on this one without a line for it."""

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedTokenizerFast,
    Trainer,
    TrainingArguments,
    pipeline,
)

from frailt import FraiLTForCausalLM

from .tiny import tiny_config, tiny_model, tokens


@pytest.fixture
def tokenizer() -> PreTrainedTokenizerFast:
    words = ["<unk>", "<s>", "</s>", *(f"w{number}" for number in range(3, 97))]
    words_to_ids = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    words_to_ids.pre_tokenizer = Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=words_to_ids, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="<unk>"
    )


def test_the_text_generation_pipeline_gives_the_models_tokens(tokenizer, tmp_path):
    model = tiny_model("1,(2)^3")
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    tell = pipeline("text-generation", model=str(tmp_path))
    ids = tokenizer("w5 w6 w7", return_tensors="pt").input_ids
    told = tell("w5 w6 w7", max_new_tokens=4, do_sample=False, return_full_text=False)[0]["generated_text"]
    wanted = model.generate(ids, max_new_tokens=4, do_sample=False, pad_token_id=0)[0, 3:]
    assert len(wanted) == 4
    assert AutoTokenizer.from_pretrained(tmp_path)(told).input_ids == wanted.tolist()


class Repeated(torch.utils.data.Dataset):
    """One text many times over."""

    def __len__(self) -> int:
        return 64

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"input_ids": tokens(1)[0], "labels": tokens(1)[0]}


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("layout", ["3", "1,(2)^3"])
def test_the_plain_trainer_lowers_the_loss(layout, checkpointing, tmp_path):
    model = tiny_model(layout, initializer_range=0.02)
    before = model(tokens(1), labels=tokens(1)).loss.item()
    arguments = TrainingArguments(
        output_dir=str(tmp_path),
        max_steps=6,
        per_device_train_batch_size=2,
        gradient_accumulation_steps=2,
        learning_rate=1e-2,
        gradient_checkpointing=checkpointing,
        logging_steps=1,
        save_steps=6,
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
        seed=3,
    )
    trainer = Trainer(model=model, args=arguments, train_dataset=Repeated())
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert losses[0] == pytest.approx(before, abs=1e-3)  # the mean over accumulated batches, not their sum
    after = model.eval()(tokens(1), labels=tokens(1)).loss.item()
    assert after < before - 0.5
    saved = AutoModelForCausalLM.from_pretrained(tmp_path / "checkpoint-6")
    assert saved(tokens(1), labels=tokens(1)).loss.item() == pytest.approx(after, abs=1e-6)


def test_lora_trains_its_adapters_only_and_is_saved_loaded_and_merged(tmp_path):
    base = tiny_model("1,(2)^3")
    untouched = {name: weight.clone() for name, weight in base.state_dict().items()}
    tuned = get_peft_model(base, LoraConfig(r=2, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"))
    trained = [name for name, weight in tuned.named_parameters() if weight.requires_grad]
    assert len(trained) == 3 * 2 * 2  # unique blocks, projections, two factors: shared by all iterations
    assert all("lora_" in name for name in trained)

    optimizer = torch.optim.AdamW([weight for weight in tuned.parameters() if weight.requires_grad], lr=1e-2)
    losses = []
    for _ in range(6):
        loss = tuned(input_ids=tokens(), labels=tokens()).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.01
    now = tuned.state_dict()
    for name, weight in untouched.items():
        name = f"base_model.model.{name}"
        kept = now.get(name, now.get(name.replace("_proj.weight", "_proj.base_layer.weight")))
        assert torch.equal(kept, weight), name

    tuned.eval()
    wanted = tuned(input_ids=tokens()).logits
    tuned.save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(tiny_model("1,(2)^3"), tmp_path)
    assert torch.equal(loaded(input_ids=tokens()).logits, wanted)
    merged = loaded.merge_and_unload()
    assert type(merged) is FraiLTForCausalLM
    torch.testing.assert_close(merged(tokens()).logits, wanted, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(merged(tokens()).logits, tiny_model("1,(2)^3")(tokens()).logits, atol=1e-2)


@pytest.mark.parametrize("kv_heads", [6, 3, 1])
def test_attention_with_padded_heads_is_attention(kv_heads):
    plain = tiny_model("1,(2)^3", num_key_value_heads=kv_heads)
    padded = tiny_model("1,(2)^3", num_key_value_heads=kv_heads, attn_implementation="sdpa_padded")
    mask = torch.tensor([[0, 0, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1, 1]])
    for given in ({}, {"attention_mask": mask}):
        ours, theirs = padded(tokens(), labels=tokens(), **given), plain(tokens(), labels=tokens(), **given)
        torch.testing.assert_close(ours.logits[:, 2:], theirs.logits[:, 2:], atol=1e-5, rtol=1e-5)
    ours.loss.backward()
    theirs.loss.backward()
    for weight, wanted in zip(padded.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(weight.grad, wanted.grad, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("attention", ["flex_attention", "flash_attention_2", "flash_attention_3"])
def test_kernels_that_need_wider_heads_are_refused_in_one_line(attention):
    model = tiny_model("1^2")
    for choose in (
        lambda: FraiLTForCausalLM(tiny_config("1^2", attn_implementation=attention)),
        lambda: model.set_attn_implementation(attention),
    ):
        with pytest.raises(ValueError, match=f"{attention} needs head_dim 16 or more, got 8: use sdpa") as raised:
            choose()
        assert "\n" not in str(raised.value)


def test_flash_attention_without_its_package_is_said_to_be_missing():
    with pytest.raises(ImportError, match="FlashAttention2"):
        FraiLTForCausalLM(tiny_config("1^2", head_dim=16, attn_implementation="flash_attention_2"))


def test_an_attention_kernel_that_is_not_known_is_refused():
    with pytest.raises(ValueError, match="attn_implementation"):
        FraiLTForCausalLM(tiny_config("1^2", attn_implementation="no_such_kernel"))
