"""The map shows what the record has of what was searched, delivered and cited, and says where it has nothing."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any, NamedTuple

from rlm_kernel_mcp.watching.messages.events import Event, Range
from rlm_kernel_mcp.watching.record.maps import DocumentPlace, Maps
from rlm_kernel_mcp.watching.record.stretches import Place

REPORT: dict[str, Any] = {
    "name": "context",
    "chars": 300,
    "document_count": 3,
    "documents": [{"name": "a/1.txt", "chars": 100}, {"name": "a/2.txt", "chars": 100}],
}


class Cited(NamedTuple):
    id: str
    start: int
    end: int
    is_final: bool = True


class OfEvent(NamedTuple):
    delivered: dict[str, list[Range]]
    searched: dict[str, int]


class NotTracked:
    """A record that has nothing."""

    def refresh(self, *_: object) -> bool:
        return False

    def searched(self, *_: object) -> bytes | None:
        return None

    def delivered(self, *_: object) -> Sequence[Range]:
        return []

    def cited(self, *_: object) -> Sequence[Cited]:
        return []

    def of_event(self, *_: object) -> OfEvent:
        return OfEvent({}, {})

    def documents(self, *_: object) -> Sequence[DocumentPlace]:
        return []

    def document_at(self, *_: object) -> DocumentPlace | None:
        return None


class Seen(NotTracked):
    """A record that has something."""

    passes: bytes | None = b"\x01\x00"

    def searched(self, *_: object) -> bytes | None:
        return self.passes

    def delivered(self, *_: object) -> Sequence[Range]:
        return [(90, 110), (250, 260)]

    def cited(self, *_: object) -> Sequence[Cited]:
        return [Cited("c1", 100, 105), Cited("c2", 101, 102, is_final=False)]

    def of_event(self, *_: object) -> OfEvent:
        return OfEvent({"context": [(90, 110)]}, {"context": 30})

    def documents(self, *_: object) -> Sequence[DocumentPlace]:
        return [Place("a/1.txt", 0, 100), Place("a/2.txt", 100, 100), Place("b.txt", 200, 100)]


def test_where_the_record_has_nothing_it_is_not_tracked() -> None:
    maps = Maps(NotTracked(), [REPORT])
    assert maps.news() == [{"type": "map", "context": "context", "searched": None}]
    window: Any = maps.window("context", 0, 300, 2)
    assert window == {
        "from": 0,
        "to": 300,
        "searched": None,
        "delivered": [],
        "stretches": [
            {"name": "a/1.txt", "start": 0, "end": 100, "documents": 1},
            {"name": "a/2.txt", "start": 100, "end": 200, "documents": 1},
            {"name": "1 others", "start": 200, "end": 300, "documents": 1},
        ],
    }


def test_the_map_is_told_again_only_where_it_has_changed() -> None:
    seen = Seen()
    maps = Maps(seen, [REPORT])
    assert maps.news() == [{"type": "map", "context": "context", "searched": base64.b64encode(b"\x01\x00").decode()}]
    assert maps.news() == []
    seen.passes = b"\x02\x00"
    assert len(maps.news()) == 1


def test_a_window_ends_where_the_context_does() -> None:
    found = Maps(Seen(), [REPORT]).window("context", 200, 1 << 60, 2)
    assert (found["from"], found["to"]) == (200, 300)
    assert [one["name"] for one in found["stretches"]] == ["b.txt"]


def test_a_window_that_lies_behind_the_context_is_empty() -> None:
    found = Maps(Seen(), [REPORT]).window("context", 1 << 60, 1 << 61, 2)
    assert (found["from"], found["to"], found["searched"]) == (300, 300, None)


def test_the_document_of_a_character_is_found() -> None:
    maps = Maps(Seen(), [REPORT])
    assert maps.document_at("context", 199) == {"name": "a/2.txt", "start": 100, "chars": 100}
    assert maps.document_at("context", 300) is None
    assert maps.document_at("no such context", 0) == {"name": "a/1.txt", "start": 0, "chars": 100}


def test_lanes_are_the_documents_of_which_something_was_delivered_or_cited() -> None:
    lanes = Maps(Seen(), [REPORT]).lanes("context", 2)
    assert (lanes["read"], lanes["total"]) == (3, 3)
    assert lanes["documents"] == [
        {"name": "a/2.txt", "start": 100, "chars": 100, "delivered": [(100, 110)], "cited": [(100, 105)]},
        {"name": "a/1.txt", "start": 0, "chars": 100, "delivered": [(90, 100)], "cited": []},
    ]


def test_an_event_says_what_it_has_delivered_and_searched_and_where_its_citations_lie() -> None:
    event: Event = {
        "id": "7",
        "type": "final",
        "ts": "",
        "step": 1,
        "status": "completed",
        "source": "mcp",
        "summary": "",
        "ms": 0,
        "used": {"steps": 1, "runtime_ms": 0, "chars": 0},
        "cost": 0,
        "citations": [{"id": "c1"}, {"id": "q1"}],
    }
    Maps(Seen(), [REPORT]).add_to(event)
    assert event["delivered"] == {"context": [(90, 110)]}
    assert event["searched"] == {"chars": 30, "share": 0.1}
    assert event["citations"] == [{"id": "c1", "context": "context", "start": 100, "end": 105}, {"id": "q1"}]


def test_a_report_of_another_form_is_an_empty_context() -> None:
    maps = Maps(NotTracked(), [{"name": "context", "chars": "many", "documents": 3, "document_count": None}])
    assert maps.chars("context") == 0
    assert maps.stretches("context", 0, 10) == []
    assert maps.lanes("context", 5) == {"documents": [], "read": 0, "total": 0}
