"""Decoding under early exit: the same stories as `model.generate`, from the command too."""

import pytest
import torch

from frailt import FraiLTConfig, FraiLTForCausalLM
from frailt.cli import main
from frailt.inference.config import GenerateConfig
from frailt.inference.decoding import Decoder
from frailt.inference.drawing import Greedy

PROMPTS = [[1, 7, 19, 4], [1], [1, 30, 8], [1, 9, 9, 9, 23]]


@pytest.fixture(scope="module")
def model() -> FraiLTForCausalLM:
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 32}
    config = FraiLTConfig(
        layout="1,(2)^4,1^4", **sizes, max_position_embeddings=23, initializer_range=0.5, eos_token_id=None
    )
    return FraiLTForCausalLM(config).double().eval()


@pytest.mark.parametrize(
    "settings",
    [
        {"criterion": "l2", "kv": "copy", "threshold": 0.25, "minimum": 1},
        {"criterion": "kl", "kv": "project", "threshold": 0.02},
    ],
    ids=["l2-copy", "kl-project"],
)
def test_decoding_a_batch_gives_what_generate_gives_each_prompt(model, settings):
    view = model.with_early_exit(**settings)
    wanted = [
        view.generate(torch.tensor([prompt]), max_new_tokens=8, do_sample=False)[0, len(prompt) :].tolist()
        for prompt in PROMPTS
    ]
    assert len({tuple(story) for story in wanted}) > 2
    view.exit_tally.reset()
    decoder = Decoder(view, compile="auto")
    options = {"stops": [], "max_new_tokens": 8}
    found = decoder.decode(PROMPTS, Greedy(), **options)
    assert [story.tokens for story in found] == wanted
    assert all(1 < mean < 4 for mean in view.exit_tally.mean_iterations.values())
    assert list(decoder.stream(PROMPTS[2], Greedy(), **options)) == wanted[2]
    # Rows that have ended are dropped, and their caches with them.
    stops = [wanted[0][2]]
    for story, whole in zip(decoder.decode(PROMPTS, Greedy(), stops=stops, max_new_tokens=8), wanted, strict=True):
        assert story.tokens == whole[: whole.index(stops[0]) if stops[0] in whole else 8]


def test_rows_that_ended_are_neither_run_nor_counted(model):
    view = model.with_early_exit(threshold=0.25)
    decoder, prompts = Decoder(view), [[1, 7, 19, 4], [1, 30, 8, 2]]
    [short, _] = decoder.decode(prompts, Greedy(), stops=[], max_new_tokens=8)
    view.exit_tally.reset()
    found = decoder.decode(prompts, Greedy(), stops=short.tokens[:1], max_new_tokens=8)
    read = [len(prompt) + max(0, len(story.tokens) - (not story.ended)) for prompt, story in zip(prompts, found)]  # noqa: B905
    assert found[0].ended
    assert set(view.exit_tally.tokens.values()) == {sum(read)}


def test_steps_under_early_exit_are_not_compiled(model):
    view = model.with_early_exit(threshold=0.25)
    with pytest.raises(
        ValueError, match=r"^compile must be off with early exit, which makes other shapes in every step"
    ):
        Decoder(view, compile="on")


def test_the_command_tells_with_early_exit_and_says_what_it_saved(run, capsys):
    arguments = ["generate", "--checkpoint", str(run), "--greedy", "true", "--prompt", "One day", "--threads", "1"]

    def told(*more: str) -> tuple[str, str]:
        assert main([*arguments, *more]) == 0
        output = capsys.readouterr()
        return output.out, output.err

    plain, _ = told("--iterations", "3")
    full, said = told("--iterations", "3", "--exit_threshold", "0", "--exit_criterion", "kl")
    assert full == plain
    assert said.endswith("frailt generate: iterations per token: group 1 3.00; 0.0% of these loops' FLOPs saved\n")
    early = ["--iterations", "3", "--exit_threshold", "5", "--exit_kv", "project", "--exit_minimum", "1"]
    story, said = told(*early)
    assert said.startswith("frailt generate: iterations per token: group 0 1.00, group 1 1.00; ")
    assert told(*early, "--stream") == (story, said)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"exit_threshold": -1.0}, r"exit_threshold must be a finite number of 0 or more, got -1\.0: 0 is full depth"),
        (
            {"exit_threshold": 0.1, "exit_minimum": 0},
            "exit_minimum must be a whole number of iterations, 1 or more, got",
        ),
        ({"exit_criterion": "kl"}, "exit_criterion must come with exit_threshold, got 'kl' alone"),
        ({"exit_minimum": 3}, "exit_minimum must come with exit_threshold, got 3 alone"),
        ({"exit_threshold": 0.1, "compile": "on"}, "compile must be off or auto with exit_threshold, got on: "),
    ],
)
def test_a_bad_value_is_one_line(settings, message):
    with pytest.raises(ValueError, match=f"^{message}") as raised:
        GenerateConfig(checkpoint="c", **settings)
    assert "\n" not in str(raised.value)


def test_what_does_not_fit_the_checkpoint_is_one_line(run, plain_run, capfd):
    for checkpoint, more, message in (
        (plain_run, [], "early exit needs a group that runs more than once, got iterations [1]: choose a layout"),
        (run, ["--exit_minimum", "3"], "minimum must be at most the 2 iterations that loops run now, got 3: lower it"),
    ):
        assert main(["generate", "--checkpoint", str(checkpoint), "--exit_threshold", "0.1", *more]) == 2
        [line] = capfd.readouterr().err.splitlines()
        assert line.startswith(f"frailt generate: error: {message}")
