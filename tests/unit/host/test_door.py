"""The door, with peers that speak as a front does and peers that do not."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager, closing, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import pytest

from rlm_kernel_mcp.front import front
from rlm_kernel_mcp.front.front import NoHost, Place
from rlm_kernel_mcp.host import door
from rlm_kernel_mcp.host.door import GREETED_MAX, Door
from rlm_kernel_mcp.host.entry import handshake
from rlm_kernel_mcp.host.entry.closing import CLOSING
from rlm_kernel_mcp.host.entry.confinement import Peer
from rlm_kernel_mcp.host.entry.rights import Rights, checked
from rlm_kernel_mcp.host.entry.verbs import Prepare, Serve, Verb
from rlm_kernel_mcp.host.identity import Seat

pytestmark = pytest.mark.anyio
WAIT_S: Final = 60


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class House:
    """A door of this process, at which this process knocks too."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.served: asyncio.Queue[tuple[handshake.Asked, Rights]] = asyncio.Queue()
        self.drained = asyncio.Event()
        self.refusal = ""
        self.opened = front.directories(place.environ)
        seat = Seat(place, os.open(place.lock, os.O_RDWR | os.O_CREAT, 0o600))
        self.prepare: Prepare = self.prepared
        self.verbs = {
            "serve": Verb(self._prepare, fence=lambda peer: peer.shows_a_front()),
            "drain": Verb(answer=self._drain, fence=lambda peer: peer.shows_a_host(), of_any_version=True),
        }
        self.door = Door(seat.take(), place, self.verbs)

    def _prepare(self, asked: handshake.Asked, descriptors: list[int]) -> Serve:
        return self.prepare(asked, descriptors)

    async def _drain(self, _asked: object, _descriptors: object) -> tuple[str, ...]:
        self.drained.set()
        return ("at", "once")

    def prepared(self, asked: handshake.Asked, descriptors: list[int]) -> Serve:
        """What serves whoever is let in."""
        rights = checked(descriptors, asked.state)
        if self.refusal:
            raise NoHost(self.refusal)

        async def serve(_connection: socket.socket, _peer: Peer) -> None:
            self.served.put_nowait((asked, rights))
            await asyncio.Event().wait()

        return serve

    async def unserved(self, _connection: socket.socket, _peer: Peer) -> None:
        """Serves nobody who is not to be served."""
        raise AssertionError

    def knock(self) -> socket.socket:
        """A peer that has said nothing yet."""
        peer = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        peer.settimeout(WAIT_S)
        peer.connect(self.place.socket)
        return peer

    def hand_over(self, options: tuple[str, ...] = ()) -> None:
        """What a front does."""
        page = os.memfd_create("page")
        sock = self.place.connect(WAIT_S)
        assert sock is not None
        try:
            self.place.hand_over(sock, page, list(options), self.opened)
        finally:
            os.close(page)
            self.kept = sock

    def speak(self, *messages: Callable[[list[str]], bytes] | bytes, descriptors: tuple[int, ...] = ()) -> list[str]:
        """Say messages by hand, each once the last is answered; returns the words of the last answer."""
        answer = list[str]()
        with self.knock() as peer:
            for message in messages:
                data = message if isinstance(message, bytes) else message(answer)
                socket.send_fds(peer, [data], list(descriptors) if message is messages[-1] else [])
                answer = os.fsdecode(peer.recv(4096)).split("\0")
        return answer


