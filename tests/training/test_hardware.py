"""What `auto` comes to on hardware that is not here, and rates that are measured on what is."""

import pytest
import torch

from frailt import FraiLTConfig
from frailt.training import hardware
from frailt.training.hardware import (
    bfloat16_gain,
    choose_device,
    choose_precision,
    matmul_flops_per_s,
    peak_memory_bytes,
)

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
CONFIG = FraiLTConfig(layout="2", hidden_size=64, num_attention_heads=4, vocab_size=11)


@pytest.mark.parametrize(
    ("units", "gain", "chosen"), [(True, 2.0, "bfloat16"), (True, 1.05, "float32"), (False, 2.0, "float32")]
)
def test_a_cpu_takes_bfloat16_where_it_has_units_for_it_and_a_measurement_says_so(units, gain, chosen, monkeypatch):
    monkeypatch.setattr(hardware, "cpu_has_bfloat16_units", lambda: units)
    monkeypatch.setattr(hardware, "bfloat16_gain", lambda config: gain)
    assert choose_precision("auto", CPU, CONFIG) == chosen
    assert choose_precision("float32", CPU, CONFIG) == "float32"


def test_a_gpu_takes_bfloat16_where_it_has_it(monkeypatch):
    for has, chosen in ((True, "bfloat16"), (False, "float32")):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation, has=has: has)
        assert choose_precision("auto", CUDA, CONFIG) == chosen


def test_the_gain_of_bfloat16_is_a_ratio_of_measured_times():
    assert 0 < bfloat16_gain(CONFIG, tokens=64) < 100


def test_the_gain_of_a_very_wide_model_is_measured_in_little_memory(monkeypatch):
    monkeypatch.setattr(hardware, "WIDE", 32)
    made, linear = [], torch.nn.Linear
    monkeypatch.setattr(hardware.nn, "Linear", lambda *sizes, **more: made.append(sizes) or linear(*sizes, **more))
    wide = FraiLTConfig(layout="2", hidden_size=1 << 16, intermediate_size=3 << 15, vocab_size=11)
    assert bfloat16_gain(wide, tokens=8) > 0
    assert made == [(32, 48), (48, 32)]


def test_each_launched_process_gets_its_own_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert choose_device("auto") == choose_device("cuda") == torch.device("cuda:3")
    with pytest.raises(ValueError, match="device must be cuda where a launcher gives each process its own GPU"):
        choose_device("cuda:1")
    monkeypatch.setenv("LOCAL_RANK", "4")
    with pytest.raises(ValueError, match="device must be one of the 4 GPUs here, got cuda:4"):
        choose_device("auto")


def test_the_ceiling_and_the_peak_are_of_this_machine():
    assert 1e8 < matmul_flops_per_s(CPU, "float32") < 1e15
    assert peak_memory_bytes(CPU) > 50e6
