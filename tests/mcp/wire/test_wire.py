"""Nothing that comes in on the wire, or is not taken off it, stops the server; each id is answered."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, Final

import psutil
import pytest

from tests.mcp.line_client import CLIENT, WAIT_S, LineClient, data_of

PING: Final = {"jsonrpc": "2.0", "method": "ping"}
LISTING: Final = {"name": "rlm_list_sessions", "arguments": {}}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LineClient]:
    """A server of the test's own, which has said nothing yet."""
    directory = tmp_path / "server"
    directory.mkdir()
    client = LineClient(directory)
    yield client
    client.kill()


@pytest.fixture(scope="module")
def batching(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LineClient]:
    """A server with which the version that has batches is agreed."""
    client = LineClient(tmp_path_factory.mktemp("batching"))
    agreed = client.request("initialize", {**CLIENT, "protocolVersion": "2025-03-26"})["result"]["protocolVersion"]
    assert agreed == "2025-03-26"
    client.notify("notifications/initialized")
    yield client
    client.kill()


def ask(client: LineClient, line: bytes) -> list[Any]:
    """What is answered to a line, up to the answer of a ping behind it."""
    client.seen.clear()
    client.send_line(line)
    last = client.send("ping")
    client.answer(last)
    found: list[Any] = client.seen[:-1]
    return found


SERVED: Final = (b"1" * 400, b"7.0", b"1e3", b"123456789012345678901234567890", b'"a\\u00e9"', b'""')


@pytest.mark.parametrize(
    ("written", "answered"),
    [
        (b"01", 1),
        (b"1.5", 1.5),
        (b"7.0", 7),
        (b"1e3", 1000),
        (b"-0.25", -0.25),
        (b"123456789012345678901234567890", 123456789012345678901234567890),
        (b'"a\\u00e9"', "aé"),
        (b'""', ""),
        (b"null", None),
        (b"true", None),
        (b"{}", None),
        (b"[1]", None),
        (b"1e400", None),
        (b"1" * 400, int("1" * 400)),
        (b"1" * 5_000, None),
        (b"NaN", None),
    ],
    ids=lambda value: ascii(value)[:20],
)
def test_a_request_with_an_id_of_any_kind_is_answered(client: LineClient, written: bytes, answered: object) -> None:
    """Under its id where an answer can carry it, else under null."""
    (answer,) = ask(client, b'{"jsonrpc":"2.0","id":' + written + b',"method":"ping"}')
    assert answer["id"] == answered
    assert type(answer["id"]) is type(answered)
    assert ("result" in answer) == (written in SERVED)


def test_each_request_of_one_id_is_answered(client: LineClient) -> None:
    """Who uses an id twice waits twice."""
    line = json.dumps({**PING, "id": "twice"}).encode()
    assert [answer["id"] for answer in ask(client, line + b"\n" + line)] == ["twice", "twice"]


def test_a_notification_whose_id_is_null_is_one(client: LineClient) -> None:
    """Some clients write all fields of a message, whatever it is."""
    assert ask(client, b'{"jsonrpc":"2.0","id":null,"method":"notifications/initialized"}') == []


@pytest.mark.parametrize(
    "line",
    [
        b'{"jsonrpc":"2.0","method":"tools/call","params":{"name":"rlm_list_sessions","arguments":{}}}',
        b'{"jsonrpc":"2.0","method":"ping"}',
        b'{"jsonrpc":"2.0","method":"no/such","params":{}}',
        b'{"jsonrpc":"2.0","method":"\\u202eodd"}',
    ],
)
def test_a_request_that_misses_its_id_is_a_notification_and_the_log_says_so(client: LineClient, line: bytes) -> None:
    """By JSON-RPC's own words, whatever its method is: its sender would wait for ever, and look there."""
    before = client.log_bytes
    assert ask(client, line) == []
    assert ascii(json.loads(line)["method"]) in client.logged("came without an id", before)


@pytest.mark.parametrize("line", [b"no json", b"5", b"{}", b'{"jsonrpc":"2.0"}', b'{"foo":"bar"}', b"\xff"])
def test_a_line_that_is_no_message_and_has_no_id_is_logged(client: LineClient, line: bytes) -> None:
    """Two peers that answer such lines could go on for ever (decision 0093)."""
    before = client.log_bytes
    assert ask(client, line) == []
    assert client.logged("a bad line on stdin", before)


