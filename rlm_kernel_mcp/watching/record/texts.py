"""Texts of the record as the live page gets them: their ends in a message, and all of them piece by piece.

Is: cuts at characters, and never between a letter and its marks. Is not: making anything safe: the page names what
acts, and does so better where it sees the character itself. Above: `shaping.py`, `pieces.py`. Below:
`watching/messages/`, `text/surrogates.py`.
"""

from __future__ import annotations

import json
import unicodedata
from typing import Any, Final

from rlm_kernel_mcp.session.trace.events import Text as Stored
from rlm_kernel_mcp.session.trace.events import Texts
from rlm_kernel_mcp.store.long_answers import PagedBytes
from rlm_kernel_mcp.text.surrogates import decoded
from rlm_kernel_mcp.watching.messages.answers import PIECE_CHARS, Piece
from rlm_kernel_mcp.watching.messages.events import HEAD_CHARS, TAIL_CHARS, Text

RUN_CHARS: Final = 1 << 14
"""Marks behind one letter that are kept together; a longer run is cut, since a message has a bound."""
JOINERS: Final = frozenset("\u200c\u200d")
"""What joins the characters beside it: the flag of a profession, a syllable."""


def shown_text(stored: Stored | None, head_chars: int = HEAD_CHARS) -> Text | None:
    """A text, or its ends; None where there is none. Raises: SessionNotFound: it is damaged."""
    if stored is None or not len(stored):
        return None
    if isinstance(stored, PagedBytes):  # never as a whole: it may have 64 million characters
        chars, edge = len(stored.text), head_chars + TAIL_CHARS + RUN_CHARS
        first, last = stored.text.part(0, edge), stored.text.part(max(chars - edge, 0), chars)
        return first_and_last(first, last, chars, head_chars)
    text = decoded(stored)
    return cut(text, head_chars)


def cut(text: str, head_chars: int = HEAD_CHARS) -> Text:
    """The same of a text that is there."""
    found = first_and_last(text, text, len(text), head_chars)
    found["lines"] = lines_of(text)
    return found


def first_and_last(first: str, last: str, chars: int, head_chars: int) -> Text:
    """A text of so many characters, by its first and its last ones: either is all of it, or more than is shown."""
    if chars <= head_chars + TAIL_CHARS:
        return {"text": first, "chars": chars, "lines": lines_of(first)}
    head = first[: seam(first, head_chars)]
    before = chars - len(last)
    tail = last[max(seam(last, len(last) - TAIL_CHARS), len(head) - before) :]
    gone = chars - len(head) - len(tail)
    return {"text": head, "tail": tail, "chars": chars, "lines": lines_of(head) + lines_of(tail), "cut": gone}


def error_in(texts: Texts) -> dict[str, Any]:
    """The texts of an exception, as the record has them; nothing where there was none."""
    stored = texts.get("error")
    found = json.loads(decoded(stored[:]) or "{}") if stored else {}
    return found if isinstance(found, dict) else {}


def lines_of(text: str) -> int:
    """How many there are; the last one need not have an end."""
    return text.count("\n") + (not text.endswith("\n") if text else 0)


def piece(stored: Stored | None, start: int, most: int = PIECE_CHARS) -> Piece:
    """A part of a text from a character on. Raises: SessionNotFound: it is damaged."""
    if isinstance(stored, PagedBytes):
        chars = len(stored.text)
        found = stored.text.part(start, start + most + 1)
    else:
        text = "" if stored is None else decoded(stored)
        chars, found = len(text), text[start : start + most + 1]
    if len(found) > most:
        found = found[: seam(found, most)]
    end = start + len(found)
    return {"text": found, "from": start, "next": end if end < chars and found else None, "chars": chars}


def seam(text: str, at: int) -> int:
    """The last place up to `at` that parts no mark from its letter; `at` itself where that would be too far away."""
    if not 0 < at < len(text):
        return max(0, min(at, len(text)))
    for place in range(at, max(at - RUN_CHARS, 0), -1):
        if not belongs(text[place], text[place - 1]):
            return place
    return at


def belongs(char: str, before: str) -> bool:
    """Whether a character belongs to the one before it."""
    if char.isascii():
        return char == "\n" and before == "\r"
    return char in JOINERS or before in JOINERS or unicodedata.category(char)[0] == "M"
