"""What a session's kernel has claimed, and what was delivered of its output: kept for the final answer.

Is: claims by number, bounded, and lines of what the replies had. Is not: a check of any of it. Above:
`session/session.py`, `session/evidence/`, `session/finding/`. Below: `context_wire.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from rlm_kernel_mcp.context_wire import CLAIMS_MAX, CLAIMS_STEP_MAX, Claim, Explored
from rlm_kernel_mcp.kernel.untrusted.exploring import Use

LINE_CHARS_MIN: Final = 40
"""Of a line of output by which a place in the sources is known again."""
LINE_CHARS_MAX: Final = 2_000
LINES_MAX: Final = 2_000
CONTEXTS_MAX: Final = 1_000
PLACE: Final = re.compile(r"\A.{0,300}?:\d{1,12}: ")
"""What a match is shown with: its document and its line."""


class PlacedLine(NamedTuple):
    """A line of what was delivered, and where it stands: in characters of a document of a context, by its number."""

    event: int
    context: str
    document: int
    start: int
    end: int


@dataclass(slots=True)
class EvidenceBook:
    """Of one session. Whatever a kernel says, it has a bound here."""

    claims: dict[int, Claim] = field(default_factory=dict)
    ambiguous: set[int] = field(default_factory=set)
    """Numbers under which two places were claimed: a kernel that took another one's place may have begun anew."""
    is_full: bool = False
    """Whether there were more claims than are kept."""
    numbers_to: int = 0
    """Numbers up to this may be in use by now: a fresh kernel's come behind it."""
    explored: dict[str, Explored] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)
    """Of what was delivered, each once, with the row of the step that it was first given by; 0: of none."""
    placed: list[PlacedLine] = field(default_factory=list)
    """Where the check of the final answer has found some of them."""
    delivered_chars: int = 0
    is_whole: bool = True
    """Whether all of the session's replies were seen here; not so where another server began it."""

    @property
    def highest(self) -> int:
        """The last number that was given; a fresh kernel goes on behind it."""
        return max(self.claims, default=0)

    def take_step(self, used: Use, *, lost: bool) -> None:
        """Keep what a step said. `lost`: its kernel went with it, and may have printed marks that are not here."""
        self.take(used.claims, used.explored)
        self.numbers_to = max(self.numbers_to, self.highest) + (CLAIMS_STEP_MAX if lost else 0)

    def take(self, claims: Iterable[Claim], explored: Iterable[Explored] = ()) -> None:
        """What a step's reply claims: its own citations, and all that was looked at by now."""
        for claim in claims:
            known = self.claims.get(claim.number)
            if known is not None and known != claim:
                self.ambiguous.add(claim.number)
            elif known is None and len(self.claims) >= CLAIMS_MAX:
                self.is_full = True
            else:
                self.claims[claim.number] = claim
        for row in explored:
            before = self.explored.get(row.context, Explored(row.context, 0, 0))
            if row.context in self.explored or len(self.explored) < CONTEXTS_MAX:
                # A fresh kernel begins to count anew.
                most = max(before.searched, row.searched), max(before.ranked, row.ranked)
                self.explored[row.context] = Explored(row.context, *most)

    def deliver(self, *texts: str, event: int = 0) -> None:
        """What a reply had. `event`: the row of its step."""
        for text in texts:
            self.delivered_chars += len(text)
            for line in _lines(text):
                if len(self.lines) < LINES_MAX or line in self.lines:
                    self.lines[line] = self.lines.get(line) or event


def _lines(text: str) -> Iterator[str]:
    for line in text.splitlines():
        bare = PLACE.sub("", line).strip()
        if LINE_CHARS_MIN <= len(bare) <= LINE_CHARS_MAX:
            yield bare