@pytest.fixture
async def house(short_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    short_dir.chmod(0o700)
    monkeypatch.setattr(Peer, "shows_a_front", lambda _self: True)
    monkeypatch.setattr(Peer, "shows_a_host", lambda _self: True)
    place = Place({"RLM_HOST_DIR": str(short_dir), "RLM_STATE_DIR": str(tmp_path), "RLM_CONTEXT_ROOTS": str(tmp_path)})
    place.host = ["", *front.program("self")[2]]
    async with _open(place) as made:
        yield made


@asynccontextmanager
async def _open(place: Place) -> AsyncIterator[House]:
    made = House(place)
    try:
        yield made
    finally:
        made.door.close()
        await made.door.end()
        for descriptor in made.opened:
            os.close(descriptor)


def asked(house: House, secret: str, **others: str) -> bytes:
    """A second message."""
    own = {
        "verb": "serve",
        "version": house.place.version,
        "package": front.PACKAGE,
        "state": house.place.state,
        **others,
    }
    return b"\0".join(
        map(os.fsencode, ("rlm-host 1", own["verb"], secret, own["version"], own["package"], own["state"]))
    )


async def hello(house: House, then: Callable[[list[str]], bytes], descriptors: tuple[int, ...] = ()) -> list[str]:
    """Let the host see our secret, and say something after it has named its own."""
    _, descriptor = front.new_secret()
    try:
        first = b"rlm-host 1\0hello\0%d" % descriptor
        return await asyncio.to_thread(house.speak, first, then, descriptors=descriptors)
    finally:
        os.close(descriptor)


async def nobody_has_a_task(house: House) -> None:
    """Who has come has gone."""
    while house.door._tasks:
        house.door.changed.clear()
        await asyncio.wait_for(house.door.changed.wait(), WAIT_S)


async def nobody_is_there(house: House) -> None:
    """And what it handed over is closed."""
    await nobody_has_a_task(house)
    await all_is_closed()


def said_until_its_end(peer: socket.socket) -> str:
    """What the host says to one that it sends away."""
    said = b""
    with suppress(ConnectionResetError):  # how a connection ends of which something was not read
        while part := peer.recv(4096):
            said += part
    return os.fsdecode(said)


async def all_is_closed() -> None:
    for thread in threading.enumerate():
        if thread.name == "close":
            await asyncio.to_thread(thread.join, WAIT_S)


def true_secret(answer: list[str]) -> str:
    return front.secret_of(os.getpid(), answer[3])


async def test_a_front_is_let_in_with_what_it_opened(house: House, tmp_path: Path) -> None:
    house.place.environ["RLM_IMPORTS"] = "numpy"
    await asyncio.to_thread(house.hand_over, ("RLM_IMPORTS",))
    said, rights = await asyncio.wait_for(house.served.get(), WAIT_S)
    assert said.environ["RLM_IMPORTS"] == "numpy"
    assert said.options == ("RLM_IMPORTS",)
    assert [path for path, _ in rights.roots] == [tmp_path.resolve()]
    assert rights.cwd == Path.cwd()
    assert len(house.door.clients) == 1
    house.kept.close()


@pytest.mark.parametrize("data", [b"x", b"rlm-host 2\0hello\x003", b"rlm-host 1\0serve\0a\0b\0c\0d"])
async def test_who_speaks_another_language_is_told_so(house: House, data: bytes) -> None:
    answer = await asyncio.to_thread(house.speak, data)
    assert answer[1:] == ["no", "the first message is not a front's"]


async def test_who_cannot_read_the_host_s_secret_is_not_let_in(house: House) -> None:
    """A process under Landlock, which no comparison shows, is one that cannot."""
    for guess in (b"", b"0" * 32):
        said = asked(house, "secret").replace(b"secret", guess)
        answer = await hello(house, lambda _answer, said=said: said)  # type: ignore[misc]
        assert answer[1:] == ["no", "the client could not see into the host: it is in a sandbox"]
    assert house.served.empty()


async def test_a_secret_serves_once(house: House) -> None:
    secrets = list[str]()

    def first(answer: list[str]) -> bytes:
        secrets.append(true_secret(answer))
        return asked(house, secrets[0])

    assert (await hello(house, first))[1] == "no"  # no descriptors came
    answer = await hello(house, lambda _answer: asked(house, secrets[0]))
    assert answer[1:] == ["no", "the client could not see into the host: it is in a sandbox"]


@pytest.mark.parametrize("other", [{"version": "0"}, {"package": "/other"}, {"state": "/other"}])
async def test_who_takes_the_host_for_another_is_refused(house: House, other: dict[str, str]) -> None:
    answer = await hello(house, lambda answer: asked(house, true_secret(answer), **other))
    assert answer[1:] == ["no", "the host serves another version, installation or state directory"]


async def test_who_is_no_front_is_refused(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Peer, "shows_a_front", lambda _self: False)
    answer = await hello(house, lambda answer: asked(house, true_secret(answer)))
    assert answer[1:] == ["no", "the client is no front of this installation"]


async def test_who_is_confined_otherwise_is_refused_by_name(house: House) -> None:
    for name in house.place.confined:
        own = house.place.confined[name]
        house.place.confined[name] = "otherwise"
        answer = await asyncio.to_thread(house.speak, b"rlm-host 1\0hello\x000")
        assert answer[1:] == ["no", f"the client is confined otherwise than the host: {name}"]
        house.place.confined[name] = own


async def test_a_front_shows_nothing_to_a_host_that_is_confined_otherwise(house: House) -> None:
    client = Place(house.place.environ)
    client.host = house.place.host
    for name in client.confined:
        own = client.confined[name]
        client.confined[name] = "otherwise"
        sock = client.connect(WAIT_S)
        assert sock is not None
        with closing(sock), pytest.raises(NoHost, match=f"confined otherwise: {name}"):
            await asyncio.to_thread(client.hand_over, sock, -1, [], house.opened)
        client.confined[name] = own
    assert house.served.empty()


async def test_a_front_shows_nothing_to_another_program(house: House) -> None:
    client = Place(house.place.environ)
    sock = client.connect(WAIT_S)
    assert sock is not None
    with closing(sock), pytest.raises(NoHost, match="is no host of this installation"):
        await asyncio.to_thread(client.hand_over, sock, -1, [], house.opened)


async def test_what_the_settings_refuse_is_said(house: House) -> None:
    house.refusal = "RLM_KERNEL is wrong"
    with pytest.raises(NoHost, match="RLM_KERNEL is wrong"):
        await asyncio.to_thread(house.hand_over)
    house.kept.close()


async def test_what_a_front_hands_over_goes_to_no_child_of_the_host(house: House) -> None:
    """It has programs of its own to start, beside clients that are nobody else's business."""
    inherited = list[bool]()

    def prepare(said: handshake.Asked, descriptors: list[int]) -> Serve:
        inherited.extend(map(os.get_inheritable, descriptors))
        return house.prepared(said, descriptors)

    house.prepare = prepare
    await asyncio.to_thread(house.hand_over)
    await asyncio.wait_for(house.served.get(), WAIT_S)
    house.kept.close()
    assert inherited != []
    assert not any(inherited)


async def test_nothing_is_read_for_a_front_that_has_ceased_to_wait(house: House) -> None:
    """It serves its client itself by then: two would read the same pipe."""
    prepared, loop = asyncio.Event(), asyncio.get_running_loop()
    page = os.memfd_create("page")
    sock = house.place.connect(WAIT_S)
    assert sock is not None

    def prepare(said: handshake.Asked, descriptors: list[int]) -> Serve:
        sock.close()
        loop.call_soon_threadsafe(prepared.set)
        return house.prepared(said, descriptors)

    house.prepare = prepare
    with pytest.raises(OSError):
        await asyncio.to_thread(house.place.hand_over, sock, page, [], house.opened)
    os.close(page)
    await asyncio.wait_for(prepared.wait(), WAIT_S)
    await nobody_is_there(house)
    assert house.served.empty()


async def test_many_silent_peers_keep_nobody_out(house: House) -> None:
    silent = [house.knock() for _ in range(4 * GREETED_MAX)]
    await asyncio.to_thread(house.hand_over)
    await asyncio.wait_for(house.served.get(), WAIT_S)
    assert await asyncio.to_thread(silent[0].recv, 1) == b""  # the oldest made room
    for peer in [*silent, house.kept]:
        peer.close()


async def test_a_message_that_is_too_long_is_refused(house: House) -> None:
    answer = await asyncio.to_thread(house.speak, b"x" * (handshake.MESSAGE_BYTES_MAX + 1))
    assert answer[1] == "no"
    assert "131,072 bytes" in answer[2]


async def test_no_message_is_longer_than_the_system_allows(house: House) -> None:
    with house.knock() as peer, pytest.raises(OSError, match="too long"):
        peer.send(bytes(1 << 28))


async def test_more_descriptors_than_a_client_has_are_refused_and_closed(house: House) -> None:
    flood = tuple([house.door._listener.fileno()] * 250)
    counts = list[int]()
    for _ in range(2):
        answer = await hello(house, lambda answer: asked(house, true_secret(answer)), flood)
        assert answer[1] == "no"
        await nobody_is_there(house)
        counts.append(len([*Path("/proc/self/fd").iterdir()]))
    assert counts[0] == counts[1]


class Lingering:
    """A TCP socket whose last close waits until its other end is closed: it has more to send than that takes."""

    def __init__(self, stack: ExitStack) -> None:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        self.socket = socket.create_connection(listener.getsockname())
        self._other, _ = listener.accept()
        stack.callback(self.let_go)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, WAIT_S))
        self.socket.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                self.socket.send(bytes(1 << 16))

    def let_go(self) -> None:
        self.socket.close()
        self._other.close()


