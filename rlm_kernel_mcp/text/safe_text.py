"""Makes text safe to show, and cuts it to size.

Is: the last thing that happens to a kernel's text before a client sees it, at a cost that grows with what is shown and
not with what there is. Is not: what is kept: the store has the text as it came. Sans-I/O.
Above: `session/steps/delivery.py`, `session/trace/`, `server/`. Below: `characters.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rlm_kernel_mcp.text.characters import LONGEST_SEQUENCE, SUSPECT, escaped

BLOCK_CHARS: Final = 4_096
"""Characters that are made safe at a time where only a part is wanted."""
CALL_CHARS: Final = 1 << 16
"""Most characters for one call in C, some 4 ms: the event loop's thread can have the interpreter in between."""
END_CHARS: Final = 2 * LONGEST_SEQUENCE
"""Characters beyond a cut that `cut_ends` may look at."""

# What stands in place of a cut: how many characters are gone, of how many, and where the rest is.
_SAID: Final = "\n[... {:,} of {:,} characters cut here; {} ...]\n".format
_COUNTED: Final = "\n[... {:,} of {:,} characters cut here ...]\n".format
_SHORT: Final = "…".format


def safe_text(text: str) -> str:
    r"""Text in which nothing acts, reorders or hides.

    Controls, bidi embeddings, overrides and isolates, tags and lone surrogates become visible: `\x1b`, `\u202e`. What
    spells a word or an emoji stays (`characters.py`), and so does a line end (`\r\n`).
    """
    if len(text) <= CALL_CHARS:
        return escaped(text)
    parts: list[str] = []
    at = 0
    while at < len(text):
        stop = seam(text, min(at + CALL_CHARS, len(text)), at)
        parts.append(escaped(text[at:stop]))
        at = stop
    return "".join(parts)


def is_safe(text: str) -> bool:
    """Whether `safe_text` is known to leave a text, and each part of it, as it is; of a long one that is not known."""
    if len(text) > CALL_CHARS:
        return False
    # A tenth of the time that the expression takes.
    if text.isascii() and text.replace("\n", "").replace("\t", "").isprintable():
        return True
    return SUSPECT.search(text) is None


@dataclass(frozen=True, slots=True)
class Cut:
    """Safe text of bounded length, and how many characters of the source it leaves out.

    `says_where`: whether the text itself says where the rest is, or nothing was cut.
    """

    text: str
    cut_chars: int
    says_where: bool


def safe_prefix(text: str, limit: int) -> tuple[str, int]:
    """A safe form of a prefix within `limit` characters, and how many source characters it covers.

    The longest such prefix, or up to `LONGEST_SEQUENCE` characters less: it ends where the rest can be made safe by
    itself, so that pages put together are the safe form of the whole.
    """
    parts: list[str] = []
    room, at, end = limit, 0, seam(text, min(max(limit, 0), len(text)))
    while at < end:
        stop = seam(text, min(at + BLOCK_CHARS, end), at)
        safe = safe_text(text[at:stop])
        if len(safe) > room:
            safe, stop = _longest(text, at, stop, room)
            return "".join((*parts, safe)), stop
        parts.append(safe)
        room, at = room - len(safe), stop
    return "".join(parts), at


def _longest(text: str, start: int, stop: int, room: int) -> tuple[str, int]:
    """How much of `text[start:stop]`, from its start, has a safe form within `room`, and where that ends."""
    low, high = start, stop - 1
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if len(safe_text(text[start:middle])) <= room else (low, middle - 1)
    while low > start:
        low = seam(text, low, start)
        safe = safe_text(text[start:low])
        if len(safe) <= room:
            return safe, low
        low -= 1
    return "", start


def _safe_suffix(text: str, limit: int) -> tuple[str, int]:
    """As `safe_prefix`, from the end."""
    parts: list[str] = []
    first = len(text) - min(max(limit, 0), len(text))
    room, at = limit, len(text)
    while at > first:
        start = seam(text, max(at - BLOCK_CHARS, first), first)
        safe = safe_text(text[start:at])
        if len(safe) > room:
            low, high = start + 1, at
            while low < high:
                middle = (low + high) // 2
                low, high = (low, middle) if len(safe_text(text[middle:at])) <= room else (middle + 1, high)
            parts.append(safe_text(text[low:at]))
            at = low
            break
        parts.append(safe)
        room, at = room - len(safe), start
    return "".join(reversed(parts)), len(text) - at


def seam(text: str, at: int, low: int = 0) -> int:
    """The last place in `(low, at]` where both sides of a cut, each made safe by itself, are the safe whole.

    `at` itself where there is none within the reach of one sequence.
    """
    for place in range(at, max(at - LONGEST_SEQUENCE, low), -1):
        if not splits_at(text, place):
            return place
    return at


def splits_at(text: str, place: int) -> bool:
    """Whether a cut there parts characters that belong together: a line end, a letter and its joiner, a flag."""
    if not 0 < place < len(text) or SUSPECT.search(text, place - 1, place + 1) is None:
        return False
    start = max(place - LONGEST_SEQUENCE, 0)
    before, after = text[start:place], text[place : place + LONGEST_SEQUENCE]
    # Each side also as its one character at the cut: what is cut beside it must change nothing either.
    return any(
        escaped(left) + escaped(right) != escaped(left + right)
        for left in (before, before[-1])
        for right in (after, after[0])
    )


def cut_text(text: str, limit: int, where_is_the_rest: str) -> Cut:
    """Head and tail of a text within `limit` characters, with a line between them that says exactly what was cut.

    `where_is_the_rest` ends that line: the call that gets the rest. Where the line would take more than half of the
    limit it is shorter, at last "…" alone.
    """
    safe, covered = safe_prefix(text, limit) if len(text) <= limit else ("", -1)
    if covered == len(text):
        return Cut(safe, 0, says_where=True)
    return cut_ends(text, text, len(text), limit, where_is_the_rest)


def cut_ends(first: str, last: str, chars: int, limit: int, where_is_the_rest: str) -> Cut:
    """The same of a text of so many characters which is longer than `limit`, by its first and last ones.

    Of each at least `END_CHARS` more than `limit`, or all: what stands behind a cut says what belongs together.
    """
    for form in (_SAID, _COUNTED, _SHORT):
        room = limit - len(form(chars, chars, where_is_the_rest))
        if room >= limit // 2:
            break
    else:
        safe, covered = safe_prefix(first, limit)
        return Cut(safe, chars - covered, says_where=False)
    head, head_chars = safe_prefix(first, room * 2 // 3)
    tail, tail_chars = _safe_suffix(last, min(room - len(head), chars - head_chars))
    gone = chars - head_chars - tail_chars
    return Cut(head + form(gone, chars, where_is_the_rest) + tail, gone, says_where=form is _SAID)


def share(lengths: Sequence[int], limit: int) -> list[int]:
    """Split `limit` among texts of these lengths: short ones whole, the rest in equal parts."""
    shares = [0] * len(lengths)
    left = limit
    order = sorted(range(len(lengths)), key=lambda index: lengths[index])
    for position, index in enumerate(order):
        shares[index] = min(lengths[index], left // (len(order) - position))
        left -= shares[index]
    return shares
