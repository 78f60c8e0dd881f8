"""Code that runs on after its step has ended, or claims to have: measured from outside, charged and bounded."""

from __future__ import annotations

import pytest

from rlm_kernel_mcp.session.registry import Registry
from tests.sessions import Driven, until

pytestmark = pytest.mark.anyio

SPIN = "def spin():\n    n = 0\n    while True: n += 1\n"


async def test_what_runs_on_is_charged_to_the_next_step(registry: Registry) -> None:
    """Where it is not enough to end the session."""
    session = await Driven.open(registry)
    await session.ok("import threading\ngo = threading.Event()\n" + SPIN + "threading.Thread(target=spin).start()")
    before = session.session.counters.runtime_ms
    await until(lambda: session.session.life.idle_cpu_ms() > 600)
    report = await session.ok("1")
    assert session.session.counters.runtime_ms - before >= 600
    assert report.duration_ms < session.session.counters.runtime_ms - before


async def test_a_kernel_that_claims_to_be_busy_for_ever_is_ended_at_the_deadline(registry: Registry) -> None:
    """No reply, no idle: the ladder goes to its end."""
    session = await Driven.open(registry)
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
