"""The map of a session's contexts, from the record: what was delivered, searched and cited, and where documents lie.

Is: the reading half, for whoever draws it; it grows with the record and reads nothing twice. Names are raw. Is not: a
drawing, nor the writing half (`session/finding/steps.py`, `session/trace/journal.py`). Blocking, and for one thread at
a time: call it by `in_reader`. Above: `session/trace/reading.py`, `watching/record/`. Below: `recorded.py`,
`ranges.py`, `store/reading.py`.

`delivered` and final citations are the host's facts; `searched`, and what is only claimed, the kernel's word. What
steps did by a text's own methods is in neither.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final, NamedTuple

from rlm_kernel_mcp.context_wire import Run
from rlm_kernel_mcp.errors import SessionNotFound
from rlm_kernel_mcp.kernel.untrusted.exploring import use_of
from rlm_kernel_mcp.kernel.untrusted.fields import count_of
from rlm_kernel_mcp.session.seen.ranges import Range, added, bins_of, clamped, merged, within
from rlm_kernel_mcp.session.seen.recorded import DELIVERED, RANGES_MAX, SEARCHED, delivered_of, searched_of
from rlm_kernel_mcp.store.database.records import SessionRecord
from rlm_kernel_mcp.store.reading import Reading
from rlm_kernel_mcp.text.safe_text import safe_text

EVIDENCE: Final = "evidence"
"""Key in `extra` of a final answer's event, as `session/trace/events.py` has it, which lies above."""
RUNS_MAX: Final = 20_000
"""Stretches of one context that a map keeps; of more, the largest."""
KEPT_MAX: Final = 20_000
"""Delivered ranges of one context that it keeps; of more, those with least between them are joined."""
WAITING_MAX: Final = 50_000
"""Stretches or ranges of one context that wait to be put together: step by step each would go over all there are."""


class CitedPlace(NamedTuple):
    """A citation, in characters of its context."""

    id: str
    """As `[c3]` has it: `c3`; `q1` of a quote."""
    start: int
    end: int
    is_final: bool
    """Whether it is the final answer's, which the host has checked; else a step has claimed it."""


class DocumentPlace(NamedTuple):
    """A document, in characters of its context."""

    name: str
    start: int
    chars: int


@dataclass(slots=True)
class EventSeen:
    """What one step has seen, by context."""

    delivered: dict[str, list[Range]] = field(default_factory=dict)
    """The host's fact."""
    searched: dict[str, int] = field(default_factory=dict)
    """Characters, each counted once: the kernel's word."""

    def row(self) -> dict[str, dict[str, Any]]:
        """As a program or a file has it, by context."""
        names = sorted({*self.delivered, *self.searched})
        both: dict[str, Mapping[str, Any]] = {"delivered": self.delivered, "searched": self.searched}
        return {name: {key: of[name] for key, of in both.items() if name in of} for name in names}


