"""Decoding many stories at a time, against transformers' own `generate`; and the records of completions."""

import json

import pytest
import torch
from transformers import LogitsProcessorList

from frailt import FraiLTConfig, FraiLTForCausalLM
from frailt.cli import main
from frailt.inference.cache import InPlaceCache, InPlaceLayer
from frailt.inference.decoding import Decoder
from frailt.inference.drawing import Drawn, Greedy
from frailt.inference.prompts import read_prompts
from frailt.inference.threads import choose_threads
from frailt.judge.completions import read_completions

STOP = 7
LENGTHS = (5, 17, 9, 2, 30)


def model_of(layout="2^4", **changes) -> FraiLTForCausalLM:
    torch.manual_seed(0)
    sizes = {"hidden_size": 24, "num_attention_heads": 6, "vocab_size": 61, "max_position_embeddings": 71}
    sizes["initializer_range"] = 0.3  # as large as this a model is sure of itself, and rounding moves no choice
    return FraiLTForCausalLM(FraiLTConfig(layout=layout, **(sizes | changes))).eval()


def prompts_of(lengths=LENGTHS) -> list[list[int]]:
    generator = torch.Generator().manual_seed(3)
    return [torch.randint(8, 61, (length,), generator=generator).tolist() for length in lengths]


def by_generate(model, prompt, stop, **more) -> list[int]:
    out = model.generate(
        torch.tensor([prompt]),
        max_new_tokens=more.pop("max_new_tokens", 71 - len(prompt)),
        do_sample=False,
        eos_token_id=stop,
        pad_token_id=2,
        **more,
    )[0, len(prompt) :].tolist()
    return out[: out.index(stop)] if stop in out else out


