"""Tasks run by lm-eval itself: `make test-tasks` brings it."""

import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("lm_eval", reason="needs the extra tasks: make test-tasks")

from lm_eval.api.instance import Instance

from frailt.cli import main
from frailt.data.packing import PackedRows, PreparedData
from frailt.data.tokenizer import encode_stories
from frailt.evaluation.config import EvaluateConfig
from frailt.evaluation.harness import TaskModel
from frailt.evaluation.loss import evaluate
from frailt.exports.config import ExportConfig
from frailt.exports.export import export
from frailt.tasks import FOLDER
from frailt.tasks.stories import read_stories
from frailt.training.checkpoint import load_checkpoint
from frailt.training.validation import validation_loss

TASKS = ("frailt_stories_perplexity", "frailt_stories_ending", "frailt_stories_name")


def run_tasks(checkpoint, *tasks, **changes):
    settings = {"device": "cpu", "threads": 1}
    return evaluate(EvaluateConfig(checkpoint=str(checkpoint), tasks=list(tasks), **(settings | changes)))


@pytest.fixture(scope="module")
def short(tmp_path_factory) -> Path:
    """Five stories of three sentences."""
    path = tmp_path_factory.mktemp("stories") / "short.txt"
    path.write_text(
        "<|endoftext|>".join(
            f"{a} saw {b} on the hill. So {b} ran and ran. He told {a} to run so far too."
            for a, b in [("Ann", "Bob"), ("Tim", "Sue"), ("Rose", "Max"), ("Lily", "Jack"), ("Ben", "Mia")]
        )
    )
    return path


@pytest.fixture(scope="module")
def long_run(prepared, tiny, tmp_path_factory) -> Path:
    """A small `2^2` whose context holds whole stories."""
    from frailt.training.train import train

    out = tmp_path_factory.mktemp("long") / "2^2"
    train(tiny(prepared, out, context=800, batch_rows=2, steps=4, learning_rate=0.01))
    return out


@pytest.fixture(scope="module")
def found(long_run, prepared):
    return run_tasks(long_run, "frailt_stories", data=str(prepared))


# Numbers


def test_bits_per_byte_are_those_of_frailt_evaluate_story_by_story(long_run, prepared, found):
    """Where stories fit into the context; alone, since a stream has other stories before them, and their ends."""
    model, tokenizer = load_checkpoint(long_run)
    stories = read_stories(str(prepared))
    ids = encode_stories(tokenizer, stories)
    assert max(map(len, ids)) <= 801
    losses = [validation_loss(model, PackedRows(np.array(story), 800)) for story in ids]
    nats = sum(loss.nats_per_token * loss.targets for loss in losses)
    expected = nats / math.log(2) / sum(len(story.encode()) for story in stories)
    result = found.results["frailt_stories_perplexity"]
    assert result["bits_per_byte,none"] == pytest.approx(expected, rel=1e-6)
    assert result["byte_perplexity,none"] == pytest.approx(2**expected, rel=1e-6)
    words = sum(len(story.split()) for story in stories)
    assert result["word_perplexity,none"] == pytest.approx(math.exp(nats / words), rel=1e-5)
    assert PreparedData.open(prepared).split("validation").manifest.documents == len(stories)


def test_a_task_gives_the_same_alone_as_in_its_group(long_run, prepared, found):
    for task in TASKS:
        alone = run_tasks(long_run, task, data=str(prepared)).results[task]
        values = {metric: value for metric, value in alone.items() if isinstance(value, float)}
        assert values
        assert values == pytest.approx({metric: found.results[task][metric] for metric in values}, rel=1e-5)


def test_endings_and_names_are_scored_by_their_own_tokens(long_run, prepared):
    from frailt.tasks.stories import endings, names

    model, tokenizer = load_checkpoint(long_run)
    stories = read_stories(str(prepared))

    @torch.no_grad()
    def nats(before, asked):
        first, whole = len(tokenizer.encode(before)), tokenizer.encode(before + asked)
        logits = model(torch.tensor([whole[:-1]])).logits[0].log_softmax(-1)
        targets = torch.tensor(whole[first:])
        return logits[-len(targets) :].gather(1, targets[:, None]).sum().item()

    rows = endings(stories)
    right = [np.argmax([nats(before, row["ending"]) for before in row["befores"]]) == row["label"] for row in rows]
    result = run_tasks(long_run, "frailt_stories_ending", "frailt_stories_perplexity", data=str(prepared)).results
    assert result["frailt_stories_ending"]["acc,none"] == pytest.approx(sum(right) / len(right))
    told = [nats(row["before"], row["name"]) for row in names(stories)]
    result = run_tasks(long_run, "frailt_stories_name", data=str(prepared)).results["frailt_stories_name"]
    assert result["perplexity,none"] == pytest.approx(math.exp(-sum(told) / len(told)), rel=1e-4)


