"""The thread that sends a kernel's output is woken for whatever waits, also after an interrupt."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from rlm_kernel_mcp.in_kernel.iopub import SparingIOPubThread

WAIT_S = 20.0


@pytest.fixture
def thread(tmp_path: Path) -> Iterator[SparingIOPubThread]:
    """A thread that sends to nobody."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    made = SparingIOPubThread(context.socket(zmq.XPUB), pipe=False)
    made.start()  # type: ignore[no-untyped-call]
    yield made
    made.stop()  # type: ignore[no-untyped-call]
    made.close()  # type: ignore[no-untyped-call]
    context.term()


def test_an_interrupt_while_the_thread_is_woken_does_not_leave_it_asleep(
    thread: SparingIOPubThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was scheduled then is done with the next thing, and nothing is lost."""

    class Interrupted:
        def send(self, _: bytes) -> None:
            raise KeyboardInterrupt

    first, second = threading.Event(), threading.Event()
    with monkeypatch.context() as patched:
        patched.setattr(SparingIOPubThread, "_event_pipe", Interrupted())
        with pytest.raises(KeyboardInterrupt):
            thread.schedule(first.set)
    thread.schedule(second.set)
    assert first.wait(WAIT_S)
    assert second.wait(WAIT_S)
