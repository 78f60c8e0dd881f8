"""Output of an honest step arrives whole, when the host pauses too, and in however many messages it comes."""

from __future__ import annotations

import asyncio

import pytest
from jupyter_client.blocking.client import BlockingKernelClient

from rlm_kernel_mcp.session.registry import Registry
from tests.sessions import Driven, until

pytestmark = pytest.mark.anyio

PAUSE_S = 1.5
PRINTS = "for i in range(3000): print(i, flush=True)\nprint('END')\n'the result'"


async def test_a_host_that_pauses_loses_nothing(any_registry: Registry) -> None:
    """The kernel waits for it: every line, the result, and the end."""
    session = await Driven.open(any_registry)
    iopub = session.kernel.client._iopub
    assert iopub._transport is not None
    iopub._transport.pause_reading()
    begun = await session.begin(PRINTS)
    await until(lambda: session.session._running is None or session.session._running.execution is not None)
    running = session.session._running
    assert running is not None
    assert running.execution is not None
    await asyncio.wait({running.execution.done}, timeout=PAUSE_S)  # which came, when output was dropped
    iopub._transport.resume_reading()
    report = await session.end_of(begun.step_index)
    assert (report.status, report.result) == ("ok", "'the result'")
    assert report.stdout == "".join(f"{i}\n" for i in range(3000)) + "END\n"
    await session.finalize(text="done")


async def test_very_many_flushes_are_few_messages_and_nothing_is_lost(any_registry: Registry) -> None:
    """In their order with what is displayed between them; the kernel's memory stays what it was."""
    session = await Driven.open(any_registry)
    before = session.kernel.process.resident_bytes()
    code = "for i in range(60_000): print('x', end='', flush=True)\ndisplay('shown')\nprint('y', flush=True)"
    report = await session.ok(code)
    assert report.stdout == "x" * 60_000 + "'shown'\ny\n"
    assert session.kernel.process.resident_bytes() - before < 30 << 20
    assert session.kernel.client._iopub._messages_left > 1_000_000 - 10_000
    await session.finalize(text="done")


async def test_a_listener_that_does_not_read_takes_nothing_from_the_step(any_registry: Registry) -> None:
    """A person's console that is stopped: the step's output is whole, its kernel no larger."""
    session = await Driven.open(any_registry)
    kernel = session.kernel
    path = kernel.folders.connection_file
    console = BlockingKernelClient(connection_file=str(path))
    console.load_connection_file()
    console.iopub_channel.start()
    try:
        await until(lambda: bool(console.iopub_channel.socket.poll(0)))
        before = kernel.process.resident_bytes()
        report = await session.ok("for i in range(20_000): print(i, flush=True)", max_output_chars=200_000)
        assert report.stdout == "".join(f"{i}\n" for i in range(20_000))
        assert kernel.process.resident_bytes() - before < 40 << 20
    finally:
        console.stop_channels()
        console.context.destroy(linger=0)
    await session.finalize(text="done")
