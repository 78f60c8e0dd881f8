"""`sessions` says of each session what somebody needs who looks for one: also that it waits for answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rlm_kernel_mcp.commands.sessions import list_sessions
from rlm_kernel_mcp.session.account import Account
from rlm_kernel_mcp.session.reports import Guardrails
from rlm_kernel_mcp.session.trace.journal import Journal
from rlm_kernel_mcp.settings import load_settings
from rlm_kernel_mcp.store.store import SessionRecord, Store


def test_a_session_whose_step_waits_for_answers_says_for_how_many(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the table and for scripts, by the record; not once the server that drove it has ended."""
    environ = {"RLM_STATE_DIR": str(tmp_path / "state"), "RLM_HOST_DIR": str(tmp_path / "hosts")}
    settings = load_settings(tmp_path, environ)
    store = Store.open(settings.state_dir)
    store.add_session(SessionRecord("s_1", "2026", "text", "idle"))
    lock = store.acquire("s_1")
    assert lock is not None
    journal, account = Journal(store, "s_1"), Account(Guardrails())
    row_id = journal.step_begins(account.begin_step(), "llm_query('q')", account)
    journal.step_goes_on(row_id, 1, "", "", 3)

    def told() -> tuple[str, int]:
        assert list_sessions(settings, environ, ended_too=False) == 0
        table = capsys.readouterr().out
        assert list_sessions(settings, environ, ended_too=False, as_json=True) == 0
        (row,) = json.loads(capsys.readouterr().out)["sessions"]
        return table, row["waits_for_answers"]

    table, waits = told()
    assert ("running, waits for 3 answers" in table, waits) == (True, 3)
    journal.step_goes_on(row_id, 1, "", "", 0)
    assert told()[1] == 0
    journal.step_goes_on(row_id, 1, "", "", 2)
    lock.release()
    table, waits = told()
    assert ("idle" in table, "waits" in table, waits) == (True, False, 0)
    store.close()
