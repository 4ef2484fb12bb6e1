import json

import pytest
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig, AutoModelForCausalLM

from frailt import FraiLTConfig
from frailt.model.encodings import ENCODINGS, register

from .tiny import tiny_config, tiny_model


@pytest.mark.parametrize(
    ("layout", "groups"),
    [
        ("2^4", [{"blocks": 1, "iterations": 4}, {"blocks": 1, "iterations": 4}]),
        ("1,(2)^4,1", [(1, 1), (2, 4), (1, 1)]),
        ("3", [{"blocks": 1, "iterations": 1}, {"blocks": 2, "iterations": 1}]),
    ],
)
def test_a_layout_and_its_groups_make_the_same_config(layout, groups):
    assert FraiLTConfig(groups=groups).to_dict() == FraiLTConfig(layout=layout).to_dict()
    assert FraiLTConfig(layout=layout, groups=groups).layout == layout
    assert FraiLTConfig(groups=groups).groups == FraiLTConfig(layout=layout).groups


def test_the_layout_is_kept_in_normal_form():
    assert FraiLTConfig(layout="(1)^4, (1)^4").layout == "2^4"
    assert FraiLTConfig(layout="1,1").layout == "2"


def test_defaults_are_those_of_the_papers_smallest_model():
    config = FraiLTConfig()
    assert (config.layout, config.hidden_size, config.num_attention_heads, config.head_dim) == ("2^4", 64, 8, 8)
    assert (config.num_key_value_heads, config.intermediate_size) == (8, 192)
    assert config.eos_token_id == [1, 2]
    assert config.bos_token_id == 1


def test_two_configs_share_no_list():
    FraiLTConfig().eos_token_id.append(5)
    assert FraiLTConfig().eos_token_id == [1, 2]


@pytest.mark.parametrize("hidden", [8, 48, 64, 96, 512, 1024])
def test_the_mlp_is_at_least_two_thirds_of_four_times_the_width_in_steps_of_32(hidden):
    size = FraiLTConfig(hidden_size=hidden, num_attention_heads=4).intermediate_size
    assert size % 32 == 0
    assert 0 <= size - int(8 * hidden / 3) < 32


@pytest.mark.parametrize("key", ["vocab", "iteration", "n_layer", "temperature", "max_new_tokens", "mlp_bias"])
def test_an_unknown_key_is_refused(key):
    with pytest.raises(ValueError, match=f"no field '{key}'") as raised:
        FraiLTConfig(**{key: 3})
    assert "\n" not in str(raised.value)
    assert "vocab_size" in str(raised.value)


def test_a_config_file_with_foreign_keys_loads_and_keeps_them(tmp_path):
    tiny_config().save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"of_another_version": [7], "temperature": 0.5}))
    config = AutoConfig.from_pretrained(tmp_path, iterations=2)
    assert config.of_another_version == [7]
    assert config.iterations == 2
    assert not hasattr(config, "temperature")  # a model whose config holds it could not be saved
    config.save_pretrained(tmp_path)
    assert json.loads(path.read_text())["of_another_version"] == [7]


def test_a_mistyped_override_is_refused(tmp_path):
    tiny_model("1^2").save_pretrained(tmp_path)
    with pytest.raises(TypeError, match="iteratons"):
        AutoModelForCausalLM.from_pretrained(tmp_path, iteratons=2)


def test_num_hidden_layers_is_the_depth_now():
    assert FraiLTConfig(layout="1,(2)^4,1").num_hidden_layers == 10
    assert FraiLTConfig(layout="1,(2)^4,1", iterations=1).num_hidden_layers == 4
    assert FraiLTConfig(layout="1,(2)^4,1", iterations=[2, 3, 1]).num_hidden_layers == 9
    assert FraiLTConfig(layout="1,(2)^4,1", iterations=[2, 3, 1]).trained_depth == 10


def test_num_hidden_layers_may_be_said_where_it_is_right():
    assert FraiLTConfig(num_hidden_layers=8).num_hidden_layers == 8
    assert FraiLTConfig(iterations=3, num_hidden_layers=6).num_hidden_layers == 6
    with pytest.raises(ValueError, match=r"num_hidden_layers .* here 8, got 2"):
        FraiLTConfig(num_hidden_layers=2)
    config = FraiLTConfig()
    with pytest.raises(ValueError, match="set layout or iterations"):
        config.num_hidden_layers = 9


@pytest.mark.parametrize(("iterations", "depth"), [(2, 2 + 6), (7, 7 + 21), ([3, 1], 3 + 3)])
def test_depth_is_not_stale_where_loading_overrides_iterations(tmp_path, iterations, depth):
    tiny_model("1^4,(3)^4").save_pretrained(tmp_path)
    config = AutoConfig.from_pretrained(tmp_path, iterations=iterations)
    assert config.num_hidden_layers == depth
    assert FraiLTConfig.from_dict(config.to_dict()).num_hidden_layers == depth
    model = AutoModelForCausalLM.from_pretrained(tmp_path, iterations=iterations)
    assert model.config.num_hidden_layers == depth
    assert [slot.layer_idx for slot in model.model.slots] == list(range(depth))
    model.save_pretrained(tmp_path / "again")
    assert AutoConfig.from_pretrained(tmp_path / "again").num_hidden_layers == depth


def test_a_bad_override_is_refused_when_the_model_is_made(tmp_path):
    tiny_model("1^4,(3)^4").save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="iterations must be whole numbers of 1 or more, got 0"):
        AutoModelForCausalLM.from_pretrained(tmp_path, iterations=0)


