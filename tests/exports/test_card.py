import pytest

from frailt.exports.card import exported_card, front_matter

FRONT = "---\nlicense: mit\ntags: [a]\n---\n"


@pytest.mark.parametrize("body", ["", "# Mine\n\nText.\n", "# Mine\n\n```python\nold\n```\n\nText.\n"])
@pytest.mark.parametrize("front", ["", FRONT])
def test_a_card_keeps_what_it_said_and_says_once_how_it_is_loaded_now(front, body):
    card = exported_card(front + body, "Exported.", place="me/model", remote_code=True)
    assert card.startswith(front or "---\nlibrary_name: transformers\n")
    assert card.count("```python") == card.count("Exported.") == card.count('"me/model", trust_remote_code=True') == 1
    assert card.count("---\n") == 2
    assert "old" not in card
    assert ("Text." in card) == ("Text." in body)
    assert card.index("\n# ") < card.index("Exported.")


@pytest.mark.parametrize(
    ("card", "found"),
    [
        (FRONT + "x", {"license": "mit", "tags": ["a"]}),
        ("# No front", {}),
        ("---\na: [\n---\n", {}),
        ("---\n1\n---\n", {}),
    ],
)
def test_front_matter_is_read_where_it_can_be(card, found):
    assert front_matter(card) == found
