"""Makes text safe to show, and cuts it to size.

Is: the last thing that happens to a kernel's text before a client sees it. Is not: what is kept: the store has the
text as it came. Sans-I/O. Above: `step.py`, `trace.py`, `server/`. Below: nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

_SUSPECT: Final = re.compile(
    "["
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 but tab and newline, DEL, C1
    "\u00ad\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"  # soft hyphen, invisible letters and selectors
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164"  # zero width, separators, bidi controls
    "\ud800-\udfff\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"  # lone surrogates, variation selectors, BOM, annotations
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff"  # musical controls, tags, more variation selectors
    "]"
)
_EMOJI: Final = re.compile(
    "[\u00a9\u00ae\u203c\u2049\u2122-\u21ff\u2300-\u23ff\u24c2\u25a0-\u2bff\u3030-\u303d\u3297\u3299\U0001f000-\U0001faff]"
)
_VARIANTS: Final = ("\ufe0e", "\ufe0f")

# What stands in the place of what was cut, from the number that is gone, the whole number, and where the rest is.
_SAID: Final = "\n[... {:,} of {:,} characters cut here; {} ...]\n".format
_COUNTED: Final = "\n[... {:,} of {:,} characters cut here ...]\n".format
_SHORT: Final = "…".format


def safe_text(text: str) -> str:
    r"""Text in which nothing acts.

    Control, bidi, zero-width and tag characters and lone surrogates become visible: `\x1b`, `\u202e`. A line end
    (`\r\n`) and the variant of an emoji stay.
    """
    return _SUSPECT.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    text, at = match.string, match.start()
    # The line end of half the world's texts acts on nobody. How an emoji is drawn hides no data; elsewhere it could.
    if text.startswith("\r\n", at) or (match[0] in _VARIANTS and at and _EMOJI.match(text, at - 1)):
        return match[0]
    code = ord(match[0])
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


@dataclass(frozen=True, slots=True)
class Cut:
    """Safe text of bounded length, and how many characters of the source it leaves out.

    `is_told`: whether the text itself says where the rest is, or nothing was cut.
    """

    text: str
    cut_chars: int
    is_told: bool


def safe_prefix(text: str, limit: int) -> tuple[str, int]:
    """The longest safe form of a prefix within `limit` characters, and how many source characters it covers."""
    piece = text[: max(limit, 0)]
    safe = safe_text(piece)
    if len(safe) <= limit:
        return safe, len(piece)
    low, high = 0, len(piece)
    while low < high:
        middle = (low + high + 1) // 2
        if len(safe_text(piece[:middle])) <= limit:
            low = middle
        else:
            high = middle - 1
    return safe_text(piece[:low]), low


def _safe_suffix(text: str, limit: int) -> tuple[str, int]:
    """As `safe_prefix`, from the end."""
    piece = text[len(text) - limit :] if limit > 0 else ""
    start = 0
    safe = safe_text(piece)
    while len(safe) > limit:
        start += max(1, (len(safe) - limit) // 10)
        safe = safe_text(piece[start:])
    return safe, len(piece) - start


def splits(before: str, after: str) -> bool:
    """Whether a text must not be cut between two characters, since one of them alone is not safe."""
    return (before == "\r" and after == "\n") or after in _VARIANTS


def cut_text(text: str, limit: int, where_is_the_rest: str) -> Cut:
    """Head and tail of a text within `limit` characters, with a line between them that says exactly what was cut.

    `where_is_the_rest` ends that line: the call that gets the rest. Where the line would take more than half of the
    limit it is shorter, at last "…" alone.
    """
    safe, covered = safe_prefix(text, limit)
    if covered == len(text):
        return Cut(safe, 0, is_told=True)
    for form in (_SAID, _COUNTED, _SHORT):
        room = limit - len(form(len(text), len(text), where_is_the_rest))
        if room >= limit // 2:
            break
    else:
        return Cut(safe, len(text) - covered, is_told=False)
    head, head_chars = safe_prefix(text, room * 2 // 3)
    tail, tail_chars = _safe_suffix(text, min(room - len(head), len(text) - head_chars))
    gone = len(text) - head_chars - tail_chars
    return Cut(head + form(gone, len(text), where_is_the_rest) + tail, gone, is_told=form is _SAID)


def share(lengths: Sequence[int], limit: int) -> list[int]:
    """Split `limit` among texts of these lengths: short ones whole, the rest in equal parts."""
    shares = [0] * len(lengths)
    left = limit
    order = sorted(range(len(lengths)), key=lambda index: lengths[index])
    for position, index in enumerate(order):
        shares[index] = min(lengths[index], left // (len(order) - position))
        left -= shares[index]
    return shares
