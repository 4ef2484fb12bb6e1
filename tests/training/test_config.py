import math

import pytest

from frailt.training.build import model_config
from frailt.training.config import ModelConfig, TrainConfig


def config(**changes) -> TrainConfig:
    return TrainConfig(**({"data": "data", "out": "out"} | changes))


BAD = [
    ("context", 0, "1 or more"),
    ("batch_rows", 0, "1 or more"),
    ("accumulation_steps", -1, "1 or more"),
    ("log_every_steps", 0, "1 or more"),
    ("threads", 0, "1 or more"),
    ("tokens", 0, "1 or more"),
    ("steps", -3, "1 or more"),
    ("passes", 0.0, "above 0"),
    ("passes", math.inf, "above 0"),
    ("passes", math.nan, "above 0"),
    ("learning_rate", 0.0, "above 0"),
    ("learning_rate", -1.0, "above 0"),
    ("learning_rate", math.nan, "above 0"),
    ("weight_decay", -0.1, "0 or more"),
    ("weight_decay", math.nan, "0 or more"),
    ("clip_norm", -1.0, "0 or more"),
    ("evaluations", -1, "0 or more"),
    ("seed", -1, "0 or more"),
    ("seed", 2**32, "below 2^32"),
    ("beta1", 1.0, "below 1"),
    ("beta2", -0.1, "at least 0"),
    ("warmup_share", 1.0, "below 1"),
    ("evaluation_share", 0.0, "above 0"),
    ("evaluation_share", 1.5, "at most 1"),
]


@pytest.mark.parametrize(("field", "value", "rule"), BAD)
def test_a_bad_value_is_one_line_with_field_rule_and_value(field, value, rule):
    with pytest.raises(ValueError, match=f"^{field} must be ") as raised:
        config(**{field: value})
    message = str(raised.value)
    assert rule in message
    assert str(value) in message
    assert "\n" not in message


@pytest.mark.parametrize("value", [0.0, -1.0, math.inf, math.nan])
def test_a_rope_theta_that_is_no_base_is_refused(value):
    with pytest.raises(ValueError, match=rf"^rope_theta must be above 0, got {value}$"):
        ModelConfig(rope_theta=value)


ROPE = [
    ({"rope_type": "foo"}, "a rope_type of default, linear, "),
    ({"rope_type": "linear", "factor": "x"}, "a factor of 1 or more, got 'x'"),
    ({"rope_type": "yarn", "factor": -1}, "a factor of 1 or more, got -1"),
    ({"rope_type": "yarn"}, "what rope_type yarn needs, got "),
    ({"rope_type": "longrope", "factor": 2.0}, "what rope_type longrope needs, got "),
]


@pytest.mark.parametrize(("given", "rule"), ROPE)
def test_rotations_that_cannot_be_are_one_line(given, rule):
    with pytest.raises(ValueError, match=r"^rope_parameters must ") as raised:
        model_config(config(model=ModelConfig(rope_parameters=given)), 330)
    assert rule in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("given", [("passes", "tokens"), ("tokens", "steps"), ("passes", "steps")])
def test_only_one_budget_may_be_given(given):
    with pytest.raises(ValueError, match=f"only one of passes, tokens and steps .* {given[0]} and {given[1]}"):
        config(**dict.fromkeys(given, 2))


def test_model_settings_beside_a_checkpoint_are_refused():
    with pytest.raises(ValueError, match="model comes from from_checkpoint"):
        config(from_checkpoint="run", model=ModelConfig(hidden_size=32))
    config(from_checkpoint="run", model=ModelConfig())


def test_a_layout_may_be_written_as_a_number():
    assert ModelConfig(layout=8) == ModelConfig(layout="8")


@pytest.mark.parametrize(
    ("budget", "steps"),
    [
        ({}, 9),  # one pass of 103 rows, 12 rows a step: the last step begins a second pass
        ({"passes": 1.0}, 9),
        ({"passes": 2.5}, 22),
        ({"passes": 1e-9}, 1),
        ({"steps": 7}, 7),
        ({"tokens": 1}, 1),
        ({"tokens": 12 * 11}, 1),  # a step is 12 rows of 11 tokens
        ({"tokens": 12 * 11 + 1}, 2),
    ],
)
def test_a_budget_is_so_many_steps(budget, steps):
    assert config(context=11, batch_rows=12, accumulation_steps=3, **budget).steps_for(rows=103) == steps
