"""The thread that sends a kernel's output is woken for whatever waits, also after an interrupt."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import zmq

from rlm_kernel_mcp.in_kernel.channels.iopub import SparingIOPubThread
from tests.sessions import WAIT_S


async def collect_no_pipes() -> None:
    """In place of ipykernel's endless task, which at the thread's end would complain that it was not awaited."""


@contextmanager
def running(socket: zmq.Socket[bytes]) -> Iterator[SparingIOPubThread]:
    """A thread that sends on a socket, ended with all that is its."""
    made = SparingIOPubThread(socket, pipe=False, session=None)
    made._run_event_pipe_gc = collect_no_pipes  # type: ignore[method-assign]
    made.start()  # type: ignore[no-untyped-call]
    made.wait()
    yield made
    made.stop()  # type: ignore[no-untyped-call]
    made.close()  # type: ignore[no-untyped-call]


@pytest.fixture
def thread() -> Iterator[SparingIOPubThread]:
    """A thread that sends to nobody."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    with running(context.socket(zmq.XPUB)) as made:
        yield made
    context.term()


def test_an_interrupt_while_the_thread_is_woken_does_not_leave_it_asleep(
    thread: SparingIOPubThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was scheduled then is done with the next thing, and nothing is lost."""

    def interrupt() -> None:
        raise KeyboardInterrupt

    first, second = threading.Event(), threading.Event()
    with monkeypatch.context() as patched:
        patched.setattr(thread, "_ring", interrupt)
        with pytest.raises(KeyboardInterrupt):
            thread.schedule(first.set)
    thread.schedule(second.set)
    assert first.wait(WAIT_S)
    assert second.wait(WAIT_S)


class Bell:
    """Counts how often the thread is woken, and wakes it."""

    def __init__(self, thread: SparingIOPubThread) -> None:
        self.rung = 0
        self._ring = thread._ring

    def __call__(self) -> None:
        self.rung += 1
        self._ring()


def test_what_waits_is_done_in_its_order_by_the_thread(thread: SparingIOPubThread) -> None:
    """Whatever the number of wake-ups."""
    done: list[int] = []
    for number in range(1_000):
        thread.schedule(functools.partial(done.append, number))
    thread.wait()
    assert done == list(range(1_000))


def test_a_thread_that_was_woken_and_has_not_looked_is_not_woken_again(
    thread: SparingIOPubThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One wake-up for all that was scheduled meanwhile; once it has looked, the next one wakes it."""
    busy, go = threading.Event(), threading.Event()

    def keep_it() -> None:
        busy.set()
        go.wait(WAIT_S)

    thread.schedule(keep_it)
    assert busy.wait(WAIT_S)
    bell = Bell(thread)
    with monkeypatch.context() as patched:
        patched.setattr(thread, "_ring", bell)
        done: list[int] = []
        for number in range(100):
            thread.schedule(functools.partial(done.append, number))
        assert bell.rung == 1
        go.set()
        thread.wait()
    assert done == list(range(100))


@pytest.fixture
def heard() -> Iterator[tuple[SparingIOPubThread, zmq.Socket[bytes]]]:
    """A thread, and who listens to it."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    sends, listens = context.socket(zmq.XPUB), context.socket(zmq.SUB)
    sends.setsockopt(zmq.XPUB_VERBOSER, 1)
    sends.bind("inproc://iopub")
    listens.connect("inproc://iopub")
    listens.subscribe(b"")
    assert sends.poll(int(WAIT_S * 1_000))  # the subscription is there
    with running(sends) as made:
        yield made, listens
    listens.close(0)
    context.term()


def test_a_held_message_goes_with_the_one_that_follows_and_before_it(
    heard: tuple[SparingIOPubThread, zmq.Socket[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It wakes nobody by itself, and none is lost."""
    thread, listens = heard
    thread.wait()
    bell = Bell(thread)
    with monkeypatch.context() as patched:
        patched.setattr(thread, "_ring", bell)
        with thread.hold():
            thread.send_multipart([b"busy"])
            thread.send_multipart([b"input"])
        assert bell.rung == 0
        thread.send_multipart([b"idle"])
        assert bell.rung == 1
    seen: list[bytes] = []
    while len(seen) < 3:
        assert listens.poll(int(WAIT_S * 1_000))
        seen += listens.recv_multipart()
    assert seen == [b"busy", b"input", b"idle"]


def test_a_wake_up_that_the_thread_loses_is_made_good_by_the_next_end_of_a_step(
    thread: SparingIOPubThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Short of memory it may be woken and never come to look."""
    done: list[int] = []
    with monkeypatch.context() as patched:
        patched.setattr(thread, "_ring", lambda: None)
        thread.schedule(lambda: done.append(1))
    thread.schedule(lambda: done.append(2))
    assert done == []
    thread.wait()
    assert done == [1, 2]


def test_a_wake_up_that_is_lost_while_somebody_waits_is_made_good_at_once(
    thread: SparingIOPubThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel's next step waits behind that."""
    done: list[int] = []
    ring = thread._ring

    def lose() -> None:
        monkeypatch.setattr(thread, "_ring", ring)

    monkeypatch.setattr(thread, "_ring", lose)
    thread.schedule(lambda: done.append(1))
    thread.wait(WAIT_S)
    assert done == [1]
    assert not thread._events


def test_what_fails_in_the_thread_holds_up_nothing_behind_it(thread: SparingIOPubThread) -> None:
    """Short of memory anything may fail: who waits for what comes after it would wait in vain."""
    busy, go, done = threading.Event(), threading.Event(), threading.Event()

    def keep_it() -> None:
        busy.set()
        go.wait(WAIT_S)

    def fail() -> None:
        raise MemoryError

    thread.schedule(keep_it)
    assert busy.wait(WAIT_S)
    thread.schedule(fail)  # both are done in the turn that follows
    thread.schedule(done.set)
    go.set()
    assert done.wait(WAIT_S)


def test_who_begins_to_listen_is_shown_what_was_held(
    heard: tuple[SparingIOPubThread, zmq.Socket[bytes]],
) -> None:
    """Held for lack of listeners, and counted as long as they are there."""
    thread, listens = heard
    thread.wait()
    assert thread.listeners == 1
    with thread.hold():
        thread.send_multipart([b"input"])
        newcomer = thread.socket.context.socket(zmq.SUB)
        newcomer.connect("inproc://iopub")
        newcomer.subscribe(b"")
        assert listens.poll(int(WAIT_S * 1_000))
        assert listens.recv_multipart() == [b"input"]
    assert thread.listeners == 2
    newcomer.close(0)
    while thread.listeners != 1:
        thread.wait()


def hold(thread: SparingIOPubThread, *texts: str) -> None:
    """Have messages held whose one frame is their text."""
    with thread.hold():
        for text in texts:
            thread.keep({"content": text}, functools.partial(list, [text.encode()]))


def received(socket: zmq.Socket[bytes], count: int) -> list[bytes]:
    frames: list[bytes] = []
    while len(frames) < count:
        assert socket.poll(int(WAIT_S * 1_000))
        frames += socket.recv_multipart()
    return frames


def test_what_is_held_can_be_taken_back_and_is_then_not_heard(
    heard: tuple[SparingIOPubThread, zmq.Socket[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It woke nobody: this is what a step's reply says instead."""
    thread, listens = heard
    thread.wait()
    bell = Bell(thread)
    with monkeypatch.context() as patched:
        patched.setattr(thread, "_ring", bell)
        for _ in range(3):
            thread.begin()
            hold(thread, "busy", "result")
            assert [message["content"] for message, _ in thread.take_back() or ()] == ["busy", "result"]
        assert bell.rung == 0
    thread.send_multipart([b"after"])
    assert received(listens, 1) == [b"after"]


def test_what_was_held_is_not_taken_back_where_anything_else_was_sent(
    heard: tuple[SparingIOPubThread, zmq.Socket[bytes]],
) -> None:
    """The order on iopub stays what it was."""
    thread, listens = heard
    thread.begin()
    hold(thread, "busy")
    thread.send_multipart([b"printed"])
    hold(thread, "result")
    assert thread.take_back() is None
    thread.send_multipart([b"idle"])
    assert received(listens, 4) == [b"busy", b"printed", b"result", b"idle"]


def test_what_was_taken_back_can_be_sent_all_the_same(
    heard: tuple[SparingIOPubThread, zmq.Socket[bytes]],
) -> None:
    """With what follows, and before it."""
    thread, listens = heard
    thread.begin()
    hold(thread, "busy", "result")
    kept = thread.take_back()
    assert kept is not None
    thread.give_back(kept)
    thread.send_multipart([b"idle"])
    assert received(listens, 3) == [b"busy", b"result", b"idle"]


def test_what_another_thread_sends_is_not_held_with_it(
    heard: tuple[SparingIOPubThread, zmq.Socket[bytes]],
) -> None:
    """It would be taken back too, and lost."""
    thread, listens = heard
    thread.begin()
    with thread.hold():
        other = threading.Thread(target=thread.send_multipart, args=([b"other"],))
        other.start()
        other.join()
    assert received(listens, 1) == [b"other"]
    assert thread.take_back() is None


def test_a_thread_that_has_ended_leaves_the_work_to_who_asks(thread: SparingIOPubThread) -> None:
    """As at the kernel's end: nothing hangs."""
    thread.stop()  # type: ignore[no-untyped-call]
    done: list[int] = []
    thread.schedule(lambda: done.append(1))
    assert done == [1]
    thread.wait()
