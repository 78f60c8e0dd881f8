"""The kernel's end of the channel: an interrupt may come anywhere."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import socket
import threading
from typing import Any, Final, cast

import pytest

from rlm_kernel_mcp.in_kernel.asking.channel import GONE, OWN_THREADS, Channel
from rlm_kernel_mcp.in_kernel.asking.frames import AT_ONCE_BYTES, Frame, Outgoing
from rlm_kernel_mcp.in_kernel.asking.items import Item
from rlm_kernel_mcp.in_kernel.asking.waiters import Gate, Waiting, give
from rlm_kernel_mcp.questions_wire import CONTEXT_CHARS_MAX, LENGTH_BYTES

WAIT_S: Final = 60.0


def test_an_interrupt_at_the_start_of_a_thread_makes_no_second_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two would tear the frames apart, and none would leave every question without an answer."""
    ran: list[str] = []
    begun: list[threading.Thread] = []
    start = threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        start(thread)
        if thread.name in OWN_THREADS:  # of this process others may begin some too
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
            channel.ask([Item("a")], {"batch": 1}, [], Gate())
        channel.ask([Item("b")], {"batch": 2}, [], Gate())
        for thread in begun:
            thread.join(WAIT_S)
        channel._socket.close()
    assert [thread.name for thread in begun] == [OWN_THREADS[0], *OWN_THREADS]
    assert sorted(ran) == ["in", "out"]


def frames_of(wire: socket.socket, count: int) -> list[dict[str, Any]]:
    """The next frames that come out of a socket."""
    wire.settimeout(WAIT_S)
    with wire.makefile("rb") as read:
        sizes = (int.from_bytes(read.read(LENGTH_BYTES), "big") for _ in range(count))
        return [json.loads(read.read(size)) for size in sizes]


def end(channel: Channel) -> None:
    """Let both of its threads go."""
    channel.leave()
    channel._socket.shutdown(socket.SHUT_RDWR)
    channel._outgoing.send(Frame(b"it comes to nothing"))
    for thread in channel._threads:
        thread.join(WAIT_S)
    channel._socket.close()


