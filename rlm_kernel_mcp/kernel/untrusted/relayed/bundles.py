"""What a page in a browser gets of a kernel's texts and displays: text in which nothing acts, and pictures.

Is: one text made safe and cut, and one MIME bundle of which the plain text and the PNG or JPEG remain, looked through.
Is not: HTML, SVG, Markdown, LaTeX, JSON or any other type: each of them acts in some page, or names what the page then
asks for. Sans-I/O. Above: `contents.py`. Below: `text/safe_text.py`, `kernel/untrusted/shown/displays.py`.
"""

from __future__ import annotations

from typing import Any, Final

from rlm_kernel_mcp.kernel.untrusted.shown.displays import PICTURES, Displays
from rlm_kernel_mcp.text.safe_text import cut_text

TEXT_CHARS: Final = 500_000
"""Of one text: more than the kernel's own display code sends."""
SHORT_CHARS: Final = 4_000
"""Of a name, a prompt or a line."""
REST: Final = "the value itself has it all"
TYPES_NAMED: Final = 5
"""MIME types that a note names, each with at most `TYPE_CHARS`."""
TYPE_CHARS: Final = 60
PLAIN: Final = "text/plain"


def safe(value: object, most: int = TEXT_CHARS) -> str:
    """A text of a kernel's as a page may have it; of anything else none."""
    if isinstance(value, list):
        value = "".join(part for part in value if isinstance(part, str))
    return cut_text(value, most, REST).text if isinstance(value, str) else ""


def bundle(data: object) -> dict[str, str]:
    """A MIME bundle made anew; where nothing of it remains, a note of its types."""
    if not isinstance(data, dict):
        return {PLAIN: ""}
    shown = Displays()
    shown.take({kind: data[kind] for kind in PICTURES if kind in data}, None)
    kept: dict[str, str] = {one.mime_type: one.data for one in shown.kept}
    if PLAIN in data:
        return {PLAIN: safe(data[PLAIN]), **kept}
    return kept or {PLAIN: _note(data)}


def _note(data: dict[Any, Any]) -> str:
    named = ", ".join(safe(kind, TYPE_CHARS) for kind in [*data][:TYPES_NAMED])
    return f"[an output of type {named or 'none'} is not shown here: text, PNG and JPEG are]"
