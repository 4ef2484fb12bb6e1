import pytest
import torch

from frailt import Layout

from .test_equivalence import states_by_hand
from .tiny import tiny_model, tokens


@pytest.mark.parametrize(("layout", "iterations"), [("1,(2)^3,1^2", None), ("2^2", [3, 1]), ("3", None)])
def test_hidden_states_are_the_embedding_and_then_every_block_application(layout, iterations):
    model = tiny_model(layout, iterations=iterations)
    out = model(tokens(), output_hidden_states=True)
    _, states = states_by_hand(model, tokens(), list(model.config.iterations_per_group))
    assert len(out.hidden_states) == model.config.num_hidden_layers + 1 == len(states)
    for got, wanted in zip(out.hidden_states[:-1], states[:-1], strict=True):
        torch.testing.assert_close(got, wanted)
    torch.testing.assert_close(out.hidden_states[-1], model.model.norm(states[-1]))


@pytest.mark.parametrize(("layout", "iterations"), [("1,(2)^3,1^2", None), ("2^2", [3, 1]), ("3", None)])
def test_attentions_are_one_square_of_weights_per_block_application(layout, iterations):
    model = tiny_model(layout, iterations=iterations, attn_implementation="eager")
    attentions = model(tokens(), output_attentions=True).attentions
    assert len(attentions) == model.config.num_hidden_layers
    for weights in attentions:
        assert weights.shape == (2, 6, 7, 7)
        torch.testing.assert_close(weights.sum(-1), torch.ones(2, 6, 7))
        assert (weights.triu(1) == 0).all()
    assert all(not torch.equal(a, b) for i, a in enumerate(attentions) for b in attentions[:i])


@pytest.mark.parametrize(("layout", "iterations"), [("1,(2)^3,1^2", None), ("2^2", [3, 1])])
def test_outputs_are_read_by_group_iteration_and_block(layout, iterations):
    model = tiny_model(layout, iterations=iterations, attn_implementation="eager")
    out = model(tokens(), output_hidden_states=True, output_attentions=True)
    applications = Layout.parse(layout).applications(iterations)
    for entries in (out.hidden_states[1:], out.attentions):
        read = model.config.by_application(entries)
        assert list(read) == applications
        assert all(read[key] is entry for key, entry in zip(applications, entries, strict=True))
    assert model.config.by_application(out.hidden_states)[0, 0, 0] is out.hidden_states[1]


def test_outputs_come_as_a_tuple_where_asked():
    model = tiny_model("1^2")
    loss, logits = model(tokens(), labels=tokens(), return_dict=False, use_cache=False)
    assert loss.ndim == 0
    assert torch.equal(logits, model(tokens()).logits)
