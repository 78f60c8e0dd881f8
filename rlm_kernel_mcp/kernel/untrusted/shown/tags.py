"""Markup that anybody has written, as tags and the text between them; and as markup in which nothing is left that acts.

Is: one pass from left to right whose cost is the text's length, and an allowlist of HTML that only lays text out. Is
not: a parser of HTML or XML: what it does not take for a tag is text. Sans-I/O. Above: `notebook/writing/page.py`,
`drawings.py`. Below: `text/safe_text.py`.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from rlm_kernel_mcp.text.safe_text import safe_text

SKIPPED: Final = (("<!--", "-->"), ("<?", "?>"))
"""What holds neither tags nor text, by its beginning and its end."""
CDATA: Final = ("<![CDATA[", "]]>")
_LINES: Final = (
    "blockquote",
    "div",
    "dl",
    "dt",
    "dd",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "li",
    "ol",
    "p",
    "pre",
    "ul",
)
_WORDS: Final = ("b", "code", "del", "em", "i", "s", "small", "span", "strong", "sub", "sup", "u")
CELLS: Final = ("td", "th")
_TABLES: Final = ("caption", "table", "tbody", "tfoot", "thead", "tr", *CELLS)
KEPT: Final = frozenset((*_LINES, *_WORDS, *_TABLES))
EMPTY: Final = frozenset(("br", "hr"))
_APART: Final = ("iframe", "noembed", "noframes", "noscript", "object", "template", "textarea", "title", "xmp")
UNSHOWN: Final = frozenset(("script", "style", "svg", *_APART))
"""Elements that go with all that is in them."""
SPANS: Final = frozenset(("colspan", "rowspan"))
_SPAN: Final = re.compile(r"[1-9][0-9]?", re.ASCII)
DEPTH_MAX: Final = 32
"""Tags in one another; what lies deeper keeps its text alone."""
_TAG: Final = re.compile(
    r"""<(?P<end>/?)(?P<name>[A-Za-z_][^\s<>/"'=]*+)(?P<attributes>(?:[^<>"']++|"[^"<]*+"|'[^'<]*+')*+)>|<![A-Za-z][^<>\[]*+>"""
)
_ATTRIBUTE: Final = re.compile(
    r"""(?:^|(?<=[\s"'/]))([^\s"'<>/=]++)\s*+=\s*+(?:"([^"]*+)"|'([^']*+)'|([^\s"'=<>`]++))"""
)
"""Neither goes over the same characters twice, whatever they are."""


@dataclass(frozen=True, slots=True)
class Tag:
    """One, as it is written."""

    name: str
    attributes: tuple[tuple[str, str], ...] = ()
    """With what they hold, in which references to characters are resolved."""
    is_end: bool = False
    is_closed: bool = False
    """Whether it ends its element itself, in XML."""


STRAY: Final = Tag("<")
"""A `<` that begins no tag."""


def pieces(text: str) -> Iterator[Tag | str]:
    """The tags of a text and what is between them; comments and declarations are left out."""
    at = 0
    while at < len(text):
        if text[at] != "<":
            end = _found(text, "<", at)
            yield text[at:end]
        elif text.startswith(CDATA[0], at):
            end = _found(text, CDATA[1], at) + len(CDATA[1])
            yield text[at + len(CDATA[0]) : end - len(CDATA[1])]
        elif skipped := next((ends for begins, ends in SKIPPED if text.startswith(begins, at)), None):
            end = _found(text, skipped, at) + len(skipped)
        elif found := _TAG.match(text, at):
            end = found.end()
            if found["name"]:
                yield _tag(found)
        else:
            end = at + 1
            yield STRAY
        at = end


def _found(text: str, what: str, at: int) -> int:
    """Where it is, from there on; the text's end where it is not: what is not closed takes all the rest."""
    place = text.find(what, at)
    return len(text) if place < 0 else place


def _tag(found: re.Match[str]) -> Tag:
    inner = found["attributes"]
    named = tuple((name, html.unescape(a or b or c or "")) for name, a, b, c in _ATTRIBUTE.findall(inner))
    return Tag(found["name"], named, bool(found["end"]), inner.endswith("/"))


def only_laid_out(text: str) -> str:
    """HTML of which tags that lay text out are left, without attributes but the spans of cells, and well nested."""
    made: list[str] = []
    depth: list[str] = []
    unshown = ""
    for piece in pieces(text):
        if isinstance(piece, str) or piece is STRAY:
            written = piece if isinstance(piece, str) else piece.name
            made += [] if unshown else [html.escape(safe_text(html.unescape(written)))]
        elif unshown:
            unshown = "" if piece.is_end and piece.name.lower() == unshown else unshown
        elif piece.name.lower() in UNSHOWN:
            unshown = "" if piece.is_end else piece.name.lower()
        else:
            made += _laid_out(piece, piece.name.lower(), depth)
    made += [f"</{name}>" for name in reversed(depth)]
    return "".join(made)


def _laid_out(tag: Tag, name: str, depth: list[str]) -> Iterator[str]:
    """What is left of a tag. `depth`: the elements that are open."""
    if name in EMPTY:
        yield f"<{name}>"
    elif tag.is_end:
        while name in depth:
            yield f"</{depth.pop()}>"
    elif name in KEPT and len(depth) < DEPTH_MAX:
        depth.append(name)
        yield f"<{name}{_spans(tag) if name in CELLS else ''}>"


def _spans(cell: Tag) -> str:
    """Over how many columns and rows it goes."""
    found = {name.lower(): value for name, value in cell.attributes if name.lower() in SPANS}
    return "".join(f' {name}="{value}"' for name, value in found.items() if _SPAN.fullmatch(value))
