"""What an agent sees of a display that is made for a notebook: its source, where its own text says nothing.

Is: Markdown, LaTeX and JSON as the text that they are. Is not: rendering, nor a choice against a text that an object
makes of itself; HTML and SVG, of which an agent would pay for the tags, are named. A courtesy.
Above: `in_kernel/channels/bundles.py`. Below: `inspection.py`, `value_text.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from rlm_kernel_mcp.in_kernel.display_text.inspection import class_attribute
from rlm_kernel_mcp.in_kernel.display_text.value_text import json_text

READ: Final = ("text/markdown", "text/latex", "application/json")
"""Types whose source reads as text; the first available one is shown."""
NAMED: Final = {"text/html": "_repr_html_", "image/svg+xml": "_repr_svg_"}
"""Types that are only named, and the method that makes them, which is called for the record alone (`bundles.py`)."""
_SAYS_NOTHING: Final = re.compile(r"<[\w.]+(?: object)?(?: at 0x[0-9a-f]+)?>")


def says_nothing(text: object) -> bool:
    """Whether a text is missing, or only Python's default for an object that has no text of its own."""
    return text is None or (isinstance(text, str) and _SAYS_NOTHING.fullmatch(text) is not None)


def offered_by(value: object, formatters: Mapping[str, Any], data: Mapping[str, Any]) -> dict[str, Any]:
    """The first of these types that an object offers, where its bundle (`data`) has none yet.

    Their formatters are off otherwise: few objects need them.
    """
    if any(kind in data for kind in READ):
        return {}
    for formatter in (formatters[kind] for kind in READ):
        formatter.enabled = True
        try:
            made = formatter(value)
        finally:
            formatter.enabled = False
        if made is not None:
            return {formatter.format_type: made[0] if isinstance(made, tuple) else made}
    named = (kind for kind, method in NAMED.items() if class_attribute(type(value), method) is not None)
    return {kind: "" for kind in named if kind not in data}


def with_source(data: dict[str, Any], sent: str) -> dict[str, Any]:
    """The bundle, with its source as the text where the text itself says nothing. `sent`: the types that are shown."""
    text = data.get("text/plain")
    if not says_nothing(text):
        return data
    for kind in READ:
        source = _source(kind, data.get(kind))
        if source is not None:
            return data | {"text/plain": source}
    named = [kind for kind in NAMED if kind in data]
    if text is None or not named:
        return data
    return data | {"text/plain": f"{text}\n[its {named[0]} is not shown: {sent} are]"}


def _source(kind: str, value: object) -> str | None:
    if kind == "application/json":
        made = json_text(value) if value is not None else None
        return None if made is None else made[0]
    return value if isinstance(value, str) else None
