"""Limits that a kernel could lift, or whose signal it could ignore, are counted by the host; then the ladder."""

from __future__ import annotations

import json
import resource
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import psutil
import pytest

from rlm_kernel_mcp.session.steps import resource_watch as watch
from rlm_kernel_mcp.session.steps.resource_watch import ResourceWatch
from tests.escape.canaries import PROGRAM
from tests.escape.kernels.kernel_server import FORGE, KernelServer
from tests.mcp.line_client import SERVE
from tests.sessions import SessionDriver, open_registry, until
from tests.specs import SHIPPED

POLICY: Final = {"limits": {"step_cpu_s": 1, "threads": 64}, "pool": {"spare_kernels": 0}}
WITHOUT_COUNTING: Final = (sys.executable, "-I", str(PROGRAM / "serve_without_counting.py"), "serve")
LIFT: Final = "resource.setrlimit(resource.RLIMIT_CPU, (-1, -1))"
MANY: Final = """
import _thread, threading, time
_thread.stack_size(32 << 10)
gate = _thread.allocate_lock()
gate.acquire()
def take_all():
    while True:
        try:
            _thread.start_new_thread(gate.acquire, ())
        except RuntimeError:
            return
"""
"""`take_all`: past Python's own way to a thread, until the system refuses one."""


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KernelServer]:
    """This machine's best tier."""
    made = KernelServer(tmp_path_factory.mktemp("counted"), "any", POLICY, SERVE)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def uncounted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KernelServer]:
    """A machine on which the host alone counts threads."""
    made = KernelServer(tmp_path_factory.mktemp("uncounted"), "any", POLICY, WITHOUT_COUNTING)
    try:
        yield made
    finally:
        made.close()


@pytest.mark.slow
def test_a_step_that_ignores_the_signal_of_its_processor_time_is_stopped_by_the_ladder(counted: KernelServer) -> None:
    """Ignored, and its own limit lifted: what is told is true, and the kernel lives."""
    session = counted.open()
    code = """
import resource, signal
signal.signal(signal.SIGXCPU, signal.SIG_IGN)
try:
    resource.setrlimit(resource.RLIMIT_CPU, (-1, -1))
except ValueError:
    print('refused')
while True:
    pass
"""
    data = counted.run(session, code, timeout_ms=60_000)
    assert (data["status"], data["stdout"], data["lost"]) == ("error", "refused\n", None), data
    assert data["error"]["ename"] == "TimeoutError"
    assert "processor time limit of 1 s" in data["error"]["evalue"]
    assert counted.client.run(session, "1 + 1")["result"] == "2"


