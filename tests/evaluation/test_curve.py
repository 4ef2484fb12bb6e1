"""The loss over iteration counts: `frailt evaluate --iterations 1..8`."""

import json
from dataclasses import replace

import pytest

from frailt.cli import main
from frailt.evaluation import loss as loss_module
from frailt.evaluation.config import EvaluateConfig
from frailt.evaluation.loss import evaluate
from frailt.evaluation.plot import draw
from frailt.model.cost import cost
from frailt.training.checkpoint import load_checkpoint


def config(checkpoint, data, **changes) -> EvaluateConfig:
    return EvaluateConfig(checkpoint=str(checkpoint), data=str(data), threads=1, **changes)


@pytest.fixture(scope="module")
def curve(run, prepared):
    return evaluate(config(run, prepared, iterations="1..4"))


def test_each_point_of_a_curve_is_the_evaluation_at_that_count(curve, run, prepared):
    assert [point.iterations for point in curve.points] == [1, 2, 3, 4]
    for point in curve.points:
        alone = evaluate(config(run, prepared, iterations=point.iterations))
        assert point.nats_per_token == alone.nats_per_token
        assert (point.perplexity, point.bits_per_byte) == (alone.perplexity, alone.bits_per_byte)
        assert (curve.targets, curve.context, curve.split) == (alone.targets, alone.context, alone.split)
    assert len({point.nats_per_token for point in curve.points}) == 4


def test_depth_and_flops_are_those_of_the_model_loaded_with_that_count(curve, run):
    for point in curve.points:
        model, _ = load_checkpoint(run, iterations=point.iterations)
        costs = cost(model.config, curve.context)
        assert (point.depth, point.forward_flops_per_token) == (costs.depth, costs.forward_flops_per_token)
    assert [point.depth for point in curve.points] == [2, 4, 6, 8]


def test_the_checkpoint_is_loaded_once(run, prepared, monkeypatch):
    loads = []

    def counted(*arguments, **options):
        loads.append(arguments)
        return load_checkpoint(*arguments, **options)

    monkeypatch.setattr(loss_module, "load_checkpoint", counted)
    found = evaluate(config(run, prepared, iterations="1,2,4"))
    assert [point.iterations for point in found.points] == [1, 2, 4]
    assert len(loads) == 1


def test_it_prints_as_a_table_and_as_one_line_of_json(curve):
    lines = str(curve).splitlines()
    assert lines[0] == "layout    2^2"
    assert lines[1] == "encoding  learned; beyond the layout's counts it repeats its last vector"
    names, *rows = (line.split() for line in lines[lines.index("") + 1 :])
    wanted = ["iterations", "depth", "nats_per_token", "perplexity", "bits_per_byte", "forward_flops_per_token"]
    assert names == wanted
    assert [row[:2] for row in rows] == [["1", "2"], ["2", "4"], ["3", "6"], ["4", "8"]]
    assert [row[2] for row in rows] == [f"{point.nats_per_token:.4f}" for point in curve.points]
    read = json.loads(str(replace(curve, as_json=True)))
    assert [point["nats_per_token"] for point in read["points"]] == [point.nats_per_token for point in curve.points]
    assert read["beyond"] == "repeats its last vector"


@pytest.mark.parametrize(("suffix", "starts"), [("png", b"\x89PNG"), ("svg", b"<?xml")])
def test_the_curve_is_drawn_and_the_same_curve_is_the_same_file(suffix, starts, curve, tmp_path):
    for name in ("one", "two"):
        draw(curve, tmp_path / f"{name}.{suffix}")
    one, two = ((tmp_path / f"{name}.{suffix}").read_bytes() for name in ("one", "two"))
    assert one.startswith(starts)
    assert one == two
    assert len(list(tmp_path.iterdir())) == 2
    if suffix == "svg":
        assert "validation loss (nats per token)" in one.decode()


def test_the_command_gives_table_plot_and_json(run, prepared, tmp_path, capfd):
    command = ["evaluate", "--checkpoint", str(run), "--data", str(prepared), "--threads", "1", "--iterations", "1..3"]
    assert main([*command, "--plot", str(tmp_path / "curve.svg")]) == 0
    assert (tmp_path / "curve.svg").is_file()
    assert f"plot      {tmp_path / 'curve.svg'}" in capfd.readouterr().out
    assert main([*command, "--json"]) == 0
    assert [point["iterations"] for point in json.loads(capfd.readouterr().out)["points"]] == [1, 2, 3]


@pytest.mark.parametrize(("given", "counts"), [("2", (2, 2)), ("[1,3]", (1, 3))])
def test_one_count_and_one_per_group_mean_what_they_did(given, counts, run, prepared, capfd):
    command = ["evaluate", "--checkpoint", str(run), "--data", str(prepared), "--threads", "1", "--json"]
    assert main([*command, "--iterations", given]) == 0
    assert tuple(json.loads(capfd.readouterr().out)["iterations"]) == counts


BAD = [
    ({"iterations": "8..1"}, "iterations must rise from each count to the next, got '8..1'"),
    ({"iterations": "some"}, "iterations must be counts such as 1..8 or 1,2,4,8, got 'some'"),
    ({"iterations": "0..3"}, "iterations must be whole numbers from 1 to 1024, got '0..3'"),
    ({"iterations": "1..900"}, "iterations must stay within 1024 block applications, got 513 with 1026"),
    ({"plot": "curve.png"}, "plot must come with several iterations, as in 1..8, got None"),
    ({"iterations": "1..3", "plot": "curve.pdf"}, "plot must be a file that ends in .png or .svg, got 'curve.pdf'"),
    ({"iterations": "1..3", "plot": "no/folder/a.png"}, "plot must be a file in a folder that is there"),
]


@pytest.mark.parametrize(("changes", "message"), BAD)
def test_a_bad_value_is_one_line(changes, message, run, prepared, capfd):
    options = [part for name, value in changes.items() for part in (f"--{name}", value)]
    assert main(["evaluate", "--checkpoint", str(run), "--data", str(prepared), *options]) == 2
    [line] = capfd.readouterr().err.splitlines()
    assert line.startswith(f"frailt evaluate: error: {message}")


def test_a_layout_without_a_loop_has_no_curve(plain_run, prepared):
    with pytest.raises(ValueError, match="iterations must be left out where the layout has no loop, got several for"):
        evaluate(config(plain_run, prepared, iterations="1..3"))
