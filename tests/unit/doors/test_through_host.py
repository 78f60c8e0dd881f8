"""Where a program's sessions are: which place is chosen, and what follows the end of a host."""

from __future__ import annotations

import asyncio
import importlib
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from rlm_kernel_mcp.doors import knocking, through_host
from rlm_kernel_mcp.doors.door import Door
from rlm_kernel_mcp.doors.in_process import InProcess
from rlm_kernel_mcp.doors.link import Link
from rlm_kernel_mcp.doors.program import Program
from rlm_kernel_mcp.doors.through_host import Host, ThroughHost, door_of
from rlm_kernel_mcp.doors.wire.messages import packed, unpacked
from rlm_kernel_mcp.doors.wire.packets import Packets
from rlm_kernel_mcp.errors import HostUnavailable, InvalidInput
from rlm_kernel_mcp.front.front import NoHost
from tests.sessions import WAIT_S

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("host", "env", "environ", "kind"),
    [
        ("auto", {}, {}, ThroughHost),
        ("auto", {"RLM_HOST": "off"}, {}, InProcess),
        ("auto", {}, {"RLM_HOST": "off"}, InProcess),
        ("auto", {"RLM_HOST": "auto"}, {"RLM_HOST": "off"}, ThroughHost),
        ("auto", {"RLM_SANDBOX_MODE": "container"}, {}, InProcess),
        ("required", {}, {"RLM_HOST": "off"}, ThroughHost),
        ("off", {"RLM_HOST": "auto"}, {}, InProcess),
    ],
)
def test_what_the_program_says_goes_before_what_its_environment_says(
    host: Host, env: dict[str, str], environ: dict[str, str], kind: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RLM_HOST", raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert type(door_of(host, env)) is kind


@pytest.mark.parametrize(
    ("cluster", "environ", "where"),
    [
        ("auto", {}, "auto"),
        ("head:1", {"RLM_CLUSTER": "auto"}, "head:1"),
        (None, {"RLM_CLUSTER": "auto", "RLM_HOST": "off"}, "auto"),
        ("off", {"RLM_CLUSTER": "auto"}, None),
        (None, {"RLM_CLUSTER": "off"}, None),
        (None, {}, None),
    ],
)
def test_a_cluster_goes_before_a_host(
    cluster: str | None, environ: dict[str, str], where: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, its_door = list[str](), InProcess()

    class Entrance:
        def door(self, where: str, _env: object) -> Door:
            asked.append(where)
            return its_door

    monkeypatch.setattr(importlib, "import_module", lambda _name: Entrance())
    for name in ("RLM_HOST", "RLM_CLUSTER"):
        monkeypatch.delenv(name, raising=False)
    door = door_of("auto", environ, cluster)
    assert (asked, door is its_door) == ([where] if where else [], where is not None)


def test_a_cluster_without_a_name_is_none() -> None:
    with pytest.raises(InvalidInput, match='or "off"'):
        door_of("auto", {}, "")


class FakeHosts:
    """Hosts that answer every call by None, one connection after another."""

    def __init__(self) -> None:
        self.attached = list[socket.socket]()
        self._loop = asyncio.get_running_loop()
        self._answering = list[asyncio.Task[None]]()

    def attach(self, _program: Program) -> socket.socket:
        """Connect; in a thread."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (ours, theirs):
            end.setblocking(False)
        self.attached.append(theirs)
        self._loop.call_soon_threadsafe(lambda: self._answering.append(self._loop.create_task(self._answer(theirs))))
        return ours

    async def _answer(self, connection: socket.socket) -> None:
        packets = Packets(connection, 1 << 20)
        while parts := await packets.receive():
            said, _ = await unpacked(parts)
            await packets.send(packed({"id": said["id"], "result": None}))

    async def close(self) -> None:
        """End all of them."""
        for task in self._answering:
            task.cancel()
        if self._answering:
            await asyncio.wait(self._answering)
        for connection in self.attached:
            connection.close()


@pytest.fixture
async def fakes() -> AsyncIterator[FakeHosts]:
    made = FakeHosts()
    yield made
    await made.close()


async def test_the_end_of_a_host_right_behind_its_answers_is_seen_and_costs_none_of_them() -> None:
    """Whoever calls next looks whether it is over, and what is read by then is not lost for that."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in (ours, theirs):
        end.setblocking(False)
    link = Link(ours)
    first, second = (asyncio.create_task(link.interrupt(name)) for name in ("a", "b"))
    packets = Packets(theirs, 1 << 20)
    async with asyncio.timeout(WAIT_S):
        asked = [(await unpacked(await packets.receive()))[0]["id"] for _ in range(2)]
        for number in asked:
            assert packets.sent_at_once(packed({"id": number, "result": None}))
        theirs.close()
        while not second.done():
            link.is_over  # noqa: B018 (looking is what is tried)
            await asyncio.sleep(0)
        await first
        await second
        assert link.is_over


async def test_calls_that_begin_at_once_have_one_connection(fakes: FakeHosts) -> None:
    door = ThroughHost(attach=fakes.attach)
    await asyncio.gather(door.open(), door.open())
    await asyncio.gather(*(door.interrupt("s_1") for _ in range(5)))
    assert len(fakes.attached) == 1
    await door.close()


async def test_the_next_call_after_a_host_s_end_finds_another(fakes: FakeHosts) -> None:
    door = ThroughHost(attach=fakes.attach)
    await door.open()
    for count in (1, 2):
        assert len(fakes.attached) == count
        fakes.attached[-1].shutdown(socket.SHUT_RDWR)
        await door.interrupt("s_1")  # before anybody has told us
    assert len(fakes.attached) == 3
    await door.close()
    await door.close()
    with pytest.raises(InvalidInput, match="The session is closed"):
        await door.interrupt("s_1")


async def test_a_session_is_let_go_without_looking_for_another_host(fakes: FakeHosts) -> None:
    """The end of the host was the end of its kernel."""
    door = ThroughHost(attach=fakes.attach)
    await door.open()
    fakes.attached[-1].shutdown(socket.SHUT_RDWR)
    await door.let_go("s_1")
    assert len(fakes.attached) == 1
    await door.close()


async def test_directories_are_opened_once_and_given_back(
    fakes: FakeHosts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    door = ThroughHost({"RLM_CONTEXT_ROOTS": f"{tmp_path}:."}, attach=fakes.attach)
    await door.open()
    assert door._program is not None
    opened = list(door._program.opened)
    assert [str(Path(f"/proc/self/fd/{one}").readlink()) for one in opened] == [str(tmp_path)] * 3
    assert not any(map(os.get_inheritable, opened))
    await door.close()
    for one in opened:
        with pytest.raises(OSError):
            os.fstat(one)


async def test_where_no_host_can_be_had_the_program_is_told_so() -> None:
    def refuse(_program: Program) -> socket.socket:
        raise NoHost("one of us is in a sandbox")

    door = ThroughHost(attach=refuse)
    with pytest.raises(HostUnavailable, match="No host can be had for this program: one of us is in a sandbox"):
        await door.open()
    await door.close()


async def test_or_it_has_its_sessions_in_its_own_process_which_is_said_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made = list[Program]()

    class Here(InProcess):
        """A place that opens nothing."""

        def __init__(self, *, program: Program) -> None:
            super().__init__(program=program)
            made.append(program)

        async def open(self) -> None:
            """As there."""

        async def interrupt(self, session_id: str) -> None:
            """As there."""

    def refuse(_program: Program) -> socket.socket:
        raise OSError(13, "Permission denied")

    monkeypatch.setattr(through_host, "InProcess", Here)
    monkeypatch.setattr(through_host, "_said", set())
    for _ in range(2):
        door = ThroughHost(or_here=True, attach=refuse)
        await door.open()
        await door.interrupt("s_1")
        assert made[-1] is door._program
        await door.close()
    assert [record.message for record in caplog.records] == [
        "sessions are in this process, without a host: [Errno 13] Permission denied"
    ]


async def test_a_program_whose_package_was_exchanged_is_told_to_start_anew(
    short_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The host of another version may mean other things by the same words."""
    monkeypatch.setattr(knocking, "__version__", "0")
    program = Program.of({"RLM_HOST_DIR": str(short_dir)})
    with pytest.raises(NoHost, match=r"this program runs version 0, and version [\d.]+ was installed since"):
        await asyncio.to_thread(knocking.attached, program)


async def test_a_setting_that_is_wrong_is_said_before_any_host_is_looked_for() -> None:
    def fail(_program: Program) -> Any:
        pytest.fail("it was looked for")

    with pytest.raises(InvalidInput, match="RLM_MAX_SESSIONS='many'"):
        await ThroughHost({"RLM_MAX_SESSIONS": "many"}, attach=fail).open()