@pytest.mark.parametrize("way", ["refused", "with the hello", "too many", "unread"])
async def test_what_closes_only_after_a_while_holds_up_no_other_client(house: House, way: str) -> None:
    """A TCP socket with unsent data waits at its last close for as long as whoever handed it over has said."""
    with ExitStack() as ends:
        lingering = Lingering(ends)
        most = 1 if way != "too many" else handshake.DESCRIPTORS_MAX
        extra = [os.open("/dev/null", os.O_RDONLY) for _ in range(most - 1)]
        handed = [*extra, lingering.socket.fileno()]
        with house.knock() as peer:
            secret, descriptor = front.new_secret()
            ends.callback(os.close, descriptor)
            first = b"rlm-host 1\0hello\0%d" % descriptor
            if way == "unread":
                peer.send(b"no hello")
                socket.send_fds(peer, [b"x"], handed)
            elif way == "with the hello":
                socket.send_fds(peer, [first], handed)
            else:
                peer.send(first)
                answer = os.fsdecode(await asyncio.to_thread(peer.recv, 4096)).split("\0")
                assert answer[2] == secret
                socket.send_fds(peer, [asked(house, true_secret(answer))], [*handed, *handed[: most - 1]])
            for one in extra:
                os.close(one)
            lingering.socket.close()
            said = await asyncio.to_thread(said_until_its_end, peer)
            if way != "unread":  # whose sender may lose the answer
                assert said.split("\0")[1] == "no"
            await nobody_has_a_task(house)
            await asyncio.to_thread(house.hand_over)
            await asyncio.wait_for(house.served.get(), WAIT_S)
            house.kept.close()
        assert any(thread.name == "close" for thread in threading.enumerate())
        lingering.let_go()
        await all_is_closed()


