"""The wire to a kernel: what libzmq says is understood, what a hostile peer says is bounded."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import zmq
import zmq.asyncio

from rlm_kernel_mcp.kernel.untrusted import cost, zmtp
from rlm_kernel_mcp.kernel.untrusted.zmtp import (
    COMMAND,
    FRAMES_MAX,
    GREETING,
    LONG,
    MORE,
    Connection,
    FrameReader,
    ProtocolBroken,
)

pytestmark = pytest.mark.anyio
LIMIT = 1 << 20


def _ready() -> bytes:
    body = b"\x05READY"
    return GREETING + bytes([COMMAND, len(body)]) + body


def _frame(body: bytes, flags: int = 0) -> bytes:
    return bytes([flags | LONG]) + len(body).to_bytes(8, "big") + body


async def test_a_dealer_exchanges_messages_with_a_libzmq_router(tmp_path: Path) -> None:
    """Frames of every size arrive whole and in order, both ways (ZMTP 3.0)."""
    path = tmp_path / "s-1"
    with zmq.asyncio.Context() as context, context.socket(zmq.ROUTER) as router:
        router.bind(f"ipc://{path}")
        connection = Connection("DEALER", LIMIT)
        received: asyncio.Queue[list[bytes]] = asyncio.Queue()
        connection.on_message = received.put_nowait
        async with asyncio.timeout(60):
            await connection.open(str(path))
            connection.send([b"", b"a" * 255, b"b" * 256, b"c" * 100_000])
            identity, *frames = await router.recv_multipart()
            assert frames == [b"", b"a" * 255, b"b" * 256, b"c" * 100_000]
            await router.send_multipart([identity, b"", b"x" * 300_000])
            assert await received.get() == [b"", b"x" * 300_000]
        connection.close()


async def test_a_subscriber_hears_what_a_libzmq_publisher_says_after_the_welcome(tmp_path: Path) -> None:
    """The subscription is understood by XPUB, as ipykernel binds it."""
    path = tmp_path / "s-2"
    with zmq.asyncio.Context() as context, context.socket(zmq.XPUB) as publisher:
        publisher.bind(f"ipc://{path}")
        connection = Connection("SUB", LIMIT)
        received: asyncio.Queue[list[bytes]] = asyncio.Queue()
        connection.on_message = received.put_nowait
        async with asyncio.timeout(60):
            await connection.open(str(path))
            assert await publisher.recv() == b"\x01"
            await publisher.send_multipart([b"topic", b"body"])
            assert await received.get() == [b"topic", b"body"]
        connection.close()


async def test_many_queued_messages_leave_the_event_loop_to_others(tmp_path: Path) -> None:
    """A burst is handled in turns: another callback runs before the burst has been handled."""
    path = tmp_path / "s-3"
    count = 5_000
    with zmq.asyncio.Context() as context, context.socket(zmq.ROUTER) as router:
        router.sndhwm = 0  # else a router drops what its peer has not taken yet
        router.bind(f"ipc://{path}")
        connection = Connection("DEALER", LIMIT)
        seen = 0
        done = asyncio.Event()
        at_other = 0

        def other() -> None:
            nonlocal at_other
            at_other = at_other or seen

        def take(frames: list[bytes]) -> None:
            nonlocal seen
            if seen == 0:
                asyncio.get_running_loop().call_soon(other)
            seen += 1
            if seen == count:
                done.set()

        connection.on_message = take
        async with asyncio.timeout(60):
            await connection.open(str(path))
            connection.send([b"hello"])
            identity = (await router.recv_multipart())[0]
            for _ in range(count):
                await router.send_multipart([identity, b"x"])
            await done.wait()
        assert 0 < at_other < count
        connection.close()


async def test_a_connection_rests_for_as_long_as_its_turn_took_by_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which on a busy machine is longer than what it used: the others need as much longer for theirs."""
    clock = {"thread_time": 0.0, "monotonic": time.monotonic()}

    class Clock:
        thread_time = staticmethod(lambda: clock["thread_time"])
        monotonic = staticmethod(lambda: clock["monotonic"])

    def costly(frames: list[bytes]) -> None:
        del frames
        clock["thread_time"] += 0.02
        clock["monotonic"] += 0.5

    rests: list[float] = []
    monkeypatch.setattr(zmtp, "time", Clock)
    monkeypatch.setattr(asyncio.get_running_loop(), "call_later", lambda delay_s, _: rests.append(delay_s))
    connection = Connection("SUB", LIMIT)
    connection.on_message = costly
    connection.data_received(_ready() + _frame(b"x") * 2)
    assert rests == [pytest.approx(0.5)]


