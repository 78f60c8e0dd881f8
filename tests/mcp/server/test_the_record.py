"""The record of sessions, as servers and persons meet it: whatever ends a server, whatever becomes of the disk."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.mcp.line_client import LineClient
from tests.parts import ROOT
from tests.rights import in_own_mounts
from tests.sessions import until


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[[str], LineClient]]:
    """Starts servers of one state directory, each by a name of its own."""
    started: list[LineClient] = []

    def start(name: str) -> LineClient:
        directory = tmp_path / name
        directory.mkdir()
        client = LineClient(directory, {"RLM_STATE_DIR": str(tmp_path / "state")})
        started.append(client)
        client.initialize()
        return client

    yield start
    for client in started:
        client.kill()


def on_disk(state: Path, query: str) -> list[tuple[Any, ...]]:
    """What another process reads."""
    connection = sqlite3.connect(f"file:{state / 'sessions.db'}?mode=ro", uri=True)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def values_kept(state: Path, session_id: str) -> None:
    """Wait until the values of a session's first step are kept: no longer than 0.5 s does an end wait for that."""
    asyncio.run(until((state / "snapshots" / f"{session_id}.json").is_file))


def test_a_killed_server_leaves_a_truthful_record_and_the_next_one_goes_on(
    serve: Callable[[str], LineClient], tmp_path: Path
) -> None:
    """Its lock dies with it: the other is told who has the session, then has it, with what is known of each step."""
    first, second = serve("first"), serve("second")
    session_id, own = first.open_session("the text"), second.open_session()
    first.run(session_id, "x = 1\nprint('said')")
    values_kept(tmp_path / "state", session_id)
    first.begin("rlm_run_repl", {"session_id": session_id, "code": "y = 2\nwhile True: pass"})
    first.wait_for_name(session_id, "y")
    rows = "SELECT step_index, result_status, stdout, code FROM events WHERE action = 'run_repl' ORDER BY id"
    begun = [(1, "ok", "said\n", "x = 1\nprint('said')"), (2, "unknown", None, "y = 2\nwhile True: pass")]
    asyncio.run(until(lambda: on_disk(tmp_path / "state", rows) == begun))  # by a thread where the disk is slow
    refused = second.error("rlm_run_repl", session_id=session_id, code="x")
    assert refused["code"] == "SESSION_BUSY"
    assert f"(pid {first.server_pid})" in refused["message"]
    assert {row["session_id"] for row in second.data("rlm_list_sessions")["sessions"]} == {session_id, own}
    first.die()
    assert on_disk(tmp_path / "state", rows) == begun
    report = second.run(session_id, "(x, context)")
    assert (report["result"], report["step_index"]) == ("(1, 'the text')", 3)
    assert "while step 2 ran; what that step did is gone" in report["lost"]["reason"]
    events = second.data("rlm_get_trace", session_id=session_id)["events"]
    steps = [(event["step_index"], event["result_status"]) for event in events if event["action"] == "run_repl"]
    assert steps == [(1, "ok"), (2, "unknown"), (3, "ok")]


@pytest.mark.slow
def test_an_inline_context_whose_copy_is_gone_is_gone(serve: Callable[[str], LineClient], tmp_path: Path) -> None:
    """The values are there all the same."""
    first = serve("first")
    session_id = first.open_session("the text")
    first.run(session_id, "x = 1")
    values_kept(tmp_path / "state", session_id)
    assert first.end() == 0
    with sqlite3.connect(tmp_path / "state" / "sessions.db") as database:
        database.execute("DELETE FROM contexts")
    database.close()
    report = serve("second").run(session_id, "(x, 'context' in globals())")
    assert report["result"] == "(1, False)"
    assert {row["name"]: row["why"] for row in report["lost"]["lost"]}["context"] == (
        "the context was given inline and its stored copy is gone"
    )