@pytest.mark.parametrize("way", ["hello", "go"])
async def test_a_message_of_the_handshake_that_needs_no_descriptors_carries_none(house: House, way: str) -> None:
    with house.knock() as peer, Path(os.devnull).open(encoding="ascii") as file:  # noqa: ASYNC230
        _, descriptor = front.new_secret()
        socket.send_fds(peer, [b"rlm-host 1\0hello\0%d" % descriptor], [file.fileno()] if way == "hello" else [])
        answer = os.fsdecode(await asyncio.to_thread(peer.recv, 4096)).split("\0")
        if way == "go":
            house.prepare = lambda *_: house.unserved
            peer.send(asked(house, true_secret(answer)))
            assert os.fsdecode(await asyncio.to_thread(peer.recv, 4096)).split("\0")[1] == "served"
            socket.send_fds(peer, [b"rlm-host 1\0go"], [file.fileno()])
            answer = os.fsdecode(await asyncio.to_thread(peer.recv, 4096)).split("\0")
        assert answer[1:] == ["no", "descriptors came with a message that carries none"]
        os.close(descriptor)


async def test_another_version_may_have_the_host_take_nobody_any_more(house: House) -> None:
    with house.knock() as peer:
        secret, descriptor = front.new_secret()
        peer.send(b"rlm-host 1\0hello\0%d" % descriptor)
        answer = os.fsdecode(await asyncio.to_thread(peer.recv, 4096)).split("\0")
        assert answer[2] == secret
        peer.send(asked(house, true_secret(answer), verb="drain", version="9"))
        await asyncio.wait_for(house.drained.wait(), WAIT_S)
        answer = os.fsdecode(await asyncio.to_thread(peer.recv, 4096)).split("\0")
        assert answer[1:] == ["drain", "at", "once"]
        os.close(descriptor)