OUT_OF_RULE = {
    "vocab_size": ({"vocab_size": 0}, ["0"]),
    "hidden_size": ({"hidden_size": 100, "num_attention_heads": 8}, ["num_attention_heads", "100", "8"]),
    "intermediate_size": ({"intermediate_size": 0}, ["0"]),
    "num_attention_heads": ({"num_attention_heads": 0}, ["0"]),
    "num_attention_heads negative": ({"num_attention_heads": -8}, ["-8"]),
    "max_position_embeddings": ({"max_position_embeddings": -1}, ["-1"]),
    "head_dim": ({"hidden_size": 72, "num_attention_heads": 8}, ["9", "RoPE"]),
    "head_dim zero": ({"hidden_size": 64, "head_dim": 0}, ["0"]),
    "num_key_value_heads": ({"num_key_value_heads": 3}, ["3", "8"]),
    "num_key_value_heads zero": ({"num_key_value_heads": 0}, ["0", "8"]),
    "num_key_value_heads more": ({"num_key_value_heads": 16}, ["16", "8"]),
    "initializer_range": ({"initializer_range": 0.0}, ["0.0"]),
    "initializer_range nan": ({"initializer_range": float("nan")}, ["nan"]),
    "rms_norm_eps": ({"rms_norm_eps": -1e-5}, ["-1e-05"]),
    "attention_dropout": ({"attention_dropout": 1.5}, ["1.5"]),
    "attention_dropout negative": ({"attention_dropout": -1}, ["-1"]),
    "hidden_act": ({"hidden_act": "swish2"}, ["swish2", "silu"]),
    "pad_token_id": ({"pad_token_id": 512}, ["512"]),
    "pad_token_id negative": ({"pad_token_id": -1}, ["-1"]),
    "iteration_encoding": ({"iteration_encoding": "rotary"}, ["rotary", "learned", "sinusoidal", "none"]),
    "layout": ({"layout": "(2)^4000"}, ["(2)^4000", "1024"]),
    "layout malformed": ({"layout": "2^"}, ["2^"]),
    "layout and groups": ({"layout": "3", "groups": [(1, 2)]}, ["3", "1^2"]),
    "layout without groups": ({"groups": []}, ["none"]),
    "groups": ({"groups": [{"block": 1}]}, ["block"]),
    "groups number": ({"groups": 3}, ["3"]),
    "groups bool": ({"groups": [{"blocks": True, "iterations": 2}]}, ["True"]),
    "groups text": ({"groups": ["24"]}, ["24"]),
    "iterations": ({"iterations": -1}, ["-1"]),
    "iterations count": ({"iterations": [1, 2, 3]}, ["[1, 2, 3]", "2"]),
    "iterations depth": ({"iterations": 4000}, ["4000", "1024"]),
    "iterations without loop": ({"layout": "2", "iterations": 3}, ["no loop", "3"]),
}


@pytest.mark.parametrize("field", OUT_OF_RULE)
def test_a_value_out_of_its_rule_is_refused_in_one_line_with_field_and_value(field):
    arguments, parts = OUT_OF_RULE[field]
    with pytest.raises(ValueError, match=field.split()[0]) as raised:
        FraiLTConfig(**arguments)
    message = str(raised.value)
    assert "\n" not in message
    assert all(part in message for part in parts), message


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("vocab_size", "a"),
        ("vocab_size", True),
        ("hidden_size", None),
        ("iterations", True),
        ("iterations", [True, 2]),
        ("iterations", 2.5),
        ("layout", 3),
        ("tie_word_embeddings", "no"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_with_field_and_value(field, value):
    with pytest.raises(StrictDataclassError, match=f"(?s){field}.*expected") as raised:
        FraiLTConfig(**{field: value})
    assert repr(value).strip("[]") in str(raised.value) or type(value).__name__ in str(raised.value)


@pytest.mark.parametrize(
    "config",
    [
        tiny_config(),
        tiny_config("1^4", iterations=2, iteration_encoding="sinusoidal", tie_word_embeddings=False),
        tiny_config("1,(2)^4", iterations=[1, 7], head_dim=10, eos_token_id=5, pad_token_id=0),
        tiny_config("3", rope_parameters={"rope_type": "default", "rope_theta": 500.0}, attention_dropout=0),
        FraiLTConfig(),
    ],
    ids=lambda config: config.layout,
)
def test_a_config_comes_back_from_disk_and_from_a_dict_as_it_was(config, tmp_path):
    config.save_pretrained(tmp_path)
    saved = AutoConfig.from_pretrained(tmp_path).to_dict() | {"_name_or_path": ""}
    wanted = FraiLTConfig.from_dict(config.to_dict()).to_dict()
    assert wanted == config.to_dict()
    assert {key: saved[key] for key in wanted} == wanted


def test_model_outputs_of_the_wrong_length_cannot_be_read_by_application():
    config = tiny_config("2^2")
    assert config.by_application("abcd") == {(0, 0, 0): "a", (0, 1, 0): "b", (1, 0, 0): "c", (1, 1, 0): "d"}
    assert list(config.by_application("eabcd").values()) == list("abcd")
    for entries in ("", "abc", "abcdef"):
        with pytest.raises(ValueError, match=f"entries must be 4.*got {len(entries)}"):
            config.by_application(entries)


def test_an_encoding_name_is_taken_once():
    with pytest.raises(ValueError, match="unique, got 'learned' twice"):
        register("learned")(ENCODINGS["none"])


def test_every_encoding_says_what_it_gives_beyond_the_trained_iterations():
    assert all(kind.beyond for kind in ENCODINGS.values())


def test_layout_and_groups_that_differ_are_refused_even_where_the_layout_is_the_default():
    with pytest.raises(ValueError, match="layout and groups must say the same"):
        FraiLTConfig(layout="2^4", groups=[{"blocks": 3, "iterations": 2}])
    assert FraiLTConfig().layout == "2^4"
