"""What a reply has given its client, made ready to be found again in the sources; which parts of a text stood in it.

Is: lines of a reply, bounded, and their comparison with a text. Is not: where the text comes from (`placing.py`).
Sans-I/O. Above: that. Below: `session/seen/ranges.py`, `session/kernels/claimed.py`.

A part of a text counts where all of a line of it stands in the reply. So what is found did stand there, whoever said
where to look for it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, Self

from rlm_kernel_mcp.session.kernels.claimed import PLACE
from rlm_kernel_mcp.session.seen.ranges import Range

LINE_CHARS: Final = 12
"""A line with fewer says nothing by itself: it counts only beside one with as many."""
LONG_CHARS: Final = 40
"""The same where nobody has said that the text was looked at."""
TEXT_CHARS: Final = 128 << 10
LINES_MAX: Final = 4_000
CUTS_MAX: Final = 64
"""Of a reply; what is beyond is not looked for."""
WITHIN_MAX: Final = 500
"""Lines of a text that are looked for within those of a reply: each look goes through all of it."""
_LITERAL: Final = re.compile(r"""'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*\"""")
"""The result of a step that is a text, as Python shows it."""
_ESCAPE: Final = re.compile(r"\\(?:x([0-9a-f]{2})|u([0-9a-f]{4})|U(000[0-9a-f]{5})|(.))")
_ESCAPED: Final = {"n": "\n", "r": "\r", "t": "\t"}


def _character(found: re.Match[str]) -> str:
    code = found[1] or found[2] or found[3]
    return chr(int(code, 16)) if code else _ESCAPED.get(found[4], found[4])


def may_have_lines(texts: Iterable[str], least: int) -> bool:
    """Whether a line of some texts is so long; it takes next to nothing where they are short."""
    return any(len(line) >= least for text in texts if len(text) >= least for line in text.splitlines())


@dataclass(slots=True)
class Given:
    """Of one reply."""

    text: str = ""
    lines: set[str] = field(default_factory=set)
    """Each without the white space around it, as it is and without the place that it is shown with."""
    cut: list[str] = field(default_factory=list)
    """The beginnings of those that were cut."""
    left: int = WITHIN_MAX

    @classmethod
    def of(cls, texts: Iterable[str]) -> Self:
        """What some texts of a reply have."""
        parts, room = [], TEXT_CHARS
        for text in texts:
            parts.append(part := text[:room])
            if _LITERAL.fullmatch(part):
                parts.append(_ESCAPE.sub(_character, part[1:-1]))
            room -= min(room, sum(map(len, parts[-2:])))
        made = cls("\n".join(parts))
        for line in made.text.split("\n", LINES_MAX)[:LINES_MAX]:
            bare = line.strip()
            short = PLACE.sub("", bare).strip()
            made.lines |= {bare, short}
            if short.endswith("…") and len(short) > LONG_CHARS and len(made.cut) < CUTS_MAX:
                made.cut.append(short[:-1])
        made.lines.discard("")
        return made

    def has(self, bare: str, least: int) -> bool:
        """Whether a line, without the white space around it, stands in it, and is long enough to say so."""
        if len(bare) < least:
            return False
        if bare in self.lines:
            return True
        if self.left <= 0:
            return False
        self.left -= 1
        return bare in self.text

    def parts_of(self, text: str, least: int = LINE_CHARS) -> Iterator[Range]:
        """The parts of a text that stand in it: lines in a row, of which one at least has `least` characters."""
        at, run = 0, _Run()
        for line in text.split("\n"):
            bare = line.strip()
            if bare:
                start = at + line.index(bare[0])
                is_long = self.has(bare, least)
                if is_long or bare in self.lines:
                    run.take(start, start + len(bare), is_long=is_long)
                else:
                    yield from run.end()
                    yield from self._cut_in(line, at)
            at += len(line) + 1
        yield from run.end()

    def _cut_in(self, line: str, at: int) -> Iterator[Range]:
        """The part of a line that was shown, and not all of it."""
        for begin in self.cut if len(line) > LONG_CHARS else ():
            place = line.find(begin)
            if place >= 0:
                yield at + place, at + place + len(begin)


@dataclass(slots=True)
class _Run:
    """Lines in a row that all stand in a reply."""

    start: int = -1
    reached: int = -1
    is_long: bool = False

    def take(self, start: int, end: int, *, is_long: bool) -> None:
        self.start = start if self.start < 0 else self.start
        self.reached, self.is_long = end, self.is_long or is_long

    def end(self) -> Iterator[Range]:
        if self.is_long:
            yield self.start, self.reached
        self.start, self.is_long = -1, False
