import math

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from frailt import FraiLTConfig, FraiLTForCausalLM
from frailt.cli import main
from frailt.data.tokenizer import story_token_ids
from frailt.inference.config import GenerateConfig
from frailt.inference.decoding import Decoder
from frailt.inference.drawing import Sampling
from frailt.inference.generate import tell
from frailt.training.checkpoint import load_checkpoint, save_checkpoint

GREEDY = Sampling(temperature=0)
PROMPTS = ["One day, Tom", "Lily had a red ball. She", "", "The dog", "A cat sat on the mat and saw a big bird"]


@pytest.fixture(scope="module")
def loaded(run):
    """A model whose weights are so large that every token it reads changes what it tells, and a tokenizer."""
    torch.manual_seed(0)
    _, tokenizer = load_checkpoint(run)
    config = FraiLTConfig(
        layout="1,1^2",
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_attention_heads=2,
        max_position_embeddings=47,
        initializer_range=0.7,
    )
    return FraiLTForCausalLM(config).eval(), tokenizer


@pytest.fixture(scope="module")
def always(byte_tokenizer):
    """Makes a model that always emits one token, whatever it reads, with a context of 23."""

    def always(token: str):
        config = FraiLTConfig(
            layout="1^2",
            vocab_size=len(byte_tokenizer),
            hidden_size=8,
            num_attention_heads=2,
            max_position_embeddings=23,
            tie_word_embeddings=False,
            iteration_encoding="none",
        )
        model = FraiLTForCausalLM(config)
        with torch.no_grad():
            for name, weight in model.named_parameters():
                if "o_proj" in name or "down_proj" in name:
                    weight.zero_()  # blocks add nothing, so the head sees the embedding, which is the same for all
            model.model.embed_tokens.weight.fill_(1.0)
            model.lm_head.weight.fill_(-1.0)
            model.lm_head.weight[byte_tokenizer.convert_tokens_to_ids(token)] = 1.0
        return model

    return always


def stories(model, tokenizer, prompts, sampling=GREEDY, **options):
    return list(tell(Decoder(model.eval()), tokenizer, prompts, sampling, **options))


def output_of(capsys, *arguments) -> str:
    capsys.readouterr()
    assert main(["generate", *map(str, arguments)]) == 0
    return capsys.readouterr().out


# What is told


