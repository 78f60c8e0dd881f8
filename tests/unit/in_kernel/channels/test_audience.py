"""The listeners of a kernel's iopub socket, over real sockets: one that is waited for, and others that are not."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import zmq
from jupyter_client.session import Session

from rlm_kernel_mcp.in_kernel.channels import audience
from rlm_kernel_mcp.in_kernel.channels.audience import Audience
from rlm_kernel_mcp.in_kernel.channels.iopub import SparingIOPubThread
from tests.sessions import WAIT_S
from tests.unit.in_kernel.channels.test_iopub import collect_no_pipes

MANY = 5_000


class Scene:
    """A thread that publishes, and who listens to it."""

    def __init__(self, directory: Path, *, prepared: bool = True) -> None:
        self.session = Session(key=b"of this test", digest_history_size=0)  # several listeners read with it
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._address = f"ipc://{directory / 's'}"
        socket = self._context.socket(zmq.XPUB)
        socket.linger = 0
        if prepared:
            Audience.prepare(socket)
        socket.bind(self._address)
        self.thread = SparingIOPubThread(socket, pipe=False, session=self.session)
        self.thread._run_event_pipe_gc = collect_no_pipes  # type: ignore[method-assign]
        if prepared:
            self.thread.audience = Audience(socket, self.session)
        self.thread.is_owned = lambda: True
        self.thread.start()  # type: ignore[no-untyped-call]
        self._listeners: list[zmq.Socket[bytes]] = []

    def listener(self) -> zmq.Socket[bytes]:
        """One that has been welcomed, with little room of its own."""
        listener = self._context.socket(zmq.SUB)
        listener.rcvhwm, listener.rcvtimeo = 10, int(WAIT_S * 1000)
        listener.subscribe(b"")
        listener.connect(self._address)
        self._listeners.append(listener)
        assert self.message(listener)["msg_type"] == "iopub_welcome"
        return listener

    def message(self, listener: zmq.Socket[bytes]) -> dict[str, Any]:
        _, parts = self.session.feed_identities(listener.recv_multipart())
        found: dict[str, Any] = self.session.deserialize(parts)
        return found

    def say(self, count: int, size: int = 0) -> threading.Thread:
        """Publish numbered messages of a step, from a thread; the last one is `idle`."""

        def publish() -> None:
            for number in range(count):
                self.one("stream", {"name": "stdout", "text": f"{number}\n" + "x" * size})
            self.one("status", {"execution_state": "idle"})

        publishing = threading.Thread(target=publish)
        publishing.start()
        return publishing

    def one(self, kind: str, content: dict[str, Any]) -> None:
        message = self.session.msg(kind, content, parent={"msg_id": "step-1"})
        self.thread.send_multipart([b"topic", *self.session.serialize(message)])

    def until_idle(self, listener: zmq.Socket[bytes]) -> list[dict[str, Any]]:
        """What it has heard up to then."""
        heard: list[dict[str, Any]] = []
        while not heard or heard[-1]["msg_type"] != "status":
            heard.append(self.message(listener))
        return heard[:-1]

    def close(self) -> None:
        for listener in self._listeners:
            listener.close(0)
        self.thread.stop()  # type: ignore[no-untyped-call]
        self.thread.close()  # type: ignore[no-untyped-call]
        self._context.term()


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Callable[..., Scene]]:
    """Makes scenes."""
    with ExitStack() as scenes:

        def make(**options: bool) -> Scene:
            scene = Scene(tmp_path, **options)
            scenes.callback(scene.close)
            return scene

        yield make


def numbers(heard: list[dict[str, Any]]) -> list[int]:
    return [int(one["content"]["text"].split()[0]) for one in heard if one["content"]["name"] == "stdout"]


def missed(heard: list[dict[str, Any]]) -> list[int]:
    """How many a listener was told that it missed; each time under the step that they were of."""
    notices = [one for one in heard if one["content"]["name"] == "stderr"]
    assert all(one["parent_header"]["msg_id"] == "step-1" for one in notices)
    found = [
        re.search(r"\[([\d,]+) messages of the kernel were dropped here", one["content"]["text"]) for one in notices
    ]
    return [int(one[1].replace(",", "")) for one in found if one is not None]


def test_a_host_that_reads_late_gets_all_of_it_in_its_order(stage: Callable[..., Scene]) -> None:
    """Down to the idle status; the thread waits for it."""
    scene = stage()
    host = scene.listener()
    scene.say(MANY).join()
    assert numbers(scene.until_idle(host)) == list(range(MANY))


def test_without_a_prepared_socket_most_of_it_would_be_lost(stage: Callable[..., Scene]) -> None:
    """The control: libzmq drops what the listener has no room for, and says nothing."""
    scene = stage(prepared=False)
    host = scene.listener()
    scene.say(MANY, size=1_000).join()
    scene.thread.wait()
    scene.one("status", {"execution_state": "idle"})
    heard: list[dict[str, Any]] = []
    while host.poll(200):
        heard.append(scene.message(host))
    assert len(heard) < MANY


@pytest.mark.slow
def test_a_client_that_does_not_read_costs_the_others_nothing_and_is_told_what_it_missed(
    stage: Callable[..., Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The host, and a second console, have everything, the last message too."""
    monkeypatch.setattr(audience, "PENDING_BYTES", 1_500_000)
    scene = stage()
    host, stopped, console = scene.listener(), scene.listener(), scene.listener()
    reads: dict[str, list[int]] = {}
    readers = [
        threading.Thread(target=lambda: reads.update(host=numbers(scene.until_idle(host)))),
        threading.Thread(target=lambda: reads.update(console=numbers(scene.until_idle(console)))),
    ]
    for reader in readers:
        reader.start()
    scene.say(MANY, size=300).join()
    for reader in readers:
        reader.join(WAIT_S)
    assert reads["host"] == list(range(MANY))
    assert reads["console"] == list(range(MANY))
    heard: list[dict[str, Any]] = []
    while not missed(heard):
        heard.append(scene.message(stopped))
    scene.one("status", {"execution_state": "idle"})
    heard += scene.until_idle(stopped)
    seen, gone = numbers(heard), sum(missed(heard))
    assert seen == sorted(seen)
    assert len(seen) + gone in (MANY, MANY + 1)  # the first idle status was among them, or not


