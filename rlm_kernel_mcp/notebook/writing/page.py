"""A session's notebook as one page that loads nothing and runs nothing, by nbconvert.

Is: nbconvert's exporter with what it can be told (no address of anything, HTML cleaned by bleach, which it brings), and
what holds even so: no script is left in the page, and a policy in its head allows styles and pictures that are in it.
What steps have displayed: an SVG as a picture, HTML as far as it only lays text out, all else as its source (decision
0173). Is not: the live page. nbconvert is an extra, imported here alone. Above: `commands/trace.py`. Below:
`kernel/untrusted/shown/`, nbconvert.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from rlm_kernel_mcp.errors import InvalidInput
from rlm_kernel_mcp.kernel.untrusted.shown.drawings import can_be_drawn
from rlm_kernel_mcp.kernel.untrusted.shown.tags import EMPTY, KEPT, SPANS, only_laid_out
from rlm_kernel_mcp.notebook.form.names import KEY
from rlm_kernel_mcp.notebook.form.outputs import Json

POLICY: Final = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
META: Final = f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
_SCRIPT: Final = re.compile(r"<script\b.*?</script\s*>", re.IGNORECASE | re.DOTALL)
_HEAD: Final = re.compile(r"<head\b[^>]*>", re.IGNORECASE)
_TAG: Final = re.compile(r"<[^>]*>")
TAGS: Final = frozenset(("a", "abbr", "details", "summary", *KEPT, *EMPTY))
ATTRIBUTES: Final[Mapping[str, list[str]]] = {
    "*": ["class", "id"],
    "a": ["href", "title"],
    "abbr": ["title"],
    "td": [*SPANS],
    "th": [*SPANS],
}
"""What the whole page may have, which is cleaned once more: of steps' HTML far less gets so far."""
LAID_OUT_CHARS_MAX: Final = 2_000_000
"""HTML of a page that is laid out: cleaning it takes seconds for a million characters."""
CELLS_MAX: Final = 2_000
"""Of a page: nbconvert and bleach take some milliseconds for each, and all of it in memory many times over."""
CHARS_MAX: Final = 16_000_000
"""Of its cells and their outputs."""


def page_of(notebook: Json) -> str:
    """The page.

    Raises:
        InvalidInput: nbconvert is not installed, or the notebook is too long for one page.
    """
    _require_room(notebook)
    try:
        import nbformat
        from nbconvert.exporters.html import HTMLExporter
    except ImportError as error:
        raise InvalidInput(
            f"--format html needs nbconvert, which is not installed here ({error.name}).",
            "Install the extra `notebook` of this package, or use --format notebook and nbconvert elsewhere.",
        ) from error
    addresses = {name: "" for name in HTMLExporter.class_trait_names() if name.endswith("_url")}
    exporter = HTMLExporter(
        sanitize_html=True,
        embed_images=False,
        exclude_anchor_links=True,
        skip_svg_encoding=False,
        filters={"clean_html": _cleaned},
        **addresses,
    )
    page, _ = exporter.from_notebook_node(nbformat.from_dict(with_displays(notebook)))
    return without_scripts(page)


def _require_room(notebook: Json) -> None:
    """Raises: InvalidInput: it is too long for one page."""
    cells = notebook["cells"]
    chars = sum(map(_chars_of, cells))
    if len(cells) > CELLS_MAX or chars > CHARS_MAX:
        raise InvalidInput(
            f"The notebook has {len(cells):,} cells and {chars:,} characters, and a page may have {CELLS_MAX:,} and "
            f"{CHARS_MAX:,}: nbconvert would take minutes, and hundreds of megabytes.",
            "Use `rlm-kernel-mcp watch SESSION --export FILE`, one page of any length that a browser draws as it is "
            "read, or --format notebook.",
        )


def _chars_of(value: object) -> int:
    """Of all texts in a value of JSON."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return sum(map(_chars_of, value.values()))
    return sum(map(_chars_of, value)) if isinstance(value, list) else 0


def _cleaned(element: object) -> str:
    """In place of nbconvert's filter of this name, which knows neither the heads of tables nor `details`."""
    from nbconvert.preprocessors.sanitize import clean  # bleach's

    text = element.decode() if isinstance(element, bytes) else str(element)
    return str(clean(text, tags=TAGS, attributes={**ATTRIBUTES}))


def with_displays(notebook: Json) -> Json:
    """With what its steps have displayed as HTML, Markdown and SVG, which the notebook has beside its cells."""
    room = LAID_OUT_CHARS_MAX
    cells = []
    for cell in notebook["cells"]:
        shown = []
        for one in cell["metadata"][KEY].get("displays", ()):
            kind, data = _shown(one["type"], one["text"], room)
            room -= len(data) if kind == "text/html" else 0
            shown.append({"output_type": "display_data", "data": {kind: data}, "metadata": {}})
        cells.append({**cell, "outputs": [*cell["outputs"], *shown]} if shown else cell)
    return {**notebook, "cells": cells}


def _shown(kind: str, text: str, room: int) -> tuple[str, str]:
    """As what something is shown, and what of it. `room`: how long HTML may be."""
    if kind == "image/svg+xml" and can_be_drawn(text):
        return kind, text
    if kind == "text/html" and len(text) <= room:
        laid_out = only_laid_out(text)
        if len(laid_out) <= room and _TAG.sub("", laid_out).strip():
            return kind, laid_out
    return "text/plain", f"[{kind}]\n{text}"


def without_scripts(page: str) -> str:
    """A page of nbconvert's without its own scripts, with the policy before all that it could forbid.

    Raises:
        ValueError: it has no head, so it is no page of nbconvert's.
    """
    bare = _SCRIPT.sub("", page)
    head = _HEAD.search(bare)
    if head is None:
        raise ValueError("nbconvert's page has no head")
    return f"{bare[: head.end()]}{META}{bare[head.end() :]}"