def test_greedy_takes_the_likeliest_token_by_a_loop_without_cache_or_padding(loaded):
    model, tokenizer = loaded
    [told] = stories(model, tokenizer, [PROMPTS[0]])
    ids, stops = tokenizer(PROMPTS[0])["input_ids"], story_token_ids(tokenizer)[1]
    with torch.no_grad():
        while len(ids) < 47:
            ids.append(int(model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
            if ids[-1] in stops:
                break
    expected = tokenizer.decode(ids, skip_special_tokens=True)
    assert str(told) == expected
    assert told.ended == (ids[-1] in stops)
    assert len(told.completion) > 0


@pytest.mark.parametrize("max_new_tokens", [None, 9])
def test_a_story_in_a_padded_batch_is_the_story_told_alone(max_new_tokens, loaded):
    model, tokenizer = loaded
    together = stories(model, tokenizer, PROMPTS, max_new_tokens=max_new_tokens, batch_size=5)
    assert len({story.completion for story in together}) == 5
    assert together == [stories(model, tokenizer, [prompt], max_new_tokens=max_new_tokens)[0] for prompt in PROMPTS]
    assert together == stories(model, tokenizer, PROMPTS, max_new_tokens=max_new_tokens, batch_size=2)


def test_a_long_prompt_does_not_shorten_the_stories_of_later_batches(always, byte_tokenizer):
    long, short = "x" * 20, "y"
    told = stories(always("a"), byte_tokenizer, [long, short, short], batch_size=1)
    # BOS, the prompt and the story fill the context of 23.
    assert [len(story.completion) for story in told] == [2, 21, 21]


def test_a_long_prompt_does_not_shorten_the_stories_beside_it(always, byte_tokenizer):
    told = stories(always("a"), byte_tokenizer, ["x" * 20, "y", ""], batch_size=3)
    assert [len(story.completion) for story in told] == [2, 21, 22]
    assert not any(story.ended for story in told)


def test_a_story_is_at_most_so_many_tokens_as_asked(always, byte_tokenizer):
    told = stories(always("a"), byte_tokenizer, ["y", "x" * 20], max_new_tokens=5)
    assert [story.completion for story in told] == ["aaaaa", "aa"]


@pytest.mark.parametrize("token", ["<s>", "</s>"])
def test_a_story_ends_where_the_next_begins_and_at_eos(token, always, byte_tokenizer):
    told = stories(always(token), byte_tokenizer, ["Tom", ""])
    assert [(story.prompt, story.completion, story.ended) for story in told] == [("Tom", "", True), ("", "", True)]


def test_a_completion_keeps_the_space_at_its_beginning(loaded, run):
    model, tokenizer = load_checkpoint(run)
    word = tokenizer("the", add_special_tokens=False)["input_ids"]
    start = tokenizer.convert_ids_to_tokens(word[0])
    assert start.startswith("▁")
    with torch.no_grad():  # the head is tied: let the word's embedding be what every state points at
        for name, weight in model.named_parameters():
            if "o_proj" in name or "down_proj" in name or "encodings" in name:
                weight.zero_()
        model.model.embed_tokens.weight.normal_(std=0.01)
        model.model.embed_tokens.weight[:, 0] = 1.0
        model.model.embed_tokens.weight[word[0], 0] = 9.0
    [told] = stories(model, tokenizer, ["Tom saw"], max_new_tokens=2)
    assert str(told) == "Tom saw" + 2 * start.replace("▁", " ")


def test_without_a_prompt_a_story_begins_from_bos(loaded):
    model, tokenizer = loaded
    [told] = stories(model, tokenizer, [""], max_new_tokens=6)
    with torch.no_grad():
        ids = [tokenizer.bos_token_id]
        for _ in range(6):
            ids.append(int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
    assert told.completion == tokenizer.decode(ids[1:])


def test_a_control_token_written_in_a_prompt_is_text(always, byte_tokenizer):
    told = stories(always("a"), byte_tokenizer, ["<s></s>"])
    assert len(told[0].completion) == 23 - 1 - len("<s></s>")


# Drawing


def test_the_same_seed_tells_the_same_stories_and_another_seed_others(loaded):
    model, tokenizer = loaded
    first = stories(model, tokenizer, PROMPTS, Sampling(), seed=1)
    assert first == stories(model, tokenizer, PROMPTS, Sampling(), seed=1)
    assert first != stories(model, tokenizer, PROMPTS, Sampling(), seed=2)


def test_settings_that_leave_one_token_give_the_greedy_story(loaded):
    model, tokenizer = loaded
    greedy = stories(model, tokenizer, PROMPTS)
    assert stories(model, tokenizer, PROMPTS, Sampling(top_k=1)) == greedy
    assert stories(model, tokenizer, PROMPTS, Sampling(top_p=1e-6)) == greedy
    assert stories(model, tokenizer, PROMPTS, Sampling(temperature=1e-4)) == greedy
    assert stories(model, tokenizer, PROMPTS, Sampling()) != greedy


# The command


def test_samples_are_so_many_stories_of_each_prompt(run, capsys, tmp_path):
    (tmp_path / "prompts.txt").write_text("One day\n\n  \nThe dog\n")
    arguments = ["--checkpoint", run, "--prompts_file", tmp_path / "prompts.txt", "--samples", 3]
    told = output_of(capsys, *arguments).split("\n---\n\n")
    assert len(told) == 6
    assert all(story.startswith("One day") for story in told[:3])
    assert all(story.startswith("The dog") for story in told[3:])
    assert len(set(told)) == 6


@pytest.mark.parametrize("prompt", ["One day, Tom", "A fox 🦊 and", None])
@pytest.mark.parametrize("drawn", [["--greedy", "true"], ["--temperature", "1.5", "--seed", "3"]])
def test_streaming_shows_exactly_the_story(prompt, drawn, run, capsys):
    arguments = ["--checkpoint", run, *drawn] + ([] if prompt is None else ["--prompt", prompt])
    whole = output_of(capsys, *arguments)
    assert output_of(capsys, *arguments, "--stream", "true") == whole
    assert whole.startswith(prompt or "")
    assert len(whole) > 10


def test_streaming_shows_no_half_characters_nor_ends(always, byte_tokenizer, capsys, tmp_path):
    # "é" is two bytes: a model that emits only its first byte never finishes a character.
    model = always(byte_tokenizer.convert_ids_to_tokens(byte_tokenizer("é", add_special_tokens=False)["input_ids"][0]))
    save_checkpoint(tmp_path / "half", model, byte_tokenizer, "")
    arguments = ["--checkpoint", tmp_path / "half", "--prompt", "caf", "--greedy", "true"]
    assert output_of(capsys, *arguments, "--stream", "true") == output_of(capsys, *arguments)


def test_iterations_may_be_others_than_trained(run, capsys):
    arguments = ["--checkpoint", run, "--greedy", "true", "--prompt", "One day"]
    trained = output_of(capsys, *arguments)
    assert output_of(capsys, *arguments, "--iterations", 2) == trained
    model, tokenizer = load_checkpoint(run, iterations=5)
    assert output_of(capsys, *arguments, "--iterations", 5) == f"{stories(model, tokenizer, ['One day'])[0]}\n"


# What cannot be told


BAD = [
    ({"samples": 0}, "samples must be 1 or more, got 0"),
    ({"max_new_tokens": 0}, "max_new_tokens must be 1 or more, got 0"),
    ({"batch_size": 0}, "batch_size must be 1 or more, got 0"),
    ({"threads": 0}, "threads must be 1 or more, got 0"),
    ({"top_k": -1}, "top_k must be 0 or more, got -1"),
    ({"seed": -1}, "seed must be 0 or more, got -1"),
    ({"seed": 2**64}, "seed must be below 2\\^64"),
    ({"temperature": 0.0}, "temperature must be above 0, got 0.0; for the likeliest token use --greedy true"),
    ({"temperature": math.nan}, "temperature must be above 0, got nan"),
    ({"top_p": 0.0}, "top_p must be above 0 and at most 1, got 0.0"),
    ({"top_p": 1.1}, "top_p must be above 0 and at most 1, got 1.1"),
    ({"prompt": "a", "prompts_file": "b"}, "only one of prompt and prompts_file may be given"),
    ({"greedy": True, "samples": 2}, "samples must be 1 where greedy is true"),
    ({"stream": True, "samples": 2}, "stream shows one story"),
    ({"stream": True, "prompts_file": "b"}, "stream shows one story"),
]


@pytest.mark.parametrize(("changes", "message"), BAD)
def test_a_bad_value_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        GenerateConfig(checkpoint="c", **changes)


def test_the_largest_seed_can_be_drawn_with(always, byte_tokenizer):
    assert stories(always("a"), byte_tokenizer, ["x"], Sampling(), seed=2**64 - 1)


@pytest.mark.parametrize("length", [22, 23, 400])
def test_a_prompt_that_leaves_no_room_is_refused_before_any_story_is_told(length, always, byte_tokenizer):
    with pytest.raises(ValueError, match=f"prompt must leave room in the context of 23 tokens, got {length + 1} in 'x"):
        stories(always("a"), byte_tokenizer, ["short", "x" * length], batch_size=1)


def test_characters_that_the_tokenizer_does_not_know_are_named(always):
    backend = Tokenizer(models.WordLevel({"<unk>": 0, "<s>": 1, "</s>": 2, "a": 3, "b": 4}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    with pytest.raises(ValueError, match=r"characters that the tokenizer knows, got é 🦊 in 'abé🦊'$"):
        stories(always("a"), tokenizer, ["ab", "abé🦊"])
    assert len(stories(always("a"), tokenizer, ["ab"])) == 1


def test_a_tokenizer_with_byte_fallback_knows_every_character(loaded):
    model, tokenizer = loaded
    prompt = "🦊 é 北"
    [told] = stories(model, tokenizer, [prompt])
    assert str(told).startswith(prompt)
    assert len(str(told)) > len(prompt)
