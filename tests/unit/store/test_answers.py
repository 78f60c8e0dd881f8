"""Answers outlive their server and not their age, and a day has as many questions as the user allows."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest

from rlm_kernel_mcp.store import answers as answers_module
from rlm_kernel_mcp.store.store import Store

DAY: Final = "2026-11-29"
NOON: Final = f"{DAY}T12:00:00.000+00:00"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(tmp_path)
    yield opened
    opened.close()


def keep(store: Store, now_iso: str = NOON, **values: bytes) -> None:
    store.subcalls.book("s_1", [], store.answers.keeping(values.items(), now_iso))


def later(days: float) -> str:
    return (datetime(2026, 11, 29, 12, tzinfo=UTC) + timedelta(days=days)).isoformat(timespec="milliseconds")


def test_an_answer_is_found_by_every_server_of_the_store(store: Store, tmp_path: Path) -> None:
    """The newest under its key, and nothing under another."""
    keep(store, a=b"one", b=b"two")
    keep(store, a=b"three")
    other = Store.open(tmp_path)
    assert other.answers.kept(["a", "b", "c"], NOON) == {"a": b"three", "b": b"two"}
    assert other.answers.kept([str(number) for number in range(1_200)] + ["b"], NOON) == {"b": b"two"}
    other.close()


def test_an_answer_whose_bytes_have_changed_on_the_disk_is_none(store: Store, tmp_path: Path) -> None:
    """Code would take it for what a model said: it is asked again."""
    keep(store, a=b"yes", b=b"yes", c=b"yes")
    with sqlite3.connect(tmp_path / "sessions.db") as connection:
        connection.execute("UPDATE answers SET value = X'6e6f' WHERE key = 'a'")
        connection.execute("UPDATE answers SET value = 'yes' WHERE key = 'b'")
    connection.close()
    assert store.answers.kept(["a", "b", "c"], NOON) == {"c": b"yes"}


def test_answers_that_nobody_uses_go_with_the_sessions_of_their_age(store: Store) -> None:
    """Each use makes one young again."""
    keep(store, a=b"one", b=b"two")
    assert store.answers.kept(["a"], later(20)) == {"a": b"one"}
    store.prune(later(31), max_age_days=30)
    assert store.answers.kept(["a", "b"], later(31)) == {"a": b"one"}


def test_the_answers_that_were_not_used_for_longest_make_room(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as are too much, and no more."""
    for number in range(10):
        keep(store, later(number / 100), **{str(number): bytes(1_000)})
    monkeypatch.setattr(answers_module.prune_answers, "__defaults__", (4_500,))
    store.prune(later(1))
    left = store.answers.kept([str(number) for number in range(10)], later(1))
    assert sorted(left) == ["6", "7", "8", "9"]


def test_a_day_has_so_many_questions_for_all_servers_together(store: Store, tmp_path: Path) -> None:
    """What one of them gives back another may ask; the next day begins anew."""
    other = Store.open(tmp_path)
    assert store.answers.grant(60, 100, DAY) == 60
    assert other.answers.grant(60, 100, DAY) == 40
    assert (store.answers.grant(1, 100, DAY), other.answers.grant(1, 100, DAY)) == (0, 0)
    assert store.answers.asked_on(DAY) == 100
    store.answers.give_back(10, DAY)
    assert (other.answers.grant(60, 100, DAY), store.answers.asked_on(DAY)) == (10, 100)
    assert other.answers.grant(60, 100, "2026-11-30") == 60
    other.close()
    third = Store.open(tmp_path)
    assert third.answers.grant(1, 100, DAY) == 0
    third.prune(later(3))
    assert (third.answers.asked_on(DAY), third.answers.asked_on("2026-11-30")) == (0, 0)
    third.close()


def test_where_the_disk_fails_the_day_goes_on_with_what_was_asked(tmp_path: Path) -> None:
    """In memory, and when the disk is back, what this server has asked is there once."""
    store = Store.open(tmp_path)
    assert store.answers.grant(70, 100, DAY) == 70
    (tmp_path / "sessions.db").unlink()
    for name in ("sessions.db-wal", "sessions.db-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    assert store.answers.grant(70, 100, DAY) == 30
    assert store.answers.asked_on(DAY) == 100
    store.close()
    again = Store.open(tmp_path)
    assert again.answers.asked_on(DAY) == 100
    again.close()
