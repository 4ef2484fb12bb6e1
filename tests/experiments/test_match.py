import pytest

from frailt.experiments.grid import Grid
from frailt.experiments.match import changes
from frailt.model.cost import cost, parameters
from frailt.training.build import model_config

VOCAB, ROWS = 512, 10_000


def grid(match, reference="8", width=64, budget=None) -> Grid:
    return Grid(
        layouts=["1", "2", "8", "1^8", "2^4", "1,(2)^3,1"],
        widths=[width],
        budgets=[budget or {"passes": 1}],
        learning_rates=[0.003],
        match=match,
        reference=reference,
        protocol={"context": 512, "batch_rows": 4},
    )


def solved(one: Grid, cell, **more):
    return one.train_config(cell, "", "", **changes(one, cell, VOCAB, ROWS, **more))


@pytest.mark.parametrize("reference", ["8", "2^4", "1"])
@pytest.mark.parametrize("width", [64, 256])
def test_matched_parameters_are_within_two_percent(reference, width):
    one = grid("params", reference, width)
    counts = {}
    for cell in one:
        config = solved(one, cell)
        counts[cell.layout] = parameters(model_config(config, VOCAB)).total
        model = config.model
        if cell.layout != "1":  # a single block of few parameters has little room
            assert 1 < (model.intermediate_size or 2.67 * model.hidden_size) / model.hidden_size < 6
    wanted = parameters(model_config(one.train_config(reference_cell(one), "", ""), VOCAB)).total
    assert all(abs(count / wanted - 1) <= 0.02 for count in counts.values()), counts


def reference_cell(one: Grid):
    return next(cell for cell in one if cell.layout == one.reference)


def test_the_reference_itself_stays_as_it_is():
    one = grid("params")
    assert changes(one, reference_cell(one), VOCAB, ROWS) == {}


def test_without_a_match_nothing_changes():
    one = Grid(layouts=["2^4"], widths=[64], learning_rates=[0.1])
    assert changes(one, next(iter(one)), VOCAB, ROWS) == {}


def test_matched_flops_are_within_two_percent_and_parameters_stay():
    one = grid("flops")
    spent = {}
    for cell in one:
        config = solved(one, cell)
        flops = cost(model_config(config, VOCAB), 512).training_flops_per_token
        spent[cell.layout] = config.steps_for(ROWS) * config.tokens_per_step * flops
        assert config.model.hidden_size == 64
    assert all(abs(total / spent["8"] - 1) <= 0.02 for total in spent.values()), spent


def test_matched_time_follows_the_measured_rates():
    one = grid("time")
    cell = next(iter(one))
    steps = solved(one, cell, rates=(3000.0, 1000.0)).steps
    assert steps == pytest.approx(3 * ROWS / 4, rel=0.02)


def test_what_cannot_be_matched_is_refused_in_a_line():
    one = grid("flops", reference="1", budget={"steps": 3})
    with pytest.raises(ValueError, match=r"budget must be longer to match 8 within 2%, got 0.*steps"):
        changes(one, next(cell for cell in one if cell.layout == "8"), VOCAB, ROWS)
    one = grid("params", reference="1", width=16)
    with pytest.raises(
        ValueError, match=r"layout 8 must have a width with the .* parameters of 1 within 2%, and has none"
    ):
        changes(one, next(cell for cell in one if cell.layout == "8"), VOCAB, ROWS)
