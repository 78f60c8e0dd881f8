"""A kernel that lies, floods, hangs or dies when its values are asked for: the host, and every other session, go on."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import pytest

from rlm_kernel_mcp.kernel.kernel import Kernel
from rlm_kernel_mcp.kernel.placement.local.process import KernelProcess
from rlm_kernel_mcp.session.kernels.idle_time import FREE_MS
from rlm_kernel_mcp.session.registry import Registry
from rlm_kernel_mcp.session.snapshots import file as snapshot_file
from rlm_kernel_mcp.session.snapshots import restoring
from rlm_kernel_mcp.session.snapshots.file import SnapshotFile
from rlm_kernel_mcp.session.snapshots.taking import SIGNALS, SMALL_SIGNALS
from tests.losses import files, lose_kernel, lost, settle, snapshots
from tests.sessions import WAIT_S, SessionDriver, until

pytestmark = pytest.mark.anyio

TAKES_OVER = """
import os, struct, json, time
snapshots = get_ipython().kernel.snapshots
def head(name): return b"N " + json.dumps({{"name": name, "type": "int"}}).encode() + b"\\n"
def chunk(data): return struct.pack(">I", len(data)) + data
END, GIVEN_UP = struct.pack(">I", 0), struct.pack(">I", 0xFFFFFFFF)
FINE = {{"status": "ok", "names": {{}}, "unverified": [], "more": 0}}
def send(fd, data):
    view = memoryview(data)
    while view: view = view[os.write(fd, view):]
def take(fd, token, after):
    {body}
snapshots.take, snapshots.take_small = take, lambda token, after: None
"""

BODIES = {
    "garbage": "send(fd, os.urandom(100_000)); return FINE",
    "a stream without end": "\n    while True: send(fd, head('a') + chunk(b'x' * 60_000) + GIVEN_UP)",
    "names without end": "\n    n = 0\n    while True: n += 1; send(fd, head('n' * 100 + str(n)) + END)",
    "one value without end": "\n    send(fd, head('a'))\n    while True: send(fd, chunk(b'x' * 60_000))",
    "a head without end": "\n    while True: send(fd, b'N ' * 30_000)",
    "half a value": "send(fd, head('a') + struct.pack('>I', 1000) + b'half'); return FINE",
    "half a value, and the report": "send(fd, head('a') + struct.pack('>I', 1000)); os.dup(fd); return FINE",
    "nothing for an answer": "return {}",
    "another shape": "return FINE | {'names': [1, 2], 'unverified': 5, 'more': 'x'}",
    "odd rows": "return FINE | {'names': {'a': 5, 'b': {'why': ['x'] * 100}, 'c' * 9000: {}, 'd': {'type': {'x': 1}}}}",
    "odd numbers": "return FINE | {'names': {}, 'unverified': [1, None, {}], 'more': 10 ** 30}",
    "names it does not have": "return FINE | {'names': {'context': {'type': 'str'}, '__builtins__': {'why': None}}}",
    "too large an answer": "return FINE | {'names': {'n%d' % n: {'type': 't' * 100} for n in range(100_000)}}",
    "an exception": "raise ValueError('no')",
    "death": "os._exit(1)",
}
LIKE_ANOTHER = {"names without end", "a head without end", "half a value", "nothing for an answer", "odd numbers"}
"""One is fast that ends in the same way."""


@pytest.mark.parametrize(
    "what", [pytest.param(what, marks=[pytest.mark.slow] if what in LIKE_ANOTHER else []) for what in BODIES]
)
async def test_whatever_a_kernel_does_with_its_snapshot_costs_its_own_session_alone(
    any_registry: Registry, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next step runs, values kept before are there, the other session notices nothing, the disk is bounded."""
    monkeypatch.setattr("rlm_kernel_mcp.session.snapshots.taking.SIGNALS", 10)
    session, other = await SessionDriver.open(any_registry), await SessionDriver.open(any_registry)
    await session.ok("kept = [1]")
    await settle(session)
    snapshots(session)._step_s = 0.3
    await session.ok(TAKES_OVER.format(body=BODIES[what]))
    await other.ok("mine = [2]")
    await settle(session)
    assert (await session.run("kept[0] + 1", timeout_ms=20_000)).result == "2"
    assert sum(path.stat().st_size for path in files(session) if path.exists()) < 1 << 20
    await lose_kernel(other)
    report = await other.ok("mine")
    assert (report.result, lost(report)) == ("[2]", {})
    for each in (session, other):
        await each.finalize(text="done")