def test_a_batch_is_answered_in_one_line(batching: LineClient) -> None:
    """Requests of any kind in any order, a bad one too; notifications get nothing, one that is cancelled neither."""
    cancelled = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "gone"}}
    batch = [
        {**PING, "id": 1},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "id": "call", "method": "tools/call", "params": LISTING},
        {**PING, "id": 1.5},
        {"jsonrpc": "1.0", "id": 4, "method": "ping"},
        "no message",
        [{**PING, "id": 6}, [{**PING, "id": 7}]],
        cancelled,
    ]
    batching.send_line(json.dumps(batch).encode())
    answers: Any = batching.receive()
    assert isinstance(answers, list)
    by_id = {answer["id"]: answer for answer in answers}
    assert by_id.keys() == {1, "call", 1.5, 4, None, 6, 7}
    assert len(answers) == 7
    assert {name for name, answer in by_id.items() if "result" in answer} == {1, "call"}
    assert data_of(by_id["call"]["result"])["sessions"] == []


@pytest.mark.parametrize("line", [b'[{"jsonrpc":"2.0","method":"notifications/initialized"}]', b"[1]", b"[[]]"])
def test_a_batch_that_asks_nothing_gets_nothing(batching: LineClient, line: bytes) -> None:
    """Not even an empty list, as JSON-RPC has it."""
    assert ask(batching, line) == []


def test_an_empty_batch_is_no_request(batching: LineClient) -> None:
    """One error under null."""
    (answer,) = ask(batching, b"[]")
    assert (answer["id"], answer["error"]["code"]) == (None, -32600)


def test_a_batch_that_is_cancelled_in_part_is_answered_without_it(batching: LineClient) -> None:
    """The other answers come when nothing is waited for any more."""
    session_id = batching.open_session()
    step = {"name": "rlm_run_repl", "arguments": {"session_id": session_id, "code": "while True: pass"}}
    request = {"jsonrpc": "2.0", "id": "step", "method": "tools/call", "params": step}
    batching.send_line(json.dumps([request, {**PING, "id": "other"}]).encode())
    batching.wait_until_running(session_id)
    batching.notify("notifications/cancelled", {"requestId": "step"})
    answers: Any = batching.receive()
    assert [answer["id"] for answer in answers] == ["other"]
    batching.data("rlm_interrupt", session_id=session_id)
    batching.data("rlm_finalize", session_id=session_id, final_text="")


@pytest.mark.parametrize(
    ("asked", "cancelled"), [(b"70.0", b"70.0"), (b"71", b"71.0"), (b"72.0", b"72"), (b"7e1", b"7e1")]
)
def test_a_call_is_cancelled_by_its_id_however_that_number_is_written(
    client: LineClient, asked: bytes, cancelled: bytes
) -> None:
    """Some clients have no whole numbers; the call is not answered any more, and its step goes on."""
    session_id = client.open_session()
    arguments = json.dumps({"session_id": session_id, "code": "while True: pass"}).encode()
    call = b'{"name":"rlm_run_repl","arguments":' + arguments + b"}"
    client.send_line(b'{"jsonrpc":"2.0","id":' + asked + b',"method":"tools/call","params":' + call + b"}")
    client.wait_until_running(session_id)
    client.send_line(b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":' + cancelled + b"}}")
    assert client.data("rlm_interrupt", session_id=session_id)["status"] == "interrupted"
    client.data("rlm_finalize", session_id=session_id, final_text="")
    assert not any(message.get("id") == float(asked) for message in client.seen)


def test_a_batch_is_refused_under_each_id_where_there_are_none(client: LineClient) -> None:
    """In messages of their own, since who speaks this version can read no list."""
    batch = json.dumps([{**PING, "id": 1}, {**PING, "id": "b"}, [{**PING, "id": 3}], {**PING, "id": 2.5}, PING, 1])
    answers = ask(client, batch.encode())
    assert [answer["id"] for answer in answers] == [1, "b", 3, 2.5]
    assert all("has no batches" in answers[number]["error"]["message"] for number in (0, 1))


def test_a_batch_of_more_than_is_taken_is_refused_under_each_id(batching: LineClient) -> None:
    """The number is told."""
    (answers,) = ask(batching, json.dumps([{**PING, "id": number} for number in range(1_001)]).encode())
    assert [answer["id"] for answer in answers] == list(range(1_001))
    assert "1,001 messages" in answers[0]["error"]["message"]


def test_a_batch_behind_initialize_waits_for_what_is_agreed(server: LineClient) -> None:
    """A client that does not wait for the answer is served all the same."""
    initialize = {
        "jsonrpc": "2.0",
        "id": 0,
        "method": "initialize",
        "params": {**CLIENT, "protocolVersion": "2025-03-26"},
    }
    server.send_line(json.dumps(initialize).encode() + b"\n" + json.dumps([{**PING, "id": 1}]).encode())
    assert server.receive()["id"] == 0
    answers: Any = server.receive()
    assert [answer["id"] for answer in answers] == [1]


