"""Closes that wait: nobody else waits for them, and there is a bound on what they take."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Final

import pytest

from rlm_kernel_mcp.host.entry import closing
from rlm_kernel_mcp.host.entry.closing import Closing

WAIT_S: Final = 60


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "close"]


def test_closes_that_all_wait_have_so_many_threads_at_most_and_what_is_open_is_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    go_on, closed = threading.Event(), list[int]()

    def close(descriptor: int) -> None:
        assert go_on.wait(WAIT_S)
        closed.append(descriptor)

    monkeypatch.setattr(closing, "os", SimpleNamespace(close=close))
    monkeypatch.setattr(closing, "THREADS_MAX", 2)
    one, before = Closing(), threads()
    for number in range(5):
        one.of([number, number + 10])
    begun = [thread for thread in threads() if thread not in before]
    assert (len(begun), one.descriptors) == (2, 10)
    go_on.set()
    for thread in begun:
        thread.join(WAIT_S)
    assert sorted(closed) == [*range(5), *range(10, 15)]
    assert one.descriptors == 0


def test_a_peer_is_told_of_its_end_before_anything_of_it_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    go_on, one, before = threading.Event(), Closing(), threads()

    def close(descriptor: int) -> None:
        assert go_on.wait(WAIT_S)
        os.close(descriptor)

    monkeypatch.setattr(closing, "os", SimpleNamespace(close=close))
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs, Path(os.devnull).open("rb") as file:
        theirs.settimeout(WAIT_S)
        one.of_peer(ours, [os.dup(file.fileno())])
        assert theirs.recv(1) == b""
        assert one.descriptors == 2
        go_on.set()
        for thread in threads():
            if thread not in before:
                thread.join(WAIT_S)
        assert one.descriptors == 0


def test_where_no_thread_can_be_started_the_next_close_does_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    one, before, start = Closing(), threads(), threading.Thread.start

    def fails(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", fails)
    reading, writing = os.pipe()
    one.of([reading])
    assert one.descriptors == 1
    monkeypatch.setattr(threading.Thread, "start", start)
    one.of([writing])
    for thread in threads():
        if thread not in before:
            thread.join(WAIT_S)
    assert one.descriptors == 0
