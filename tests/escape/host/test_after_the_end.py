"""Code that runs on after its step has ended, or claims to have: measured from outside, charged and bounded."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial

import pytest

from rlm_kernel_mcp.kernel.kernel import Kernel
from rlm_kernel_mcp.session import idle_watch
from rlm_kernel_mcp.session.kernels.idle_time import FREE_MS
from rlm_kernel_mcp.session.registry import Registry
from tests.sessions import AMPLE, SessionDriver, until

pytestmark = pytest.mark.anyio

SPIN = "def spin():\n    n = 0\n    while True: n += 1\n"


def has_used(kernel: Kernel, cpu_ms: int) -> bool:
    return kernel.process.cpu_ms() > cpu_ms


@pytest.mark.slow
async def test_what_runs_on_is_charged_to_the_next_step(registry: Registry) -> None:
    """Where it is not enough to end the session."""
    session = await SessionDriver.open(registry)
    await session.ok("import threading\ngo = threading.Event()\n" + SPIN + "threading.Thread(target=spin).start()")
    before = session.session.counters.runtime_ms
    await until(lambda: session.session.kernel.idle_cpu_ms() > 600)
    report = await session.ok("1")
    assert session.session.counters.runtime_ms - before >= 600
    assert report.duration_ms < session.session.counters.runtime_ms - before


@pytest.mark.slow
async def test_what_a_read_takes_between_steps_is_not_charged(registry: Registry) -> None:
    """The kernel works for the reader then: a session that its runtime has stopped can still be read."""
    session = await SessionDriver.open(registry, limits=replace(AMPLE, max_runtime_ms=700))
    await session.run("numbers = list(range(10 ** 6))\nwhile True: len('')", timeout_ms=60_000)
    assert session.session.account.stop == "timeout"
    kernel = session.kernel
    began_ms = kernel.process.cpu_ms()
    while kernel.process.cpu_ms() - began_ms < 2 * FREE_MS:
        assert (await session.slice("numbers", limit=100_000)).truncated
    await idle_watch.watch(session.session, 3_600)
    assert session.kernel is kernel
    assert (await session.finalize(text="done")).finish_reason == "timeout"


@pytest.mark.slow
async def test_work_behind_a_read_is_charged_past_the_time_that_the_read_is_waited_for(registry: Registry) -> None:
    """Reads are no cover: with a thread that works on, each is worth its own wait and no more."""
    session = await SessionDriver.open(registry)
    await session.ok("import threading\n" + SPIN + "threading.Thread(target=spin).start()")
    before = session.session.counters.runtime_ms
    kernel = session.kernel
    began_ms = seen_ms = kernel.process.cpu_ms()
    waited_ms = 0.0
    while seen_ms - began_ms < 1_500 + waited_ms:
        asked_s = time.monotonic()
        await session.slice("threading")
        waited_ms += (time.monotonic() - asked_s) * 1_000
        await until(partial(has_used, kernel, seen_ms + 50))
        seen_ms = kernel.process.cpu_ms()
    await session.ok("1")
    assert session.session.counters.runtime_ms - before >= 1_000


async def test_a_kernel_that_claims_to_be_busy_for_ever_is_ended_at_the_deadline(registry: Registry) -> None:
    """No reply, no idle: the ladder goes to its end."""
    session = await SessionDriver.open(registry)
    code = (
        "from IPython import get_ipython\n"
        "kernel = get_ipython().kernel\n"
        "kernel.session.send = lambda *a, **k: None\n"
        "for stream in (kernel.shell_stream, kernel.control_stream): stream.close()\n"
    )
    report = await session.run(code, timeout_ms=500)
    assert report.status in ("timeout", "kernel_died")
    assert report.lost is not None
    assert (await session.ok("context")).result == "'some text'"