def test_without_a_place_of_its_own_a_client_that_does_not_read_would_hold_up_the_host(
    stage: Callable[..., Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: subscribed as the host is, it is waited for as the host is, and what follows goes to neither."""

    def admit_alike(self: Audience, topic: bytes, *, owned: bool) -> None:
        self._socket.setsockopt(zmq.SUBSCRIBE, topic)

    monkeypatch.setattr(Audience, "admit", admit_alike)
    scene = stage()
    host, stopped = scene.listener(), scene.listener()
    assert scene.message(host)["msg_type"] == "iopub_welcome"  # the other's
    scene.say(MANY, size=300).join()
    heard: list[dict[str, Any]] = []
    while host.poll(500):
        heard.append(scene.message(host))
    assert len(heard) < MANY
    assert not scene.thread.audience._others  # type: ignore[union-attr]
    reading = threading.Thread(target=scene.until_idle, args=(stopped,))
    reading.start()  # it reads, and the host's come
    heard += scene.until_idle(host)
    reading.join(WAIT_S)
    assert numbers(heard) == list(range(MANY))


def test_a_host_that_is_deaf_for_too_long_is_told_how_much_was_dropped(
    stage: Callable[..., Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nothing waits for it any more."""
    monkeypatch.setattr(audience, "HOST_WAIT_S", 0.0)
    scene = stage()
    host = scene.listener()
    scene.say(MANY, size=1_000).join()
    scene.thread.wait()
    heard: list[dict[str, Any]] = []
    while host.poll(200):
        heard.append(scene.message(host))
    scene.one("status", {"execution_state": "idle"})
    heard += scene.until_idle(host)
    assert len(numbers(heard)) < MANY
    assert len(numbers(heard)) + sum(missed(heard)) == MANY + 1


def test_the_host_alone_is_sent_to_when_the_others_have_left(stage: Callable[..., Scene]) -> None:
    """And what another client was welcomed with is not the host's."""
    scene = stage()
    host, console = scene.listener(), scene.listener()
    assert not host.poll(0)
    scene.thread.wait()  # the welcome comes before the count
    assert scene.thread.listeners == 2
    console.close(0)
    while scene.thread.listeners != 1:
        scene.thread.wait()
    scene.thread.wait()
    assert scene.thread.audience is not None
    assert not scene.thread.audience._others
    scene.one("stream", {"name": "stdout", "text": "0\n"})
    assert numbers([scene.message(host)]) == [0]
