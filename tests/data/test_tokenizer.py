import io
import json

import pytest
import sentencepiece
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from frailt.data.sources import SourceOptions, open_source, stripped
from frailt.data.tokenizer import (
    check_saved_tokenizer,
    encode_stories,
    load_tokenizer,
    save_tokenizer,
    story_token_ids,
    tokenizer_hash,
    train_tokenizer,
    vocabulary_size,
)

WORDS = [
    "Once",
    "upon",
    " ",
    "  ",
    "   ",
    "\n",
    "\t",
    "▁",
    "<s>",
    "</s>",
    "<unk>",
    "<0x0A>",
    "the",
    "fox",
    "123",
    "é",
    "日本",
    "🦊",
    "ﬁ",
    "…",
    "'",
    "aaaa",
]
TEXTS = st.lists(
    st.sampled_from(WORDS) | st.text(st.characters(exclude_categories=["Cs"]), max_size=4), max_size=25
).map("".join)
PLAIN_TEXTS = st.lists(st.sampled_from(WORDS[:17]), max_size=25).map("".join)


def train_plain(documents, folder, **changes):
    """A sentencepiece model with other settings than ours."""
    model = io.BytesIO()
    settings = {
        "model_type": "bpe",
        "vocab_size": 401,
        "byte_fallback": True,
        "normalization_rule_name": "identity",
        "minloglevel": 2,
    }
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=(line for document in documents for line in document.split("\n")),
        model_writer=model,
        **(settings | changes),
    )
    path = folder / "plain.model"
    path.write_bytes(model.getvalue())
    return path


def saved(tokenizer, folder):
    save_tokenizer(tokenizer, folder)
    return AutoTokenizer.from_pretrained(folder)


def text_ids(tokenizer, text):
    return tokenizer(text, split_special_tokens=True)["input_ids"]


# Equal to sentencepiece


@pytest.fixture(scope="module")
def ours(model_file, tmp_path_factory):
    """Ours as reloaded by AutoTokenizer, and sentencepiece."""
    tokenizer = saved(load_tokenizer(str(model_file)), tmp_path_factory.mktemp("ours"))
    return tokenizer, sentencepiece.SentencePieceProcessor(model_file=str(model_file))


@settings(max_examples=200, deadline=None)
@given(text=TEXTS)
@example(text="")
@example(text="  two  spaces ")
@example(text="\n a\n\n b")
@example(text="aaaaaaaaaaaa")
def test_any_text_has_the_ids_of_sentencepiece_after_bos(ours, text):
    tokenizer, processor = ours
    expected = [processor.bos_id(), *processor.encode(text)]
    assert text_ids(tokenizer, text) == expected
    assert encode_stories(tokenizer, [text]) == [expected]


@settings(max_examples=200, deadline=None)
@given(text=TEXTS)
def test_any_text_comes_back_from_its_ids(ours, text):
    tokenizer, _ = ours
    if "▁" in text:  # sentencepiece's mark for a space cannot be told from one
        return
    assert tokenizer.decode(text_ids(tokenizer, text)[1:]) == text


@pytest.fixture(
    scope="module",
    params=[
        {"remove_extra_whitespaces": True},
        {"remove_extra_whitespaces": True, "add_dummy_prefix": False},
        {"remove_extra_whitespaces": False, "add_dummy_prefix": False},
        {"byte_fallback": False, "vocab_size": 151, "character_coverage": 0.98},
        {"normalization_rule_name": "nmt_nfkc"},
        {"pad_id": 3, "bos_id": 2, "eos_id": 1},
    ],
    ids=str,
)
def other_pair(request, documents, tmp_path_factory):
    path = train_plain(documents, tmp_path_factory.mktemp("other"), **request.param)
    return load_tokenizer(str(path)), sentencepiece.SentencePieceProcessor(model_file=str(path))


@settings(max_examples=70, deadline=None)
@given(text=PLAIN_TEXTS)
@example(text="   ")
@example(text=" ▁ ")
def test_models_with_other_settings_have_the_ids_of_sentencepiece_too(other_pair, text):
    tokenizer, processor = other_pair
    assert text_ids(tokenizer, text) == [processor.bos_id(), *processor.encode(text)]


