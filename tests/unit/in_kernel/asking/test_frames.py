"""A thread that has asked one thing reads its answer itself, and whatever ends that costs nobody else an answer."""

from __future__ import annotations

import json
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, Final, cast

import pytest

from rlm_kernel_mcp.in_kernel.asking import state
from rlm_kernel_mcp.in_kernel.asking.channel import Channel
from rlm_kernel_mcp.in_kernel.asking.frames import Frame, Incoming
from rlm_kernel_mcp.in_kernel.asking.items import Item
from rlm_kernel_mcp.in_kernel.asking.waiters import Gate, Waiting
from rlm_kernel_mcp.questions_wire import LENGTH_BYTES

WAIT_S: Final = 60.0
ROUNDS: Final = 100


@contextmanager
def opened() -> Iterator[tuple[socket.socket, Channel]]:
    """A host's end, and a kernel's channel, whose threads are let go in the end."""
    ours, theirs = socket.socketpair()
    channel = Channel(theirs.detach(), lambda: "step")
    with ours:
        yield ours, channel
        channel.leave()
    channel._outgoing.send(Frame(b"it comes to nothing"))
    for thread in channel._threads:
        thread.join(WAIT_S)
        assert not thread.is_alive()
    channel._socket.close()


def asked(channel: Channel, gate: Gate, prompt: str = "q") -> Waiting:
    """One question, at a gate."""
    found = list[Waiting]()
    channel.ask([Item(prompt)], {"batch": 1}, found, gate)
    return found[0]


def framed(*rows: list[Any]) -> bytes:
    data = json.dumps({"got": rows}).encode()
    return len(data).to_bytes(LENGTH_BYTES, "big") + data


