"""A model with other iteration counts shares every weight and nothing else."""

import copy
import subprocess
import sys

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from frailt import FraiLTForCausalLM, FraiLTModel
from frailt.model.counts import parse_counts
from frailt.model.encodings import ENCODINGS

from .tiny import tiny_model, tokens

CASES = [("1^3", 1), ("1^3", 6), ("2^2", [1, 5]), ("1,(2)^3,1^2", 4), ("1,(2)^3,1^2", [2, 1, 3]), ("2,1^2", [3, 2])]


@pytest.mark.parametrize(("layout", "iterations"), CASES)
@pytest.mark.parametrize("encoding", sorted(ENCODINGS))
@pytest.mark.parametrize("tied", [True, False])
def test_a_view_is_the_model_loaded_with_those_iterations(layout, iterations, encoding, tied, tmp_path):
    model = tiny_model(layout, iteration_encoding=encoding, tie_word_embeddings=tied)
    view = model.with_iterations(iterations)
    model.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path, iterations=iterations)
    assert torch.equal(view(tokens()).logits, loaded(tokens()).logits)
    assert view.config.num_hidden_layers == loaded.config.num_hidden_layers == len(view.model.slots)
    assert [slot.layer_idx for slot in view.model.slots] == list(range(len(view.model.slots)))
    assert [group.iterations for group in view.model.groups] == list(loaded.config.iterations_per_group)


def test_a_view_has_the_storage_of_the_model_and_its_state():
    model = tiny_model()
    view = model.with_iterations(5)
    ours, theirs = dict(model.named_parameters()), dict(view.named_parameters())
    assert ours.keys() == theirs.keys()
    assert all(theirs[name] is parameter for name, parameter in ours.items())
    assert {name: tensor.data_ptr() for name, tensor in model.state_dict().items()} == {
        name: tensor.data_ptr() for name, tensor in view.state_dict().items()
    }
    assert all(a is b for a, b in zip(model.buffers(), view.buffers(), strict=True))
    assert type(view) is FraiLTForCausalLM


def test_making_a_view_changes_neither_the_model_nor_the_random_numbers():
    model = tiny_model("1^3")
    before, state = model(tokens()).logits, torch.get_rng_state()
    model.with_iterations(7)(tokens())
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(model(tokens()).logits, before)
    assert (model.config.iterations, len(model.model.slots)) == (None, 3)


def test_training_a_view_trains_the_model():
    model = tiny_model("1^3")
    twin = copy.deepcopy(model).with_iterations(5)
    view = model.with_iterations(5)
    before = model(tokens()).logits
    for each in (view, twin):
        optimizer = torch.optim.SGD(each.parameters(), lr=0.1)
        each(tokens(), labels=tokens()).loss.backward()
        optimizer.step()
    assert not torch.allclose(model(tokens()).logits, before, atol=1e-3)
    assert torch.equal(model(tokens()).logits, twin.with_iterations()(tokens()).logits)


def test_gradients_of_both_are_summed():
    model = tiny_model("1^3")
    view = model.with_iterations(2)
    grads = []
    for each in ((model,), (view,), (model, view)):
        model.zero_grad()
        for one in each:
            one(tokens(), labels=tokens()).loss.backward()
        grads.append(torch.cat([parameter.grad.flatten() for parameter in model.parameters()]))
    torch.testing.assert_close(grads[2], grads[0] + grads[1])


@pytest.mark.parametrize("cache", [{}, {"cache_implementation": "static"}, {"use_cache": False}])
def test_model_and_views_generate_in_turns_as_each_does_alone(cache, tmp_path):
    model = tiny_model("1,(2)^2")
    model.save_pretrained(tmp_path)
    views = {count: model if count == 2 else model.with_iterations(count) for count in (2, 1, 4)}
    options = {"max_new_tokens": 9, "do_sample": False, "pad_token_id": 0} | cache
    alone = {
        count: AutoModelForCausalLM.from_pretrained(tmp_path, iterations=count).generate(tokens(), **options)
        for count in views
    }
    assert len({str(text.tolist()) for text in alone.values()}) == 3
    for count in (2, 1, 4, 1, 2, 4):
        assert torch.equal(views[count].generate(tokens(), **options), alone[count]), count


