"""Output of an honest step arrives whole, when the host pauses too, and in however many messages it comes."""

from __future__ import annotations

import asyncio
import select
from collections.abc import Sequence

import pytest
from jupyter_client.blocking.client import BlockingKernelClient

from rlm_kernel_mcp.session.kernels import variables
from rlm_kernel_mcp.session.registry import Registry
from tests.sessions import WAIT_S, SessionDriver, until

pytestmark = pytest.mark.anyio

PRINTS = "for i in range(3000): print(i, flush=True)\nprint('END')\n'the result'"
LOOKS = 20
"""At a number, after which it is taken to stand still."""


async def test_a_host_that_pauses_loses_nothing(any_registry: Registry) -> None:
    """The kernel waits for it: every line, the result, and the end."""
    session = await SessionDriver.open(any_registry)
    iopub = session.kernel.client._iopub
    assert iopub._transport is not None
    iopub._transport.pause_reading()
    begun = await session.begin(PRINTS)
    assert await standstill(session, "i") < 2_999  # which it came to, when output was dropped
    assert session.session.running
    iopub._transport.resume_reading()
    report = await session.end_of(begun.step_index)
    assert (report.status, report.result) == ("ok", "'the result'")
    assert report.stdout == "".join(f"{i}\n" for i in range(3000)) + "END\n"
    await session.finalize(text="done")


async def test_a_value_is_read_while_the_kernel_waits_for_a_host_that_does_not_read_its_output(
    any_registry: Registry,
) -> None:
    """The answer comes on another channel, whose thread waits for no output."""
    session = await SessionDriver.open(any_registry)
    iopub = session.kernel.client._iopub
    assert iopub._transport is not None
    iopub._transport.pause_reading()
    lines = "for i in range(900): display(f'{i:2000}')\nfor i in range(5000): print(i)\nsaid = 'all of it'"
    begun = await session.begin(lines)
    while "said" not in await names(session):
        continue
    assert await session.value("said") == "all of it"
    assert session.session.running  # its output is not there yet
    iopub._transport.resume_reading()
    report = await session.end_of(begun.step_index, max_output_chars=4_000_000)
    shown = "".join(f"'{i:2000}'\n" for i in range(900))
    assert report.stdout == shown + "".join(f"{i}\n" for i in range(5000))
    await session.finalize(text="done")


async def names(session: SessionDriver) -> set[str]:
    return {name for name, _, _ in await variables.list_names(session.kernel)}


async def standstill(session: SessionDriver, name: str) -> int:
    """The number that a running step counts with, once it does not change any more from look to look."""
    while name not in await names(session):
        continue
    seen: list[int] = []
    while len(seen) < LOOKS or seen[-1] != seen[-LOOKS]:
        seen.append(await session.value(name))
    return seen[-1]


async def test_an_answer_that_came_while_the_host_was_stopped_is_taken(
    any_registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long it was stopped: the time is over, and the answer is there."""
    session = await SessionDriver.open(any_registry)
    await session.ok("x = 'there'")
    loop, ahead_s = asyncio.get_running_loop(), 0.0
    now = loop.time
    monkeypatch.setattr(loop, "time", lambda: now() + ahead_s)
    channel = session.kernel.client._control
    send = channel.send

    def send_and_stop(frames: Sequence[bytes | memoryview]) -> None:
        nonlocal ahead_s
        send(frames)
        assert channel._transport is not None
        connection = channel._transport.get_extra_info("socket")
        assert select.select([connection.fileno()], [], [], WAIT_S)[0]
        ahead_s = variables.READ_TIMEOUT_S  # as a stopped process: it sees no event until its time is over

    monkeypatch.setattr(channel, "send", send_and_stop)
    assert await session.value("x") == "there"
    await session.finalize(text="done")


@pytest.mark.slow
async def test_very_many_flushes_are_few_messages_and_nothing_is_lost(any_registry: Registry) -> None:
    """In their order with what is displayed between them; the kernel's memory stays what it was."""
    session = await SessionDriver.open(any_registry)
    before = session.kernel.process.memory_bytes()
    code = "for i in range(60_000): print('x', end='', flush=True)\ndisplay('shown')\nprint('y', flush=True)"
    report = await session.ok(code)
    assert report.stdout == "x" * 60_000 + "'shown'\ny\n"
    assert session.kernel.process.memory_bytes() - before < 30 << 20
    assert session.kernel.client._iopub._messages_left > 1_000_000 - 10_000
    await session.finalize(text="done")


@pytest.mark.slow
async def test_a_listener_that_does_not_read_takes_nothing_from_the_step(any_registry: Registry) -> None:
    """A person's console that is stopped: the step's output is whole, its kernel no larger."""
    session = await SessionDriver.open(any_registry)
    kernel = session.kernel
    path = kernel.directories.connection_file
    console = BlockingKernelClient(connection_file=str(path))
    console.load_connection_file()
    console.iopub_channel.start()
    try:
        await until(lambda: bool(console.iopub_channel.socket.poll(0)))
        before = kernel.process.memory_bytes()
        report = await session.ok("for i in range(20_000): print(i, flush=True)", max_output_chars=200_000)
        assert report.stdout == "".join(f"{i}\n" for i in range(20_000))
        assert kernel.process.memory_bytes() - before < 40 << 20
    finally:
        console.stop_channels()
        console.context.destroy(linger=0)
    await session.finalize(text="done")
