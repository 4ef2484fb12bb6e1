"""A document as one HTML page that needs nothing else: its style and its pictures are in it."""

import re
from collections.abc import Mapping
from importlib.resources import files

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape

from .document import Block, Document

_INLINE = re.compile(r"\\(?P<literal>.)|`(?P<code>[^`]*)`|\*\*(?P<strong>.+?)\*\*|\*(?P<em>.+?)\*")
_BEFORE_THE_PICTURE = re.compile(r"^.*?(?=<svg )", re.DOTALL)
_OWN_NAMES = re.compile(r'(\bid="|href="#|url\(#)')
_NAMESPACES = re.compile(r' xmlns(:\w+)?="[^"]*"| version="1\.1"')


def page(document: Document, svgs: Mapping[str, str]) -> str:
    """The page.

    Args:
        document: what to show.
        svgs: its pictures, as the files that matplotlib writes, by name.
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"inline": inline, "kind": _kind}
    template = environment.from_string((files(__package__) / "page.html.jinja").read_text(encoding="utf-8"))
    pictures = {name: within_a_page(svg, name) for name, svg in svgs.items()}
    return template.render(document=document, pictures=pictures) + "\n"


def inline(text: str) -> Markup:
    """A text of a document as HTML. Nothing in it but its own few marks becomes a tag."""
    parts, end = [], 0
    for found in _INLINE.finditer(text):
        parts += [escape(text[end : found.start()]), _marked(found)]
        end = found.end()
    return Markup("").join([*parts, escape(text[end:])])


def _marked(found: re.Match[str]) -> Markup:
    if found["literal"] is not None:
        return escape(found["literal"])
    if found["code"] is not None:
        return Markup("<code>{}</code>").format(found["code"])
    tag = "strong" if found["strong"] is not None else "em"
    return Markup(f"<{tag}>{{}}</{tag}>").format(inline(found[tag]))


def within_a_page(svg: str, name: str) -> Markup:
    """A picture as an element of a page: without the head of a file, its names unlike those of other pictures."""
    element = _NAMESPACES.sub("", _BEFORE_THE_PICTURE.sub("", svg)).replace("xlink:href", "href")
    return Markup(_OWN_NAMES.sub(rf"\g<1>{name}-", element))


def _kind(block: Block) -> str:
    return type(block).__name__