def test_two_caches_are_filled_token_by_token_in_turns():
    model = tiny_model("1^3")
    pair, ids, caches = (model, model.with_iterations(5)), tokens(), [None, None]
    pieces: list[list[torch.Tensor]] = [[], []]
    for position in range(ids.shape[1]):
        for which, each in enumerate(pair):
            out = each(ids[:, position : position + 1], past_key_values=caches[which], use_cache=True)
            caches[which] = out.past_key_values
            pieces[which].append(out.logits)
    assert [len(cache) for cache in caches] == [3, 5]
    for which, each in enumerate(pair):
        torch.testing.assert_close(torch.cat(pieces[which], dim=1), each(ids).logits, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("iterations", [1, 4, [2, 1, 3]])
def test_a_saved_view_comes_back_with_its_iterations(iterations, tmp_path):
    model = tiny_model()
    view = model.with_iterations(iterations)
    view.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert again.config.iterations == iterations
    assert torch.equal(again(tokens()).logits, view(tokens()).logits)
    assert torch.equal(again.with_iterations()(tokens()).logits, model(tokens()).logits)


def test_a_view_of_a_view_is_a_view_of_the_model():
    model = tiny_model()
    far = model.with_iterations(7).with_iterations(2)
    assert torch.equal(far(tokens()).logits, model.with_iterations(2)(tokens()).logits)
    assert all(a is b for a, b in zip(far.parameters(), model.parameters(), strict=True))
    back = far.with_iterations()
    assert torch.equal(back(tokens()).logits, model(tokens()).logits)


def test_the_model_without_head_has_views_too():
    model = tiny_model("1^3")
    view = model.model.with_iterations(5)
    assert type(view) is FraiLTModel
    wanted = model.with_iterations(5).model(tokens()).last_hidden_state
    assert torch.equal(view(tokens()).last_hidden_state, wanted)


def test_states_of_every_application_are_recorded_once_in_model_and_view():
    """transformers records by hooks on modules; those of a view must not run for the model."""
    model = tiny_model("1,(2)^2", attn_implementation="eager")
    view = model.with_iterations(3)
    for each in (view, model, view):
        out = each(tokens(), output_hidden_states=True, output_attentions=True)
        depth = each.config.num_hidden_layers
        assert (len(out.hidden_states), len(out.attentions)) == (depth + 1, depth)
        assert len(each.config.by_application(out.attentions)) == depth


def test_training_mode_and_gradient_checkpointing_are_each_ones_own():
    model = tiny_model("1^3").train()
    model.gradient_checkpointing_enable()
    view = model.with_iterations(5)
    assert view.training
    assert view.is_gradient_checkpointing
    view.eval()
    view.gradient_checkpointing_disable()
    block = model.model.groups[0].blocks[0]
    assert block.training
    assert block.gradient_checkpointing
    assert not view.model.slots[4].training
    assert not model.eval().with_iterations(5).model.slots[4].training


def test_dropout_of_adapters_is_off_in_a_view_that_is_evaluated_and_on_in_the_model_that_is_trained():
    adapters = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], lora_dropout=0.5, init_lora_weights=False)
    model = tiny_model("1,(2)^3")
    tuned = get_peft_model(model, adapters).train()
    view = model.with_iterations(2).eval()
    assert view(tokens()).logits.equal(view(tokens()).logits)
    assert not model(tokens()).logits.equal(model(tokens()).logits)
    tuned.eval()
    assert model.with_iterations(3)(tokens()).logits.equal(model(tokens()).logits)
    assert {id(each) for each in view.parameters()} == {id(each) for each in model.parameters()}
    view(tokens(), labels=tokens()).loss.backward()
    assert all(each.grad is not None for name, each in tuned.named_parameters() if "lora_" in name)


def test_attention_is_chosen_for_each_alone():
    model = tiny_model("1^3", attn_implementation="sdpa")
    view = model.with_iterations(2)
    view.set_attn_implementation("eager")
    assert view(tokens(), output_attentions=True).attentions[0] is not None
    assert model.config._attn_implementation == model.model.slots[0].config._attn_implementation == "sdpa"


def test_type_and_place_are_common():
    model = tiny_model(iteration_encoding="sinusoidal")
    view = model.with_iterations(2)
    view.to(torch.bfloat16)
    assert model.dtype == view.dtype == torch.bfloat16
    assert model(tokens()).logits.dtype == torch.bfloat16
    model.float()
    assert {parameter.dtype for parameter in view.parameters()} == {torch.float32}
    model.to("meta")
    assert {tensor.device.type for tensor in (*view.parameters(), *view.buffers())} == {"meta"}


def test_a_module_that_was_exchanged_before_is_in_the_view():
    class Twice(torch.nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, x):
            return 2 * self.inner(x)

    model = tiny_model("1^3")
    block = model.model.groups[0].blocks[0]
    block.mlp.up_proj = Twice(block.mlp.up_proj)
    assert torch.equal(model.with_iterations(3)(tokens()).logits, model(tokens()).logits)


def test_generation_settings_are_copied():
    model = tiny_model()
    model.generation_config.max_new_tokens = 3
    view = model.with_iterations(2)
    assert view.generate(tokens(), pad_token_id=0).shape[1] == tokens().shape[1] + 3
    view.generation_config.max_new_tokens = 5
    assert model.generation_config.max_new_tokens == 3


