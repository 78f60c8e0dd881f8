"""The kernel's end of the channel: an interrupt may come anywhere."""

from __future__ import annotations

import socket
import threading
from typing import Final

import pytest

from rlm_kernel_mcp.in_kernel.asking.channel import OWN_THREADS, Channel, Item

WAIT_S: Final = 60.0


def test_an_interrupt_at_the_start_of_a_thread_makes_no_second_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two would tear the frames apart, and none would leave every question without an answer."""
    ran: list[str] = []
    begun: list[threading.Thread] = []
    start = threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        start(thread)
        begun.append(thread)
        if len(begun) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    monkeypatch.setattr(Channel, "_read", lambda channel: ran.append("in"))
    monkeypatch.setattr(Channel, "_write", lambda channel: ran.append("out"))
    ours, theirs = socket.socketpair()
    with ours:
        channel = Channel(theirs.detach(), lambda: "step")
        with pytest.raises(KeyboardInterrupt):
            channel.ask([Item("a")], {"batch": 1}, [])
        channel.ask([Item("b")], {"batch": 2}, [])
        for thread in begun:
            thread.join(WAIT_S)
        channel._socket.close()
    assert [thread.name for thread in begun] == [OWN_THREADS[0], *OWN_THREADS]
    assert sorted(ran) == ["in", "out"]
