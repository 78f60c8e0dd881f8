"""A kernel that sends a message whose parts never end, to a person's program: `attach`, `lab`, both with libzmq.

Each attack runs once against libzmq alone, which takes all of it: an attack that never fires tests nothing.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
import zmq

from rlm_kernel_mcp.kernel import bounded_sockets
from rlm_kernel_mcp.kernel.bounded_sockets import BoundedSockets
from rlm_kernel_mcp.kernel.untrusted.relayed.frames import LONG, MESSAGE_BYTES_MAX, MORE
from rlm_kernel_mcp.kernel.untrusted.zmtp import COMMAND, GREETING

WAIT_S: Final = 60
PART_BYTES: Final = 1 << 18
SENT_BYTES: Final = 4 * MESSAGE_BYTES_MAX
READY: Final = b"\x05READY\x0bSocket-Type\x00\x00\x00\x06ROUTER\x08Identity\x00\x00\x00\x00"


class Hostile:
    """A kernel's socket: to the first who connects it sends a message without an end, to later ones `hello`."""

    def __init__(self, path: str, part: bytes, first: bytes = b"") -> None:
        self.path, self._part, self._first = path, part, first
        self.sent = 0
        self.is_over = threading.Event()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen()
        self._peers: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            self._peers.append(peer)
            try:
                peer.sendall(GREETING + bytes([COMMAND, len(READY)]) + READY)
                said = b""
                while b"READY" not in said:  # libzmq ends a connection on which a message comes sooner
                    said += peer.recv(4_096) or b"READY"
                self._attack(peer)
            except OSError:
                self.is_over.set()

    def _attack(self, peer: socket.socket) -> None:
        if self.is_over.is_set():
            peer.sendall(b"\0\x05hello")
            return
        peer.sendall(self._first)
        while self.sent < SENT_BYTES:
            peer.sendall(self._part)
            self.sent += len(self._part)
        self.is_over.set()

    def close(self) -> None:
        for one in (self._listener, *self._peers):
            one.close()


@pytest.fixture(params=["parts", "small parts", "one part"])
def hostile(request: pytest.FixtureRequest, short_dir: Path) -> Iterator[Hostile]:
    first, part = {
        "parts": (b"", bytes([LONG | MORE]) + PART_BYTES.to_bytes(8, "big") + bytes(PART_BYTES)),
        "small parts": (b"", (bytes([MORE, 200]) + bytes(200)) * 1_000),
        "one part": (bytes([LONG]) + (2 * SENT_BYTES).to_bytes(8, "big"), bytes(PART_BYTES)),
    }[request.param]
    made = Hostile(f"{short_dir}/kernel-1", part, first)
    yield made
    made.close()


def test_libzmq_alone_takes_all_of_it(hostile: Hostile) -> None:
    with zmq.Context() as context, context.socket(zmq.DEALER) as client:
        client.setsockopt(zmq.LINGER, 0)
        client.connect(f"ipc://{hostile.path}")
        assert hostile.is_over.wait(WAIT_S)
        assert hostile.sent >= SENT_BYTES


def test_behind_bounds_it_is_cut_off_and_the_client_goes_on(hostile: Hostile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded_sockets, "PAUSE_S", 0)
    told: list[tuple[str, str]] = []
    bounded = BoundedSockets(lambda path, why: told.append((path, why)))
    with zmq.Context() as context, context.socket(zmq.DEALER) as client:
        client.setsockopt(zmq.LINGER, 0)
        client.setsockopt(zmq.RCVTIMEO, WAIT_S * 1_000)
        client.connect(bounded.url(f"ipc://{hostile.path}"))
        assert client.recv_multipart() == [b"hello"]
    assert hostile.sent < SENT_BYTES
    assert [path for path, _ in told] == [hostile.path]
    assert "more than" in told[0][1]


def test_no_other_process_gets_in_by_the_ends_of_this_one(short_dir: Path) -> None:
    """Nor any that has the address."""
    kernel = Hostile(f"{short_dir}/kernel-1", b"")
    kernel.is_over.set()
    url = BoundedSockets().url(f"ipc://{kernel.path}")
    name = url.removeprefix("ipc://@")
    program = f"import socket; s = socket.socket(socket.AF_UNIX); s.connect('\\x00{name}'); print(len(s.recv(100)))"
    try:
        assert said_by(program) == "0"
        with socket.socket(socket.AF_UNIX) as own:
            own.connect(f"\0{name}")
            assert own.recv(100).startswith(GREETING)
    finally:
        kernel.close()


def test_of_a_kernel_that_is_gone_no_end_is_left(short_dir: Path) -> None:
    """A server that has shown thousands of kernels has the sockets of those that are there."""
    bounded = BoundedSockets()
    mine, other = (bounded.url(f"ipc://{short_dir}/{name}-1").removeprefix("ipc://@") for name in ("a", "b"))
    bounded.forget(f"{short_dir}/a")
    deadline = time.monotonic() + WAIT_S
    while takes(mine):
        assert time.monotonic() < deadline, "it still listens"
    assert takes(other)
    assert bounded.url(f"ipc://{short_dir}/a-1") != f"ipc://@{mine}"


def takes(name: str) -> bool:
    """Whether somebody listens at an abstract address."""
    with socket.socket(socket.AF_UNIX) as knocking:
        return knocking.connect_ex(f"\0{name}") == 0


def said_by(program: str) -> str:
    """What another process prints."""
    argv = [sys.executable, "-c", program]
    return subprocess.run(argv, capture_output=True, text=True, timeout=WAIT_S, check=True).stdout.strip()
