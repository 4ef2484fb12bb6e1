import pytest
import torch

from frailt import FraiLTForCausalLM

from .tiny import tiny_config, tiny_model

STD = 0.2


def fresh(layout: str, seed: int = 0, **overrides) -> FraiLTForCausalLM:
    torch.manual_seed(seed)
    return FraiLTForCausalLM(tiny_config(layout, **overrides))


def spread(model: FraiLTForCausalLM, part: str) -> tuple[float, float]:
    """Standard deviation over all weights whose name has `part`, and its own standard error."""
    values = torch.cat([weight.flatten() for name, weight in model.named_parameters() if part in name])
    return values.std().item(), values.std().item() / (2 * len(values)) ** 0.5


@pytest.mark.parametrize(("layout", "depth"), [("1", 1), ("4", 4), ("1^8", 8), ("(2)^4", 8), ("1,(2)^3,1^2", 9)])
@pytest.mark.parametrize("part", ["o_proj", "down_proj"])
def test_projections_onto_the_stream_start_smaller_by_the_root_of_twice_the_depth(layout, depth, part):
    got, error = spread(fresh(layout), part)
    assert abs(got - STD / (2 * depth) ** 0.5) < 4 * error


@pytest.mark.parametrize("part", ["embed_tokens", "encodings", "q_proj", "k_proj", "v_proj", "gate_proj", "up_proj"])
def test_all_other_matrices_and_the_encodings_start_with_the_initializer_range(part):
    got, error = spread(fresh("2^16,(2)^9"), part)
    assert abs(got - STD) < 4 * error


def test_the_start_does_not_depend_on_the_iterations_of_now():
    trained, overridden = fresh("1,(2)^3"), fresh("1,(2)^3", iterations=7)
    states = trained.state_dict(), overridden.state_dict()
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_norms_start_at_one():
    assert all((weight == 1).all() for name, weight in fresh("1^2").named_parameters() if "norm" in name)


def test_a_fresh_model_is_a_function_of_the_seed():
    first, same, other = fresh("1,(2)^3", 5), fresh("1,(2)^3", 5), fresh("1,(2)^3", 6)
    for (name, a), b, c in zip(first.named_parameters(), same.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
        assert "norm" in name or not torch.equal(a, c), name


def test_only_trained_loops_have_encodings():
    names = [name for name, _ in tiny_model("1,(2)^3,1^2").named_parameters() if "encodings" in name]
    assert names == [
        "model.groups.1.encodings.0.weight",
        "model.groups.1.encodings.1.weight",
        "model.groups.2.encodings.0.weight",
    ]
    assert not [name for name in tiny_model("4", iterations=[3]).state_dict() if "encodings" in name]


def test_slots_have_no_parameters_and_one_index_each():
    model = tiny_model("1,(2)^3,1^2")
    assert not list(model.model.slots.parameters())
    assert [slot.layer_idx for slot in model.model.slots] == list(range(9))


def test_every_rule_of_the_parallel_plans_names_a_module():
    model = tiny_model("1,(2)^3,1^2", tie_word_embeddings=False)
    modules = {
        ".".join("*" if part.isdigit() else part for part in name.split(".")) for name, _ in model.named_modules()
    }
    for plan in (model._tp_plan, model._fsdp_plan):
        assert set(plan) <= modules
    assert "model.groups.*.blocks.*" in model._fsdp_plan
    projections = {name for name in modules if name.endswith("_proj")}
    assert projections <= set(model._tp_plan)
