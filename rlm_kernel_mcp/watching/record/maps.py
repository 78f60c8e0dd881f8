"""The map of a session's contexts: what was searched, delivered and cited, where its documents lie.

Is: windows of it, within the page's bounds. Is not: how any of it is recorded, nor whether it is true: searched is the
kernel's word. Where the record has nothing, it is not tracked. Above: `heads.py`, `history.py`. Below: `stretches.py`,
`session/seen/maps.py`, `watching/messages/`.
"""

from __future__ import annotations

import base64
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

from rlm_kernel_mcp.kernel.untrusted.fields import count_of
from rlm_kernel_mcp.session.seen.maps import first_documents
from rlm_kernel_mcp.watching.messages.answers import LANES_MAX, Document, Lane, Lanes, Window
from rlm_kernel_mcp.watching.messages.events import RANGES_MAX, Event, Range
from rlm_kernel_mcp.watching.messages.stream import BINS_MAX, MapMessage, Stretch
from rlm_kernel_mcp.watching.record.stretches import Place, fewer, stretches

LANE_RANGES_MAX: Final = 200
"""Of one document, of each kind."""


class CitedPlace(Protocol):
    """Where a citation lies in a context."""

    @property
    def id(self) -> str: ...
    @property
    def start(self) -> int: ...
    @property
    def end(self) -> int: ...
    @property
    def is_final(self) -> bool: ...


class OfEvent(Protocol):
    """What an event has delivered and searched, by context."""

    @property
    def delivered(self) -> Mapping[str, Sequence[Range]]: ...
    @property
    def searched(self) -> Mapping[str, int]: ...


class DocumentPlace(Protocol):
    """A document, in characters of its context."""

    @property
    def name(self) -> str: ...
    @property
    def start(self) -> int: ...
    @property
    def chars(self) -> int: ...


class Seen(Protocol):
    """What the record has of a session's contexts. It waits for the disk; one thread at a time calls it."""

    def refresh(self, most: int | None = None) -> bool: ...
    def searched(self, context: str, start: int, end: int, bins: int) -> bytes | None: ...
    def delivered(self, context: str, start: int, end: int, most: int) -> Sequence[Range]: ...
    def cited(self, context: str) -> Sequence[CitedPlace]: ...
    def of_event(self, event_id: int) -> OfEvent: ...
    def documents(self, context: str) -> Sequence[DocumentPlace]: ...
    def document_at(self, context: str, char: int) -> DocumentPlace | None: ...