def test_the_pad_piece_of_a_model_is_kept_and_eos_stands_in_for_none(other_pair, trained):
    tokenizer, processor = other_pair
    assert tokenizer.pad_token_id == (processor.pad_id() if processor.pad_id() >= 0 else processor.eos_id())
    assert trained.pad_token_id == trained.eos_token_id == 2


@pytest.mark.reference
def test_tok512_gives_the_ids_of_sentencepiece_on_the_whole_validation_file(reference_data, tmp_path):
    path = reference_data / "tok512.model"
    stories = list(stripped(open_source(str(reference_data / "tinystories-valid.txt"), SourceOptions()).train()))
    processor = sentencepiece.SentencePieceProcessor(model_file=str(path))
    expected = [[1, *ids] for ids in processor.encode(stories)]
    tokenizer = saved(load_tokenizer(str(path)), tmp_path)
    assert tokenizer(stories)["input_ids"] == expected
    assert encode_stories(tokenizer, stories) == expected
    assert sum(map(len, expected)) == 386_055
    assert tokenizer.batch_decode([ids[1:] for ids in expected]) == processor.decode([ids[1:] for ids in expected])
    whole_file = (reference_data / "tinystories-valid.txt").read_text(encoding="utf-8")
    assert tokenizer(whole_file)["input_ids"] == [1, *processor.encode(whole_file)]


@pytest.mark.reference
def test_a_tokenizer_trained_on_the_validation_file_gives_its_text_back(reference_data):
    stories = list(stripped(open_source(str(reference_data / "tinystories-valid.txt"), SourceOptions()).train()))
    tokenizer = train_tokenizer(stories)
    assert tokenizer.batch_decode([ids[1:] for ids in encode_stories(tokenizer, stories)]) == stories


# What is saved


def test_the_saved_tokenizer_adds_bos_and_no_eos(trained, tmp_path):
    tokenizer = saved(trained, tmp_path)
    assert isinstance(tokenizer, PreTrainedTokenizerFast)
    ids = tokenizer("A fox.")["input_ids"]
    assert ids[0] == tokenizer.bos_token_id == 1
    assert not set(ids[1:]) & {1, 2}
    assert tokenizer.decode(ids, skip_special_tokens=True) == "A fox."
    assert set(tokenizer("A fox.")) == {"input_ids", "attention_mask"}


def test_prompts_can_be_padded_and_the_padding_stays_out_of_stories_and_of_what_is_saved(trained, tmp_path):
    stories = ["A fox.", "A longer story."]
    expected = encode_stories(trained, stories)
    batch = trained(stories, padding="max_length", max_length=6, truncation=True)
    assert set(map(len, batch["input_ids"])) == {6}
    assert encode_stories(trained, stories) == expected
    trained(stories, padding="max_length", max_length=6, truncation=True)
    assert encode_stories(saved(trained, tmp_path), stories) == expected
    assert json.loads((tmp_path / "tokenizer.json").read_text())["padding"] is None


def test_the_sentencepiece_model_is_kept_beside_through_any_number_of_saves(trained, tmp_path):
    folders = [tmp_path / "1", tmp_path / "2"]
    save_tokenizer(trained, folders[0])
    save_tokenizer(load_tokenizer(str(folders[0])), folders[1])
    assert (folders[0] / "tokenizer.model").read_bytes() == (folders[1] / "tokenizer.model").read_bytes()
    assert (folders[0] / "tokenizer.json").read_bytes() == (folders[1] / "tokenizer.json").read_bytes()


def test_a_sentencepiece_model_beside_that_gives_other_ids_is_not_handed_on(trained, documents, tmp_path):
    save_tokenizer(trained, tmp_path / "1")
    other = train_plain(documents, tmp_path, vocab_size=399)
    (tmp_path / "1" / "tokenizer.model").write_bytes(other.read_bytes())
    save_tokenizer(load_tokenizer(str(tmp_path / "1")), tmp_path / "2")
    assert not (tmp_path / "2" / "tokenizer.model").exists()


def test_a_folder_with_a_bare_sentencepiece_model_is_read_as_that_model(model_file, trained, tmp_path):
    (tmp_path / "tokenizer.model").write_bytes(model_file.read_bytes())
    assert tokenizer_hash(load_tokenizer(str(tmp_path))) == tokenizer_hash(trained)