@pytest.mark.parametrize(("seconds_between", "ends"), [(0.5, False), (0.1, True)])
async def test_a_twentieth_of_the_time_that_passes_is_free(
    monkeypatch: pytest.MonkeyPatch, seconds_between: float, ends: bool
) -> None:
    """Messages that cost 20 ms each: two a second may come for ever, ten a second may not."""
    clock = {"thread_time": 0.0, "monotonic": time.monotonic()}
    later: list[Callable[[], None]] = []
    broken: list[str] = []

    class Clock:
        thread_time = staticmethod(lambda: clock["thread_time"])
        monotonic = staticmethod(lambda: clock["monotonic"])

    def costly(frames: list[bytes]) -> None:
        del frames
        clock["thread_time"] += 0.02
        clock["monotonic"] += seconds_between

    monkeypatch.setattr(zmtp, "time", Clock)
    monkeypatch.setattr(asyncio.get_running_loop(), "call_later", lambda _, drain: later.append(drain))
    connection = Connection("SUB", LIMIT)
    connection.on_message, connection.on_broken = costly, broken.append
    connection.data_received(_ready())
    for _ in range(1_000):
        connection.data_received(_frame(b"x"))
        while later:
            later.pop()()
    assert clock["thread_time"] > cost.COST_S
    assert bool(broken) is ends


async def test_messages_that_cost_this_process_too_much_end_the_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However few and small they are; a grant begins the account anew."""
    monkeypatch.setattr(cost, "COST_S", 0.2)
    monkeypatch.setattr(cost, "COST_SHARE", 0.0)  # of the seconds that a busy machine takes over it
    path = tmp_path / "s-4"

    def work(frames: list[bytes]) -> None:
        end = time.thread_time() + 0.15
        while time.thread_time() < end:
            pass
        heard.put_nowait(frames)

    with zmq.asyncio.Context() as context, context.socket(zmq.ROUTER) as router:
        router.bind(f"ipc://{path}")
        connection = Connection("DEALER", LIMIT)
        heard: asyncio.Queue[list[bytes]] = asyncio.Queue()
        broken: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        connection.on_message, connection.on_broken = work, broken.set_result
        async with asyncio.timeout(60):
            await connection.open(str(path))
            connection.send([b"hello"])
            identity = (await router.recv_multipart())[0]
            for _ in range(3):
                await router.send_multipart([identity, b"x"])
                await heard.get()
                connection.grant()
            assert not broken.done()
            for _ in range(2):
                await router.send_multipart([identity, b"x"])
            assert "of the server's processor time" in await broken
        connection.close()


def test_a_message_past_the_limit_is_refused_by_its_announced_size() -> None:
    """The size alone is enough: the body need not arrive."""
    reader = FrameReader(1_000)
    reader.feed(_ready() + bytes([LONG]) + (1 << 40).to_bytes(8, "big"))
    with pytest.raises(ProtocolBroken, match="1,000 bytes"):
        reader.next_message()


def test_a_message_of_many_parts_counts_as_one_against_the_limit() -> None:
    """A multipart message that never ends cannot grow this process (libzmq's pipes let it)."""
    reader = FrameReader(1_000)
    reader.feed(_ready() + _frame(b"x" * 600, MORE) + _frame(b"x" * 600, MORE))
    with pytest.raises(ProtocolBroken):
        reader.next_message()


def test_empty_parts_without_end_are_refused() -> None:
    """Parts of no bytes are bounded by their number."""
    reader = FrameReader(1_000)
    reader.feed(_ready() + _frame(b"", MORE) * (FRAMES_MAX + 1))
    with pytest.raises(ProtocolBroken, match="frames"):
        reader.next_message()


@pytest.mark.parametrize("junk", [b"GET / HTTP/1.1\r\n" * 5, bytes(64), GREETING[:12] + b"CURVE".ljust(52, b"\0")])
def test_a_peer_that_does_not_greet_as_zmtp_is_refused(junk: bytes) -> None:
    """Anything but a ZMTP 3 greeting with the NULL mechanism ends the connection."""
    reader = FrameReader(1_000)
    reader.feed(junk)
    with pytest.raises(ProtocolBroken):
        reader.next_message()


def test_bytes_that_arrive_one_by_one_make_the_same_messages() -> None:
    """Where a read ends says nothing."""
    reader = FrameReader(1_000)
    messages = []
    for byte in _ready() + _frame(b"one", MORE) + _frame(b"two") + bytes([0, 1]) + b"3":
        reader.feed(bytes([byte]))
        message = reader.next_message()
        if message is not None:
            messages.append(message)
    assert messages == [[b"one", b"two"], [b"3"]]


async def test_a_peer_that_goes_away_is_told_of_once(tmp_path: Path) -> None:
    """The close of the peer reaches `on_closed`, our own close does not."""
    path = tmp_path / "s-4"
    closed: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(_ready())
        await writer.drain()
        await reader.read(1)
        writer.close()

    server = await asyncio.start_unix_server(serve, str(path))
    async with server, asyncio.timeout(60):
        connection = Connection("DEALER", LIMIT)
        gone = asyncio.Event()

        def on_closed(reason: str) -> None:
            closed.append(reason)
            gone.set()

        connection.on_closed = on_closed
        await connection.open(str(path))
        await gone.wait()
        connection.close()
    assert len(closed) == 1


def test_commands_without_end_are_refused() -> None:
    """Empty ones take two bytes each and would keep the event loop busy for as long as they come."""
    reader = FrameReader(1_000)
    reader.feed(_ready() + bytes([COMMAND, 0]) * 100)
    with pytest.raises(ProtocolBroken, match="commands"):
        reader.next_message()
