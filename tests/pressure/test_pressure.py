"""Many sessions, much output, many steps, contexts at their limit, kernels without memory: a step may fail, no more.

Reduced counts, unless RLM_PRESSURE=full. Leave these out with `-m "not pressure"`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.mcp.line_client import WAIT_S, LineClient, data_of
from tests.processes import command_lines_below, left_over, resident_bytes
from tests.specs import write_spec

FULL: Final = os.environ.get("RLM_PRESSURE") == "full"
pytestmark = [pytest.mark.pressure, pytest.mark.slow, pytest.mark.timeout(3_600 if FULL else 900)]

SESSIONS: Final = 64 if FULL else 12
PRINTED_MB: Final = 200
TINY_STEPS: Final = 100_000 if FULL else 2_500
BOMBS: Final = 50 if FULL else 4
DOCUMENTS: Final = 100_000
COMINGS: Final = 200 if FULL else 25
MB: Final = 1 << 20
STARTING_DESCRIPTORS: Final = 10
"""What the server has open for a spare kernel that is just being started; one session's leak would be `COMINGS`."""
NO_LIMITS: Final = {"max_steps": 1_000_000, "budget_limit": 1_000_000_000, "max_runtime_ms": 86_400_000}


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., LineClient]]:
    """Starts a server with these settings; at the end nothing of it may live."""
    started: list[LineClient] = []

    def start(**env: str) -> LineClient:
        directory = tmp_path / "server"
        directory.mkdir()
        client = LineClient(directory, env)
        started.append(client)
        client.initialize()
        return client

    try:
        yield start
        for client in started:
            below = command_lines_below(client.server_pid)
            assert client.end() == 0
            assert left_over(below, WAIT_S) == []
    finally:
        for client in started:
            client.kill()


@contextmanager
def flat_memory(client: LineClient, allowed_mb: float) -> Iterator[None]:
    """The server's own memory must not grow by more."""
    before = resident_bytes(client.server_pid)
    yield
    grown_mb = (resident_bytes(client.server_pid) - before) / MB
    assert grown_mb <= allowed_mb, f"the server grew by {grown_mb:.1f} MB"


def test_many_sessions_step_at_once(serve: Callable[..., LineClient]) -> None:
    """Each gets its own answers, in a process of its own, and all of them go on."""
    client = serve(RLM_MAX_SESSIONS=str(SESSIONS))
    openings = [
        client.begin("rlm_init_context", {"context_text": f"context {n}", **NO_LIMITS}) for n in range(SESSIONS)
    ]
    sessions: list[str] = [data_of(client.result(opening))["session_id"] for opening in openings]
    for turn in range(5):
        code = f"x = globals().get('x', 0) + 1\ntotal = sum(range(20_000))\n(context, x, {turn})"
        calls = [client.begin("rlm_run_repl", {"session_id": session_id, "code": code}) for session_id in sessions]
        reports = [data_of(client.result(call)) for call in calls]
        assert [report["result"] for report in reports] == [
            f"('context {n}', {turn + 1}, {turn})" for n in range(SESSIONS)
        ]
        assert all(report["lost"] is None for report in reports)
    steps = [client.data("rlm_interrupt", session_id=session_id)["step_index"] for session_id in sessions]
    assert steps == [5] * SESSIONS


def test_more_sessions_than_places_take_turns(serve: Callable[..., LineClient]) -> None:
    """Twice as many, each stepping in turn: kernels come and go, values stay."""
    client = serve(RLM_MAX_SESSIONS="3")
    sessions = [client.open_session(f"context {n}") for n in range(6)]
    for turn in range(3):
        for number, session_id in enumerate(sessions):
            report = client.run(session_id, "x = globals().get('x', 0) + 1\n(context, x)")
            assert report["result"] == f"('context {number}', {turn + 1})", report


def test_a_flood_of_output_costs_the_server_nothing(serve: Callable[..., LineClient]) -> None:
    """Head and tail stay, the middle is counted; the session answers at once again."""
    client = serve()
    session_id = client.open_session("some text", **NO_LIMITS)
    client.run(session_id, "for _ in range(2_000): print('x' * 999)")
    line = 999
    with flat_memory(client, 40):
        for _ in range(2):
            code = f"for n in range({PRINTED_MB * 1000}): print(f'{{n:08d}}' + 'x' * {line - 8})"
            report = client.run(session_id, code, timeout_ms=600_000, wait_ms=600_000)
            assert report["status"] == "ok", report["error"]
            assert report["stdout"].startswith("00000000x")
            assert report["stdout"].rstrip("\n").endswith("x")
            assert f"{PRINTED_MB * 1000 - 1:08d}" in report["stdout"][-2_000:]
    assert client.run(session_id, "1 + 1")["result"] == "2"


def test_a_great_many_tiny_steps_leave_the_server_as_it_was(serve: Callable[..., LineClient]) -> None:
    """Its memory after all of them is what it was after the first thousand; the last one is as right as the first."""
    client = serve()
    session_id = client.open_session("some text", **NO_LIMITS)
    client.run(session_id, "n = 0")
    _steps(client, session_id, 1_000)
    with flat_memory(client, 0.05 * resident_bytes(client.server_pid) / MB):
        _steps(client, session_id, TINY_STEPS - 1_000)
    assert client.data("rlm_get_var", session_id=session_id, var_name="n")["value"] == TINY_STEPS
    page = client.data("rlm_get_trace", session_id=session_id, from_step=TINY_STEPS, to_step=TINY_STEPS + 1)
    assert [event["step_index"] for event in page["events"]] == [TINY_STEPS, TINY_STEPS + 1]


