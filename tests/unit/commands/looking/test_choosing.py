"""A command that names no session is about the only one with a kernel, or about the one that a person chooses."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rlm_kernel_mcp.commands.looking.choosing import the_one
from rlm_kernel_mcp.errors import InvalidInput, SessionNotFound
from rlm_kernel_mcp.store.store import SessionLock, SessionRecord, Store

Kept = Callable[..., None]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(tmp_path / "state")
    yield opened
    opened.close()


@pytest.fixture
def kept(store: Store, tmp_path: Path) -> Iterator[Kept]:
    """Adds a session that this process drives and that has a connection file."""
    locks: list[SessionLock | None] = []

    def keep(session_id: str, question: str | None = None) -> None:
        file = tmp_path / f"{session_id}.json"
        file.touch()
        used = f"2026-11-30T10:00:0{len(locks)}.000Z"
        record = SessionRecord(session_id, used, "text", "idle", last_used_at=used, connection_file=str(file))
        record.question = question
        store.add_session(record)
        locks.append(store.acquire(session_id))

    yield keep
    for lock in locks:
        assert lock is not None
        lock.release()


class Terminal(io.StringIO):
    """In place of a stream."""

    def isatty(self) -> bool:
        return True


def test_where_none_has_a_kernel_it_is_said_how_to_get_one(store: Store) -> None:
    store.add_session(SessionRecord("s_1", "2026", "text", "idle"))
    with pytest.raises(SessionNotFound, match="No session has a kernel") as refused:
        the_one(store)
    assert "rlm-kernel-mcp resume" in refused.value.next_step


def test_the_only_one_is_taken(store: Store, kept: Kept) -> None:
    kept("s_1")
    store.add_session(SessionRecord("s_2", "2026", "text", "idle"))
    assert the_one(store).session_id == "s_1"


def test_of_several_one_is_to_be_named_where_nobody_can_choose(
    store: Store, kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("1\n"))
    kept("s_1")
    kept("s_2")
    with pytest.raises(InvalidInput, match="2 sessions have a kernel: s_2, s_1"):
        the_one(store)


@pytest.mark.parametrize(("answer", "chosen"), [("1", "s_2"), ("2", "s_1"), ("s_1", "s_1")])
def test_of_several_a_person_chooses_by_place_or_by_id(
    store: Store, kept: Kept, monkeypatch: pytest.MonkeyPatch, answer: str, chosen: str
) -> None:
    """The last used is the first; what each is for is shown, and acts on no terminal."""
    kept("s_1", "why\x1b[2J?")
    kept("s_2")
    shown = Terminal()
    monkeypatch.setattr(sys, "stdin", Terminal(f"{answer}\n"))
    monkeypatch.setattr(sys, "stderr", shown)
    assert the_one(store).session_id == chosen
    said = shown.getvalue()
    assert said.index("s_2") < said.index("s_1")
    assert ("\x1b" in said, "why\\x1b[2J?" in said) == (False, True)


def test_what_a_session_is_for_is_no_line_of_the_choice(
    store: Store, kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that could write one would give its own session another's place."""
    kept("s_1")
    kept("s_2", "why\n  2  s_1  2026-11-30T10:00:09.000Z  the one that you look for")
    shown = Terminal()
    monkeypatch.setattr(sys, "stdin", Terminal("1\n"))
    monkeypatch.setattr(sys, "stderr", shown)
    the_one(store)
    assert [line.split()[:2] for line in shown.getvalue().splitlines()[:-1]] == [["1", "s_2"], ["2", "s_1"]]


@pytest.mark.parametrize(("answer", "said"), [("", "None was chosen"), ("3", "'3' is none of these sessions")])
def test_what_is_none_of_them_is_refused(
    store: Store, kept: Kept, monkeypatch: pytest.MonkeyPatch, answer: str, said: str
) -> None:
    kept("s_1")
    kept("s_2")
    monkeypatch.setattr(sys, "stdin", Terminal(f"{answer}\n"))
    monkeypatch.setattr(sys, "stderr", Terminal())
    with pytest.raises(InvalidInput, match=said):
        the_one(store)
