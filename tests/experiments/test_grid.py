from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from frailt.cli import _parse
from frailt.experiments.grid import BY_WIDTH, Grid, Search, grids
from frailt.experiments.runner import command_of
from frailt.experiments.task import Task
from frailt.training.iteration_counts import IterationCounts

ROOT = Path(__file__).parents[2]

AXES = {"layouts": ["8", "2^4"], "widths": [64], "learning_rates": [0.003]}


def grid(**changes) -> Grid:
    return Grid(**(AXES | changes))


def test_a_cell_is_a_combination_of_the_axes_whole_sets_of_one_seed_first():
    found = [cell.name for cell in grid(seeds=[3, 5], widths=[64, 128])]
    assert found == [
        f"{width}_{layout}_1-passes_lr-0.003_seed-{seed}"
        for seed in (3, 5)
        for width in (64, 128)
        for layout in ("8", "2^4")
    ]


def test_encodings_are_an_axis_of_looped_layouts_alone():
    cells = [(cell.layout, cell.encoding) for cell in grid(encodings=["learned", "none"])]
    assert cells == [("8", "learned"), ("2^4", "learned"), ("2^4", "none")]


def test_smaller_grids_stand_beside_the_main_one_and_share_the_axes_that_they_do_not_change():
    also = [
        {"layouts": ["2^4"], "encodings": ["none", "sinusoidal"]},
        {"widths": [128], "layouts": ["2"], "seeds": [1]},
    ]
    names = [cell.name.removesuffix("_1-passes_lr-0.003_seed-0") for cell in grid(also=also)]
    assert names == ["64_8", "64_2^4", "64_2^4_none", "64_2^4_sinusoidal", "128_2_1-passes_lr-0.003_seed-1"]


def test_layouts_that_are_one_make_one_cell():
    assert len(list(grid(layouts=["2^4"], also=[{"layouts": ["(1)^4,(1)^4"]}]))) == 1


def test_a_searched_cell_is_named_without_its_rate():
    cell = next(iter(grid(learning_rates=None, search={"rates": [0.001, 0.002]})))
    assert cell.name == "64_8_1-passes_seed-0"


def test_a_cell_trains_with_its_axes_the_protocol_and_initial_weights_by_width():
    protocol = {"context": 47, "batch_rows": 3, "model": {"num_attention_heads": 4, "initializer_range": BY_WIDTH}}
    one = grid(protocol=protocol, budgets=[{"tokens": 5e3}], seeds=[7], encodings=["none"], layouts=["1,(2)^3"])
    config = one.train_config(next(iter(one)), "data", "out")
    assert (config.context, config.batch_rows, config.tokens, config.seed) == (47, 3, 5000, 7)
    assert (config.model.layout, config.model.hidden_size, config.model.iteration_encoding) == ("1,(2)^3", 64, "none")
    assert (config.model.num_attention_heads, config.model.initializer_range) == (4, 0.125)
    assert config.passes is None


def test_names_are_unlike_where_cells_are():
    axes = {
        "layouts": ["1", "1,(2)^3,1"], "widths": [32, 64], "encodings": ["learned", "none"], "seeds": [0, 1],
        "budgets": [{"passes": 1}, {"steps": 1}, {"passes": 0.5}], "learning_rates": [1e-3, 2e-3],
    }  # fmt: skip
    cells = list(Grid(**axes))
    assert len({cell.name for cell in cells}) == len(cells) == 2 * 2 * 3 * 2 * 3
    assert not any("/" in cell.name or "," in cell.name for cell in cells)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"layouts": []}, r"layouts must be a list of one or more, got \[\]"),
        ({"widths": "64"}, "widths must be a list"),
        ({"widths": [64.5]}, r"widths must be whole numbers of 1 or more, got \[64.5\]"),
        ({"widths": [0, 16]}, r"widths must be whole numbers of 1 or more, got \[0, 16\]"),
        ({"budgets": [{"steps": 1.5}]}, "budgets must have a whole number of steps, got {'steps': 1.5}"),
        ({"layouts": ["2^"]}, "layout term"),
        ({"seeds": [1, 1]}, "seeds must differ from each other"),
        ({"budgets": [{"passes": 1, "steps": 2}]}, "budgets must each be one of passes, tokens, steps"),
        ({"budgets": [{"passes": -1}]}, "budgets must be numbers above 0, got -1"),
        ({"learning_rates": ["1e-3"]}, "learning_rates must be numbers above 0, got '1e-3': YAML reads 1e-3 as a text"),
        ({"learning_rates": None}, "one of search and learning_rates must be given"),
        ({"search": {"rates": [0.1, 0.2]}}, "one of search and learning_rates must be given, and only one"),
        ({"learning_rates": None, "search": {"rates": [0.1]}}, "search.rates must be two or more"),
        ({"learning_rates": None, "search": {"rate": [0.1]}}, "search.rate is no setting"),
        ({"learning_rates": None, "search": {}}, "search.rates must be given"),
        ({"learning_rates": None, "search": [0.1, 0.2]}, r"search must be settings, got \[0.1, 0.2\]"),
        ({"learning_rates": None, "search": {"rates": [0.1, 0.2], "share": "a"}}, "search.share must be a number, got"),
        ({"learning_rates": None, "search": {"rates": [0.1, 0.2], "seed": -1}}, "search.seed must be 0 or more"),
        (
            {"learning_rates": None, "search": {"rates": [0.1, 0.2], "widths": [0]}},
            r"search.widths must be whole numbers of 1 or more, got \[0\]",
        ),
        (
            {"learning_rates": None, "search": {"rates": [0.1, 0.2], "widths": "64"}},
            "search.widths must be a list of whole numbers or null, got '64'",
        ),
        ({"match": "flop", "reference": "8"}, "match must be params, flops or time, got 'flop'"),
        ({"match": "flops"}, "reference must be given with match"),
        ({"protocol": {"seed": 1}}, "protocol.seed must be left out: the axes of the grid say it"),
        ({"protocol": {"model": {"layout": "8"}}}, "protocol.model.layout must be left out"),
        ({"protocol": {"contxt": 512}}, "protocol.contxt is no setting"),
        ({"protocol": {"context": "x"}}, "protocol.context must be a whole number, got 'x'"),
        ({"protocol": {"compile": False}}, "compile must be auto or off or block or whole, got False: YAML reads off"),
        (
            {"protocol": {"clip_norm": "1e0"}},
            "protocol.clip_norm must be a number, got '1e0': YAML reads 1e-3 as a text",
        ),
        ({"protocol": {"model": {"tie_word_embeddings": 1}}}, "tie_word_embeddings must be true or false, got 1"),
        ({"protocol": {"model": {"heads": 8}}}, "protocol.model.heads is no setting"),
        ({"also": [{"match": "flops"}]}, "also must be mappings of axes"),
        ({"also": [{"widths": []}]}, "widths must be a list of one or more"),
    ],
)
def test_a_grid_that_cannot_be_used_is_refused_in_a_line(changes, complaint):
    with pytest.raises(ValueError, match=complaint):
        grid(**changes)


