"""Many connections in one process: none waits for another, and none leaves anything behind."""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import os
import stat
import subprocess
import sys
from collections import Counter
from typing import Any, Final

import pytest

from rlm_kernel_mcp.server.transport import connection
from rlm_kernel_mcp.server.transport.client_log import ClientStream
from rlm_kernel_mcp.server.transport.ends import Sink, Source
from tests.parts import ROOT
from tests.sessions import WAIT_S
from tests.unit.server.transport.clients import KINDS, Client, come_and_go, left_behind, served, things

pytestmark = pytest.mark.anyio

PING = b'{"jsonrpc":"2.0","id":"%d","method":"ping"}\n'


@pytest.mark.slow
async def test_fifty_connections_that_came_and_went_leave_nothing_behind() -> None:
    """One server had one client, and its threads ended with the process; here the process goes on."""
    timer = asyncio.get_running_loop().call_later(WAIT_S, int)  # as other tests' registries have
    await come_and_go(6, at_once=6)  # what is made once, on first use
    before = await things()
    await come_and_go(50, at_once=10)
    assert await left_behind(before) == Counter()
    timer.cancel()


@pytest.mark.slow
def test_a_hundred_connections_leave_the_memory_as_it_was() -> None:
    """A short form of `bin/soak connections`, in a process of its own: threads, descriptors and tasks too."""
    program = [sys.executable, "-m", "tests.soaks", "connections", "--count", "100"]
    ended = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=False, timeout=WAIT_S)
    assert ended.returncode == 0, ended.stdout + ended.stderr


async def does_not_read(client: Client) -> None:
    """As one that was sent SIGSTOP: its pipe is full, and more is asked than finds room in it."""
    await client.begin()
    with contextlib.suppress(BlockingIOError):
        os.set_blocking(client.out, False)
        while True:
            client.send("tools/list")


async def has_closed_its_stdout(client: Client) -> None:
    """Its answers reach nobody."""
    await client.begin()
    os.close(client.incoming)
    client.incoming = -1
    client.send("tools/list")