@pytest.mark.parametrize("batch_size", [1, 3, 44])
@pytest.mark.parametrize(("layout", "heads"), [("3", 6), ("2^4", 6), ("1,(2)^2", 2)])
def test_greedy_decoding_gives_what_generate_gives_alone(layout, heads, batch_size):
    model, prompts = model_of(layout, num_key_value_heads=heads), prompts_of()
    free = [by_generate(model, prompt, None) for prompt in prompts]
    stop = free[0][len(free[0]) // 2]  # one that some rows come to, and others do not
    found = Decoder(model).decode(prompts, Greedy(), stops=[stop], batch_size=batch_size)
    assert [each.tokens for each in found] == [by_generate(model, prompt, stop) for prompt in prompts]
    assert [each.ended for each in found] == [stop in tokens for tokens in free]
    assert any(each.ended for each in found)
    assert max(len(prompt) + len(each.tokens) for prompt, each in zip(prompts, found, strict=True)) <= 71


def test_fewer_iterations_decode_too():
    model = model_of()
    model.config.iterations = 2
    short = FraiLTForCausalLM(model.config).eval()
    short.load_state_dict(model.state_dict())
    [prompt] = prompts_of([9])
    [found] = Decoder(short).decode([prompt], Greedy(), stops=[], max_new_tokens=11)
    assert found.tokens == by_generate(short, prompt, None, max_new_tokens=11)


def test_the_cache_serves_generate_as_it_is():
    model, [prompt] = model_of(), prompts_of([9])
    cache = InPlaceCache(model.config.num_hidden_layers, 71)
    assert by_generate(model, prompt, None, past_key_values=cache) == by_generate(model, prompt, None)


def test_attention_gets_keys_and_values_that_its_fused_kernel_takes():
    layer, whole = InPlaceLayer(9), torch.rand(2, 3, 9, 16)
    for begin, end in ((0, 5), (5, 8), (8, 9)):
        keys, values = layer.update(whole[:, :, begin:end], whole[:, :, begin:end] + 1)
        assert keys.equal(whole[:, :, :end])
        assert values.equal(whole[:, :, :end] + 1)
        assert keys.stride(-1) == 1 or end - begin == 1  # else it takes the scores of all pairs apart


def test_rotations_that_depend_on_the_length_are_refused():
    rope = {"rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0] * 2, "long_factor": [2.0] * 2}
    rope |= {"original_max_position_embeddings": 32, "factor": 4.0}
    with pytest.raises(ValueError, match=r"rope_type must be one whose rotations are the same .* got longrope"):
        Decoder(model_of(rope_parameters=rope))


def test_a_full_cache_is_an_error_and_not_a_wrong_answer():
    model, [prompt] = model_of(), prompts_of([9])
    with pytest.raises(ValueError, match="must have room for all tokens, got 9 for its 8"):
        model(torch.tensor([prompt]), past_key_values=InPlaceCache(8, 8))


def drawn(model, prompts, numbers, batch_size=44) -> list[list[int]]:
    choose = Drawn(LogitsProcessorList(), numbers)
    return [each.tokens for each in Decoder(model).decode(prompts, choose, stops=[STOP], batch_size=batch_size)]


def test_what_a_row_draws_depends_on_its_own_numbers_alone():
    model, prompts = model_of(initializer_range=0.1), prompts_of()
    numbers = torch.rand(5, 71, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    together = drawn(model, prompts, numbers)
    assert together == drawn(model, prompts, numbers, batch_size=2)
    assert together == [drawn(model, [prompts[i]], numbers[i : i + 1])[0] for i in range(5)]
    assert together != drawn(model, prompts, numbers.flip(0))


def test_tokens_are_drawn_as_often_as_they_are_probable():
    logits = torch.tensor([[0.0, 1.0, -torch.inf, 2.0, 0.5]]).repeat(20000, 1)
    numbers = torch.rand(20000, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    found = Drawn(LogitsProcessorList(), numbers)(logits, torch.arange(20000), 0).bincount(minlength=5) / 20000
    assert torch.allclose(found, logits[0].softmax(-1), atol=0.012)
    assert found[2] == 0
    ends = Drawn(LogitsProcessorList(), torch.tensor([[0.0], [1.0 - 2**-53]], dtype=torch.float64))
    assert ends(logits[:2], torch.arange(2), 0).tolist() == [0, 4]


def test_a_prompt_without_room_is_refused():
    with pytest.raises(ValueError, match="from 1 to 70 tokens, got 71"):
        Decoder(model_of()).decode([[9] * 71], Greedy(), stops=[])
    assert Decoder(model_of()).decode([], Greedy(), stops=[]) == []


# The command


def command(out, *checkpoints, more=()):
    return ["complete", "--checkpoints", *map(str, checkpoints), f"--out={out}", "--threads=1", *more]


@pytest.fixture
def few(tmp_path):
    (tmp_path / "few.yaml").write_text("- One day\n- - Tom and his dog\n- |-\n  Lily\n\n  sat\n")
    return ["--prompts", str(tmp_path / "few.yaml"), "--samples", "2", "--max_new_tokens", "9"]


def test_completions_are_kept_as_records_that_the_judge_reads(run, plain_run, few, tmp_path, capsys):
    assert main(command(tmp_path / "out", run, plain_run, more=few)) == 0
    assert capsys.readouterr().out.count("6 completions") == 2
    read = read_completions(tmp_path / "out" / "2^2")
    assert [(story.prompt_id, story.sample) for story in read.stories] == [(i, k) for i in range(3) for k in range(2)]
    assert [story.prompt for story in read.stories][::2] == ["One day", "Tom and his dog", "Lily\n\nsat"]
    assert all(story.new_tokens <= 9 for story in read.stories)
    assert read.about["sampling"]["temperature"] == 1.0
    record = json.loads((run / "run.json").read_text())
    assert read.about["validation_nats_per_token"] == record["validation"]["nats_per_token"]
    assert read.about["trained_tokens"] == record["tokens"] == 24 * 8 * 47
    assert read.about["data_hash"] == record["data"]["data_hash"]
    assert read_completions(tmp_path / "out" / "2").about["model"]["layout"] == "2"


def test_a_completion_does_not_depend_on_batches_and_goes_on_a_shorter_one(run, few, tmp_path):
    texts = []
    for name, more in (("a", []), ("b", ["--batch_size", "1"]), ("c", ["--max_new_tokens", "4"])):
        assert main(command(tmp_path / name, run, more=[*few, *more])) == 0
        texts.append([story.completion for story in read_completions(tmp_path / name / "2^2").stories])
    assert texts[0] == texts[1]
    assert len(set(texts[0])) > 3
    assert all(long.startswith(short) for long, short in zip(texts[0], texts[2], strict=True))


def test_finished_completions_are_left_and_other_settings_refused(run, few, tmp_path, capsys):
    assert main(command(tmp_path / "out", run, more=few)) == 0
    path = tmp_path / "out" / "2^2" / "completions.jsonl"
    before = path.stat().st_mtime_ns
    assert main(command(tmp_path / "out", run, more=few)) == 0
    assert path.stat().st_mtime_ns == before
    assert main(command(tmp_path / "out", run, more=[*few, "--temperature", "0.5"])) == 2
    assert "out holds completions with another sampling" in capsys.readouterr().err


@pytest.mark.parametrize("damage", [lambda lines: lines.unlink(), lambda lines: lines.write_text("")])
def test_damaged_completions_are_told_again(damage, run, few, tmp_path, capsys):
    assert main(command(tmp_path / "out", run, more=few)) == 0
    lines = tmp_path / "out" / "2^2" / "completions.jsonl"
    whole = lines.read_text()
    damage(lines)
    capsys.readouterr()
    assert main(command(tmp_path / "out", run, more=few)) == 0
    assert "completions.jsonl beside it is damaged, and both are written anew" in capsys.readouterr().err
    assert lines.read_text() == whole


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        (["--samples", "0"], "samples must be 1 or more, got 0"),
        (["--temperature", "0"], "samples must be 1, and top_p and top_k be left out"),
        (["--top_p", "1.5"], "top_p must be above 0 and at most 1, got 1.5"),
        (["--prompts", "nowhere.txt"], "nowhere.txt"),
    ],
)
def test_bad_input_is_one_line(more, complaint, run, tmp_path, capsys):
    assert main(command(tmp_path / "out", run, more=more)) == 2
    said = capsys.readouterr().err
    assert complaint in said
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_the_shipped_beginnings_are_twenty_and_stop_in_the_middle():
    prompts = read_prompts()
    assert len(prompts) == len(set(prompts)) == 20
    assert not any(prompt.endswith(".") for prompt in prompts)


@pytest.mark.parametrize("text", ["a: b", "- 1", "- [a, b]", "[", "[]"])
def test_a_yaml_file_of_something_else_is_refused(text, tmp_path):
    (tmp_path / "p.yaml").write_text(text)
    with pytest.raises(ValueError, match="prompts must"):
        read_prompts(tmp_path / "p.yaml")


@pytest.mark.parametrize("name", ["prompts.txt", "prompts.yaml"])
def test_a_byte_order_mark_is_no_part_of_a_beginning(name, tmp_path):
    text = "Once upon\n" if name.endswith("txt") else "- Once upon\n"
    (tmp_path / name).write_text(text, encoding="utf-8-sig")
    assert read_prompts(tmp_path / name) == ["Once upon"]


def test_the_reference_beginnings_are_read(reference_data):
    assert len(read_prompts(reference_data / "story-beginnings.yaml")) == 44


# The compiled step


@pytest.fixture(scope="module")
def compiled():
    """Of a model, whose decoder compiles once for all tests."""
    model = model_of("1^2")
    return model, Decoder(model, "on")


@pytest.mark.parametrize("batch_size", [3, 44])
def test_the_compiled_step_gives_what_the_plain_one_gives(compiled, batch_size):
    model, decoder = compiled
    prompts = prompts_of()
    free = [by_generate(model, prompt, None) for prompt in prompts]
    stop = free[0][len(free[0]) // 2]
    found = decoder.decode(prompts, Greedy(), stops=[stop], batch_size=batch_size)
    assert found == Decoder(model).decode(prompts, Greedy(), stops=[stop])


def test_one_graph_serves_all_numbers_of_rows_and_lengths(compiled):
    from torch._dynamo.utils import counters

    _, decoder = compiled
    decoder.decode(prompts_of(), Greedy(), stops=[], max_new_tokens=3)
    before = counters["stats"]["unique_graphs"]
    decoder.decode(prompts_of((2, 2, 9, 31, 4, 4, 8)), Greedy(), stops=[], max_new_tokens=30)
    decoder.decode(prompts_of((2, 3)), Greedy(), stops=[11], max_new_tokens=7)
    assert counters["stats"]["unique_graphs"] == before > 0


def test_compiling_waits_until_it_pays(monkeypatch):
    decoder = Decoder(model_of("1"), "auto")
    monkeypatch.setattr("frailt.inference.decoding.REPAYS_AFTER_S", 1e9)
    decoder.decode(prompts_of(), Greedy(), stops=[], max_new_tokens=2, batch_size=1)
    assert not decoder.step.compiled
    monkeypatch.setattr("frailt.inference.decoding.REPAYS_AFTER_S", 1e-9)
    monkeypatch.setattr("frailt.inference.step.Step.compile", lambda step: setattr(step, "compiled", True))
    decoder.decode(prompts_of(), Greedy(), stops=[], max_new_tokens=2, batch_size=44)
    assert not decoder.step.compiled  # nothing is left after a first batch
    decoder.decode(prompts_of(), Greedy(), stops=[], max_new_tokens=2, batch_size=1)
    assert decoder.step.compiled


def test_asking_to_compile_without_a_compiler_is_refused(monkeypatch):
    monkeypatch.setattr("frailt.inference.step.missing_for_compile", lambda device: "a C++ compiler")
    with pytest.raises(ValueError, match=r"compile must be off where a C\+\+ compiler is missing, got on: install it"):
        Decoder(model_of("1"), "on")
    Decoder(model_of("1"), "auto").decode(prompts_of(), Greedy(), stops=[], max_new_tokens=2, batch_size=1)


def test_a_stream_gives_what_decoding_gives_and_the_stop():
    model, [prompt] = model_of(), prompts_of([9])
    free = by_generate(model, prompt, None)
    stop = free[len(free) // 2]
    [found] = Decoder(model).decode([prompt], Greedy(), stops=[stop])
    assert list(Decoder(model).stream(prompt, Greedy(), stops=[stop])) == [*found.tokens, stop]
    assert list(Decoder(model).stream(prompt, Greedy(), stops=[], max_new_tokens=5)) == free[:5]


# Threads


@pytest.fixture
def threads():
    """A machine with four cores, for torch; put back afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def test_the_number_of_threads_is_that_of_the_fastest_steps(threads, monkeypatch):
    rates = {1: 3.0, 2: 9.0, 4: 5.0}
    monkeypatch.setattr("frailt.inference.threads._Steps.per_second", lambda *_: rates[torch.get_num_threads()])
    chosen = choose_threads(model_of("1"), 10)
    assert chosen == "threads 2, as measured (tokens/s by threads: 1: 30, 2: 90, 4: 50)"
    assert torch.get_num_threads() == 2


def test_threads_that_are_asked_for_are_not_measured(threads):
    assert choose_threads(model_of("1"), 10, 3) == ""
    assert torch.get_num_threads() == 3


def test_threads_are_measured_by_real_steps(threads, monkeypatch):
    monkeypatch.setattr("frailt.inference.threads.MEASURE_S", 0.01)
    assert choose_threads(model_of("1^2", num_key_value_heads=2), 3).startswith("threads ")
    assert torch.get_num_threads() in (1, 2, 4)