@pytest.mark.slow
@pytest.mark.anyio
async def test_without_the_count_a_step_that_ignores_the_signal_would_be_seen_to_work_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: past its processor time, all that it is given to end in, and half a second more."""
    monkeypatch.setattr(watch, "CPU_AGAIN_MS", 100)
    monkeypatch.setattr(ResourceWatch, "_sample_processor_time", lambda self: None)
    policy = {"limits": {"step_cpu_s": 1}, "interrupt_grace_ms": 200}
    async with open_registry(tmp_path, policy=policy, RLM_IMPORT_POLICY="any") as registry:
        session = await SessionDriver.open(registry)
        code = "import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass"
        begun = await session.begin(code)
        kernel = session.kernel.process
        ladder_ms = watch.CPU_TELLS * watch.CPU_AGAIN_MS
        await until(lambda: kernel.cpu_ms() > 1_000 + ladder_ms + 500)
        assert session.session.running
        assert (await session.interrupt()).step_index == begun.step_index


@pytest.mark.slow
@pytest.mark.anyio
async def test_a_limit_that_the_kernel_could_lift_would_be_seen_not_to_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: where calls are not filtered, a limit of the system's own that is set and lifted ends nothing."""
    monkeypatch.setattr(watch, "CPU_AGAIN_MS", 100)
    monkeypatch.setattr(ResourceWatch, "_sample_processor_time", lambda self: None)
    shipped = json.loads((SHIPPED / "policy.json").read_text(encoding="utf-8"))["walls"]
    walls = {"required": [wall for wall in shipped["required"] if wall != "seccomp"]}
    policy = {"limits": {"step_cpu_s": 1}, "interrupt_grace_ms": 200, "walls": walls}
    async with open_registry(tmp_path, policy=policy, RLM_IMPORT_POLICY="any") as registry:
        session = await SessionDriver.open(registry)
        kernel = session.kernel.process
        resource.prlimit(kernel.pid, resource.RLIMIT_CPU, (kernel.cpu_ms() // 1_000 + 1, resource.RLIM_INFINITY))
        begun = await session.begin(f"import resource\n{LIFT}\nwhile True: pass")
        end_ms = (kernel.cpu_ms() // 1_000 + 1) * 1_000
        await until(lambda: kernel.cpu_ms() > end_ms + watch.CPU_TELLS * watch.CPU_AGAIN_MS + 500)
        assert resource.prlimit(kernel.pid, resource.RLIMIT_CPU)[0] == resource.RLIM_INFINITY
        assert session.session.running
        assert (await session.interrupt()).step_index == begun.step_index


def test_no_limit_that_the_system_holds_can_be_lifted(counted: KernelServer) -> None:
    """With the filter, the same call is refused; what is measured from outside rests on no limit of the kernel's."""
    session = counted.open()
    kernel = counted.kernel(session)
    before = kernel.rlimit(psutil.RLIMIT_CPU)
    data = counted.run(session, f"import resource\n{LIFT}")
    assert (data["status"], data["error"]["ename"]) == ("error", "ValueError"), data  # as Python says EPERM here
    assert kernel.rlimit(psutil.RLIMIT_CPU) == before


@pytest.mark.slow
def test_a_step_within_its_processor_time_may_take_longer_than_that(counted: KernelServer) -> None:
    """Waiting is free, and what earlier steps used is not this one's."""
    session = counted.open()
    work = "import time\nend = time.process_time() + 0.7\nwhile time.process_time() < end: pass\n"
    for _ in range(2):
        assert counted.client.run(session, work, timeout_ms=60_000)["status"] == "ok"


def test_where_the_system_counts_threads_one_too_many_is_an_error_and_no_end(counted: KernelServer) -> None:
    """`RuntimeError`, as Python says it; the kernel has as many as its policy gives, or fewer."""
    session = counted.open()
    data = counted.run(session, f"{MANY}\ntake_all()\n'refused'")
    assert (data["status"], data["result"], data["lost"]) == ("ok", "'refused'", None), data
    assert counted.kernel(session).num_threads() <= 64


def test_where_nothing_counts_threads_the_host_does_and_ends_the_kernel(uncounted: KernelServer) -> None:
    """In a step; the next one has a fresh kernel with what was there."""
    session = uncounted.open()
    uncounted.run(session, "kept = 'there'")
    uncounted.until((uncounted.state_dir / "snapshots" / f"{session}.json").is_file)
    data = uncounted.run(session, f"{MANY}\ntake_all()\ntime.sleep(60)")
    assert data["status"] == "kernel_died", data
    assert "passed its limit of 64" in data["lost"]["reason"]
    assert uncounted.client.run(session, "kept")["result"] == "'there'"


def test_nor_do_threads_that_are_started_between_steps_pass_the_limit(uncounted: KernelServer) -> None:
    """The watch over idle sessions counts too."""
    session = uncounted.open()
    kernel = uncounted.kernel(session)
    waits = "def waits():\n    go.wait()\n    take_all()\nthreading.Thread(target=waits, daemon=True).start()"
    data = uncounted.run(session, f"{FORGE}{MANY}\n{waits}")
    assert data["status"] == "ok"
    kernel.send_signal(signal.SIGUSR2)  # now that the step has ended, and its reply is here
    uncounted.until(lambda: not kernel.is_running())
    uncounted.check_neighbour()
    data = uncounted.client.run(session, "1 + 1")
    assert data["result"] == "2"
    assert "passed its limit of 64" in data["lost"]["reason"]


def test_honest_code_that_wants_a_thread_too_many_hears_of_it_from_python(uncounted: KernelServer) -> None:
    """Also where the host would end the kernel for it."""
    session = uncounted.open()
    code = """
import threading
end = threading.Event()
try:
    for _ in range(200):
        threading.Thread(target=end.wait).start()
finally:
    end.set()
"""
    data = uncounted.run(session, code)
    assert (data["status"], data["lost"]) == ("error", None), data
    assert (data["error"]["ename"], data["error"]["evalue"]) == ("RuntimeError", "can't start new thread")
