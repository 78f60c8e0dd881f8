"""Which sessions are listed: a server's own, then those of others, of each the last used first."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from rlm_kernel_mcp.server.responses import sessions
from rlm_kernel_mcp.session.listing import Wanted, chosen, listed
from rlm_kernel_mcp.store.store import SessionKey, SessionRecord, Store


def key(number: int, status: str = "idle") -> SessionKey:
    return SessionKey(f"s_{number}", f"{number:06}", status)


def test_the_last_used_come_first() -> None:
    """A month's worth of them would fill a reader's window: they are cut from the end."""
    keys = [key(number) for number in (2, 3, 1)]
    assert chosen(keys, {}, "live") == [key(3), key(2), key(1)]


def test_a_server_s_own_sessions_come_before_all_others() -> None:
    """However long ago they were used, by what the server itself knows of that."""
    keys = [key(number) for number in range(6)]
    own = {"s_3": "000009", "s_1": "000010"}
    assert [one.session_id for one in chosen(keys, own, "live")] == ["s_1", "s_3", "s_5", "s_4", "s_2", "s_0"]


def test_sessions_that_are_over_are_listed_only_with_all() -> None:
    """The others come back on use, in whatever server."""
    keys = [key(1, "finalized"), key(2, "dead"), key(3, "stopped"), key(4, "running")]
    assert chosen(keys, {}, "live") == [key(4, "running"), key(3, "stopped")]
    assert len(chosen(keys, {}, "all")) == 4


@pytest.mark.anyio
async def test_no_answer_is_read_for_a_list_and_the_rest_is_counted(tmp_path: Path) -> None:
    """The answers of 60 sessions were 465 MB of the server by then."""
    store = Store.open(tmp_path)
    for number in range(30):
        used = f"2026-11-22T10:00:{number:02}.000Z"
        store.add_session(SessionRecord(f"s_{number}", used, "text", "idle", last_used_at=used, final_answer="x"))
    found = await listed(store, {}, Wanted("all", 10))
    assert ([row.session_id for row in found.rows], found.omitted) == ([f"s_{n}" for n in range(29, 19, -1)], 20)
    assert all(record.final_answer is None for record in store.summaries(["s_1", "s_2"]))
    store.close()


@pytest.mark.anyio
async def test_a_list_goes_on_behind_records_that_cannot_be_read(tmp_path: Path) -> None:
    """They have a place in it: else the same offset would be named again and again."""
    store = Store.open(tmp_path)
    for number in range(4):
        used = f"2026-11-22T10:00:{number:02}.000Z"
        store.add_session(SessionRecord(f"s_{number}", used, "text", "idle", last_used_at=used))
    store.close()
    connection = sqlite3.connect(tmp_path / "sessions.db")
    connection.execute("UPDATE sessions SET kind = 'changed' WHERE session_id IN ('s_3', 's_1')")
    connection.commit()
    connection.close()
    store = Store.open(tmp_path)
    first = await listed(store, {}, Wanted("all", 1))
    assert (first.rows, first.omitted, first.goes_on) == ((), 3, 1)
    second = await listed(store, {}, Wanted("all", 2, first.goes_on))
    assert ([row.session_id for row in second.rows], second.omitted, second.goes_on) == (["s_2"], 1, 3)
    assert replace(second, rows=()).goes_on == 1  # of which the answer has no room for any row
    store.close()


@pytest.mark.anyio
async def test_what_a_session_is_for_is_listed_safe_and_no_other_client_s_model_reads_it(tmp_path: Path) -> None:
    """A client chooses these words: programs and people are shown them, and `rlm_list_sessions` is not."""
    store = Store.open(tmp_path)
    used = "2026-11-22T10:00:00.000Z"
    asked = SessionRecord("s_1", used, "text", "idle", last_used_at=used, question="why\x1b[2J?", client="codex 1")
    store.add_session(asked)
    found = await listed(store, {}, Wanted("all", 10))
    store.close()
    assert [(row.question, row.client) for row in found.rows] == [("why\\x1b[2J?", "codex 1")]
    for form in ("json", "markdown"):
        (block,) = sessions(found, form).content
        assert "why" not in block.text  # type: ignore[union-attr]
        assert "codex" not in block.text  # type: ignore[union-attr]