class SeenMap:
    """One session's."""

    def __init__(self, store: Reading, session_id: str) -> None:
        self._store, self._session_id = store, session_id
        self._after = self._claimed_to = 0
        self._chars: dict[str, int] = {}
        self._events: dict[int, EventSeen] = {}
        self._delivered: dict[str, list[Range]] = {}
        self._searched: dict[str, list[Run]] = {}
        self._new_ranges: dict[str, list[Range]] = {}
        self._new_runs: dict[str, list[Run]] = {}
        """What was read of the two, and is in neither yet: who wants single events alone never asks for them."""
        self._cited: dict[str, dict[str, CitedPlace]] = {}
        self._has_answer = False
        self._documents: dict[str, list[DocumentPlace]] = {}
        self._by_name: dict[str, dict[str, DocumentPlace]] = {}

    def refresh(self, most: int | None = None) -> bool:
        """Read what is new, or so many rows of it, the first ones; whether there was anything."""
        rows = self._store.seen.of(self._session_id, self._after, -1 if most is None else most)
        for row in rows:
            self._after = row.id
            if row.data is None:
                continue
            event = self._events.setdefault(row.event, EventSeen())
            if row.kind == DELIVERED:
                self._take_delivered(event, delivered_of(row.data))
            elif row.kind == SEARCHED:
                self._take_searched(event, searched_of(row.data))
        return bool(rows)

    def _take_delivered(self, event: EventSeen, found: dict[str, list[Range]]) -> None:
        for name, ranges in found.items():
            event.delivered[name] = merged([*event.delivered.get(name, ()), *ranges], RANGES_MAX)
            self._new_ranges.setdefault(name, []).extend(ranges)
            self._put_together(name, WAITING_MAX)

    def _take_searched(self, event: EventSeen, found: dict[str, list[Run]]) -> None:
        if found.keys() - self._chars.keys():
            self._look_at_contexts()
        for name, claimed in found.items():
            runs = clamped(claimed, self._chars.get(name, 0))  # a kernel may claim more than there is
            if not runs:
                continue
            event.searched[name] = event.searched.get(name, 0) + sum(end - start for start, end, _ in runs)
            self._new_runs.setdefault(name, []).extend(runs)
            self._put_together(name, WAITING_MAX)

    def _put_together(self, name: str, most: int = 0) -> None:
        """Have the whole of a context's, where more than so many wait to be in it."""
        if len(ranges := self._new_ranges.get(name, [])) > most:
            self._delivered[name] = merged([*self._delivered.get(name, ()), *ranges], KEPT_MAX)
            ranges.clear()
        if len(runs := self._new_runs.get(name, [])) > most:
            self._searched[name] = added(self._searched.get(name, ()), runs, RUNS_MAX)
            runs.clear()

    def of_event(self, event_id: int) -> EventSeen:
        """What the step of an event has seen, as far as it has been read."""
        return self._events.get(event_id, EventSeen())

    def searched(self, context: str, start: int, end: int, bins: int = 1_024) -> bytes | None:
        """A byte for each part of a window: how often our functions went over it, by the kernel's word.

        None: none has gone over the context at all; what steps did by a text's own methods is not tracked.
        """
        self._put_together(context)
        runs = self._searched.get(context)
        return None if not runs else bins_of(runs, start, end, bins)

    def delivered(self, context: str, start: int, end: int, most: int = RANGES_MAX) -> list[Range]:
        """The ranges of a window that stood in what was delivered."""
        self._put_together(context)
        return merged(within(self._delivered.get(context, ()), start, end), most)

    # --- documents --------------------------------------------------------------------------------

    def documents(self, context: str) -> list[DocumentPlace]:
        """All documents of a context in order; none where the record does not have all of them."""
        if context not in self._documents:
            self._look_at_contexts()
        if not self._documents.get(context):
            pages = self._store.documents.of(self._session_id, context)
            found = [one for page in pages for one in _placed(page.names, page.chars, page.start)]
            is_whole = all(one.start + one.chars == then.start for one, then in pairwise(found))
            self._documents[context] = found if found and found[0].start == 0 and is_whole else []
        return self._documents[context]

    def document_at(self, context: str, char: int) -> DocumentPlace | None:
        """The document that has a character; None where the record does not say. Reads one page of documents."""
        found = self._documents.get(context)
        if not found:
            pages = self._store.documents.of(self._session_id, context, at=char)
            found = [one for page in pages for one in _placed(page.names, page.chars, page.start)]
            found = found or self.documents(context)
        return next((one for one in found if one.start <= char < one.start + one.chars), None)

    def _look_at_contexts(self) -> None:
        """Sizes of the contexts, and the documents of those whose reports name all."""
        try:
            record = self._store.session(self._session_id, whole=False)
            reports = [] if record is None else reports_of(record)
        except SessionNotFound:  # it is damaged
            return
        for row in reports:
            if (chars := count_of(row.get("chars"))) is None:
                continue
            name, documents = str(row["name"]), first_documents(row)
            self._chars[name] = chars
            if row.get("document_count") == len(documents) and not self._documents.get(name):
                self._documents[name] = documents

    # --- citations --------------------------------------------------------------------------------

    def cited(self, context: str) -> list[CitedPlace]:
        """The citations of the final answer in a context; as long as there is none, what steps have claimed."""
        for head in self._store.heads(self._session_id, self._claimed_to):
            self._claimed_to = max(self._claimed_to, head.row.step_index)
            extra: dict[str, Any] = json.loads(head.row.extra or "{}")
            for claim in use_of(extra).claims if head.row.action == "run_repl" else ():
                self._cite(f"c{claim.number}", claim.context, claim.document, (claim.start, claim.end), is_final=False)
            if head.row.action == "finalize" and (evidence := extra.get(EVIDENCE)):
                self._has_answer = True
                self._cited.clear()
                for one in evidence["citations"]:
                    if "start_char" in one:  # all that an answer was taken with are at a place
                        document, place = str(one["doc"]), (one["start_char"], one["end_char"])
                        self._cite(one["id"], self._context_of(document), document, place, is_final=True)
        return sorted(self._cited.get(context, {}).values(), key=lambda one: (one.start, one.id))

    def _cite(self, name: str, context: str | None, document: str, place: Range, *, is_final: bool) -> None:
        if context is None or (self._has_answer and not is_final):
            return
        found = self._place_of(context, document)
        if found is not None and place[1] <= found.chars:
            cited = CitedPlace(name, found.start + place[0], found.start + place[1], is_final)
            self._cited.setdefault(context, {})[name] = cited

    def _context_of(self, document: str) -> str | None:
        """The context with a document of this name: there are no two."""
        if not self._chars:
            self._look_at_contexts()
        return next((name for name in self._chars if self._place_of(name, document) is not None), None)

    def _place_of(self, context: str, document: str) -> DocumentPlace | None:
        """A document, by its name as it is or safe to show."""
        if not self._by_name.get(context):
            found = self.documents(context)
            self._by_name[context] = {safe_text(one.name): one for one in found} | {one.name: one for one in found}
        return self._by_name[context].get(document)


def reports_of(record: SessionRecord) -> list[dict[str, Any]]:
    """What a record has of a session's contexts, the first one first, and of each at least its name.

    Another version may have written it: what is not as this one does it is left out.
    """
    first, reference = (_object(json.loads(text or "{}")) for text in (record.context, record.context_ref))
    added = reference.get("added")
    more = [_object(one) for one in added] if isinstance(added, list) else []
    pairs = [(reference, first), *((one.get("source"), one.get("report")) for one in more)]
    return [
        {"name": str(_object(source).get("name") or "context"), **report}
        for source, report in pairs
        if isinstance(report, dict)
    ]


def first_documents(report: Mapping[str, Any]) -> list[DocumentPlace]:
    """The documents that a context's report names: its first ones, which lie one behind the other."""
    rows = report.get("documents")
    names, sizes = list[str](), list[int]()
    for row in map(_object, rows) if isinstance(rows, list) else ():
        name, chars = row.get("name"), count_of(row.get("chars"))
        if not isinstance(name, str) or chars is None:
            break
        names.append(name)
        sizes.append(chars)
    return list(_placed(names, sizes, 0))


def _object(found: object) -> dict[str, Any]:
    return found if isinstance(found, dict) else {}


def _placed(names: Iterable[str], sizes: Iterable[int], start: int) -> Iterator[DocumentPlace]:
    for name, chars in zip(names, sizes, strict=False):
        yield DocumentPlace(name, start, chars)
        start += chars
