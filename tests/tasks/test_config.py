"""What `frailt evaluate --tasks` is told; none of this needs lm-eval."""

import importlib.util

import pytest

from frailt.cli import main
from frailt.evaluation.config import EvaluateConfig


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "data must be given, or tasks"),
        ({"tasks": []}, "tasks must be one or more, got none"),
        ({"tasks": ["t"], "split": "train"}, "split must be left out with tasks, got train"),
        ({"tasks": ["t"], "iterations": "1..4"}, r"iterations must be one number with tasks, or .*, got 1\.\.4"),
        ({"tasks": ["t"], "plot": "p.png", "iterations": "1..4"}, "iterations must be one number with tasks"),
        ({"tasks": ["t"], "limit": 0}, "limit must be 1 or more, got 0"),
        ({"tasks": ["t"], "num_fewshot": -1}, "num_fewshot must be 0 or more, got -1"),
        ({"data": "d", "limit": 3}, "limit must come with tasks, got 3"),
        ({"data": "d", "num_fewshot": 0}, "num_fewshot must come with tasks, got 0"),
        ({"data": "d", "tasks_path": "p"}, "tasks_path must come with tasks, got p"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        EvaluateConfig(checkpoint="c", **options)


def test_tasks_take_other_iterations_and_examples():
    config = EvaluateConfig(checkpoint="c", tasks=["a", "b"], iterations=[2, 3], num_fewshot=0, limit=1)
    assert (config.data, config.counts) == (None, None)


def test_without_lm_eval_one_line_names_the_extra(monkeypatch, capsys):
    find = importlib.util.find_spec
    monkeypatch.setattr("frailt.evaluation.tasks.find_spec", lambda name: None if name == "lm_eval" else find(name))
    assert main(["evaluate", "--checkpoint", "c", "--tasks", "frailt_stories"]) == 2
    assert capsys.readouterr().err == "frailt evaluate: error: tasks need lm-eval: pip install 'frailt[tasks]'\n"