def test_what_was_read_before_the_end_is_answered(server: LineClient) -> None:
    """All in one write, and the end of the input at once: the registry is not even open yet."""
    lines = [
        {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": CLIENT},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "id": 1, "method": "tools/list"},
        *({"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": LISTING} for number in range(2, 6)),
    ]
    server.send_line("\n".join(map(json.dumps, lines)).encode())
    assert server.end() == 0
    assert all("result" in server.answer(number) for number in range(6))
    assert data_of(server.answer(5)["result"])["sessions"] == []


ANY_LINES: Final = (
    b'{"id":01}',
    b'{"id":"\\ud8',
    b'\\"' * 16_384,
    b"[" * 100_000,
    b'{"a":' * 50_000,
    b'{"id":1,"jsonrpc":"2.0","method":"initialize","params":{"protocolVersion":1e400}}',
    b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":{}}}',
    b'{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1e400}}',
    b'{"jsonrpc":"2.0","id":9,"result":{"a":1e400}}',
    b"\xff\x00\n\r\n\x1b",
)


def test_after_any_lines_the_next_is_answered_and_the_end_ends(server: LineClient) -> None:
    """The server is neither deaf nor does it outlive its client."""
    for line in ANY_LINES:
        ask(server, line)
    assert server.end() == 0


@pytest.mark.slow
@pytest.mark.parametrize("line", ANY_LINES, ids=lambda line: ascii(line)[2:22])
def test_after_any_line_the_next_is_answered_and_the_end_ends(server: LineClient, line: bytes) -> None:
    """Each alone, as the first that the server is sent."""
    ask(server, line)
    assert server.end() == 0


@pytest.mark.slow
def test_a_stderr_that_nobody_reads_stops_nobody(tmp_path: Path) -> None:
    """Each refusal is logged: far more than the pipe takes. What was written then comes out whole."""
    reading, writing = os.pipe()
    directory = tmp_path / "server"
    directory.mkdir()
    client = LineClient(directory, stderr=writing)
    try:
        client.initialize()
        for _ in range(1_000):
            assert client.error("rlm_get_var", session_id="s_nobody22", var_name="x")["code"] == "SESSION_NOT_FOUND"
        assert select.select([reading], [], [], 0)[0]
        os.close(writing)
        with os.fdopen(reading, "rb") as log, ThreadPoolExecutor(1) as others:
            lines = others.submit(log.readlines)
            assert client.end() == 0
            assert sum(b"SESSION_NOT_FOUND" in line for line in lines.result(WAIT_S)) == 1_000
    finally:
        client.kill()


@pytest.mark.slow
def test_answers_that_nobody_reads_take_bounded_memory_and_come_out_whole(server: LineClient) -> None:
    """The client writes on and reads nothing: the server stops reading, and goes on when it is read again."""
    server.initialize()
    # Its name comes back in the refusal, so that each answer alone fills the pipe.
    line = json.dumps({"jsonrpc": "2.0", "id": "many", "method": "x" * 65_536}).encode()
    count = 1_500
    assert "error" in server.request("none")
    process = psutil.Process(server.server_pid)
    before = process.memory_info().rss

    def write() -> None:
        for _ in range(count):
            server.send_line(line)

    with ThreadPoolExecutor(1) as others:
        assert wait([others.submit(write)], timeout=2).not_done
        assert process.memory_info().rss - before < 64 << 20
        server.seen.clear()
        assert all(server.receive()["id"] == "many" for _ in range(count))
    assert server.request("ping")["result"] == {}


CLIENT_PROGRAM: Final = """
import subprocess, sys
server = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
server.stdin.write(b'{"jsonrpc":"2.0","id":1,"method":"ping"}\\n')
server.stdin.flush()
server.stdout.readline()
holder = subprocess.Popen(["sleep", "600"], stdout=server.stdin, stdin=server.stdout, stderr=subprocess.DEVNULL)
print(server.pid, holder.pid, flush=True)
sys.stdin.read()
"""


@pytest.mark.slow
def test_the_server_ends_with_its_client_though_another_holds_the_pipe(
    tmp_path: Path, start: tuple[tuple[str, ...], Mapping[str, str]]
) -> None:
    """No end of input ever comes; the parent is gone."""
    command, env = start
    client = subprocess.Popen(
        [sys.executable, "-c", CLIENT_PROGRAM, *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, **env, "RLM_STATE_DIR": str(tmp_path / "state")},
    )
    assert client.stdout is not None
    server, holder = (psutil.Process(int(pid)) for pid in client.stdout.readline().split())
    try:
        assert server.is_running()
        client.kill()
        client.wait()
        psutil.wait_procs([server], timeout=WAIT_S)
        assert not server.is_running() or server.status() == psutil.STATUS_ZOMBIE
        assert holder.is_running()
    finally:
        holder.kill()
        client.communicate()
        if server.is_running():
            server.kill()