def test_what_a_thread_asks_it_sends_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another thread would have to be woken for it."""
    monkeypatch.setattr(Channel, "_write", lambda channel: None)
    ours, theirs = socket.socketpair()
    with ours:
        channel = Channel(theirs.detach(), lambda: "step")
        channel.ask([Item("a", "of this", "again")], {"batch": 1}, [], Gate())
        (frame,) = frames_of(ours, 1)
        end(channel)
    assert frame == {"ask": {"step": "step", "opts": {"batch": 1}, "items": [[1, "a", "of this", "again"]]}}


def test_frames_that_find_no_room_keep_their_order_and_nobody_waits_to_send_them() -> None:
    """The ids of a kernel go up alone, and a frame that began is not torn apart by one that a thread sends itself."""
    ours, theirs = socket.socketpair()
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    with ours:
        channel = Channel(theirs.detach(), lambda: "step")
        asked: list[Waiting] = []
        sizes = (10, AT_ONCE_BYTES, AT_ONCE_BYTES // 2, 3 * AT_ONCE_BYTES, 10, 10)
        for batch, size in enumerate(sizes):  # of one batch neighbours would go in one frame
            channel.ask([Item("p", "x" * size)], {"batch": batch}, asked, Gate())
        channel.cancel(asked[:2])
        channel.ask([Item("last")], {"batch": len(sizes)}, asked, Gate())
        frames = frames_of(ours, 8)
        end(channel)
    items = [one["ask"]["items"][0] for one in frames if "ask" in one]
    assert [number for number, _, _ in items] == [1, 2, 3, 4, 5, 6, 7]
    assert [len(text or "") for _, _, text in items] == [*sizes, 0]
    assert [place for place, one in enumerate(frames) if one == {"cancel": [1, 2]}] == [6]


def test_of_a_frame_that_went_in_part_the_rest_goes_before_all_others() -> None:
    """No system is known to do this to a small one."""
    written: list[bytes] = []

    class Wire:
        def send(self, data: bytes, flags: int) -> int:
            assert flags == socket.MSG_DONTWAIT
            written.append(data[:3])
            return 3

        def sendall(self, data: bytes) -> None:
            written.append(data)
            if len(written) == 3:
                raise OSError

    outgoing = Outgoing(cast(socket.socket, Wire()))
    outgoing.send_at_once(Frame(b"first"))
    outgoing.send_at_once(Frame(b"second"))
    outgoing.write()
    assert b"".join(written) == Frame(b"first").data + Frame(b"second").data


def test_a_gate_is_told_once_that_all_of_its_answers_are_there() -> None:
    """A thread that was woken for each of a thousand would be in the way of who gives them."""
    gate = Gate()
    waiting = [Waiting.of(gate) for _ in range(3)]
    give((one, place) for place, one in enumerate(waiting[:2]))
    assert gate._told.empty()
    give([(waiting[2], 2)])
    assert (gate._told.qsize(), [one.given for one in waiting]) == (1, [0, 1, 2])
    gate.wait()


def test_a_thread_passes_a_gate_whether_its_answers_come_before_it_or_after() -> None:
    for is_late in (False, True):
        gate = Gate()
        waiting, passed = Waiting.of(gate), threading.Event()

        def wait(at: Gate, then: threading.Event) -> None:
            at.wait()
            then.set()

        thread = threading.Thread(target=wait, args=(gate, passed))
        if is_late:
            give([(waiting, "answer")])
            thread.start()
        else:
            thread.start()
            give([(waiting, "answer")])
        thread.join(WAIT_S)
        assert passed.is_set()


def test_who_asks_on_a_channel_that_is_closed_is_told_so_and_so_is_everybody_who_waits() -> None:
    ours, theirs = socket.socketpair()
    channel = Channel(theirs.detach(), lambda: "step")
    before: list[Waiting] = []
    gate = Gate()
    channel.ask([Item("a"), Item("b")], {"batch": 1}, before, gate)
    ours.close()
    gate.wait()
    after: list[Waiting] = []
    channel.ask([Item("c")], {"batch": 2}, after, later := Gate())
    later.wait()
    assert {str(one.given) for one in before + after} == {f"gone: {GONE}"}
    assert not channel._waiting
    end(channel)


def test_a_loop_that_ends_in_the_midst_of_a_cancellation_costs_no_other_loop_its_own() -> None:
    """Nobody would tell the host any more what is not wanted: it is asked, and paid for, until the step's end."""
    ours, theirs = socket.socketpair()
    with ours:
        channel = Channel(theirs.detach(), lambda: "step")
        asked: list[Waiting] = []
        for _ in range(2):
            loop = asyncio.new_event_loop()
            channel.ask([Item("p")], {"batch": len(asked)}, asked, loop)
            loop.call_soon(channel.cancel_soon, asked[-1])
            if len(asked) == 2:
                loop.call_soon(loop.call_soon, loop.stop)
            else:
                loop.call_soon(loop.stop)  # before what the cancellation has put off
            loop.run_forever()
            loop.close()
        frames = frames_of(ours, 3)
        end(channel)
    assert [one for one in frames if "cancel" in one] == [{"cancel": [2]}]


def test_an_answer_on_trial_is_looked_at_by_the_thread_that_waits_and_is_no_answer() -> None:
    """The thread that reads would hold up all others: a schema may run for minutes."""
    ours, theirs = socket.socketpair()
    looked = list[tuple[str, int]]()

    def look(answer: str) -> str | None:
        looked.append((answer, threading.get_ident()))
        return None if answer == "3" else "\ud800 is no number"

    def host() -> None:
        for answer in ("three", "3"):
            send(ours, {"got": [[9, None, "of a question that is not open"], [1, None, answer]]})
        said.extend(frames_of(ours, 3))
        send(ours, {"got": [[1, True, "3"]]})

    with ours:
        channel, asked, said = Channel(theirs.detach(), lambda: "step"), list[Waiting](), list[dict[str, Any]]()
        gate = Gate(look)
        channel.ask([Item("How many?", "a b c")], {"batch": 1, "kind": "rlm", "of": 1}, asked, gate)
        thread = threading.Thread(target=host)
        thread.start()
        gate.wait()
        thread.join(WAIT_S)
        end(channel)
    assert asked[0].given == "3"
    assert looked == [("three", threading.get_ident()), ("3", threading.get_ident())]
    assert said[1:] == [{"looked": [1, "? is no number"]}, {"looked": [1, None]}]


