import json
import subprocess
import sys
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frailt.model.layout import MAX_DEPTH, Application, GroupShape, Layout

GROUPS = st.lists(st.builds(GroupShape, blocks=st.integers(1, 5), iterations=st.integers(1, 5)), min_size=1, max_size=6)


def applied_blocks(groups) -> list[int]:
    """What a layout computes: the running number of the block of every application, straight from the definition."""
    order, first = [], 0
    for blocks, iterations in groups:
        order += [first + block for _ in range(iterations) for block in range(blocks)]
        first += blocks
    return order


@given(GROUPS)
def test_what_is_printed_is_parsed_again_and_computes_the_same(groups):
    layout = Layout(tuple(groups))
    assert Layout.parse(str(layout)) == layout
    assert applied_blocks(layout.groups) == applied_blocks(groups)


@given(GROUPS)
def test_a_layout_written_group_by_group_is_the_layout_of_its_groups(groups):
    text = " , ".join(f"({blocks})^{iterations}" for blocks, iterations in groups)
    assert Layout.parse(text) == Layout(tuple(groups))
    assert str(Layout.parse(text)) == str(Layout(tuple(groups)))


@given(GROUPS)
def test_normal_form_has_no_two_plain_groups_beside_each_other(groups):
    counts = [iterations for _, iterations in Layout(tuple(groups)).groups]
    assert all(pair != (1, 1) for pair in pairwise(counts))


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("(1)^4,(1)^4", "2^4"),
        ("1^4,1^4", "2^4"),
        ("1,1", "2"),
        ("2,3^1,(4)^1", "9"),
        ("(3)^1", "3"),
        ("3^1", "3"),
        ("(1)^2", "1^2"),
        ("1,(2)^4,1", "1,(2)^4,1"),
        ("(2)^4,(2)^4", "(2)^4,(2)^4"),
        ("1^4,1^3", "1^4,1^3"),
        (" 1 , (2)^4 ,1\n", "1,(2)^4,1"),
        ("08", "8"),
    ],
)
def test_layouts_that_compute_the_same_print_the_same(text, normal):
    assert str(Layout.parse(text)) == normal
    assert Layout.parse(text) == Layout.parse(normal)
    assert hash(Layout.parse(text)) == hash(Layout.parse(normal))


def test_layouts_that_compute_something_else_differ():
    texts = ["2^4", "(2)^4", "8", "4^2", "1^8", "1^4,1^3", "1^3,1^4"]
    assert len({Layout.parse(text) for text in texts}) == len(texts)


@pytest.mark.parametrize(
    ("text", "groups", "depth", "unique_blocks", "is_looped"),
    [
        ("8", [(8, 1)], 8, 8, False),
        ("2^4", [(1, 4), (1, 4)], 8, 2, True),
        ("(2)^4", [(2, 4)], 8, 2, True),
        ("1,(2)^4,1", [(1, 1), (2, 4), (1, 1)], 10, 4, True),
        ("3^2,(2)^3", [(1, 2), (1, 2), (1, 2), (2, 3)], 12, 5, True),
        (str(MAX_DEPTH), [(MAX_DEPTH, 1)], MAX_DEPTH, MAX_DEPTH, False),
    ],
)
def test_depth_counts_applications_and_unique_blocks_count_weights(text, groups, depth, unique_blocks, is_looped):
    layout = Layout.parse(text)
    assert layout.groups == tuple(groups)
    assert (layout.depth, layout.unique_blocks, layout.is_looped) == (depth, unique_blocks, is_looped)


def test_a_group_runs_whole_before_it_runs_again():
    assert Layout.parse("1,(2)^2").applications() == [
        Application(0, 0, 0),
        Application(1, 0, 0),
        Application(1, 0, 1),
        Application(1, 1, 0),
        Application(1, 1, 1),
    ]
    assert Layout.parse("2^2").applications([1, 2]) == [(0, 0, 0), (1, 0, 0), (1, 1, 0)]