def test_a_thread_that_asks_one_thing_reads_its_answer_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another one would have to be woken, and that one wake it."""
    monkeypatch.setattr(Channel, "_read", lambda channel: None)
    with opened() as (ours, channel):
        for number, row in enumerate(([1, True, "yes"], [2, False, {"code": "declined", "message": "no"}]), 1):
            waiting = asked(channel, gate := Gate())
            ours.sendall(framed(row))
            gate.wait()
            assert (waiting.id, str(waiting.given)) == (number, "yes" if row[1] else "declined: no")
        left = channel.question("budget", lambda number: ours.sendall(framed([number, True, {"depth": 7}])))
        assert left == {"depth": 7}


@pytest.mark.parametrize("first", [[2, True, "b"], [9, True, "of one that nobody waits for"], [1, None, "on trial"]])
def test_what_comes_for_others_too_is_left_to_the_thread_that_reads(first: list[Any]) -> None:
    """Whoever looks at it could be interrupted with their answers in its hands."""
    with opened() as (ours, channel):
        one = asked(channel, mine := Gate())
        other = asked(channel, others := Gate())
        ours.sendall(framed(first) + framed([1, True, "a"], *([] if first[0] == 2 else [[2, True, "b"]])))
        mine.wait()
        others.wait()
        assert (one.given, other.given) == ("a", "b")


def test_an_answer_that_is_not_there_in_one_piece_is_read_by_the_other_thread() -> None:
    for text in ("x" * 300_000, "y"):
        with opened() as (ours, channel):
            waiting = asked(channel, gate := Gate())
            data = framed([1, True, text])

            def send(wire: socket.socket = ours, data: bytes = data) -> None:
                wire.sendall(data[:2])
                wire.sendall(data[2:])

            sender = threading.Thread(target=send)
            sender.start()
            gate.wait()
            sender.join(WAIT_S)
            assert waiting.given == text


def test_who_asks_while_another_thread_reads_is_answered_and_so_is_that_one() -> None:
    with opened() as (ours, channel):
        one = asked(channel, first := Gate())
        reading = threading.Thread(target=first.wait)
        reading.start()
        while None not in channel._incoming._turn:  # it has the turn, and waits
            assert reading.is_alive()
        two = asked(channel, second := Gate())
        ours.sendall(framed([2, True, "b"]))
        second.wait()
        ours.sendall(framed([1, True, "a"]))
        reading.join(WAIT_S)
        assert (one.given, two.given) == ("a", "b")


class Wire:
    """A socket in which one answer has come, and a moment at which an interrupt comes."""

    def __init__(self, data: bytes, at: str) -> None:
        self.data, self.at = data, at

    def recv(self, size: int, flags: int = 0) -> bytes:
        moment = "look" if flags else "take"
        if self.at == moment:
            raise KeyboardInterrupt
        found = self.data[:size]
        if not flags:
            self.data = self.data[size:]
        return found


@pytest.mark.parametrize("at", ["look", "take", "give"])
def test_an_interrupt_leaves_no_half_of_an_answer_and_has_the_other_thread_read_on(at: str) -> None:
    """An answer is in the socket, whole, or it is not: and then nobody waits for it but whom the interrupt hit."""

    def give(rows: object) -> None:
        raise KeyboardInterrupt

    wire = Wire(framed([1, True, "a"]), at)
    incoming = Incoming(cast(socket.socket, wire), {1: None, 2: None}, give)
    with pytest.raises(KeyboardInterrupt):
        incoming.read_own(1)
    assert wire.data in (b"", framed([1, True, "a"]))
    assert (incoming._turn, incoming._told.qsize()) == ({}, 1)


class Answering(threading.Thread):
    """A host that answers each question with its prompt, until its socket ends."""

    def __init__(self, wire: socket.socket) -> None:
        super().__init__(daemon=True)
        self.wire = wire

    def run(self) -> None:
        with self.wire.makefile("rb") as read:
            while head := read.read(LENGTH_BYTES):
                said = json.loads(read.read(int.from_bytes(head, "big")))
                for number, prompt, _ in said.get("ask", {}).get("items", ()):
                    self.wire.sendall(framed([number, True, prompt]))


class Armed:
    """Raises an interrupt in the main thread while it is armed."""

    def __init__(self) -> None:
        self.on = False

    def handle(self, signum: int, frame: FrameType | None) -> None:
        del signum, frame
        if self.on:
            raise KeyboardInterrupt

    def attempt(self, do: Callable[[], object]) -> None:
        with suppress(KeyboardInterrupt):
            self._attempt(do)

    def _attempt(self, do: Callable[[], object]) -> None:
        try:
            self.on = True
            do()
        finally:
            self.on = False


def test_interrupts_at_any_moment_cost_no_other_thread_an_answer() -> None:
    """The main thread asks and is interrupted, again and again; another one asks as often, and has all it asked for."""
    armed, main, answers = Armed(), threading.main_thread().ident, list[str]()
    assert threading.current_thread() is threading.main_thread()
    assert main is not None
    before = signal.signal(signal.SIGUSR1, armed.handle)
    try:
        with opened() as (ours, channel):
            host, guard = Answering(ours), threading.Timer(WAIT_S, ours.shutdown, (socket.SHUT_RDWR,))
            host.start()
            guard.start()  # what hangs is told that the host is gone

            def ask(prompt: str) -> str:
                found = list[Waiting]()
                gate = Gate()
                try:
                    channel.ask([Item(prompt)], {"batch": 1}, found, gate)
                    gate.wait()
                except BaseException:
                    channel.cancel(found)
                    raise
                return str(found[0].given)

            def other() -> None:
                for number in range(ROUNDS):
                    answers.append(ask(str(number)))
                    signal.pthread_kill(main, signal.SIGUSR1)

            asking = threading.Thread(target=other, daemon=True)
            asking.start()
            while asking.is_alive():
                armed.attempt(lambda: ask("of the main thread"))
            assert answers == [str(number) for number in range(ROUNDS)]
            assert ask("once more") == "once more"
            guard.cancel()
            ours.shutdown(socket.SHUT_RDWR)
            host.join(WAIT_S)
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_a_channel_that_another_one_replaces_lets_its_reader_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits for nobody's question, and would not see that the host has closed its end."""
    monkeypatch.setattr(state._State, "channel", None)
    monkeypatch.setattr(state._State, "off", state._State.off)
    with opened() as (ours, channel):
        waiting = asked(channel, gate := Gate())
        ours.sendall(framed([1, True, "a"]))
        gate.wait()
        assert waiting.given == "a"
        state._State.channel = channel
        state.open_channel({"off": "nobody"}, lambda: -1)
        ours.close()
        reader, _ = channel._threads
        reader.join(WAIT_S)
        assert (reader.is_alive(), channel.closed) == (False, True)


def test_a_channel_that_is_replaced_while_a_thread_reads_its_own_answer_lets_its_reader_go_too() -> None:
    """That thread has the turn, and nobody waits for anything when it gives it back."""
    with opened() as (ours, channel):
        waiting = asked(channel, gate := Gate())
        reading = threading.Thread(target=gate.wait)
        reading.start()
        while None not in channel._incoming._turn:
            assert reading.is_alive()
        channel.leave()
        while channel._incoming._told.qsize():  # the reader has heard it, and looks whose turn it is
            assert channel._threads[0].is_alive()
        ours.sendall(framed([1, True, "a"]))
        reading.join(WAIT_S)
        assert waiting.given == "a"
        ours.close()
        channel._threads[0].join(WAIT_S)
        assert (channel._threads[0].is_alive(), channel.closed) == (False, True)