class Maps:
    """One session's. It waits for the disk; one thread at a time calls it."""

    def __init__(self, seen: Seen, reports: Iterable[Mapping[str, Any]]) -> None:
        """`reports`: of the contexts, as the record has them."""
        self._seen = seen
        self._reports = {str(row.get("name")): row for row in reports}
        self._documents: dict[str, list[Place]] = {}
        self._told: dict[str, str | None] = {}

    @property
    def contexts(self) -> list[str]:
        return list(self._reports)

    def chars(self, context: str) -> int:
        return count_of(self._reports.get(context, {}).get("chars")) or 0

    def refresh(self, most: int | None = None) -> bool:
        """Read what is new of what was searched, delivered and cited, at most so many rows; whether anything is."""
        return self._seen.refresh(most)

    def news(self) -> list[MapMessage]:
        """What has become of the whole contexts since the last time."""
        found: list[MapMessage] = []
        for context in self._reports:
            searched = self._searched(context, 0, self.chars(context), BINS_MAX)
            if context not in self._told or self._told[context] != searched:
                self._told[context] = searched
                found.append({"type": "map", "context": context, "searched": searched})
        return found

    def window(self, context: str, start: int, end: int, bins: int) -> Window:
        """A part of a context."""
        end = min(end, self.chars(context))
        start = min(start, end)
        return {
            "from": start,
            "to": end,
            "searched": self._searched(context, start, end, bins),
            "delivered": list(self._seen.delivered(context, start, end, RANGES_MAX)),
            "stretches": self.stretches(context, start, end),
        }

    def stretches(self, context: str, start: int, end: int) -> list[Stretch]:
        """The folders or documents of a part of a context."""
        places = self._places(context)
        found = stretches(places, start, end)
        total = count_of(self._reports.get(context, {}).get("document_count")) or 0
        behind = places[-1].end if places else 0
        if len(places) < total and behind < end and start < self.chars(context):  # the record has the first ones alone
            rest = total - len(places)
            name = f"{rest:,} others" if places else f"{rest:,} documents"
            found = fewer([*found, {"name": name, "start": behind, "end": self.chars(context), "documents": rest}])
        return found

    def document_at(self, context: str, char: int) -> Document | None:
        """The document in which a character lies."""
        found = self._seen.document_at(context, char)
        if found is None:
            places = self._places(context)
            number = bisect_right(places, char, key=lambda place: place.start) - 1
            if number < 0 or char >= places[number].end:
                return None
            found = places[number]
        return {"name": found.name, "start": found.start, "chars": found.chars}

    def lanes(self, context: str, most: int) -> Lanes:
        """The documents of which something was delivered or cited, the most cited and most delivered first."""
        places, found = self._places(context), dict[int, Lane]()
        delivered = self._seen.delivered(context, 0, self.chars(context), RANGES_MAX)
        cited = [(one.start, one.end) for one in self._seen.cited(context) if one.is_final]
        for number, part in _parted(places, delivered):
            _lane(found, places, number)["delivered"].append(part)
        for number, part in _parted(places, cited):
            _lane(found, places, number)["cited"].append(part)
        rows = sorted(found.values(), key=lambda lane: (-len(lane["cited"]), -_length(lane["delivered"])))
        shown = rows[: min(most, LANES_MAX)]
        for lane in shown:
            lane["delivered"], lane["cited"] = lane["delivered"][:LANE_RANGES_MAX], lane["cited"][:LANE_RANGES_MAX]
        total = count_of(self._reports.get(context, {}).get("document_count")) or len(places)
        return {"documents": shown, "read": len(found), "total": total}

    def add_to(self, event: Event) -> None:
        """Say of an event what it has delivered and searched, and of its citations where they lie."""
        seen = self._seen.of_event(int(event["id"]))
        if seen.delivered:
            event["delivered"] = {name: list(ranges)[:RANGES_MAX] for name, ranges in seen.delivered.items()}
        if seen.searched:
            chars, whole = sum(seen.searched.values()), sum(map(self.chars, self._reports))
            event["searched"] = {"chars": chars, "share": min(chars / whole, 1.0) if whole else 0.0}
        if event["type"] == "final" and event.get("citations"):
            self._place(event["citations"])

    def _place(self, citations: Sequence[dict[str, Any]]) -> None:
        places = {
            one.id: (context, one.start, one.end)
            for context in self._reports
            for one in self._seen.cited(context)
            if one.is_final
        }
        for row in citations:
            if (found := places.get(str(row.get("id")))) is not None:
                row["context"], row["start"], row["end"] = found

    def _searched(self, context: str, start: int, end: int, bins: int) -> str | None:
        found = self._seen.searched(context, start, end, bins) if start < end else None
        return None if found is None else base64.b64encode(found).decode("ascii")

    def _places(self, context: str) -> list[Place]:
        if context not in self._documents:
            found = self._seen.documents(context) or first_documents(self._reports.get(context, {}))
            self._documents[context] = [Place(one.name, one.start, one.chars) for one in found]
        return self._documents[context]


def _parted(places: Sequence[Place], ranges: Iterable[Range]) -> Iterable[tuple[int, Range]]:
    """Ranges of a context as ranges of its documents, in characters of the context."""
    for start, end in ranges:
        number = max(bisect_right(places, start, key=lambda place: place.start) - 1, 0)
        while number < len(places) and places[number].start < end:
            first, last = max(start, places[number].start), min(end, places[number].end)
            if first < last:
                yield number, (first, last)
            number += 1


def _lane(found: dict[int, Lane], places: Sequence[Place], number: int) -> Lane:
    if number not in found:
        name, start, chars = places[number]
        found[number] = {"name": name, "start": start, "chars": chars, "delivered": [], "cited": []}
    return found[number]


def _length(ranges: Iterable[Range]) -> int:
    return sum(end - start for start, end in ranges)
