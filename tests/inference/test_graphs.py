"""Steps that are recorded and replayed on the same memory, here by a stand-in for a CUDA graph; and by one on a GPU."""

import pytest
import torch

from frailt.inference import graphs
from frailt.inference.decoding import Decoder
from frailt.inference.drawing import Greedy
from frailt.inference.graphs import Graphs

from .test_complete import model_of, prompts_of


@pytest.fixture
def recordings(monkeypatch):
    """Steps that were recorded; every few places another."""
    monkeypatch.setattr(graphs, "PLACES", 8)
    monkeypatch.setattr(graphs, "RECORDED_AFTER", 3)
    return []


def replaying(model, recordings) -> Decoder:
    """A decoder whose replay is the same computation on the same memory."""
    decoder = Decoder(model)

    def record(step):
        recordings.append(step())
        return step

    decoder.step.graphs = Graphs(decoder.step._run, decoder.step.rotations, record)
    return decoder


@pytest.mark.parametrize("batch_size", [1, 3, 44])
def test_replayed_steps_give_what_launched_ones_give(batch_size, recordings):
    model, prompts = model_of("1,(2)^2", num_key_value_heads=2), prompts_of()
    [free, *_] = Decoder(model).decode(prompts, Greedy(), stops=[])
    stop = free.tokens[len(free.tokens) // 2]  # rows are dropped on the way
    found = replaying(model, recordings).decode(prompts, Greedy(), stops=[stop], batch_size=batch_size)
    assert found == Decoder(model).decode(prompts, Greedy(), stops=[stop], batch_size=batch_size)
    assert len(recordings) > 3


def test_a_graph_is_recorded_for_each_length_and_cache_and_not_for_a_few_steps(recordings):
    decoder, [prompt] = replaying(model_of("1"), recordings), prompts_of([9])
    list(decoder.stream(prompt, Greedy(), stops=[], max_new_tokens=4))
    assert not recordings
    list(decoder.stream(prompt, Greedy(), stops=[], max_new_tokens=20))
    assert len(recordings) == 3  # at 12, 16 and 24 places


def test_what_memory_held_before_is_never_seen(recordings, monkeypatch):
    model, prompts = model_of("2"), prompts_of()
    expected = Decoder(model).decode(prompts, Greedy(), stops=[])
    dirty = lambda like, *shape: like.new_full(shape, float("nan"))
    monkeypatch.setattr("frailt.inference.cache.empty", dirty)
    assert replaying(model, recordings).decode(prompts, Greedy(), stops=[]) == expected


def test_a_graph_is_recorded_of_the_step_that_was_compiled_and_of_no_other(recordings, monkeypatch):
    compiled, compiling = [], torch.compile

    def counting(graph, inputs):
        compiled.append(graph)
        return graph.forward

    monkeypatch.setattr(
        "torch.compile", lambda step, **options: compiling(step, backend=counting, fullgraph=options["fullgraph"])
    )
    decoder = Decoder(model_of("1"), "on")
    decoder.step.graphs = Graphs(decoder.step._run, decoder.step.rotations, lambda step: (step(), step)[1])
    [free, *_] = decoder.decode(prompts_of(), Greedy(), stops=[])
    decoder.decode(prompts_of(), Greedy(), stops=[free.tokens[30]])
    assert len(compiled) == 1
    list(decoder.stream(prompts_of()[0], Greedy(), stops=[]))
    list(decoder.stream(prompts_of()[1], Greedy(), stops=[], max_new_tokens=20))
    assert len(compiled) == 2


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_a_cuda_graph_gives_what_launched_steps_give():
    model, prompts = model_of("2^4").cuda(), prompts_of()
    decoder = Decoder(model, "on")
    found = decoder.decode(prompts, Greedy(), stops=[])
    assert decoder.step.graphs is not None
    assert decoder.step.graphs._replay is not None
    assert found == Decoder(model).decode(prompts, Greedy(), stops=[])