def test_requests_of_one_text_that_ask_for_different_parts_of_it_are_told_apart(long_run):
    """What lm-eval's own model gets wrong."""
    model, tokenizer = load_checkpoint(long_run)
    asked = TaskModel(model.eval(), tokenizer, context=800, batch_rows=4)
    pairs = [("Tom saw", " the dog run."), ("Tom saw the dog", " run."), ("", "Tom saw the dog run.")]
    together = asked.loglikelihood([Instance("loglikelihood", {}, pair, 0) for pair in pairs], disable_tqdm=True)
    alone = [asked.loglikelihood([Instance("loglikelihood", {}, pair, 0)], disable_tqdm=True)[0] for pair in pairs]
    assert [one[0] for one in together] == pytest.approx([one[0] for one in alone], rel=1e-5)
    assert len({round(one[0], 3) for one in alone}) == 3


def test_rolling_documents_begin_with_one_bos(long_run):
    model, tokenizer = load_checkpoint(long_run)
    asked = TaskModel(model.eval(), tokenizer, context=800, batch_rows=4)
    text = "Tom saw the dog run. " * 3
    (nats,) = asked.loglikelihood_rolling([Instance("loglikelihood_rolling", {}, (text,), 0)], disable_tqdm=True)
    loss = validation_loss(model, PackedRows(np.array(tokenizer.encode(text)), 800))
    assert -nats == pytest.approx(loss.nats_per_token * loss.targets, rel=1e-5)
    assert asked.add_bos_token is None


def test_other_iterations_are_another_model(long_run, prepared, found):
    other = run_tasks(long_run, "frailt_stories_perplexity", data=str(prepared), iterations=1)
    assert (found.iterations, other.iterations) == ((2, 2), (1, 1))
    gap = other.results["frailt_stories_perplexity"]["bits_per_byte,none"]
    assert abs(gap - found.results["frailt_stories_perplexity"]["bits_per_byte,none"]) > 1e-6


def test_limit_holds_for_each_task_and_builtin_stories_need_no_data(long_run):
    found = run_tasks(long_run, *TASKS, limit=2)
    assert found.documents == dict.fromkeys(TASKS, 2)
    assert found.data is None


def test_it_prints_lm_evals_table_or_one_line_of_json(found):
    assert "| - frailt_stories_ending" in str(found)
    record = json.loads(str(type(found)(**{**vars(found), "as_json": True})))
    assert record["versions"]["lm_eval"]
    assert record["task_versions"]["frailt_stories_name"] == 1
    assert record["results"]["frailt_stories_ending"]["acc,none"] == found.results["frailt_stories_ending"]["acc,none"]
    assert not {"as_json", "table"} & set(record)


def test_only_the_result_goes_to_stdout(long_run, short):
    command = ["evaluate", "--checkpoint", str(long_run), "--data", str(short), "--tasks", "frailt_stories", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "frailt", *command, "--device", "cpu"], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout)["data"] == "short.txt"
    assert done.stderr == ""


# lm-eval's own command


@pytest.mark.parametrize("to", ["llama", "hub"])
def test_an_export_gives_the_same_with_lm_evals_own_command(to, long_run, short, tmp_path):
    out = tmp_path / "exported"
    export(ExportConfig(checkpoint=str(long_run), to=to, out=str(out)))
    here = run_tasks(long_run, "frailt_stories", data=str(short)).results
    command = [sys.executable, "-m", "lm_eval", "--model", "hf", "--device", "cpu", "--include_path", str(FOLDER)]
    command += [
        "--model_args",
        f"pretrained={out},trust_remote_code=True",
        "--metadata",
        json.dumps({"stories": str(short)}),
    ]
    command += ["--tasks", "frailt_stories", "--output_path", str(tmp_path / "results")]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "DISABLE_MULTIPROC": "1"}
    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path, env=environment)
    (written,) = (tmp_path / "results").rglob("results_*.json")
    there = json.loads(written.read_text())["results"]
    for task, metric in zip(TASKS, ("bits_per_byte,none", "acc,none", "perplexity,none"), strict=True):
        assert there[task][metric] == pytest.approx(here[task][metric], rel=1e-5)


# Other tasks


MINE = """
task: mine
dataset_path: json
dataset_kwargs: {{data_files: {{test: {folder}/mine.jsonl, train: {folder}/mine.jsonl}}}}
test_split: test
fewshot_split: train
output_type: {kind}
doc_to_text: "{{{{q}}}}"
doc_to_target: "{{{{a}}}}"
{more}
"""