def replaced(state: Path) -> None:
    """As a person does who moves an old file back, or another server that sets a damaged one aside."""
    for suffix in ("", "-wal", "-shm"):
        (state / f"sessions.db{suffix}").rename(state / f"old.db{suffix}")
    with sqlite3.connect(state / "sessions.db"):
        pass


def removed(state: Path) -> None:
    """With the values that were kept."""
    shutil.rmtree(state)


@pytest.mark.slow
@pytest.mark.parametrize("meddle", [replaced, removed])
def test_a_live_session_outlives_its_store(
    serve: Callable[[str], LineClient], tmp_path: Path, meddle: Callable[[Path], None]
) -> None:
    """Its values, and its whole record in the file that is there then, for the next server."""
    client = serve("server")
    session_id = client.open_session("the text")
    client.run(session_id, "x = [1]\nprint('step 1')")
    # What is being written in that very moment is lost with the directory, and said.
    values_kept(tmp_path / "state", session_id)
    meddle(tmp_path / "state")
    for number in range(2, 5):
        report = client.run(session_id, f"x.append({number}); print('step {number}'); x")
        assert (report["status"], report["result"]) == ("ok", str(list(range(1, number + 1))))
        assert "note" not in report
    client.die()
    second = serve("second")
    assert second.run(session_id, "context")["result"] == "'the text'"
    events = second.data("rlm_get_trace", session_id=session_id, detail="full")["events"]
    said = [event["stdout"] for event in events if event["action"] == "run_repl"]
    assert said == [*(f"step {number}\n" for number in range(1, 5)), ""]


TROUBLE = """
import asyncio, os, sys
from pathlib import Path
directory, kind = Path(sys.argv[1]), sys.argv[2]
os.system(f"mount -t tmpfs -o size=4m{',ro' if kind == 'read-only' else ''} none {directory}")
from tests.sessions import SessionDriver, open_registry

async def main():
    async with open_registry(directory) as registry:
        session = await SessionDriver.open(registry, "the text")
        await session.ok("x = [1]")
        if kind == "full":
            with (directory / "filler").open("wb", buffering=0) as filler:
                try:
                    while True: filler.write(bytes(4096))
                except OSError: pass
        for number in (2, 3, 4):
            report = await session.ok(f"x.append({number}); print('out' * 5_000); x")
            print(report.result, "|", report.note)
        trace = await session.trace()
        print(len([event for event in trace if event.action == "run_repl" and event.result_status == "ok"]))
        session_id = session.session_id
        if kind == "full":
            (directory / "filler").unlink()
            registry.store._database._retry_at = 0.0
            await session.ok("x.append(5); x")
            await session.session.kernel.recovery.snapshots.settle()
            print(registry.store.problem)
    if kind == "full":
        async with open_registry(directory) as registry:
            print((await SessionDriver(registry, session_id).ok("(x, context)")).result)

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("kind", "said", "afterwards"),
    [
        pytest.param(
            "full",
            "the disk is full; free some room.",
            ["4", "None", "([1, 2, 3, 4, 5], 'the text')"],
            marks=pytest.mark.slow,
        ),
        ("read-only", "its directory cannot be written; make it writable, or set RLM_STATE_DIR", ["4"]),
    ],
)
def test_a_live_session_goes_on_where_the_disk_takes_nothing(
    tmp_path: Path, kind: str, said: str, afterwards: list[str]
) -> None:
    """It is said, once; a disk that has room again has everything for the next server."""
    command = [*in_own_mounts(), sys.executable, "-c", TROUBLE, str(tmp_path), kind]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2_000:]
    lines = done.stdout.splitlines()
    steps, rest = [line.split(" | ") for line in lines[:3]], lines[3:]
    assert [result for result, _ in steps] == ["[1, 2]", "[1, 2, 3]", "[1, 2, 3, 4]"]
    notes = [note for _, note in steps if note != "None"]
    assert kind != "full" or len(notes) == len(set(notes)) >= 1
    assert kind == "full" or notes == []
    assert said in " ".join(notes) + done.stderr
    assert rest == afterwards
