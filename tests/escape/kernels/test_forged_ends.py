"""A step that forges its own end and runs on: measured from outside, charged as runtime, bounded; nobody else notices.

The kernel's own session and sockets say "ended" (a reply, an idle status, both, neither), and the code goes on in every
place where code can.
"""

from __future__ import annotations

import contextlib
import signal
from pathlib import Path
from typing import Final

import psutil
import pytest

from tests.escape.kernels.kernel_server import FORGE, KernelServer, cpu_ms
from tests.mcp.line_client import WAIT_S, data_of

CLAIMS: Final = {
    "an idle status and never a reply": "claim_idle()",
    "a reply and never an idle status": "claim_reply()",
    "both": "claim_reply(); claim_idle()",
}
WAYS: Final = {
    "the main thread": "claim(); mute(); run_on()",
    "a thread that claims": "threading.Thread(target=lambda: (claim(), mute(), run_on())).start(); time.sleep(60)",
    "an asyncio task": (
        "import asyncio\nasync def later(): run_on()\n"
        "claim(); mute(); task = asyncio.get_event_loop().create_task(later())"
    ),
    "a destructor": (
        "class Last:\n    def __del__(self): run_on()\n"
        "held = [Last()]; claim(); mute(); kernel.io_loop.call_later(0.01, held.clear)"
    ),
    "a finalizer": (
        "import weakref\nclass Last: pass\nheld = [Last()]; weakref.finalize(held[0], run_on)\n"
        "claim(); mute(); kernel.io_loop.call_later(0.01, held.clear)"
    ),
    "the control thread": "claim(); mute(); kernel.control_thread.io_loop.add_callback(run_on)",
    "a signal's handler": (
        "signal.signal(signal.SIGALRM, lambda *_: run_on())\n"
        "claim(); mute(); signal.setitimer(signal.ITIMER_REAL, 0.01)"
    ),
    "a tracing hook": (
        "def hook(frame, event, argument):\n    if frame.f_code.co_name == 'post_handler_hook': run_on()\n"
        "claim(); mute(); sys.setprofile(hook)"
    ),
}
"""Where the code runs on after its claim."""
IN_BOTH_THREADS: Final = ("the main thread", "the control thread")
"""What is charged is the process's time, wherever it was spent: the other ways are slow."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("claim", "ways"),
    [
        pytest.param(CLAIMS["both"], IN_BOTH_THREADS, id="both, in both threads"),
        *(pytest.param(claim, tuple(WAYS), id=name) for name, claim in CLAIMS.items()),
    ],
)
def test_what_runs_on_behind_a_forged_end_is_charged(
    kernel_server: KernelServer, claim: str, ways: tuple[str, ...]
) -> None:
    """Wherever it runs: for its client the step is over, for the account it is not. All kernels work at once."""
    sessions = {name: kernel_server.open() for name in ways}
    begun = [
        kernel_server.begin(session, f"{FORGE}\ndef claim(): {claim}\n{WAYS[name]}")
        for name, session in sessions.items()
    ]
    for request, name in zip(begun, ways, strict=True):
        data = data_of(kernel_server.client.result(request))
        assert data["status"] in ("ok", "error"), name
        assert data["error"] is None or data["error"]["ename"] == "NoReply", name
    before_ms = {name: kernel_server.row(session)["counters"]["runtime_ms"] for name, session in sessions.items()}
    kernels = [kernel_server.kernel(session) for session in sessions.values()]
    began_ms = [cpu_ms(kernel) for kernel in kernels]
    for kernel in kernels:
        kernel.send_signal(signal.SIGUSR2)
    for kernel, kernel_ms in zip(kernels, began_ms, strict=True):
        kernel_server.until_at(kernel, kernel_ms + 650)
    next_steps = [kernel_server.begin(session, "1", timeout_ms=200) for session in sessions.values()]
    kernel_server.check_neighbour()
    for request, (name, session) in zip(next_steps, sessions.items(), strict=True):
        assert data_of(kernel_server.client.result(request))["status"] in ("ok", "timeout"), name
        assert len(kernel_server.charged(session)) == 1, name
        assert kernel_server.row(session)["counters"]["runtime_ms"] - before_ms[name] >= 550, name
        assert kernel_server.client.run(session, "context")["result"] == "'some text'", name
        kernel_server.give_up(session)


@pytest.mark.slow
def test_it_ends_when_the_session_has_no_runtime_left(kernel_server: KernelServer) -> None:
    """Without another step: the kernel is stopped, the session is, and what can be said is said."""
    session = kernel_server.open(max_runtime_ms=3_000)
    kernel = kernel_server.kernel(session)
    assert kernel_server.run(session, FORGE + "claim_reply(); claim_idle(); mute(); spin()")["status"] == "ok"
    kernel.wait(WAIT_S)
    kernel_server.until(lambda: kernel_server.row(session)["status"] == "stopped")
    assert kernel_server.row(session)["counters"]["runtime_ms"] >= 3_000
    refused = kernel_server.client.run(session, "1")
    assert (refused["status"], refused["guardrail_stop"]) == ("stopped", "timeout")
    final = kernel_server.client.data("rlm_finalize", session_id=session, final_text="done")
    assert final["finish_reason"] == "timeout"
    kernel_server.check_neighbour()


@pytest.mark.slow
def test_a_kernel_that_claims_every_end_at_once_is_stopped_as_well(kernel_server: KernelServer) -> None:
    """Each request is answered before it is looked at, while a thread works."""
    session = kernel_server.open(max_runtime_ms=1_300)
    at_once = """