@pytest.fixture
def mine(tmp_path):
    """A folder with a task of the user's own."""

    def write(kind="loglikelihood", more="", question="Tom saw a"):
        rows = [{"q": f"{question} {what} and", "a": "ran"} for what in ("dog", "cat", "bee")]
        (tmp_path / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (tmp_path / "mine.yaml").write_text(MINE.format(folder=tmp_path, kind=kind, more=more))
        return str(tmp_path)

    return write


def test_tasks_of_a_folder_run_beside_shipped_ones(run, short, mine):
    found = run_tasks(run, "mine", "frailt_stories_name", tasks_path=mine(), data=str(short))
    assert found.documents == {"mine": 3, "frailt_stories_name": 5}
    assert found.num_fewshot["mine"] == 0


def test_examples_stand_before_questions_and_what_is_cut_is_told(run, mine):
    folder = mine()
    assert run_tasks(run, "mine", tasks_path=folder).requests_cut == 0
    found = run_tasks(run, "mine", tasks_path=folder, num_fewshot=2)
    assert found.num_fewshot["mine"] == 2
    found = run_tasks(run, "mine", tasks_path=mine(question="Tom saw a dog. " * 20))
    assert found.requests_cut == found.requests == 3
    assert "cut       3 of 3 requests, to the end that the context holds" in str(found)


def test_tasks_that_let_the_model_speak_run(long_run, mine):
    more = "generation_kwargs: {until: ['.'], max_gen_toks: 8}\nmetric_list: [{metric: exact_match}]"
    found = run_tasks(long_run, "mine", tasks_path=mine("generate_until", more))
    assert found.results["mine"]["exact_match,none"] in (0.0, 1 / 3, 2 / 3, 1.0)


# What cannot be run


def refused(capsys, checkpoint, *options) -> str:
    assert main(["evaluate", "--checkpoint", str(checkpoint), "--device", "cpu", *options]) == 2
    written = capsys.readouterr()
    assert written.out == ""
    (line,) = written.err.splitlines()
    return line


def test_an_unknown_task_is_named_with_those_near_it(run, capsys):
    line = refused(capsys, run, "--tasks", "frailt_storys")
    assert "tasks must be names of lm-eval's, such as frailt_stories" in line
    assert "got 'frailt_storys'" in line


@pytest.mark.parametrize("folder", ["nowhere", "empty"])
def test_a_folder_without_tasks_is_refused(folder, run, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    line = refused(capsys, run, "--tasks", "frailt_stories", "--tasks_path", str(tmp_path / folder))
    assert f"tasks_path must be a folder with YAML files of tasks, got {tmp_path / folder}" in line


def test_a_task_whose_data_cannot_be_had_is_one_line(run, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    (tmp_path / "far.yaml").write_text(
        "task: far\ndataset_path: somebody/nothing\ntest_split: test\noutput_type: loglikelihood\n"
        "doc_to_text: a\ndoc_to_target: b\n"
    )
    line = refused(capsys, run, "--tasks", "far", "--tasks_path", str(tmp_path))
    assert "tasks must be ones that load together, with documents here or on a hub that can be reached, got far" in line


def test_a_file_that_is_no_task_and_stories_that_are_not_there_are_named(run, tmp_path, capsys):
    (tmp_path / "broken.yaml").write_text("task: [broken")
    line = refused(capsys, run, "--tasks", "broken", "--tasks_path", str(tmp_path))
    assert (
        f"tasks must be written as lm-eval reads them, got {tmp_path / 'broken.yaml'}, which it does not take" in line
    )
    line = refused(capsys, run, "--tasks", "frailt_stories", "--data", "nowhere")
    assert "data must be stories or a prepared corpus, got nowhere: " in line


def test_a_task_that_asks_for_more_than_the_context_is_refused(run, capsys):
    line = refused(capsys, run, "--tasks", "frailt_stories_perplexity", "--limit", "5")
    assert "tasks must ask for texts of at most 47 tokens, the model's context, got one" in line


def test_a_task_that_lets_the_model_speak_longer_than_its_context_is_refused(run, mine, capsys):
    more = "generation_kwargs: {until: ['.'], max_gen_toks: 48}"
    line = refused(capsys, run, "--tasks", "mine", "--tasks_path", mine("generate_until", more))
    assert "tasks must fit into the model's context of 47 tokens" in line


def test_examples_and_stories_that_no_task_takes_are_refused(run, short, mine, capsys):
    line = refused(capsys, run, "--tasks", "frailt_stories_name", "--num_fewshot", "2")
    assert "num_fewshot must be left out for tasks without examples, got 2 for frailt_stories_name" in line
    line = refused(capsys, run, "--tasks", "mine", "--tasks_path", mine(), "--data", str(short))
    assert "data must be left out where no task is made of stories" in line


def test_a_longer_context_than_the_models_and_no_stories_are_refused(run, tmp_path, capsys):
    line = refused(capsys, run, "--tasks", "frailt_stories", "--context", "48")
    assert "context must be at most the model's 47 tokens, got 48" in line
    line = refused(capsys, run, "--tasks", "frailt_stories", "--data", str(tmp_path / "nowhere.txt"))
    assert "does not exist" in line


def test_a_checkpoint_that_is_no_frailt_is_refused(long_run, tmp_path, capsys):
    out = tmp_path / "llama"
    export(ExportConfig(checkpoint=str(long_run), to="llama", out=str(out)))
    assert "checkpoint must be of model type frailt, got 'llama'" in refused(capsys, out, "--tasks", "frailt_stories")
    shutil.copytree(long_run / "last", tmp_path / "bare")
    for file in (tmp_path / "bare").glob("tokenizer*"):
        file.unlink()
    assert "tokenizer" in refused(capsys, tmp_path / "bare", "--tasks", "frailt_stories", "--limit", "1")
