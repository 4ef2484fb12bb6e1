import re

import pytest

from frailt.report.stories import STORIES, clean, shown, stories_page
from frailt.report.told import read_told

from .telling import constant, write_completions, write_judged_folder
from .test_page import Tags

HOSTILE = (
    "</p></article><script>alert(1)</script><img src=x onerror=alert(1)> <!-- {{ 7 * 7 }} {% raw %} \x00\x1b[31m "
    "\u202eevil\ud800 &amp; <style>body{display:none}</style>"
)


@pytest.fixture
def made(tmp_path):
    """Three models, one of them of two seeds, graded."""
    told = [
        write_completions(
            tmp_path / f"told-{layout}-{seed}",
            layout=layout,
            seed=seed,
            samples=2,
            text=lambda prompt_id, sample, name=f"{layout} of seed {seed}": f"{name} told sample {sample}.",
        )
        for layout, seed in (("2^4", 1), ("2^4", 0), ("8", 0), ("2", 0))
    ]
    judged = write_judged_folder(
        tmp_path / "judged",
        told,
        lambda layout, width, seed, story, repeat, name: None if (layout, story.prompt_id) == ("8", 2) else 7,
    )
    return told, judged


def page_of(judged, told):
    return stories_page(read_told([str(each) for each in judged], [str(each) for each in told]))


def text_of(html):
    return re.sub(r"<[^>]*>", "", html)


def test_every_beginning_has_the_story_of_every_model_side_by_side(made):
    told, judged = made
    html = page_of([judged], told)
    sections = html.split("<section ")[1:]
    assert len(sections) == 4
    for number, section in enumerate(sections):
        assert f"Once upon a time {number}, Tim" in section
        assert re.findall(r"<code>(.*?)</code>", section) == ["2", "8", "2^4"]
        assert section.count("<article>") == 3


def test_the_first_sample_of_the_first_seed_is_shown_and_the_page_says_so(made):
    told, judged = made
    html = page_of([judged], told)
    assert "2^4 of seed 0 told sample 0." in html
    assert "sample 1." not in html
    assert "seed 1 told" not in html
    assert (
        "of each the first seed, and of each beginning sample 0, the first that was drawn. Nothing was picked" in html
    )


def test_a_story_has_its_grades_and_the_judges_words(made):
    told, judged = made
    third = page_of([judged], told).split("<section ")[3]
    cards = third.split("<article>")[1:]
    assert "<dt>grammar</dt><dd>7</dd>" in cards[0]
    assert cards[0].count("<dd>7</dd>") == 4
    assert "Words on story 2." in cards[0]
    assert "<dd>" not in cards[1]
    assert "Unscored: 3 replies without a valid call" in cards[1]


def test_it_works_with_completions_only(made):
    told, _ = made
    html = page_of([], told)
    assert html.count("<article>") == 12
    assert "<dd>" not in html
    assert "grades" not in text_of(html)


def test_it_works_with_what_the_judge_was_shown_only(made):
    _, judged = made
    html = page_of([judged], [])
    assert html.count("<article>") == 12
    assert "2^4 of seed 0 told sample 0." in html


def test_whatever_a_story_says_it_is_text(tmp_path):
    told = write_completions(tmp_path / "told", text=lambda *which: HOSTILE)
    judged = write_judged_folder(tmp_path / "judged", [told], constant(3), model=f"judge {HOSTILE[:40]}")
    html = page_of([judged], [told])
    html.encode("utf-8")
    names = [name for name, _ in Tags(html).tags]
    assert not {"script", "img", "iframe", "object", "base", "link", "form", "a href"} & set(names)
    assert names.count("style") == 1
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "{{ 7 * 7 }} {% raw %}" in html
    assert not re.search(r"[\x00-\x08\x0b-\x1f\ud800-\udfff]", html)


def test_the_page_needs_nothing_else_and_lets_nothing_in(made):
    told, judged = made
    html = page_of([judged], told)
    tags = Tags(html).tags
    policy = next(attributes["content"] for name, attributes in tags if attributes.get("http-equiv"))
    assert policy == "default-src 'none'; style-src 'unsafe-inline'"
    assert not re.search(r"https?:|url\(|@import|src=", html.replace(policy, ""))
    targets = [attributes["href"] for _, attributes in tags if "href" in attributes]
    ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert sorted(targets) == sorted(f"#{each}" for each in ids)


def test_stories_that_were_cut_and_empty_ones_say_so(tmp_path):
    told = write_completions(tmp_path / "told", beginnings=2, text=lambda prompt_id, sample: "" if prompt_id else "ran")
    path = told / "completions.jsonl"
    path.write_text(path.read_text().replace('"ended": true', '"ended": false', 1))
    first, second = page_of([], [told]).split("<section ")[1:]
    assert "[cut at the limit of length]" in first
    assert "[nothing]" in second


def test_a_model_is_shown_once_by_its_first_seed(made):
    _, judged = made
    found = shown(read_told([str(judged)], []).checkpoints)
    assert [(str(each.variant), each.seed) for each in found] == [("2", 0), ("8", 0), ("2^4", 0)]


def test_line_breaks_stay_and_control_characters_are_shown_as_such():
    assert clean("a\r\nb\tc\x07d\ud83de") == "a\nb\tc\ufffdd\ufffde"


def test_the_name_of_the_page_is_what_reports_link_to():
    assert STORIES == "stories.html"