async def execute_request(stream, ident_, request):
    global parent, ident
    parent, ident = request, ident_
    claim_reply()
    claim_idle()
kernel.shell_handlers["execute_request"] = execute_request
threading.Thread(target=spin).start()
"""
    kernel_server.run(session, FORGE + at_once)
    kernel, steps = kernel_server.kernel(session), 0
    while (data := kernel_server.client.run(session, "undefined"))["status"] == "ok":
        steps += 1
        with contextlib.suppress(psutil.NoSuchProcess):  # it may be stopped before another step is sent
            kernel_server.until_used(kernel, 600)
    assert data["status"] in ("stopped", "timeout")
    assert data["guardrail_stop"] == "timeout"
    assert 0 < steps <= 3
    assert kernel_server.charged(session)
    kernel.wait(WAIT_S)


@pytest.mark.parametrize(
    "way",
    [
        pytest.param("spin()", id="in the step", marks=pytest.mark.slow),
        pytest.param("threading.Thread(target=spin).start()", id="in a thread"),
    ],
)
def test_a_kernel_that_claims_to_be_busy_for_ever_ends_with_the_ladder(kernel_server: KernelServer, way: str) -> None:
    """Neither reply nor idle: the deadline, two interrupts, SIGKILL; a fresh kernel is there afterwards."""
    session = kernel_server.open()
    data = kernel_server.run(session, f"{FORGE}\nmute()\n{way}", timeout_ms=300)
    assert data["status"] == "timeout"
    assert "did not come to rest" in data["lost"]["reason"]
    assert kernel_server.client.run(session, "context")["result"] == "'some text'"
    kernel_server.give_up(session)


@pytest.mark.slow
def test_a_snapshot_that_never_ends_is_no_cover(tmp_path: Path) -> None:
    """The host waits for the values' bytes and asks for the kernel back; all that time is charged when none came."""
    kernel_server = KernelServer(tmp_path, "any", {"interrupt_grace_ms": 200})
    try:
        session = kernel_server.open()
        assert kernel_server.run(session, FORGE + "claim_reply(); claim_idle(); mute(); spin()")["status"] == "ok"
        used_ms = kernel_server.until_used(kernel_server.kernel(session), 800)
        data = kernel_server.run(session, "1")
        assert data["status"] == "ok"
        assert "run to keep the value, did not end" in data["lost"]["reason"]
        assert len(kernel_server.charged(session)) == 1
        assert kernel_server.row(session)["counters"]["runtime_ms"] >= used_ms
    finally:
        kernel_server.close()


@pytest.mark.slow
def test_a_kernel_that_breaks_the_wire_after_its_work_is_charged_for_it(kernel_server: KernelServer) -> None:
    """What was seen of it before is not forgotten with it."""
    session = kernel_server.open()
    kernel = kernel_server.kernel(session)
    code = "claim_reply(); claim_idle(); mute()\nwhile time.process_time() < 2.2: pass\n"
    kernel_server.run(session, FORGE + code + "kernel.iopub_thread.send_multipart([b'no message'])")
    kernel.wait(WAIT_S)
    data = kernel_server.run(session, "1")
    assert (data["status"], data["result"]) == ("ok", "1")
    assert data["lost"] is not None
    assert kernel_server.row(session)["counters"]["runtime_ms"] >= 600
    kernel_server.give_up(session)
