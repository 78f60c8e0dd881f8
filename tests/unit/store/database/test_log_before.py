"""The log that a store finds beside it is called damaged only where something of it is lost."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from rlm_kernel_mcp.store.database.damage import LogBefore
from rlm_kernel_mcp.store.database.file import connect


class Behind:
    """A connection for which the last commit does not count until a lock was waited for, or never."""

    def __init__(self, connection: sqlite3.Connection, *, for_ever: bool) -> None:
        self._connection, self._for_ever, self._is_behind = connection, for_ever, True

    def execute(self, statement: str) -> Any:
        self._is_behind = self._for_ever or (self._is_behind and statement != "BEGIN IMMEDIATE")
        if "wal_checkpoint" not in statement or not self._is_behind:
            return self._connection.execute(statement)
        return self

    def fetchone(self) -> tuple[int, int, int]:
        return (0, 0, 0)


@pytest.mark.parametrize("is_lost", [False, True])
def test_a_commit_that_another_process_has_not_published_yet_is_not_lost(tmp_path: Path, is_lost: bool) -> None:
    """Its frames stand in the log before SQLite's index says so, and that process may be held up in between."""
    path = tmp_path / "sessions.db"
    with closing(connect(path)) as writer, closing(connect(path)) as opener:
        writer.execute("CREATE TABLE t (a)")
        log = LogBefore(path.with_name(f"{path.name}-wal"))
        assert log.lost(Behind(opener, for_ever=is_lost)) is is_lost  # type: ignore[arg-type]