async def does_not_read_its_stderr(client: Client) -> None:
    """Each bad line is a line of the log."""
    os.set_blocking(client.server_err, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(client.server_err, b"x")
    os.set_blocking(client.server_err, True)
    await client.begin()
    for _ in range(100):
        os.write(client.out, b"no message\n")
    assert await client.ask("ping") == {}


async def stops_in_the_middle_of_a_line(client: Client) -> None:
    """The rest never comes."""
    await client.begin()
    os.write(client.out, b'{"jsonrpc":"2.0","id":5,"method"')


async def writes_what_nobody_is_answered(client: Client) -> None:
    """As much as its pipe takes."""
    await client.begin()
    os.set_blocking(client.out, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(client.out, b"\n" * 4_096)


TROUBLES: Final = (
    does_not_read,
    has_closed_its_stdout,
    does_not_read_its_stderr,
    stops_in_the_middle_of_a_line,
    writes_what_nobody_is_answered,
)
ONE_WAY: Final = ("pipes", "sockets")
"""A terminal is one for both directions, of which none can be closed alone."""
IN_FAST: Final = (does_not_read, stops_in_the_middle_of_a_line)
"""One in which the host has more to say, and one in which it waits for more; the other troubles are slow."""


@pytest.mark.parametrize(
    ("trouble", "kind"),
    [
        pytest.param(trouble, kind, marks=[] if kind == ONE_WAY[0] and trouble in IN_FAST else [pytest.mark.slow])
        for trouble in TROUBLES
        for kind in (ONE_WAY if trouble is has_closed_its_stdout else KINDS)
    ],
)
async def test_a_client_in_trouble_holds_up_nobody_and_leaves_nothing(trouble: Any, kind: str) -> None:
    """Its neighbours are answered meanwhile, and it ends when its front does."""
    await come_and_go(6, at_once=6)
    before = await things()
    neighbour, client = Client("pipes"), Client(kind)
    async with served(neighbour):
        await neighbour.begin()
        async with served(client):
            await trouble(client)
            for _ in range(20):
                assert await neighbour.ask("ping") == {}
        assert await neighbour.ask("ping") == {}
    assert await left_behind(before) == Counter()


async def test_a_connection_whose_input_ended_ends_within_its_bound_though_nobody_reads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What it was asked before can reach nobody; it is not waited for for ever."""
    client = Client("pipes")
    monkeypatch.setattr(connection, "END_S", 0.05)
    serving = asyncio.create_task(client.serve())
    await client.begin()
    for _ in range(50):
        client.send("tools/list")
    client.end_input()
    await asyncio.wait([serving], timeout=WAIT_S)
    assert serving.done()
    client.close()


@pytest.mark.parametrize("kind", KINDS)
async def test_the_client_s_descriptors_keep_their_flags(kind: str) -> None:
    """`O_NONBLOCK` belongs to the open file, which the client's other processes share."""
    client = Client(kind)
    given = (client.server_in, client.server_out, client.server_err)
    async with served(client):
        await client.begin()
        assert [os.get_blocking(descriptor) for descriptor in given] == [True] * 3


@pytest.mark.parametrize("is_opened_again", [True, False], ids=["opened again", "asked first"])
@pytest.mark.parametrize("kind", KINDS)
def test_no_read_and_no_write_of_a_client_s_descriptor_waits(
    kind: str, is_opened_again: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where another process has read what was there, or filled what there was room for, a moment before."""
    client = Client(kind)
    with monkeypatch.context() as patched:
        if not is_opened_again:
            patched.setattr(os, "open", _refuse)
        source, sink = Source(client.server_in), Sink(client.server_out)
    with pytest.raises(BlockingIOError):
        source.read()
    os.write(client.out, b"here")
    assert source.read() == b"here"
    with pytest.raises(BlockingIOError):
        _fill(sink)
    source.close()
    sink.close()
    client.close()


@pytest.mark.parametrize("kind", [stat.S_IFCHR, 0], ids=["a device", "of no kind"])
def test_a_device_that_is_no_terminal_is_asked_before_each_call_and_not_opened_again(
    kind: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as a virtio port: it has one opener, and one read that waits would hold up every client."""
    client = Client("pipes")
    os.set_blocking(client.server_out, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(client.server_out, b"x")
    os.set_blocking(client.server_out, True)
    status = os.fstat(client.server_in)
    with monkeypatch.context() as patched:
        patched.setattr(os, "fstat", lambda _descriptor: os.stat_result((kind | 0o600, *status[1:])))
        patched.setattr(os, "open", _waits)
        source, sink = Source(client.server_in), Sink(client.server_out)
    with monkeypatch.context() as patched:
        for call in ("read", "readv", "write"):
            patched.setattr(os, call, _waits)
        with pytest.raises(BlockingIOError):
            source.read()
        with pytest.raises(BlockingIOError):
            source.read_into(memoryview(bytearray(10)))
        with pytest.raises(BlockingIOError):
            sink.write(memoryview(b"x"))
    os.write(client.out, b"here")
    assert source.read() == b"here"
    source.close()
    sink.close()
    client.close()


def _waits(*_arguments: object) -> int:
    raise AssertionError("this call would have waited")


def test_the_null_device_is_an_end_like_any_other() -> None:
    """`rlm-kernel-mcp serve < /dev/null 2> /dev/null`."""
    with open(os.devnull, "r+b", buffering=0) as null:  # noqa: PTH123 - no path of a file
        source, sink = Source(null.fileno()), Sink(null.fileno())
    assert source.read() == b""
    assert sink.write(memoryview(b"x" * 100)) == 100
    source.close()
    sink.close()


def _fill(sink: Sink) -> None:
    for _ in range(100_000):
        sink.write(memoryview(b"x" * 4_096))


def _refuse(*_arguments: object) -> int:
    raise PermissionError


async def test_stdin_and_stdout_may_be_files(tmp_path: Any) -> None:
    """`rlm-kernel-mcp serve < asked > answered`: there is no readiness to wait for, and none is needed."""
    asked, answered = tmp_path / "asked", tmp_path / "answered"
    asked.write_bytes(b"".join(PING % number for number in range(200)))
    client = Client("pipes")
    with asked.open("rb") as wire_in, answered.open("ab") as wire_out:
        wire_out.write(b"before\n")
        wire_out.flush()
        kept = client.server_in, client.server_out
        client.server_in, client.server_out = wire_in.fileno(), wire_out.fileno()
        serving = asyncio.create_task(client.serve())
        await asyncio.wait([serving], timeout=WAIT_S)
        client.server_in, client.server_out = kept
    client.close()
    lines = answered.read_bytes().splitlines()
    assert lines[0] == b"before"
    assert len(lines) == 201


async def test_a_line_of_the_log_goes_to_the_client_of_its_connection() -> None:
    """Every task of a connection inherits whose it is."""
    log = logging.getLogger("rlm_kernel_mcp.server.transport")
    shown = logging.StreamHandler(ClientStream(io.StringIO()))
    log.addHandler(shown)
    clients = [Client("pipes") for _ in range(2)]
    try:
        async with served(clients[0]), served(clients[1]):
            for number, client in enumerate(clients):
                await client.begin()
                os.write(client.out, b"no message of %d\n" % number)
                os.write(client.out, b'{"jsonrpc":"2.0","method":"client %d"}\n' % number)
                assert await client.ask("ping") == {}
            for number, client in enumerate(clients):
                said = os.read(client.err, 1 << 16).decode()
                assert said.count("a bad line on stdin") == 1
                assert f"'client {number}' came without an id" in said
                assert said.count("came without an id") == 1
    finally:
        log.removeHandler(shown)
