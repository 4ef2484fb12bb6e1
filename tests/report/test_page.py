import re
from html.parser import HTMLParser

import pytest

from frailt.report.document import Bullets, Document, Heading, Paragraph, Picture, Table
from frailt.report.markdown import markdown
from frailt.report.page import inline, page, within_a_page
from frailt.report.statistics import Estimate
from frailt.report.words import code, counted, number, plain, series, signed, spread

SVG = (
    '<?xml version="1.0"?>\n<!DOCTYPE svg PUBLIC "x" "http://www.w3.org/x.dtd">\n'
    '<svg xmlns:xlink="http://www.w3.org/1999/xlink" xmlns="http://www.w3.org/2000/svg" version="1.1">'
    '<path id="a" clip-path="url(#b)"/><use xlink:href="#a"/></svg>'
)


class Tags(HTMLParser):
    """The tags of a page, in order, with their attributes; fails where they are not closed in their order."""

    EMPTY = frozenset(("meta", "path", "use", "link", "img", "br"))

    def __init__(self, text):
        super().__init__()
        self.tags, self.open = [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("`2^4` beats `2`", "<code>2^4</code> beats <code>2</code>"),
        ("**so `it` is** *undecided*", "<strong>so <code>it</code> is</strong> <em>undecided</em>"),
        ("<b>&", "&lt;b&gt;&amp;"),
        ("`<b>`", "<code>&lt;b&gt;</code>"),
        ("\\<b\\> \\*x\\* \\`y\\`", "&lt;b&gt; *x* `y`"),
        ("a ± b — c", "a ± b — c"),
    ],
)
def test_text_becomes_html(text, html):
    assert inline(text) == html


@pytest.mark.parametrize("text", ["<script>", "a | b", "`x`", "**x**", "[a](b)", "a\nb", "\\", "&amp;", "![x](y)"])
def test_text_from_records_comes_out_as_it_went_in(text):
    shown = re.sub(r"<[^>]*>", "", inline(plain(text)))
    assert shown == " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def test_harmless_text_is_code_and_other_text_is_plain():
    assert code("cells/2^4_seed-1") == "`cells/2^4_seed-1`"
    assert code("a|b") == "a\\|b"
    assert code("<script>") == "\\<script\\>"


def test_numbers_are_written_with_a_true_minus_and_no_negative_zero():
    assert number(-0.1234) == "−0.123"
    assert number(-0.0001) == "0.000"
    assert number(None) == "—"
    assert signed(0.5) == "+0.500"
    assert signed(-0.5) == "−0.500"
    assert signed(0.0) == "0.000"
    assert spread(Estimate(1.5, 0.02, 4)) == "1.500 ± 0.020 (4)"
    assert spread(Estimate(1.5, None, 1)) == "1.500 (1 seed)"
    assert (counted(1, "run"), counted(1200, "run")) == ("1 run", "1,200 runs")
    assert (series(["a"]), series(["a", "b"]), series(["a", "b", "c"])) == ("a", "a and b", "a, b and c")


def document():
    return Document(
        "A & B",
        (
            Paragraph("First, *about* `<i>`."),
            Heading(2, "Tables & more"),
            Table(("", "a", "b"), (("x", "1", "2"),), groups=(("", 1), ("`8`", 2))),
            Bullets(("one", "\\<script\\>two")),
            Heading(3, "Within"),
            Picture("p", "Figure `1`", "What it *shows*.", lambda: None),
            Picture("q", "Figure 2", "Another.", lambda: None),
        ),
    )


def test_a_page_is_whole_well_formed_and_needs_nothing_else():
    html = page(document(), {"p": SVG, "q": SVG})
    assert html.startswith("<!doctype html>")
    assert html.endswith("</html>\n")
    found = Tags(html)
    names = [tag for tag, _ in found.tags]
    assert not {"script", "link", "img", "iframe", "object", "base"} & set(names)
    assert "http" not in html
    assert "url(" not in html.partition("</style>")[0]
    targets = [attributes["href"] for _, attributes in found.tags if "href" in attributes]
    assert all(target.startswith("#") for target in targets)
    ids = [attributes["id"] for _, attributes in found.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {target[1:] for target in targets} <= set(ids)
    assert "<td>2</td>" in html
    assert '<th colspan="2"><code>8</code></th>' in html
    assert "&lt;script&gt;two" in html
    assert "<title>A &amp; B</title>" in html


def test_a_picture_in_a_page_has_names_of_its_own():
    assert within_a_page(SVG, "p") == '<svg><path id="p-a" clip-path="url(#p-b)"/><use href="#p-a"/></svg>'


def test_markdown_has_the_same_blocks():
    text = markdown(document())
    assert "| 8" not in text
    assert "|   | `8` a | `8` b |" in text
    assert "![Figure `1`](figures/p.png)\n\n**Figure `1`.** What it *shows*." in text
    assert text.count("\n## ") == 1
    assert "- [Tables & more](#tables--more)" in text
