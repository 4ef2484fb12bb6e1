"""Decoding many stories at a time, against transformers' own `generate`; and the records of completions."""

import json

import pytest
import torch
from transformers import LogitsProcessorList

from frailt import FraiLTConfig, FraiLTForCausalLM
from frailt.cli import main
from frailt.inference.cache import InPlaceCache
from frailt.inference.decoding import Drawn, Greedy, decode
from frailt.inference.prompts import read_prompts
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
    found = decode(model, prompts, Greedy(), stops=[stop], batch_size=batch_size)
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
    [found] = decode(short, [prompt], Greedy(), stops=[], max_new_tokens=11)
    assert found.tokens == by_generate(short, prompt, None, max_new_tokens=11)


def test_the_cache_serves_generate_as_it_is():
    model, [prompt] = model_of(), prompts_of([9])
    cache = InPlaceCache(model.config.num_hidden_layers, 71)
    assert by_generate(model, prompt, None, past_key_values=cache) == by_generate(model, prompt, None)


def test_a_full_cache_is_an_error_and_not_a_wrong_answer():
    model, [prompt] = model_of(), prompts_of([9])
    with pytest.raises(ValueError, match="must have room for all tokens, got 9 for its 8"):
        model(torch.tensor([prompt]), past_key_values=InPlaceCache(8, 8))


def drawn(model, prompts, numbers, batch_size=44) -> list[list[int]]:
    choose = Drawn(LogitsProcessorList(), numbers)
    return [each.tokens for each in decode(model, prompts, choose, stops=[STOP], batch_size=batch_size)]


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
        decode(model_of(), [[9] * 71], Greedy(), stops=[])


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


def test_the_reference_beginnings_are_read(reference_data):
    assert len(read_prompts(reference_data / "story-beginnings.yaml")) == 44