def _steps(client: LineClient, session_id: str, count: int) -> None:
    for _ in range(count):
        call = client.begin("rlm_run_repl", {"session_id": session_id, "code": "n += 1"})
        report = data_of(client.result(call))
        assert report["status"] == "ok", report
        client.seen.clear()


def test_a_context_at_the_limit_is_worked_on_and_one_above_it_is_refused(
    serve: Callable[..., LineClient], tmp_path: Path
) -> None:
    """60 % of the session's memory in bytes, where no file is mapped; the refusal names both."""
    write_spec(tmp_path / "specs", "in-memory", {"context": {"mapped_max_gb": 0}})
    client = serve(RLM_MEMORY_LIMIT_MB="128", RLM_KERNEL="in-memory", JUPYTER_PATH=str(tmp_path / "specs"))
    limit = int(128 * MB * 0.6)
    (client.directory / "full.txt").write_bytes(b"0123456789abcde\n" * (limit // 16))
    (client.directory / "above.txt").write_bytes(b"x" * (limit + 1))
    for _ in range(2):
        opened = client.data("rlm_init_context", context_paths=["full.txt"], **NO_LIMITS)
        assert opened["context"]["chars"] == limit // 16 * 16
        report = client.run(opened["session_id"], "(len(context), context.count('\\n'), context[-16:])")
        assert report["result"] == f"({limit // 16 * 16}, {limit // 16}, '0123456789abcde\\n')"
        client.data("rlm_finalize", session_id=opened["session_id"], final_text="done")
    error = client.error("rlm_init_context", context_paths=["above.txt"])
    assert error["code"] == "CONTEXT_TOO_LARGE"
    assert f"{limit:,}" in error["message"]


def test_a_context_of_very_many_documents_is_opened_and_restored(serve: Callable[..., LineClient]) -> None:
    """More than any one message may list: only the first ones are told, and every one is there."""
    client = serve(RLM_IMPORT_POLICY="any")
    directory = client.directory / "many"
    directory.mkdir()
    for number in range(DOCUMENTS):
        (directory / f"a document with a long name, number {number:06}.txt").write_text(f"{number}\n")
    opened = client.data("rlm_init_context", context_paths=["many"], **NO_LIMITS)
    context, session_id = opened["context"], opened["session_id"]
    assert context["document_count"] == DOCUMENTS
    assert context["chars"] == sum(len(str(number)) + 1 for number in range(DOCUMENTS))
    assert context["prefix"] == str(directory.resolve())
    first = [{"name": f"a document with a long name, number {number:06}.txt", "chars": 2} for number in range(10)]
    assert context["documents"][:10] == first
    assert len(context["documents"]) == 20
    code = "(len(documents), documents[list(documents)[-1]])"
    assert client.run(session_id, code)["result"] == f"({DOCUMENTS}, '{DOCUMENTS - 1}\\n')"
    died = client.run(session_id, "import os\nos._exit(3)")
    assert (died["status"], died["lost"]["lost"]) == ("kernel_died", [])
    assert client.run(session_id, code)["result"] == f"({DOCUMENTS}, '{DOCUMENTS - 1}\\n')"


def test_a_kernel_without_memory_costs_its_step_and_nothing_else(serve: Callable[..., LineClient]) -> None:
    """Again and again, by steps that want too much at once and by steps that take a little more each time."""
    client = serve(RLM_MEMORY_LIMIT_MB="96")
    session_id = client.open_session("some text", **NO_LIMITS)
    client.run(session_id, "kept = list(range(1000))")
    for _ in range(BOMBS):
        for code in ("big = 'x' * 500_000_000", "grow = []\nwhile True: grow.append('x' * 1_000_000)"):
            report = client.run(session_id, code)
            assert (report["status"], report["lost"]) == ("error", None), report
            assert report["error"]["ename"] == "MemoryError"
            client.run(session_id, "grow = None")
        assert client.run(session_id, "sum(kept)")["result"] == "499500"


def test_sessions_that_come_and_go_leave_nothing_in_the_server(serve: Callable[..., LineClient]) -> None:
    """Its memory, its descriptors and its directories are what they were."""
    client = serve()

    def come_and_go(count: int) -> None:
        for number in range(count):
            session_id = client.open_session(f"context {number}" * 100)
            client.run(session_id, "x = [context] * 10\nprint(x)", max_output_chars=200_000)
            client.data("rlm_finalize", session_id=session_id, final_var_name="x")
            client.seen.clear()

    come_and_go(10)
    descriptors = len(list(Path(f"/proc/{client.server_pid}/fd").iterdir()))
    with flat_memory(client, 12):
        come_and_go(COMINGS)
    assert len(list(Path(f"/proc/{client.server_pid}/fd").iterdir())) <= descriptors + STARTING_DESCRIPTORS
    state = Path(f"{client.directory}.state")
    assert list((state / "locks").iterdir()) == []
    assert list((state / "snapshots").glob("*")) == []
