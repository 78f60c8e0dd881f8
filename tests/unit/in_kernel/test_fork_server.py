"""The fork server's answer to one request: a kernel, or the reason why there is none; it lives on in either case."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import resource
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rlm_kernel_mcp.in_kernel import fork_server
from rlm_kernel_mcp.in_kernel.fork_server import Reserve
from tests.sessions import WAIT_S

REQUEST = json.dumps({"argv": [], "env": {}, "cwd": "/nonexistent"}).encode()


class Host:
    """The host's ends of a fork server's sockets."""

    def __init__(self) -> None:
        kind = socket.SOCK_SEQPACKET
        self.requests, self.served = socket.socketpair(socket.AF_UNIX, kind)
        self.status, self.kernels = socket.socketpair(socket.AF_UNIX, kind)
        self.status.settimeout(WAIT_S)
        self.served.settimeout(WAIT_S)

    def ask(self, data: bytes, descriptors: int = 2) -> None:
        socket.send_fds(self.requests, [data], [self.kernels.fileno(), 0][:descriptors])
        self.kernels.close()

    def told(self) -> dict[str, Any]:
        said: dict[str, Any] = json.loads(self.status.recv(65536))
        return said

    def close(self) -> None:
        for end in (self.requests, self.served, self.status, self.kernels):
            end.close()


@pytest.fixture
def host() -> Iterator[Host]:
    made = Host()
    yield made
    made.close()


@pytest.fixture
def reserve() -> Iterator[Reserve]:
    made = Reserve()
    yield made
    made.let_go()


def open_descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def descriptors_without_end() -> list[int]:
    """Every descriptor that can be had."""
    taken = []
    with contextlib.suppress(OSError):
        while True:
            taken.append(os.dup(0))
    return taken


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.ENOMEM])
def test_a_fork_that_is_refused_fails_that_start_with_its_reason(
    host: Host, reserve: Reserve, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user's limit of processes, a machine short of memory."""

    def refuse() -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fork", refuse)
    before = open_descriptors()
    host.ask(REQUEST)
    children: dict[int, socket.socket] = {}
    fork_server.answer(host.served, reserve, children)
    said = host.told()
    assert said["status"] == "failed"
    assert os.strerror(number) in said["reason"]
    assert host.status.recv(16) == b""
    assert (children, open_descriptors()) == ({}, before - 1)  # the host's own copy is closed


def test_at_its_limit_of_descriptors_a_fork_server_fails_that_start_and_says_why(host: Host, reserve: Reserve) -> None:
    """What a request brings would be dropped there, and with it the socket to say so on."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    host.ask(REQUEST)
    filler: list[int] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(limits[0], 256), limits[1]))
    try:
        filler += descriptors_without_end()
        fork_server.answer(host.served, reserve, {})
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for descriptor in filler:
            os.close(descriptor)
    assert "Too many open files" in host.told()["reason"]


@pytest.mark.parametrize("descriptors", [0, 1])
def test_a_request_without_its_descriptors_ends_nobody(host: Host, reserve: Reserve, descriptors: int) -> None:
    """The operating system drops those that it has no room for."""
    children: dict[int, socket.socket] = {}
    host.ask(REQUEST, descriptors)
    fork_server.answer(host.served, reserve, children)
    assert children == {}
    if descriptors:
        assert host.told()["status"] == "failed"
    assert host.status.recv(16) == b""


@pytest.mark.parametrize("data", [b"{", b"[]", b"{}", b"\xff", REQUEST])
def test_a_request_that_is_none_fails_that_start(host: Host, reserve: Reserve, data: bytes) -> None:
    """In the child, which says why; also where the directory is not there."""
    children: dict[int, socket.socket] = {}
    host.ask(data)
    fork_server.answer(host.served, reserve, children)
    (pid,) = children
    said = host.told()
    _, status = os.waitpid(pid, 0)
    assert (said["status"], os.waitstatus_to_exitcode(status)) == ("failed", 1)
    assert said["reason"]
    children[pid].close()


def test_a_kernel_that_dies_before_it_tells_anything_is_reported_by_its_exit_code(host: Host, reserve: Reserve) -> None:
    """Killed as soon as it is there."""
    children: dict[int, socket.socket] = {}
    host.ask(REQUEST)
    fork_server.answer(host.served, reserve, children)
    (pid,) = children
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    fork_server._reap(children)
    words = [host.told()]
    while "exit" not in words[-1]:
        words.append(host.told())
    assert words[-1]["exit"] in (-signal.SIGKILL, 1)
    assert children == {}