async def test_a_verb_that_the_host_does_not_know_is_refused_by_its_version(house: House) -> None:
    """A program of a later version may know more verbs than a host."""
    answer = await hello(house, lambda answer: asked(house, true_secret(answer), verb="rule"))
    said = f"the host, of version {house.place.version}, does not know what it is asked for"
    assert answer[1:] == ["no", said]


async def test_a_verb_has_its_own_bound_and_need_not_keep_the_host(house: House) -> None:
    """Who only looks on is no client: the host ends without regard to them."""
    house.verbs["serve"] = Verb(house.prepared, is_client=False, most=1)
    await asyncio.to_thread(house.hand_over)
    await asyncio.wait_for(house.served.get(), WAIT_S)
    assert house.door.is_idle
    with closing(house.kept), pytest.raises(NoHost, match="1 connections of this kind"):
        await asyncio.to_thread(house.hand_over)
    house.kept.close()


async def test_who_has_not_said_go_yet_has_its_place_already(house: House) -> None:
    """Else many at once would all find room, and those above the bound would be let in and sent away without a word."""
    house.verbs["serve"] = Verb(lambda *_: house.unserved, is_client=False, most=1)
    with house.knock() as peer:
        _, descriptor = front.new_secret()
        peer.send(b"rlm-host 1\0hello\0%d" % descriptor)
        answer = os.fsdecode(await asyncio.to_thread(peer.recv, 4096)).split("\0")
        peer.send(asked(house, true_secret(answer)))
        assert os.fsdecode(await asyncio.to_thread(peer.recv, 4096)).split("\0")[1] == "served"
        with pytest.raises(NoHost, match="1 connections of this kind"):
            await asyncio.to_thread(house.hand_over)
        house.kept.close()
        os.close(descriptor)
    await nobody_is_there(house)
    house.verbs["serve"] = Verb(house.prepared, most=1)
    await asyncio.to_thread(house.hand_over)
    house.kept.close()


