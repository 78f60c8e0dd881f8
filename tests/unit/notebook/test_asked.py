"""A notebook for whoever asks over MCP: as the command writes it, within a bound, and not read where it is beyond."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import pytest

from rlm_kernel_mcp.errors import InvalidInput, SessionNotFound
from rlm_kernel_mcp.notebook import asked
from rlm_kernel_mcp.notebook.writing import record
from rlm_kernel_mcp.session.context_reports import ContextReport
from rlm_kernel_mcp.store.store import EventRow, SessionRecord, Store

ID: Final = "s_asked"
COUNTS: Final[dict[str, Any]] = {"chars": 4, "lines": 1, "bytes": 4, "sha256": "a" * 64, "document_count": 1}
REPORT: Final = ContextReport(kind="text", name="context", head="", tail="", documents=(), **COUNTS)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """With one session, of one step."""
    opened = Store.open(tmp_path)
    context = json.dumps(asdict(REPORT))
    row = SessionRecord(ID, "2026-11-30T10:00:00.000Z", "text", "idle", limits="{}", context=context, walls="[]")
    row.context_ref = json.dumps({"inline": True, "name": "context", "prefix": "", "names": []})
    opened.add_session(row)
    opened.put_context(ID, b"text")
    add_step(opened, 1, "print('x')", "x\n")
    yield opened
    opened.close()


def add_step(store: Store, index: int, code: str, stdout: str) -> None:
    row = EventRow(ID, "2026-11-30T10:00:01.000Z", index, "run_repl", result_status="ok", code=code, stdout=stdout)
    row.guardrail_snapshot = "{}"
    store.add_event(row)


def test_it_is_what_the_command_writes(store: Store) -> None:
    notebook, _ = record.notebook_of(store, ID)
    assert asked.written(store, ID) == ("".join(record.text_of(notebook)), 0)
    assert json.loads(asked.written(store, ID)[0])["nbformat"] == 4


def test_one_whose_texts_alone_are_too_many_is_refused_before_they_are_read(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the command that writes it, whatever its size."""
    monkeypatch.setattr(asked, "CHARS_MAX", 5_000)
    add_step(store, 2, "print('y' * 6000)", "y" * 6_000)
    monkeypatch.setattr(record, "notebook_of", lambda *_: pytest.fail("it was read"))
    with pytest.raises(InvalidInput, match=r"more than 5,000 characters") as refused:
        asked.written(store, ID)
    assert f"trace {ID} --format notebook" in refused.value.next_step


def test_one_that_is_too_large_only_as_it_is_written_is_refused_too(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of some characters JSON writes six or twelve."""
    monkeypatch.setattr(asked, "CHARS_MAX", len(asked.written(store, ID)[0]))
    assert asked.written(store, ID)
    monkeypatch.setattr(asked, "CHARS_MAX", len(asked.written(store, ID)[0]) - 1)
    with pytest.raises(InvalidInput, match="which is the most that is given to a client"):
        asked.written(store, ID)


def test_a_session_that_there_is_not_has_none(store: Store) -> None:
    with pytest.raises(SessionNotFound):
        asked.written(store, "s_other")
