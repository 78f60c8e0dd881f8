"""The map of a session's contexts is what the record says, and no more than that."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from rlm_kernel_mcp.context_wire import Claim
from rlm_kernel_mcp.kernel.untrusted.exploring import Use, use_of
from rlm_kernel_mcp.session.account import Account
from rlm_kernel_mcp.session.reports import Guardrails
from rlm_kernel_mcp.session.seen import maps
from rlm_kernel_mcp.session.seen.maps import DocumentPlace, EventSeen, SeenMap
from rlm_kernel_mcp.session.seen.recorded import DELIVERED, delivered_data
from rlm_kernel_mcp.session.steps.outcomes import Outcome
from rlm_kernel_mcp.session.trace.journal import Journal
from rlm_kernel_mcp.session.trace.reading import whole_trace
from rlm_kernel_mcp.store.store import SessionRecord, Store

NAMES: Final = [f"dir/{number}.py" for number in range(2_500)]
FIRST: Final = {"name": "context", "kind": "documents", "chars": 25_000, "document_count": 2_500, "documents": []}
MORE: Final = {
    "name": "more",
    "kind": "documents",
    "chars": 30,
    "document_count": 2,
    "documents": [{"name": "x.txt", "chars": 10}, {"name": "y.txt", "chars": 20}],
}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store.open(tmp_path)
    reference = {"name": "context", "added": [{"source": {"name": "more"}, "report": MORE}]}
    record = SessionRecord("s_1", "2026-11-30T10:00:00+00:00", "documents", "idle")
    record.context, record.context_ref = json.dumps(FIRST), json.dumps(reference)
    store.add_session(record)
    yield store
    store.close()


def step(store: Store, index: int, said: dict[str, Any] | None = None, used: Use | None = None) -> int:
    """A step that ended, and what its kernel said of it; the id of its row."""
    account, journal = Account(Guardrails()), Journal(store, "s_1")
    row_id = journal.step_begins(index, "search('x')", account)
    journal.step_ended(row_id, Outcome("ok", 7, used=used or use_of(said or {})), account)
    return row_id


def test_a_map_grows_with_the_record(store: Store) -> None:
    """It says whether there was anything new, and reads no row twice."""
    found = SeenMap(store, "s_1")
    assert not found.refresh()
    assert found.searched("context", 0, 25_000) is None
    first = step(store, 1, {"passes": {"context": [[0, 25_000, 1]], "more": [[5, 15, 2]]}})
    assert found.refresh()
    assert found.searched("context", 0, 25_000, 4) == b"\1\1\1\1"
    assert found.searched("more", 0, 30, 3) == b"\1\1\0"
    second = step(store, 2, {"passes": {"context": [[0, 12_500, 3]]}})
    store.seen.add("s_1", store.mint(), second, DELIVERED, delivered_data({"context": [(5, 9), (100, 120)]}))
    assert found.refresh()
    assert not found.refresh()
    assert found.searched("context", 0, 25_000, 4) == b"\4\4\1\1"
    assert found.delivered("context", 0, 110) == [(5, 9), (100, 110)]
    assert found.delivered("more", 0, 30) == []
    assert found.of_event(first) == EventSeen({}, {"context": 25_000, "more": 10})
    assert found.of_event(second) == EventSeen({"context": [(5, 9), (100, 120)]}, {"context": 12_500})
    assert found.of_event(3) == EventSeen()
    rows = [event.facts.get("seen") for event in whole_trace(store, "s_1") if event is not None]
    assert rows == [
        {"context": {"searched": 25_000}, "more": {"searched": 10}},
        {"context": {"delivered": [(5, 9), (100, 120)], "searched": 12_500}},
    ]


def _noted(calls: list[str], name: str, whole: Callable[..., Any], *given: Any) -> Any:
    calls.append(name)
    return whole(*given)


def test_what_many_steps_did_is_put_together_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """And never for who wants events alone, as a trace does: a kernel may claim 1,024 stretches with each step."""
    calls: list[str] = []
    for name in ("added", "merged"):
        whole = getattr(maps, name)
        monkeypatch.setattr(maps, name, partial(_noted, calls, name, whole))
    for index in range(1, 11):
        event = step(store, index, {"passes": {"context": [[0, 10, 1]]}})
        store.seen.add("s_1", store.mint(), event, DELIVERED, delivered_data({"context": [(index, index + 1)]}))
    found = SeenMap(store, "s_1")
    found.refresh()
    assert calls == ["merged"] * 10, "those of each event"
    assert found.searched("context", 0, 10, 2) == b"\x0a\x0a"
    assert found.delivered("context", 0, 100) == [(1, 11)]
    assert calls[10:] == ["merged", "added", "merged"]
    monkeypatch.setattr(maps, "WAITING_MAX", 1)
    again = SeenMap(store, "s_1")
    again.refresh()
    assert again.searched("context", 0, 10, 2) == b"\x0a\x0a"
    assert again.delivered("context", 0, 100) == [(1, 11)]


@pytest.mark.parametrize(
    "passes",
    [
        {"context": [[0, 10**9, 1]]},
        {"context": [[24_000, 2**53 - 1, 10**12]]},
        {"context": [[0, 1, 1]] * 1_000_000},
        {"context": [[number, number + 1, 1] for number in range(0, 10**6, 2)]},
        {"context": [[0, 10, float("nan")]]},
        {"context": [[0, 10.0, 1]]},
        {"context": [[-5, 10, 1]]},
        {"x" * 1_000_000: [[0, 10, 1]]},
        {"unknown": [[0, 10, 1]]},
        {f"c{number}": [[0, 10, 1]] for number in range(100_000)},
        {"context": {"0": 1}},
        [["context", 0, 10, 1]],
        "context",
    ],
    ids=[
        "beyond",
        "huge",
        "a million",
        "parts",
        "nan",
        "float",
        "negative",
        "name",
        "unknown",
        "names",
        "dict",
        "l",
        "s",
    ],
)
def test_whatever_a_kernel_claims_a_map_is_of_what_there_is(store: Store, passes: Any) -> None:
    """Bounded on disk and in memory."""
    step(store, 1, {"passes": passes})
    found = SeenMap(store, "s_1")
    found.refresh()
    bins = found.searched("context", 0, 25_000)
    assert bins is None or len(bins) == 1_024
    assert found.searched("unknown", 0, 10) is None
    assert sum(len(row.data or b"") for row in store.seen.of("s_1")) < 100_000
    assert all(chars <= 25_000 for row in found._events.values() for chars in row.searched.values())


def test_documents_are_found_by_their_characters(store: Store) -> None:
    """One of many by the page that it is in; one of a context whose report names all of its documents, by that."""
    found = SeenMap(store, "s_1")
    assert found.document_at("context", 12_345) is None
    store.documents.put("s_1", "context", NAMES, [10] * len(NAMES))
    assert found.document_at("context", 12_345) == DocumentPlace("dir/1234.py", 12_340, 10)
    assert found.document_at("context", 25_000) is None
    assert found.documents("context") == [DocumentPlace(name, 10 * at, 10) for at, name in enumerate(NAMES)]
    assert found.document_at("more", 12) == DocumentPlace("y.txt", 10, 20)
    assert found.documents("none") == []


def test_claims_are_cited_until_there_is_an_answer(store: Store) -> None:
    """In characters of their context, as far as it is known where their document begins there."""
    store.documents.put("s_1", "context", NAMES, [10] * len(NAMES))
    places = [
        ("context", "dir/3.py", 2, 5),
        ("more", "y.txt", 0, 20),
        ("more", "z.txt", 0, 2),
        ("more", "x.txt", 0, 11),
    ]
    step(store, 1, used=Use(claims=tuple(Claim(n, *place, "", "text") for n, place in enumerate(places, 1))))
    found = SeenMap(store, "s_1")
    assert found.cited("context") == [("c1", 32, 35, False)]
    assert found.cited("more") == [("c2", 10, 30, False)]
    passage = {"doc": "y.txt", "path": None, "start_char": 1, "end_char": 4, "start_byte": 1, "end_byte": 4}
    passage |= {"start_line": 1, "end_line": 1, "text": "abc", "sha256": "", "prefix": "", "suffix": ""}
    coverage = {
        "chars": 0,
        "delivered": {"chars": 0},
        "delivered_by_text": None,
        "searched": 0,
        "ranked": 0,
        "cited": 3,
    }
    evidence = {
        "citations": [{"id": "q1", "kind": "quote", "status": "verified", "matches": 1, **passage}],
        "coverage": {**coverage, "by_document": [], "changed": False},
    }
    journal, account = Journal(store, "s_1"), Account(Guardrails())
    journal.final(1, "completed", "text", "the answer", account, evidence)
    assert found.cited("context") == []
    assert found.cited("more") == [("q1", 11, 14, True)]


@pytest.mark.parametrize(
    ("context", "reference"),
    [
        ("{}", '{"added": [{"report": {"chars": "many"}}, {"source": "more"}, 7]}'),
        ('{"chars": 100, "document_count": 1, "documents": [{"title": "x"}]}', '{"added": {}}'),
        ('{"chars": 100, "document_count": 1, "documents": 1}', '{"name": 7}'),
    ],
)
def test_a_record_of_another_version_makes_a_map_say_less(store: Store, context: str, reference: str) -> None:
    """And whoever asks for it gets an answer."""
    step(store, 1, {"passes": {"context": [[0, 100, 1]]}})
    store.update_session("s_1", context=context, context_ref=reference)
    found = SeenMap(store, "s_1")
    assert found.refresh()
    assert found.documents("context") == []
    assert found.document_at("context", 1) is None


def test_a_damaged_row_makes_a_map_say_less(store: Store, tmp_path: Path) -> None:
    """And the others are there."""
    step(store, 1, {"passes": {"context": [[0, 100, 1]]}})
    step(store, 2, {"passes": {"context": [[100, 200, 1]]}})
    with closing(sqlite3.connect(tmp_path / "sessions.db")) as connection, connection:
        connection.execute("UPDATE seen SET data = x'00' WHERE id = (SELECT min(id) FROM seen)")
    found = SeenMap(store, "s_1")
    assert found.refresh()
    assert found.searched("context", 0, 200, 2) == b"\0\1"
    assert "1 row of what steps looked at" in list(store.faults())