async def test_what_of_others_is_not_closed_yet_takes_its_room(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer may hand over what closes only after a while, and come again and again."""
    left = SimpleNamespace(descriptors=0, of_peer=CLOSING.of_peer)
    monkeypatch.setattr(door, "CLOSING", left)
    taken = door.DESCRIPTORS_A_CLIENT + 2 * (5 + len(house.opened))
    left.descriptors = taken // 2
    house.door._room = taken + left.descriptors - 1
    with pytest.raises(NoHost, match="descriptors for no more"):
        await asyncio.to_thread(house.hand_over)
    house.kept.close()
    left.descriptors -= 1
    await asyncio.to_thread(house.hand_over)
    await asyncio.wait_for(house.served.get(), WAIT_S)
    house.kept.close()


async def test_where_too_much_of_others_is_not_closed_nobody_is_let_in_until_it_is(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """And that is logged once, not at each look at the door."""
    left = SimpleNamespace(descriptors=1 << 30, of_peer=CLOSING.of_peer)
    paused, pause = asyncio.Event(), Door._pause

    def noted(self: Door, why: str) -> None:
        pause(self, why)
        paused.set()

    monkeypatch.setattr(door, "CLOSING", left)
    monkeypatch.setattr(Door, "_pause", noted)
    comes = asyncio.create_task(asyncio.to_thread(house.hand_over))
    await asyncio.wait_for(paused.wait(), WAIT_S)
    assert house.door.is_idle
    assert house.door.is_idle
    assert caplog.text.count("cannot be accepted") == 1
    left.descriptors = 0
    await comes
    await asyncio.wait_for(house.served.get(), WAIT_S)
    house.kept.close()


async def test_a_root_where_nobody_answers_is_not_touched_where_anything_else_differs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = front.confinement("self")
    touched = list[str]()

    def stat(path: str) -> os.stat_result:
        touched.append(path)
        raise TimeoutError

    with monkeypatch.context() as patched:
        patched.setattr(os, "stat", stat)
        for name in own:
            other = {**own, name: "otherwise"}
            assert front.differences(other, front.confinement("self", other)) == name
        assert touched == []
        with pytest.raises(TimeoutError):
            front.confinement("self", own)


async def test_a_directory_where_nobody_answers_holds_up_no_other_client(house: House) -> None:
    asks, answers, answered = threading.Event(), threading.Event(), threading.Event()

    def prepare(said: handshake.Asked, descriptors: list[int]) -> Serve:
        if not asks.is_set():
            asks.set()
            answers.wait(WAIT_S)
            answered.set()
        return house.prepared(said, descriptors)

    house.prepare = prepare
    with ExitStack() as ends:
        page = os.memfd_create("page")
        ends.callback(os.close, page)
        hanging, well = house.place.connect(WAIT_S), house.place.connect(WAIT_S)
        assert hanging is not None
        assert well is not None
        for one in (hanging, well):
            ends.enter_context(closing(one))
        ends.callback(answers.set)
        first = asyncio.create_task(asyncio.to_thread(house.place.hand_over, hanging, page, [], house.opened))
        assert await asyncio.to_thread(asks.wait, WAIT_S)
        await asyncio.to_thread(house.place.hand_over, well, page, [], house.opened)
        await asyncio.wait_for(house.served.get(), WAIT_S)
        assert not answered.is_set()
        answers.set()
        await asyncio.wait([first])


class Hesitant:
    """A front's socket, by which it never says that the host may go on."""

    def __init__(self, sock: Any) -> None:
        self._sock = sock

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def send(self, data: bytes) -> int:
        return len(data) if data.endswith(b"\0go") else int(self._sock.send(data))


async def test_who_never_says_go_is_let_go_at_the_deadline_of_its_handshake(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, make = list[asyncio.Timeout](), asyncio.timeout

    def timeout(delay: float) -> asyncio.Timeout:
        made.append(make(delay))
        return made[-1]

    monkeypatch.setattr(asyncio, "timeout", timeout)
    page = os.memfd_create("page")
    sock: Any = house.place.connect(WAIT_S)
    hesitant: Any = Hesitant(sock)
    with closing(sock):
        await asyncio.to_thread(house.place.hand_over, hesitant, page, [], house.opened)
        os.close(page)
        made[0].reschedule(asyncio.get_running_loop().time())
        assert await asyncio.to_thread(sock.recv, 4096) == b""
    assert house.served.empty()
