"""Compiling: the block once, whatever the layout; the same losses; and no silent doing without."""

import json
from pathlib import Path

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend

from frailt.training import compiling
from frailt.training.compiling import choose_compile
from frailt.training.train import train

CPU = torch.device("cpu")


@pytest.fixture
def counted(monkeypatch):
    """Graphs that are compiled, by a backend that takes no time."""
    torch._dynamo.reset()
    counter = CompileCounterWithBackend("eager")
    compile_ = torch.compile
    monkeypatch.setattr(compiling.torch, "compile", lambda function: compile_(function, backend=counter))
    yield counter
    torch._dynamo.reset()


def losses_of(config) -> list[float]:
    train(config)
    rows = [json.loads(line) for line in Path(config.out, "metrics.jsonl").read_text().splitlines()]
    return [row["loss_nats_per_token"] for row in rows if "loss_nats_per_token" in row]


@pytest.mark.parametrize("layout", ["1", "7", "1^7", "(2)^3"])
def test_block_mode_compiles_as_many_graphs_for_any_depth(layout, counted, prepared, tiny, tmp_path):
    losses_of(tiny(prepared, tmp_path / "run", layout=layout, compile="block", steps=4, evaluations=2))
    # Block and head, with gradients and, in validation, without; no more when training goes on after a checkpoint.
    assert counted.frame_count == 4


def test_a_layout_with_and_without_loops_needs_one_graph_more_of_the_block(counted, prepared, tiny, tmp_path):
    losses_of(tiny(prepared, tmp_path / "run", layout="1,(2)^3,1", compile="block", steps=2))
    assert counted.frame_count == 6  # with and without an encoding to add


@pytest.mark.parametrize("mode", ["block", pytest.param("whole", marks=pytest.mark.long)])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_compiled_training_gives_the_same_losses(mode, precision, counted, prepared, tiny, tmp_path):
    settings = {"layout": "1,(2)^2", "precision": precision, "learning_rate": 0.01}
    if precision == "bfloat16":  # which most CPUs only emulate, slowly
        settings |= {"steps": 2, "batch_rows": 1, "context": 11, "evaluation_share": 0.001}
    expected = losses_of(tiny(prepared, tmp_path / "off", compile="off", **settings))
    found = losses_of(tiny(prepared, tmp_path / mode, compile=mode, **settings))
    assert counted.frame_count > 0
    assert found == pytest.approx(expected, abs=1e-5 if precision == "float32" else 2e-2)
    assert json.loads((tmp_path / mode / "run.json").read_text())["compile"] == mode


def test_gradient_checkpointing_and_compiling_go_together(counted, prepared, tiny, tmp_path):
    expected = losses_of(tiny(prepared, tmp_path / "off", compile="off"))
    found = losses_of(tiny(prepared, tmp_path / "on", compile="block", gradient_checkpointing=True))
    assert found == pytest.approx(expected, abs=1e-5)
    nodes = [node for graph in counted.graphs for node in graph.graph.nodes]
    assert any("checkpoint" in str(node.target) for node in nodes)


def test_auto_compiles_where_a_run_repays_it(monkeypatch):
    monkeypatch.setattr(compiling, "missing_for_compile", lambda device: "")
    cuda = torch.device("cuda")
    assert [choose_compile("auto", cuda, seconds) for seconds in (1, 1e6)] == ["off", "block"]
    assert choose_compile("off", cuda, 1e6) == "off"
    assert choose_compile("whole", CPU, 1) == "whole"
    monkeypatch.setattr(compiling, "missing_for_compile", lambda device: "a C++ compiler")
    assert choose_compile("auto", cuda, 1e6) == "off"
    with pytest.raises(ValueError, match=r"compile must be off where a C\+\+ compiler is missing, got block"):
        choose_compile("block", CPU, 1)


def test_what_was_compiled_is_saved_under_the_names_of_what_was_not(counted, prepared, tiny, tmp_path):
    from frailt.training.checkpoint import load_checkpoint

    losses_of(tiny(prepared, tmp_path / "run", compile="block"))
    model, _ = load_checkpoint(tmp_path / "run")
    assert not any("_orig_mod" in name for name, _ in model.named_parameters())
