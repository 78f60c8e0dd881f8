"""What the application binds, it has bound when it is made: afterwards nobody may."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import zmq

from rlm_kernel_mcp.in_kernel.ipython.app import BoundHeartbeat
from tests.sessions import WAIT_S


def test_the_heartbeat_is_bound_before_its_thread_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine may let the thread run only after binding is refused; a console would take the kernel for dead."""
    monkeypatch.setattr(threading.Thread, "start", lambda self: None)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    heartbeat = BoundHeartbeat(context, ("ipc", str(tmp_path / "s"), 4))
    try:
        heartbeat.start()
        assert (tmp_path / "s-4").is_socket()
    finally:
        heartbeat.socket.close()
        context.term()


def test_the_heartbeat_beats_until_its_context_ends(tmp_path: Path) -> None:
    """It sends back what comes."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    heartbeat = BoundHeartbeat(context, ("ipc", str(tmp_path / "s"), 4))
    heartbeat.start()
    with zmq.Context() as other, other.socket(zmq.REQ) as request:
        request.connect(f"ipc://{tmp_path / 's'}-4")
        request.send(b"ping")
        assert request.poll(int(WAIT_S * 1_000))
        assert request.recv() == b"ping"
    heartbeat.socket.linger = 0
    closing = threading.Thread(target=context.term)
    closing.start()
    heartbeat.join(WAIT_S)
    assert not heartbeat.is_alive()
    heartbeat.socket.close()
    closing.join(WAIT_S)
