"""What an answer cites as W3C Web Annotations, for programs that follow a citation to its source.

Is: one collection in JSON-LD; a body selects the mark as the answer has it, and a target has selectors of three kinds,
each of which alone leads to the same bytes: characters, bytes, and the text with what stands beside it (decision 0108).
Is not: text for reading (`server/pages/footnotes.py`). Above: `commands/trace.py`. Below: `citations.py`, `marks.py`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import quote

from rlm_kernel_mcp import __version__
from rlm_kernel_mcp.context.loader.compressed import form_of
from rlm_kernel_mcp.session.evidence.citations import Checked, Citation, Passage
from rlm_kernel_mcp.session.evidence.marks import spellings

CONTEXT: Final = ("http://www.w3.org/ns/anno.jsonld", {"rlm": "urn:rlm-kernel-mcp:"})
"""Terms that begin with `rlm:` are ours."""
CHARSETS: Final = {"utf-8-sig": "utf-8", "latin-1": "iso-8859-1"}
"""Names that only Python uses."""


def annotations_of(
    session_id: str, finished_at: str, checked: Checked, answer: str | Iterable[str] = ""
) -> dict[str, Any]:
    """The collection. It has lone surrogates where bytes of a source do not decode: write it with JSON's escapes.

    `answer`: its text or the pages of that, if it can be read.
    """
    base = f"rlm://sessions/{session_id}"
    written = {f"c{number}": brackets for number, brackets in spellings(answer).items()}
    items = [
        _annotation(base, finished_at, one, one.passage, written.get(one.id, f"[{one.id}]"))
        for one in checked.citations
        if one.passage is not None
    ]
    page = {"id": f"{base}/annotations#page", "type": "AnnotationPage", "startIndex": 0, "items": items}
    return {
        "@context": CONTEXT,
        "id": f"{base}/annotations",
        "type": "AnnotationCollection",
        "label": f"What the final answer of session {session_id} cites",
        "total": len(items),
        "first": page,
        "rlm:coverage": checked.coverage.row(),
    }


def _annotation(base: str, finished_at: str, one: Citation, passage: Passage, mark: str) -> dict[str, Any]:
    return {
        "id": f"{base}/annotations#{one.id}",
        "type": "Annotation",
        "motivation": "linking",
        "created": finished_at,
        "generator": {"id": "urn:rlm-kernel-mcp", "type": "Software", "name": f"rlm-kernel-mcp {__version__}"},
        "body": {
            "type": "SpecificResource",
            "source": f"{base}/answer",
            "selector": {"type": "TextQuoteSelector", "exact": mark},
        }
        if one.kind == "marker"
        else {"type": "TextualBody", "value": one.id},
        "target": {
            "type": "SpecificResource",
            "source": _source(base, passage),
            "selector": _selectors(passage),
        },
        "rlm:status": one.status,
        "rlm:sha256": passage.sha256,
        "rlm:lines": {"start": passage.start_line, "end": passage.end_line},
    }


def _source(base: str, passage: Passage) -> dict[str, Any]:
    """The source of the text: its file, or the text that was given to the session."""
    exact = passage.exact
    path = passage.path if exact is None else exact.path
    # The path's own bytes, percent-encoded: a file name need not be UTF-8.
    place = f"{base}/documents/{quote(passage.doc)}" if path is None else f"file://{quote(os.fsencode(path))}"
    found = {"id": place, "type": "Text", "rlm:document": passage.doc}
    if exact is not None:
        found["format"] = f"text/plain;charset={CHARSETS.get(exact.encoding, exact.encoding)}"
    if path is not None and form_of(path) != "plain":
        found["rlm:unpackedFrom"] = form_of(path)  # characters and bytes are of what it unpacks to
    return found


def _selectors(passage: Passage) -> list[dict[str, Any]]:
    """Selectors of the same part of the text, each exact by itself."""
    found: list[dict[str, Any]] = [
        {"type": "TextPositionSelector", "start": passage.start_char, "end": passage.end_char},
        {"type": "DataPositionSelector", "start": passage.start_byte, "end": passage.end_byte},
    ]
    if (exact := passage.exact) is not None and exact.text is not None:
        found.append({"type": "TextQuoteSelector", "exact": exact.text, "prefix": exact.prefix, "suffix": exact.suffix})
    return found