def test_a_compiled_model_has_views_and_a_view_can_be_compiled():
    model = tiny_model("1^3")
    wanted = model.with_iterations(5)(tokens()).logits
    compiled = torch.compile(model, backend="eager")
    compiled(tokens())
    torch.testing.assert_close(compiled.with_iterations(5)(tokens()).logits, wanted)
    view = torch.compile(model.with_iterations(5), backend="eager", fullgraph=True)
    torch.testing.assert_close(view(tokens(), use_cache=False).logits, wanted)


@pytest.mark.parametrize(
    ("layout", "iterations", "message"),
    [
        ("1^3", 0, "iterations must be whole numbers of 1 or more, got 0"),
        ("1^3", -2, "iterations must be whole numbers of 1 or more, got -2"),
        ("1^3", 2.5, r"iterations must be whole numbers of 1 or more, got 2\.5"),
        ("1^3", True, "iterations must be whole numbers of 1 or more, got True"),
        ("1^3", "3", "iterations must be whole numbers of 1 or more"),
        ("1^3", 10_000, "iterations must stay within 1024 block applications, got 10000 with 10000"),
        ("1^3", [1, 2], r"iterations must have one count per group, got \[1, 2\] for the 1 groups of layout 1\^3"),
        ("1^3", [], "iterations must have one count per group"),
        ("2", 3, "iterations must be one count per group where the layout has no loop, got 3 for layout 2"),
    ],
)
def test_counts_that_do_not_fit_are_one_line(layout, iterations, message):
    with pytest.raises(ValueError, match=f"^{message}") as raised:
        tiny_model(layout).with_iterations(iterations)
    assert "\n" not in str(raised.value)


def test_a_model_spread_over_devices_is_refused():
    model = tiny_model()
    model.hf_device_map = {"model.embed_tokens": 0, "lm_head": 1}
    with pytest.raises(ValueError, match="spread over devices are chosen when it is loaded"):
        model.with_iterations(2)


# What an encoding gives beyond its table, in the whole model


@pytest.mark.parametrize("encoding", sorted(ENCODINGS))
def test_beyond_the_table_each_encoding_gives_what_it_says(encoding):
    model = tiny_model("1^3", iteration_encoding=encoding)
    added, block = [], model.model.groups[0].blocks[0]
    view = model.with_iterations(5)
    view.model.groups[0].blocks[0].register_forward_pre_hook(lambda module, given: added.append(given[1]))
    view(tokens())
    assert len(added) == 5
    encoded = model.model.groups[0].encodings[0]
    if encoding == "none":
        assert added == [None] * 5
    elif encoding == "learned":
        assert encoded.beyond == "repeats its last vector"
        assert torch.equal(torch.stack(added[2:]), encoded.weight[2].expand(3, -1))
        assert not torch.equal(added[1], added[2])
    else:
        assert encoded.beyond == "goes on with the same sines and cosines"
        m = torch.arange(5)[:, None]
        angles = m * 10000.0 ** (-torch.arange(24) / 24)
        wanted = model.config.initializer_range * torch.cat([angles.sin(), angles.cos()], dim=1)
        torch.testing.assert_close(torch.stack(added), wanted, atol=1e-5, rtol=0)
    assert not block._forward_pre_hooks  # of the view alone


# Several counts in one text


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("1..8", list(range(1, 9))),
        ("1,2,4,8", [1, 2, 4, 8]),
        ("1, 2, 4..6", [1, 2, 4, 5, 6]),
        ("3", [3]),
        ("3..3", [3]),
        ([2, 4], [2, 4]),
    ],
)
def test_a_text_names_several_counts(text, counts):
    assert parse_counts(text, "iterations") == counts


@pytest.mark.parametrize(
    ("given", "rule"),
    [
        ("8..1", "rise"),
        ("1,1", "rise"),
        ("1..4,4..8", "rise"),
        ("0..3", "from 1 to 1024"),
        ("1..99999", "from 1 to 1024"),
        ("1..9999999", "such as 1..8 or 1,2,4,8"),
        ("1...3", "such as"),
        ("..3", "such as"),
        ("", "such as"),
        ("1,,2", "such as"),
        ("-1..3", "such as"),
        ("a", "such as"),
        ([], "from 1 to 1024"),
        ([0], "from 1 to 1024"),
        ([1.5], "from 1 to 1024"),
        ([True], "from 1 to 1024"),
    ],
)
def test_a_text_that_names_no_counts_is_one_line(given, rule):
    with pytest.raises(ValueError, match=f"^counts must .*{rule}.*, got "):
        parse_counts(given, "counts")


def test_reading_counts_needs_no_torch():
    program = "import sys, frailt.model.counts; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