def open_pipes() -> int:
    """How many ends of pipes this process has open; what a spare kernel needs are sockets."""
    count = 0
    for path in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # it was closed meanwhile
            count += str(path.readlink()).startswith("pipe:")
    return count


async def test_a_kernel_that_takes_no_descriptor_is_replaced(
    any_registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pipes that it was passed would pile up."""
    monkeypatch.setattr("rlm_kernel_mcp.session.snapshots.taking.SIGNALS", 10)
    session = await SessionDriver.open(any_registry)
    await session.ok("kept = [1]")
    await settle(session)
    snapshots(session)._step_s = 0.3
    await until_a_spare_is_there(any_registry)
    before = open_pipes()
    await session.ok(
        "import rlm_kernel_mcp.in_kernel.ipython.control as control, time\n"
        "def hold(channel): time.sleep(600)\ncontrol.receive_descriptor = hold\n"
        "get_ipython().kernel.snapshots.take_small = lambda token, after: None"
    )
    await settle(session)
    report = await session.ok("kept")
    assert report.result == "[1]"
    assert report.lost is not None
    await settle(session)
    await until_a_spare_is_there(any_registry)
    assert open_pipes() <= before
    await session.finalize(text="done")


async def until_a_spare_is_there(registry: Registry) -> None:
    """One that is just being started has more open than one that has."""
    filling = registry._pool._filling
    if filling is not None:
        async with asyncio.timeout(WAIT_S):
            await asyncio.wait({filling})


async def test_without_a_bound_a_step_waits_for_values_that_are_held_back(
    any_registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control of the wait's bound: however often the kernel is asked, the step behind them does not begin."""
    asked = 0
    send = KernelProcess.send_signal

    def counting(process: KernelProcess, signum: int) -> None:
        nonlocal asked
        asked += signum == signal.SIGUSR2
        send(process, signum)

    bound = SIGNALS + SMALL_SIGNALS
    monkeypatch.setattr("rlm_kernel_mcp.session.snapshots.taking.SIGNALS", 1_000_000)
    monkeypatch.setattr("rlm_kernel_mcp.session.snapshots.taking.SIGNAL_EVERY_S", 0.001)
    monkeypatch.setattr(KernelProcess, "send_signal", counting)
    session = await SessionDriver.open(any_registry)
    await session.ok("get_ipython().kernel._send_snapshot = lambda *given: None")
    begun = await session.begin("1")
    await until(lambda: asked > 3 * bound)
    running = session.session._running
    assert running is not None
    assert running.execution is None
    await lose_kernel(session, settled=False)
    report = await session.end_of(begun.step_index)
    assert report.lost is not None
    await session.finalize(text="done")


async def test_a_snapshot_that_lies_makes_its_own_session_s_values_wrong_and_nothing_else(
    any_registry: Registry,
) -> None:
    """The bytes are read by a kernel of the same session alone, behind the same walls."""
    session = await SessionDriver.open(any_registry)
    await session.ok(
        TAKES_OVER.format(
            body="send(fd, head('x') + chunk(b'cos\\ngetpid\\n(tR.') + END)\n"
            "    return FINE | {'names': {'x': {'type': 'int', 'why': None}}}"
        )
    )
    await lose_kernel(session)
    report = await session.ok("import os\nx == os.getpid()")
    assert report.result == "True"
    assert os.getpid() != await session.value("x")
    await session.finalize(text="done")


DEAF: Final = """
import os, time
def comes_back(n):
    end = time.process_time() + {cpu_s}
    while time.process_time() < end:
        try:
            while time.process_time() < end: pass
        except BaseException: pass
    os._exit(1)
class Trap:
    def __init__(self, n): self.n = n
    def __reduce__(self): return comes_back, (self.n,)
"""
"""Values that hear no signal when they come back, and end their kernel after that."""


@pytest.mark.slow
async def test_values_that_end_each_kernel_have_one_bound_of_time_and_are_charged(
    any_registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many there are: three kernels try, and the session goes on without them."""
    monkeypatch.setattr("rlm_kernel_mcp.session.snapshots.restoring.RESTORE_S", 0.1)
    session = await SessionDriver.open(any_registry)
    await session.ok(DEAF.format(cpu_s=30))
    for n in range(8):
        await session.ok(f"trap{n} = Trap({n})")
    await lose_kernel(session)
    used_ms = session.session.counters.runtime_ms
    report = await session.ok("context")
    assert report.result == "'some text'"
    assert set(lost(report)) >= {f"trap{n}" for n in range(8)}
    charged = [event for event in await session.trace() if event.result_status == "charged"]
    assert len(charged) == 1
    assert session.session.counters.runtime_ms - used_ms > FREE_MS
    await session.finalize(text="done")


@pytest.mark.slow
async def test_without_their_bound_values_that_do_not_come_back_keep_a_step_waiting(
    any_registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: the first kernel alone works for them for longer than all tries may take."""
    kernels: list[Kernel] = []
    bind = restoring._bind

    async def noting(kernel: Kernel, *given: Any) -> Any:
        kernels.append(kernel)
        return await bind(kernel, *given)

    monkeypatch.setattr(restoring, "_bind", noting)
    monkeypatch.setattr("rlm_kernel_mcp.session.snapshots.restoring.RESTORE_S", 1_000.0)
    session = await SessionDriver.open(any_registry)
    await session.ok(DEAF.format(cpu_s=600) + "trap = Trap(0)")
    await lose_kernel(session)
    begun = await session.begin("context")
    await until(lambda: bool(kernels) and kernels[0].process.cpu_ms() > 1_000 * restoring.TRY_S + 500)
    assert len(kernels) == 1
    assert session.session.running
    await session.interrupt()
    assert (await session.end_of(begun.step_index)).status == "interrupted"
    monkeypatch.setattr("rlm_kernel_mcp.session.snapshots.restoring.RESTORE_S", 0.1)
    await session.finalize(text="done")


async def test_the_return_of_values_is_interrupted_and_nothing_is_lost_by_it(
    any_registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step ends without having run; the next one tries again."""
    monkeypatch.setattr("rlm_kernel_mcp.session.snapshots.restoring.RESTORE_S", 1_000.0)
    session = await SessionDriver.open(any_registry)
    await session.ok("beside = [1]")
    await session.ok(DEAF.format(cpu_s=600) + "trap = Trap(0)")
    await lose_kernel(session)
    begun = await session.begin("ran = 1")
    await until(lambda: session.session._running is not None and session.session._running.preparation is not None)
    report = await session.interrupt()
    assert (report.status, report.step_index) == ("interrupted", begun.step_index)
    assert "were being put into a fresh kernel" in report.stderr or "before its code ran" in report.stderr
    page = await any_registry.get_trace(
        session.session_id, from_step=begun.step_index, to_step=None, detail="summary", max_output_chars=8_000, offset=0
    )
    assert "interrupt" in [event.action for event in page.events]
    monkeypatch.setattr("rlm_kernel_mcp.session.snapshots.restoring.RESTORE_S", 0.1)
    report = await session.ok("beside, 'ran' in globals()")
    assert report.result == "([1], False)"
    assert "trap" in lost(report)
    await session.finalize(text="done")


async def test_the_index_of_the_values_has_one_writer(any_registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that changed nothing ends while the values of the one before are still being moved together."""
    moving, go_on = threading.Event(), threading.Event()
    moved, advance = snapshot_file._moved, SnapshotFile.advance
    at_once: list[bool] = []

    def slow(*given: Any) -> Any:
        moving.set()
        go_on.wait(WAIT_S)
        moving.clear()
        return moved(*given)

    def watched(file: SnapshotFile, step: int) -> None:
        at_once.append(moving.is_set())
        advance(file, step)

    monkeypatch.setattr(snapshot_file, "_moved", slow)
    monkeypatch.setattr(snapshot_file, "GARBAGE_BYTES_MIN", 0)
    monkeypatch.setattr(SnapshotFile, "advance", watched)
    session = await SessionDriver.open(any_registry)
    await session.ok("a = 'x' * 60_000; b = 'y' * 60_000")
    await settle(session)
    await session.ok("a = 'z' * 60_000; b = 'a' * 60_000")
    await until(moving.is_set)
    await session.ok("1")
    go_on.set()
    await settle(session)
    assert at_once == [False]
    await lose_kernel(session)
    report = await session.ok("a[0] + b[0]")
    assert (report.result, lost(report)) == ("'za'", {})
    await session.finalize(text="done")


async def test_the_host_s_loop_goes_on_while_a_kernel_floods(any_registry: Registry) -> None:
    """The stream is read in a thread."""
    session, other = await SessionDriver.open(any_registry), await SessionDriver.open(any_registry)
    await session.ok(TAKES_OVER.format(body=BODIES["a stream without end"]))
    reports = [await other.ok(f"{n}") for n in range(20)]
    assert [report.result for report in reports] == [str(n) for n in range(20)]
    for each in (session, other):
        await each.finalize(text="done")
