"""`sessions` says of each session what somebody needs who looks for one: also that it waits for answers."""

from __future__ import annotations

import json
import re
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from rlm_kernel_mcp.commands import sessions as sessions_module
from rlm_kernel_mcp.commands.looking.hosts import Host
from rlm_kernel_mcp.commands.sessions import list_sessions
from rlm_kernel_mcp.errors import SessionNotFound
from rlm_kernel_mcp.host.others.known import Condition
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


def test_a_session_is_listed_with_what_it_has_used_and_who_opened_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of each limit; and what it is for, where a client said so. Nothing of that acts on a terminal."""
    environ = {"RLM_STATE_DIR": str(tmp_path / "state"), "RLM_HOST_DIR": str(tmp_path / "hosts")}
    settings = load_settings(tmp_path, environ)
    with closing(Store.open(settings.state_dir)) as store:
        limits = json.dumps(Guardrails().recorded())
        counters = json.dumps({"step_index": 40, "runtime_ms": 22_500, "budget_used": 42_000, "child_steps": 1})
        record = SessionRecord("s_1", "2026", "text", "idle", limits=limits, counters=counters)
        store.add_session(replace(record, question="why\x1b?", client="codex\x1b 1"))
        store.add_session(SessionRecord("s_2", "2026", "text", "idle"))
    assert list_sessions(settings, environ, ended_too=False) == 0
    table = capsys.readouterr().out
    for cell in ("41/64", "22/120 s", "42,000/100,000", "codex\\x1b 1", "not known"):
        assert cell in table
    assert list_sessions(settings, environ, ended_too=False, as_json=True) == 0
    rows = {row["session_id"]: row for row in json.loads(capsys.readouterr().out)["sessions"]}
    assert (rows["s_1"]["question"], rows["s_1"]["client"]) == ("why\\x1b?", "codex\\x1b 1")
    assert rows["s_1"]["used"] == {"step_index": 41, "runtime_ms": 22_500, "budget_used": 42_000}
    assert rows["s_1"]["limits"] == {"step_index": 64, "runtime_ms": 120_000, "budget_used": 100_000}
    assert (rows["s_2"]["question"], rows["s_2"]["client"], rows["s_2"]["limits"]) == (None, None, {})


def test_no_client_s_name_is_a_line_or_a_column_of_the_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Scripts part it at line ends and at two spaces."""
    environ = {"RLM_STATE_DIR": str(tmp_path / "state"), "RLM_HOST_DIR": str(tmp_path / "hosts")}
    settings = load_settings(tmp_path, environ)
    with closing(Store.open(settings.state_dir)) as store:
        store.add_session(SessionRecord("s_1", "2026", "text", "idle", client="evil  none\ns_2  finalized\tx"))
    assert list_sessions(settings, environ, ended_too=False) == 0
    head, row = capsys.readouterr().out.splitlines()
    assert "evil none s_2 finalized x" in row
    assert len(re.split(" {2,}", row)) == len(re.split(" {2,}", head))


@pytest.mark.parametrize("as_json", [False, True], ids=["table", "json"])
def test_a_record_that_cannot_be_read_is_no_empty_list_because_a_host_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *, as_json: bool
) -> None:
    """A full disk is one, and a script would take the empty list for the truth. A client without a session has none."""
    environ = {"RLM_STATE_DIR": str(tmp_path / "state"), "RLM_HOST_DIR": str(tmp_path / "hosts")}
    settings = load_settings(tmp_path, environ)
    host = Host(1, "0", "", Condition(1, is_draining=False))
    monkeypatch.setattr(sessions_module, "_hosts", lambda *_given: [host])
    assert list_sessions(settings, environ, ended_too=False, as_json=as_json) == 0
    (settings.state_dir / "sessions.db").mkdir(parents=True)
    capsys.readouterr()
    with pytest.raises(SessionNotFound, match="is not known"):
        list_sessions(settings, environ, ended_too=False, as_json=as_json)
    assert capsys.readouterr().out == ""


def test_a_child_that_has_ended_without_an_answer_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its status is that of a session which has one; scripts are told why. One that a server has left is over too."""
    environ = {"RLM_STATE_DIR": str(tmp_path / "state"), "RLM_HOST_DIR": str(tmp_path / "hosts")}
    settings = load_settings(tmp_path, environ)
    store = Store.open(settings.state_dir)
    why = json.dumps({"ended": "its parent's step has ended"})
    for name, reason, extra in (("s_child", "ended", why), ("s_done", "completed", "{}")):
        record = SessionRecord(name, "2026", "text", "finalized", parent="s_1", finish_reason=reason, extra=extra)
        store.add_session(record)
    store.add_session(SessionRecord("s_left", "2026", "text", "running", parent="s_1"))
    assert list_sessions(settings, environ, ended_too=True) == 0
    table = capsys.readouterr().out
    assert table.count("finalized without an answer") == 2
    assert list_sessions(settings, environ, ended_too=True, as_json=True) == 0
    told = {row["session_id"]: row["ended"] for row in json.loads(capsys.readouterr().out)["sessions"]}
    left = "the server that had its parent has ended"
    assert told == {"s_child": "its parent's step has ended", "s_done": None, "s_left": left}
    store.close()