def send(wire: socket.socket, frame: dict[str, Any]) -> None:
    """As the host."""
    data = json.dumps(frame).encode()
    wire.sendall(len(data).to_bytes(LENGTH_BYTES, "big") + data)


def test_a_long_text_is_announced_and_written_by_the_thread_that_waits_for_the_answer() -> None:
    """Once, and as it is: the control thread answers others meanwhile."""
    text = "x\ud800\U0001f600" * 200_000
    ours, theirs = socket.socketpair()
    reader, writer = os.pipe()
    writers = list[int]()

    class Sub(str):
        """Its own code is no part of it."""

        __slots__ = ()

        def __len__(self) -> int:
            raise AssertionError

        def __getitem__(self, at: Any) -> str:
            writers.append(threading.get_ident())
            raise AssertionError

    def host() -> None:
        said.extend(frames_of(ours, 1))
        channel.send_text(1, writer)
        with os.fdopen(reader, "rb") as pipe:
            came.append(pipe.read())
        with pytest.raises(ValueError, match="nobody waits"):
            channel.send_text(1, os.dup(ours.fileno()))
        send(ours, {"got": [[1, True, "done"]]})

    with ours:
        channel, asked = Channel(theirs.detach(), lambda: "step"), list[Waiting]()
        said, came = list[dict[str, Any]](), list[bytes]()
        gate = Gate()
        item = Item("How many?", Sub(text), comes=True)
        channel.ask([item], {"batch": 1, "kind": "rlm", "of": 1}, asked, gate)
        thread = threading.Thread(target=host)
        thread.start()
        gate.wait()
        thread.join(WAIT_S)
        end(channel)
    assert said[0]["ask"]["items"] == [[1, "How many?", None, None, len(text)]]
    assert came == [text.encode("utf-8", "surrogatepass")]
    assert (asked[0].given, asked[0].text, writers) == ("done", None, [])


def test_a_text_that_the_host_does_not_want_any_more_is_no_error() -> None:
    """Whoever asked hears why from the host."""
    ours, theirs = socket.socketpair()
    reader, writer = os.pipe()
    os.close(reader)
    with ours:
        channel, asked, gate = Channel(theirs.detach(), lambda: "step"), list[Waiting](), Gate()
        channel.ask([Item("q", "x" * 500_000, comes=True)], {"batch": 1, "kind": "rlm", "of": 1}, asked, gate)
        channel.send_text(1, writer)
        send(ours, {"got": [[1, False, {"code": "too_large", "message": "no room"}]]})
        gate.wait()
        end(channel)
    assert str(asked[0].given) == "too_large: no room"


def test_the_pipe_of_a_text_that_nobody_comes_to_write_is_closed_without_a_warning() -> None:
    """Its answer came first. Warnings are errors in this suite."""
    ours, theirs = socket.socketpair()
    reader, writer = os.pipe()
    with ours, os.fdopen(reader, "rb") as pipe:
        channel, asked, gate = Channel(theirs.detach(), lambda: "step"), list[Waiting](), Gate()
        channel.ask([Item("q", "x" * 500_000, comes=True)], {"batch": 1, "kind": "rlm", "of": 1}, asked, gate)
        channel.send_text(1, writer)
        end(channel)
        del channel, asked, gate
        gc.collect()
        assert pipe.read() == b""


@pytest.mark.parametrize(
    ("prompt", "chars", "why"),
    [
        pytest.param("q", CONTEXT_CHARS_MAX + 1, "64,000,001 characters, and may have 64,000,000", id="text"),
        pytest.param("q" * 400_001, 500_000, "400,001 characters, and may have 400,000", id="question"),
        pytest.param("\1" * 400_000, 500_000, "bytes as JSON, and may have", id="question-as-json"),
    ],
)
def test_what_is_too_long_even_so_is_not_announced(prompt: str, chars: int, why: str) -> None:
    """The host would take it for no frame, and end the kernel."""
    ours, theirs = socket.socketpair()
    with ours:
        channel, asked, gate = Channel(theirs.detach(), lambda: "step"), list[Waiting](), Gate()
        item = Item(prompt, "x" * chars, comes=True)
        channel.ask([item], {"batch": 1, "kind": "rlm", "of": 1}, asked, gate)
        gate.wait()
        end(channel)
    assert why in str(asked[0].given)
