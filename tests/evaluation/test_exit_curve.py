"""Early exit against fixed counts and other models: `frailt evaluate --exit_thresholds`."""

import json
from dataclasses import replace

import pytest

from frailt.cli import main
from frailt.data.packing import PreparedData
from frailt.evaluation.config import EvaluateConfig
from frailt.evaluation.exit_curve import FIXED
from frailt.evaluation.exit_plot import draw_exits
from frailt.evaluation.loss import evaluate
from frailt.model.cost import cost
from frailt.training.checkpoint import load_checkpoint
from frailt.training.validation import share_of_rows, validation_loss


def config(checkpoint, data, **changes) -> EvaluateConfig:
    return EvaluateConfig(checkpoint=str(checkpoint), data=str(data), threads=1, batch_rows=8, **changes)


@pytest.fixture(scope="module")
def curve(run, plain_run, prepared):
    asked = {"iterations": 3, "exit_thresholds": [0, 0.36, 9], "exit_share": 0.2, "against": [str(plain_run)]}
    return evaluate(config(run, prepared, **asked))


def points(curve, way: str):
    return [point for point in curve.points if point.way == way]


def test_fixed_counts_and_other_models_are_what_validation_finds(curve, run, plain_run, prepared):
    rows = PreparedData.open(prepared).split("validation").rows(curve.context)
    indices = share_of_rows(len(rows), 0.2)
    assert curve.rows == len(indices)
    assert len(indices) % 8  # so that the last batch is not full
    model, _ = load_checkpoint(run)
    other, _ = load_checkpoint(plain_run)
    views = [(point, model.with_iterations(int(point.mean_iterations))) for point in points(curve, FIXED)]
    assert [point.mean_iterations for point, _ in views] == [1, 2, 3]
    for point, view in [*views, (points(curve, str(plain_run))[0], other)]:
        loss = validation_loss(view, rows, indices=indices)
        assert point.nats_per_token == pytest.approx(loss.nats_per_token, rel=1e-6)
        assert point.forward_flops_per_token == cost(view.config, curve.context).forward_flops_per_token
        assert curve.targets == loss.targets


def test_thresholds_go_from_full_depth_to_the_minimum(curve):
    full = points(curve, FIXED)[-1]
    ways = [f"{criterion}, {kv}" for criterion in ("l2", "kl") for kv in ("copy", "project")]
    assert list(dict.fromkeys(point.way for point in curve.points))[1:-1] == ways
    for way in ways:
        zero, between, most = points(curve, way)
        assert (zero.threshold, between.threshold, most.threshold) == (0, 0.36, 9)
        assert zero.nats_per_token == full.nats_per_token
        assert (zero.mean_iterations, zero.forward_flops_per_token) == (3, full.forward_flops_per_token)
        assert zero.below_fixed_nats == pytest.approx(0, abs=1e-12)
        assert 3 >= between.mean_iterations >= most.mean_iterations
        assert most.mean_iterations == (2 if way.startswith("l2") else 2.5)  # kl lets the first loop run in full
    assert 2 < points(curve, "l2, copy")[1].mean_iterations < 3


def test_the_distance_to_fixed_counts_is_taken_on_the_line_between_them(curve):
    one, two, three = points(curve, FIXED)
    assert one.below_fixed_nats is two.below_fixed_nats is None
    point = points(curve, "l2, copy")[1]
    assert two.forward_flops_per_token < point.forward_flops_per_token < three.forward_flops_per_token
    along = (point.forward_flops_per_token - two.forward_flops_per_token) / (
        three.forward_flops_per_token - two.forward_flops_per_token
    )
    line = two.nats_per_token + along * (three.nats_per_token - two.nats_per_token)
    assert point.below_fixed_nats == pytest.approx(line - point.nats_per_token)


def test_it_prints_as_a_table_and_as_json_and_is_drawn(curve, tmp_path):
    head, _, names, rule, *rows = str(curve).splitlines()
    assert head.startswith("Early exit of 2^2, groups run 3 and 3 times, a token at least 2; validation, ")
    assert [len({len(line) for line in (names, rule, *rows)}), len(rows)] == [1, 3 + 4 * 3 + 1]
    assert [cell.strip() for cell in names.split("|")[1:4]] == ["way", "threshold", "iterations per token"]
    read = json.loads(str(replace(curve, as_json=True)))
    assert [point["nats_per_token"] for point in read["points"]] == [point.nats_per_token for point in curve.points]
    for name in ("one.svg", "two.svg"):
        draw_exits(curve, tmp_path / name)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
    assert "iterations per token" in (tmp_path / "one.svg").read_text()


def test_the_command_gives_table_and_plot(run, prepared, tmp_path, capfd):
    command = ["evaluate", "--checkpoint", str(run), "--data", str(prepared), "--threads", "1"]
    options = ["--exit_thresholds", "0.2,0.4", "--exit_criterion", "l2", "--exit_kv", "copy", "--exit_share", "0.1"]
    assert main([*command, *options, "--plot", str(tmp_path / "exit.png")]) == 0
    assert (tmp_path / "exit.png").read_bytes().startswith(b"\x89PNG")
    table = capfd.readouterr().out
    assert table.count("\n|") == 2 + 2 + 2
    assert table.endswith(f"plot: {tmp_path / 'exit.png'}\n")


BAD = [
    ({"exit_thresholds": [-1.0]}, r"exit_thresholds must each be a finite number of 0 or more, got -1\.0: 0 is full"),
    ({"exit_thresholds": []}, r"exit_thresholds must be numbers such as 0\.01,0\.03,0\.1, got none"),
    ({"exit_thresholds": [0.1], "exit_share": 0.0}, r"exit_share must be above 0 and at most 1, got 0\.0"),
    ({"exit_thresholds": [0.1], "exit_minimum": 0}, "exit_minimum must be a whole number of iterations, 1 or more"),
    ({"exit_thresholds": [0.1], "iterations": "1..3"}, "iterations must be one number, or one per group, with exit_th"),
    ({"exit_minimum": 1}, "exit_minimum must come with exit_thresholds, got 1 alone"),
    ({"exit_kv": "copy"}, "exit_kv must come with exit_thresholds, got copy alone"),
    ({"against": ["a"]}, r"against must come with exit_thresholds, got \['a'\] alone"),
    ({"exit_thresholds": [0.1], "plot": "curve.pdf"}, r"plot must be a file that ends in \.png or \.svg"),
    ({"exit_thresholds": [0.1], "exit_minimum": 3}, "minimum must be at most the 2 iterations that loops run now"),
    ({"exit_thresholds": [0.1], "against": ["nowhere"]}, "checkpoint must be a folder with a config.json"),
]


@pytest.mark.parametrize(("changes", "message"), BAD)
def test_a_bad_value_is_one_line(changes, message, run, prepared):
    with pytest.raises((ValueError, FileNotFoundError), match=f"^{message}") as raised:
        evaluate(config(run, prepared, **changes))
    assert "\n" not in str(raised.value)


def test_a_layout_without_a_loop_has_no_early_exit(plain_run, prepared):
    with pytest.raises(ValueError, match=r"^early exit needs a group that runs more than once, got iterations \[1\]"):
        evaluate(config(plain_run, prepared, exit_thresholds=[0.1]))