@pytest.mark.parametrize("text", ["- 1", "layouts: [", "", "axes: 1"])
def test_a_file_that_is_no_grid_is_refused(text, tmp_path):
    (tmp_path / "grid.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"grid must|axes is no setting"):
        Grid.read(tmp_path / "grid.yaml")


@pytest.mark.parametrize("name", grids())
def test_shipped_grids_are_the_papers(name):
    found = Grid.read(grids()[name])
    assert found.widths == [64, 128, 256, 512, 1024]
    assert found.layouts == ["1", "2", "4", "8", "1^2", "1^8", "2^4", "4^2"]
    assert (found.protocol["context"], found.protocol["model"]["num_attention_heads"]) == (512, 8)


def test_a_grid_reads_back_as_it_was_written(tmp_path):
    one = grid(
        learning_rates=None, search={"rates": [0.1, 0.2]}, also=[{"widths": [32]}], match="params", reference="8"
    )
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(one.settings()))
    assert Grid.read(tmp_path / "grid.yaml") == one


def test_rates_of_a_width_that_is_not_searched_are_those_of_the_nearest():
    search = Search(rates=[0.1, 0.2], widths=[64, 256])
    assert [search.width_for(width) for width in (32, 64, 100, 128, 200, 1024)] == [64, 64, 64, 64, 256, 256]


# Iteration counts

SAMPLED = {"iteration_counts": {"kind": "uniform", "counts": "1..4"}, "evaluate_iterations": "1,2"}


def test_a_protocol_may_sample_iteration_counts_which_layouts_without_a_loop_have_not():
    one = grid(protocol=SAMPLED, layouts=["2", "2^4"])
    plain, looped = (one.train_config(cell, "data", "out") for cell in one)
    assert looped.iteration_counts == IterationCounts(kind="uniform", counts=[1, 2, 3, 4])
    assert looped.evaluate_iterations == [1, 2]
    assert plain.iteration_counts == IterationCounts()
    assert plain.evaluate_iterations is None


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({"kind": "uniform", "low": 1}, "protocol.iteration_counts.low is no setting; they are kind, counts, mean"),
        ("uniform", "protocol.iteration_counts must be settings, got 'uniform'"),
    ],
)
def test_counts_that_no_run_takes_are_refused(counts, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        grid(protocol={"iteration_counts": counts})


def test_the_command_of_a_cell_says_its_counts(tmp_path):
    one = grid(protocol=SAMPLED, layouts=["2^4"])
    [cell] = one
    config = one.train_config(cell, "data", str(tmp_path))
    command = command_of(Task(cell=cell, folder=tmp_path, config=config, data_hash=""))
    assert _parse("train", command[command.index("train") + 1 :]) == config


@pytest.mark.parametrize("path", sorted((ROOT / "results" / "depth-64").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_grids_of_the_depth_study_are_grids(path):
    found = Grid.read(path)
    configs = [found.train_config(replace(cell, learning_rate=0.01), "data", "out") for cell in found]
    assert [config.seed for config in configs] == [0, 1, 2]
    assert all(config.evaluate_iterations == list(range(1, 9)) for config in configs)