MALFORMED = {
    "empty": "",
    "spaces": "  ",
    "stray comma": "1,,2",
    "first comma": ",1",
    "last comma": "2^4,",
    "letters": "two",
    "another power sign": "2**4",
    "nothing after the caret": "2^",
    "nothing before the caret": "^4",
    "two carets": "2^4^2",
    "negative": "-2",
    "plus": "+2",
    "fraction": "2.0",
    "space inside": "2 ^4",
    "two numbers": "2 4",
    "unicode superscript": "2⁴",
    "unicode superscript iterations": "2^⁴",
    "unicode digits": "٢^٤",
    "zero blocks": "0",
    "zero iterations": "2^0",
    "zero blocks in brackets": "(0)^4",
    "brackets without iterations": "(2)",
    "open bracket": "(2^4",
    "nested brackets": "((2)^2)^4",
    "a layout in brackets": "(1,2)^4",
    "huge": "9" * 5000,
    "huge iterations": "2^" + "9" * 5000,
    "too deep": "1025",
    "too deep by iterations": "(2)^513",
    "too deep by groups": "999999^999999",
    "too deep together": "1000,25",
    "line break": "2^4\n2^4",
    "no text": 8,
    "none": None,
    "list": ["2^4"],
}


@pytest.mark.parametrize("text", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_text_is_refused_in_one_line_that_names_the_layout(text):
    with pytest.raises(ValueError, match="layout") as raised:
        Layout.parse(text)
    assert "\n" not in str(raised.value)
    assert "got" in str(raised.value) or "brackets but no iterations" in str(raised.value)


@pytest.mark.parametrize("groups", [(), (GroupShape(0, 2),), (GroupShape(2, 0),), (GroupShape(10**9, 10**9),)])
def test_groups_out_of_range_are_refused(groups):
    with pytest.raises(ValueError, match="layout must"):
        Layout(groups)


@pytest.mark.parametrize(
    ("text", "wanted", "counts"),
    [
        ("1,(2)^4,1^3", None, (1, 4, 3)),
        ("1,(2)^4,1^3", 7, (1, 7, 7)),
        ("1,(2)^4,1^3", 1, (1, 1, 1)),
        ("1,(2)^4,1^3", [2, 1, 5], (2, 1, 5)),
        ("1,(2)^4,1^3", (2, 1, 5), (2, 1, 5)),
        ("4", None, (1,)),
        ("4", [3], (3,)),
        ("2^4", [4, 4], (4, 4)),
    ],
)
def test_one_count_is_for_looped_groups_and_a_list_for_every_group(text, wanted, counts):
    layout = Layout.parse(text)
    assert layout.iterations(wanted) == counts
    assert len(layout.applications(wanted)) == sum(
        shape.blocks * m for shape, m in zip(layout.groups, counts, strict=True)
    )


@pytest.mark.parametrize(
    ("text", "wanted", "reason"),
    [
        ("2^4", 0, "1 or more"),
        ("2^4", -3, "1 or more"),
        ("2^4", [2, 0], "1 or more"),
        ("2^4", True, "whole numbers"),
        ("2^4", [True, 2], "whole numbers"),
        ("2^4", 2.0, "whole numbers"),
        ("2^4", [2.0, 1], "whole numbers"),
        ("2^4", "44", "whole numbers"),
        ("2^4", {1, 2}, "whole numbers"),
        ("2^4", [], "2 groups"),
        ("2^4", [4], "2 groups"),
        ("2^4", [4, 4, 4], "2 groups"),
        ("8", 4, "no loop"),
        ("8", -4, "1 or more"),
        ("2^4", 513, "within 1024"),
        ("2^4", [1, 10**9], "within 1024"),
    ],
)
def test_iterations_out_of_rule_are_refused_in_one_line(text, wanted, reason):
    with pytest.raises(ValueError, match="iterations must") as raised:
        Layout.parse(text).iterations(wanted)
    assert reason in str(raised.value)
    assert "\n" not in str(raised.value)


def test_the_notation_can_be_read_without_torch():
    code = (
        "import sys, json, frailt; from frailt.model import Layout; from frailt.model.cost import cost\n"
        "print(json.dumps([Layout.parse('2^4').depth, 'torch' in sys.modules, 'transformers' in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [8, False, False]