def test_a_saved_tokenizer_that_gives_other_ids_is_found_out(trained, documents, tmp_path):
    save_tokenizer(trained, tmp_path)
    ids = encode_stories(trained, documents[:7])
    check_saved_tokenizer(tmp_path, documents[:7], ids)
    config = json.loads((tmp_path / "tokenizer.json").read_text())
    config["model"]["merges"] = config["model"]["merges"][:-50]
    (tmp_path / "tokenizer.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="other ids through AutoTokenizer"):
        check_saved_tokenizer(tmp_path, documents[:7], ids)


# Control tokens


def test_a_control_token_written_in_a_story_stays_text(trained):
    (ids,) = encode_stories(trained, ["He wrote <s> and </s>."])
    assert ids.count(1) == 1
    assert 2 not in ids
    assert trained.decode(ids[1:]) == "He wrote <s> and </s>."
    assert trained("a</s>")["input_ids"][-1] == 2, "outside stories a control token may be asked for, as before"


def test_a_story_stops_at_bos_or_eos(trained):
    assert story_token_ids(trained) == (1, [1, 2])


# Training


def test_the_vocabulary_is_laid_out_as_llama_has_it(trained):
    assert trained.convert_ids_to_tokens([0, 1, 2, 3, 258]) == ["<unk>", "<s>", "</s>", "<0x00>", "<0xFF>"]
    assert len(trained) == vocabulary_size(trained) == 401


def test_newlines_are_bytes_and_digits_stand_alone(trained):
    tokens = trained.tokenize("one\n1234")
    assert tokens.count("<0x0A>") == 1
    assert tokens[-4:] == ["<0x31>", "<0x32>", "<0x33>", "<0x34>"] or tokens[-4:] == ["1", "2", "3", "4"]
    assert not any("\n" in token for token in trained.get_vocab())


def test_training_is_a_function_of_the_documents(documents, trained):
    again = train_tokenizer(iter(documents), 401)
    assert tokenizer_hash(again) == tokenizer_hash(trained)
    assert again.sentencepiece_model == trained.sentencepiece_model
    assert tokenizer_hash(train_tokenizer(documents[:50], 401)) != tokenizer_hash(trained)


def test_training_reads_no_more_than_its_sample(documents):
    read = []

    def watched():
        for document in documents:
            read.append(document)
            yield document

    train_tokenizer(watched(), 401, sample_bytes=30_000)
    total = sum(len(document.encode()) for document in read)
    assert 30_000 <= total < 30_000 + max(map(len, documents))


def test_a_line_longer_than_sentencepiece_takes_is_read(tmp_path):
    tokenizer = train_tokenizer(["the fox and the hen " * 40_000], 275)
    assert "▁the" in tokenizer.get_vocab()


def test_a_null_character_does_not_hide_the_rest_of_its_line():
    assert "▁fox" in train_tokenizer(["\0fox"] * 9, 266).get_vocab()


def test_a_vocabulary_larger_than_the_documents_support_names_the_largest():
    with pytest.raises(ValueError, match=r"vocab_size must be at most \d+") as caught:
        train_tokenizer(["hello you there"], 5000)
    largest = int(str(caught.value).split("at most ")[1].split(",")[0])
    assert len(train_tokenizer(["hello you there"], largest)) == largest
    with pytest.raises(ValueError, match=f"at most {largest}"):
        train_tokenizer(["hello you there"], largest + 1)


@pytest.mark.parametrize(
    ("vocab_size", "match"), [(259, "above 259 .256 bytes"), (1, "got 1"), (262, "above 26\\d, the bytes and char")]
)
def test_a_vocabulary_too_small_names_the_smallest(vocab_size, match):
    with pytest.raises(ValueError, match=match):
        train_tokenizer(["hello you there"], vocab_size)


@pytest.mark.parametrize("documents", [[], ["\n"]])
def test_training_on_nothing_is_told(documents):
    with pytest.raises(ValueError, match="there are no documents to train it on"):
        train_tokenizer(documents, 300)


# Other tokenizers


def byte_level(folder, **special):
    """A tokenizer like GPT-2's: bytes, no BOS added."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {character: index for index, character in enumerate(alphabet)}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.post_processor = processors.ByteLevel(trim_offsets=False)
    backend.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=backend, **special).save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize(
    ("special", "stops"),
    [
        ({"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}, [256]),
        ({"eos_token": "<|endoftext|>"}, [256]),
        ({"bos_token": "<|begin|>"}, [256]),
        ({"bos_token": "<|begin|>", "eos_token": "<|end|>"}, [256, 257]),
    ],
)
def test_a_byte_level_tokenizer_starts_a_story_with_bos_or_else_eos(tmp_path, special, stops):
    tokenizer = saved(load_tokenizer(byte_level(tmp_path / "given", **special)), tmp_path / "ours")
    assert story_token_ids(tokenizer) == (256, stops)
    text = "Two  foxes,\n日本 <|endoftext|> <|begin|>"
    ids = text_ids(tokenizer, text)
    assert ids[0] == 256
    assert len(ids) == 1 + len(text.encode())
    assert encode_stories(tokenizer, [text]) == [ids]
    assert tokenizer.decode(ids[1:]) == text


def test_a_tokenizer_without_bos_and_eos_is_told(tmp_path):
    with pytest.raises(ValueError, match="neither a BOS nor an EOS token"):
        load_tokenizer(byte_level(tmp_path))


def test_padding_and_truncation_left_in_a_tokenizer_do_not_reach_the_ids(tmp_path):
    folder = byte_level(tmp_path / "given", eos_token="<|end|>")
    path = tmp_path / "given" / "tokenizer.json"
    backend = Tokenizer.from_file(str(path))
    backend.enable_truncation(5)
    backend.enable_padding(length=9, pad_id=256, pad_token="<|end|>")
    backend.save(str(path))
    assert len(encode_stories(load_tokenizer(folder), ["A longer text"])[0]) == 14


def test_a_vocabulary_with_gaps_is_as_large_as_its_largest_id(tmp_path):
    backend = Tokenizer(models.WordLevel({"a": 5, "b": 77_777, "<s>": 3}, unk_token="a"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>").save_pretrained(tmp_path)
    assert vocabulary_size(load_tokenizer(str(tmp_path))) == 77_778


def test_the_hash_is_the_same_after_saving_and_another_for_another_separator(trained, model_file, tmp_path):
    assert tokenizer_hash(saved(trained, tmp_path / "a")) == tokenizer_hash(trained)
    assert tokenizer_hash(load_tokenizer(str(model_file))) == tokenizer_hash(trained)
    one = load_tokenizer(byte_level(tmp_path / "b", bos_token="<|begin|>", eos_token="<|end|>"))
    two = load_tokenizer(byte_level(tmp_path / "c", bos_token="<|end|>", eos_token="<|begin|>"))
    assert tokenizer_hash(one) != tokenizer_hash(two)


# What a user can get wrong


@pytest.mark.parametrize("source", ["nowhere.model", "/nowhere/at/all", "a/b/c"])
def test_a_missing_tokenizer_is_told(source):
    with pytest.raises(FileNotFoundError, match=r"does not exist; give a .model file"):
        load_tokenizer(source)


def test_a_folder_without_a_tokenizer_is_told_in_one_line(tmp_path):
    with pytest.raises(ValueError, match=r"neither a sentencepiece .model file nor a Hugging Face tokenizer") as caught:
        load_tokenizer(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_sentencepiece_model_is_told(tmp_path, model_file):
    path = tmp_path / "a.model"
    for data in (b"", b"not a model, but text", model_file.read_bytes()[:1000]):
        path.write_bytes(data)
        with pytest.raises(ValueError, match="not a sentencepiece model"):
            load_tokenizer(str(path))
    with pytest.raises(ValueError, match=r"give a sentencepiece .model file, or the folder"):
        load_tokenizer(__file__)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"model_type": "unigram"}, "of type bpe is needed, got unigram; use its Hugging Face folder"),
        ({"user_defined_symbols": ["fox"]}, "user-defined or unused pieces .* are not supported"),
        ({"treat_whitespace_as_suffix": True}, "white space must be a prefix"),
    ],
)
def test_a_sentencepiece_model_whose_ids_could_not_be_kept_is_refused(documents, tmp_path, changes, match):
    with pytest.raises(ValueError, match=match):
        load_tokenizer(str(train_plain(documents, tmp_path, **changes)))
