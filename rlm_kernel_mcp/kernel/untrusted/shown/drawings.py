"""Whether an SVG that anybody has written can be shown as a picture: it is one, and a browser comes to its end.

Is: a look at its tags. In an `<img>` an SVG runs no script and loads nothing, so that nothing else has to be taken out
of it; but where parts of it stand for others, which stand for others, a few lines are a billion shapes. Is not: a
parser of XML, nor a promise that it is drawn as its author meant. Sans-I/O. Above: `notebook/writing/page.py`,
`watching/record/pieces.py`. Below: `tags.py`.
"""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote

from rlm_kernel_mcp.kernel.untrusted.shown.tags import STRAY, Tag, pieces

SHAPES_MAX: Final = 200_000
"""Elements that are drawn, each as often as something stands for it."""
DEPTH_MAX: Final = 40
"""Elements in one another, and parts that stand for one another."""
_HIDES: Final = ("\\", "url", "src(", "image", "data:")
"""In the text of a style: by these elements can stand for others, or bring a picture along."""
_BROUGHT: Final = re.compile(r"data:(?!image/(?:png|jpe?g);base64,)", re.IGNORECASE)
"""What an attribute brings along and is not looked into: another SVG in it could be a billion shapes."""
_NAME: Final = re.compile(r"[\w.:-]+", re.ASCII)
_NAMED: Final = re.compile(rf"#({_NAME.pattern})", re.ASCII)


@dataclass(slots=True)
class _Part:
    """An element with a name, or the whole."""

    elements: int = 0
    names: Counter[str] = field(default_factory=Counter)
    """What its elements stand for, as often as they do."""


def can_be_drawn(svg: str) -> bool:
    """Whether it is an SVG of one element, well nested, without entities of its own, and of few shapes."""
    parts = _parts(svg)
    return parts is not None and _shapes(parts, "", {}, 0) is not None


def _parts(svg: str) -> dict[str, _Part] | None:
    """By their names; the whole has none. None: it is no SVG, or one that we do not understand."""
    parts = {"": (whole := _Part())}
    open_now: list[tuple[str, _Part]] = []
    styles: list[str] = []
    for piece in pieces(svg):
        if isinstance(piece, str):
            styles += [piece] if open_now and _is(open_now[-1][0], "style") else []
        elif piece is STRAY:
            return None
        elif piece.is_end:
            if not open_now or open_now.pop()[0] != piece.name:
                return None
        elif len(open_now) == DEPTH_MAX or (not open_now and (whole.elements or not _is(piece.name, "svg"))):
            return None
        else:
            part = _part_of(piece, parts)
            if part is None or any(map(_hides, piece.attributes)):
                return None
            _count(piece, [whole, *(one for _, one in open_now), part])
            if not piece.is_closed:
                open_now.append((piece.name, part))
    return parts if whole.elements and not open_now and not _style_hides("".join(styles)) else None


def _is(name: str, kind: str) -> bool:
    """Whether a name is of a kind, whatever stands before its colon."""
    return name.rpartition(":")[2] == kind


def _style_hides(text: str) -> bool:
    """Whether nobody can tell what styles do. `text`: of all of them in one, since a comment may part a word."""
    plain = html.unescape(text).lower()
    return any(word in plain for word in _HIDES)


def _hides(attribute: tuple[str, str]) -> bool:
    """Whether nobody can tell what it stands for: in an escape of CSS, or in something that it brings along."""
    _, value = attribute
    return "\\" in value or _BROUGHT.search("".join(value.split())) is not None


def _part_of(tag: Tag, parts: dict[str, _Part]) -> _Part | None:
    """The part that an element begins, the whole where it has no name; None: nobody can tell what stands for it.

    Two of one name are one.
    """
    name = next((value for key, value in tag.attributes if _is(key, "id")), "")
    return parts.setdefault(name, _Part()) if not name or _NAME.fullmatch(name) else None


def _count(tag: Tag, within: Sequence[_Part]) -> None:
    """Add an element to each part that it is in, once."""
    names = [
        name for _, value in tag.attributes if "#" in value or "%" in value for name in _NAMED.findall(unquote(value))
    ]
    for part in {id(part): part for part in within}.values():
        part.elements += 1
        part.names.update(names)


def _shapes(parts: dict[str, _Part], name: str, known: dict[str, int | None], depth: int) -> int | None:
    """How many elements are drawn for a part; None: too many, or it stands for itself."""
    if name in known:
        return known[name]
    known[name] = None  # as long as it is not known: it would stand for itself
    if depth > DEPTH_MAX:
        return None
    part = parts[name]
    count = part.elements
    for other, often in part.names.items():
        if other in parts:
            shapes = _shapes(parts, other, known, depth + 1)
            if shapes is None:
                return None
            count += often * shapes
        if count > SHAPES_MAX:
            return None
    known[name] = count
    return count
