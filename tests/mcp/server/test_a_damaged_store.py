"""A store that is not what was written: what a server, and a person at the command line, say of it. Never a raise."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from rlm_kernel_mcp.commands.doctoring.store import store_lines
from rlm_kernel_mcp.settings import load_settings
from tests.mcp.line_client import LineClient

Serve = Callable[[str], LineClient]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Servers one after the other, over one state directory."""
    clients: list[LineClient] = []

    def begin(name: str) -> LineClient:
        (tmp_path / name).mkdir()
        client = LineClient(tmp_path / name, {"RLM_STATE_DIR": str(tmp_path / "state")})
        clients.append(client)
        client.initialize()
        return client

    yield begin
    for client in clients:
        client.kill()


def sessions_of(serve: Serve) -> list[str]:
    """Three sessions with a step each, of a server that has ended."""
    client = serve("first")
    opened = [client.open_session() for _ in range(3)]
    for session_id in opened:
        client.run(session_id, "print('kept')")
    assert client.end() == 0
    return opened


@pytest.mark.slow
def test_damaged_rows_are_left_out_and_said_and_everything_else_goes_on(serve: Serve, tmp_path: Path) -> None:
    """One bad row broke the list, and the calls, for all."""
    bad, worse, good = sessions_of(serve)
    store = sqlite3.connect(tmp_path / "state" / "sessions.db", isolation_level=None)
    store.execute("UPDATE sessions SET context = '{bad' WHERE session_id = ?", (bad,))
    store.execute("UPDATE sessions SET limits = ?, row_check = NULL WHERE session_id = ?", ('{"odd": 1}', worse))
    store.execute("UPDATE events SET stdout = 'another' WHERE session_id = ? AND action = 'run_repl'", (good,))
    store.close()
    client = serve("second")
    listed = client.data("rlm_list_sessions")
    assert [row["session_id"] for row in listed["sessions"]] == [good, worse]
    assert listed["note"].startswith("1 session in the session store cannot be read as it was written")
    assert (
        "1 session in the session store"
        in client.call("rlm_list_sessions", response_format="markdown")["content"][0]["text"]
    )
    for session_id in (bad, worse):
        for tool, arguments in (("rlm_run_repl", {"code": "1"}), ("rlm_get_var", {"var_name": "x"})):
            error = client.error(tool, session_id=session_id, **arguments)
            assert (error["code"], "damaged" in error["message"]) == ("SESSION_NOT_FOUND", True)
        assert len(client.data("rlm_get_trace", session_id=session_id)["events"]) == 2
    page = client.data("rlm_get_trace", session_id=good, detail="full")
    assert [event["action"] for event in page["events"]] == ["init_context"]
    assert page["note"].startswith("1 event in the session store")
    assert client.run(good, "1 + 1")["result"] == "2"
    command = [sys.executable, "-I", "-m", "rlm_kernel_mcp", "sessions", "--all"]
    told = subprocess.run(command, env=client.env, capture_output=True, text=True, timeout=60, check=True)
    assert good in told.stdout
    assert bad not in told.stdout
    assert "1 session in the session store" in told.stderr
    settings = replace(load_settings(Path.cwd(), {}), state_dir=tmp_path / "state")
    assert list(store_lines(settings)) == [
        f"DAMAGED in the session store, and left out: 1 event of session {good}.",
        "DAMAGED in the session store, and left out: the record of 1 session.",
    ]


@pytest.mark.slow
def test_a_letter_of_the_schema_costs_the_record_and_no_call(serve: Serve, tmp_path: Path) -> None:
    """It made every call INTERNAL_ERROR for good."""
    sessions_of(serve)
    path = tmp_path / "state" / "sessions.db"
    data = path.read_bytes()
    at = data.index(b"CREATE TABLE sessions")
    path.write_bytes(data[: at + 3] + b"\xff" + data[at + 4 :])
    client = serve("second")
    listed = client.data("rlm_list_sessions", state="all")
    assert listed["sessions"] == []
    assert "was damaged and is now called sessions.db.damaged-" in listed["note"]
    assert client.run(client.open_session(), "len(context)")["result"] == "9"
    settings = replace(load_settings(Path.cwd(), {}), state_dir=tmp_path / "state")
    assert any("was set aside as sessions.db.damaged-" in line for line in store_lines(settings))
