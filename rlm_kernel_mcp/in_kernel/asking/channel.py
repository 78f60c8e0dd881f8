"""The kernel's end of the channel on which code asks the host: questions go out, answers come in, any thread waits.

Is: a socket that the host has passed, a thread that reads it and one that writes to it, both started with the first
question. Is not: a wall: code that finds the socket can write to it what it likes, and the host knows that.
Above: `calls.py`, `asking.py`, `state.py`, `in_kernel/channels/threads.py`. Below: `errors.py`, `questions_wire.py`.

Nothing here blocks who asks but `Future.result()`: a `send` in the thread of an event loop could not be interrupted.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import queue
import socket
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field
from typing import Any, Final

from rlm_kernel_mcp.in_kernel.asking.errors import SubcallError
from rlm_kernel_mcp.questions_wire import (
    FRAME_BYTES,
    FRAME_BYTES_MAX,
    FRAME_ITEMS_MAX,
    ITEM_CHARS_MAX,
    LENGTH_BYTES,
    Opts,
)

OWN_THREADS: Final = ("questions in", "questions out")
"""Names of the two threads; `in_kernel/channels/threads.py` does not count them as the session's."""
RECEIVED_BYTES: Final = 1 << 18
HEAD_BYTES: Final = 128 << 10
"""Allowance for what a frame has beside its questions: a schema above all."""
GONE: Final = "The host has closed the channel on which questions are asked; a new step may have another."


@dataclass(frozen=True, slots=True)
class Item:
    """A question to be sent. `repair`: what was wrong with the answer before."""

    prompt: str
    text: str | None = None
    repair: str | None = None


@dataclass(slots=True, eq=False)
class Waiting:
    """Who waits for one answer; the future's result is a value or a SubcallError, and never an exception.

    A task waits for a future of its own loop, whose thread alone may touch it.
    """

    id: int = 0
    future: Future[Any] | asyncio.Future[Any] = field(default_factory=Future)


@dataclass(slots=True)
class _Outgoing:
    """A frame, whole or to be joined with the next of its kind: those are questions with the same head."""

    head: bytes
    rows: list[bytes] = field(default_factory=list)
    tail: bytes = b""

    def takes(self, other: _Outgoing) -> bool:
        return (
            bool(self.rows and other.rows)
            and other.head == self.head
            and len(self.rows) + len(other.rows) <= FRAME_ITEMS_MAX
            and sum(map(len, self.rows)) + sum(map(len, other.rows)) <= FRAME_BYTES
        )

    @property
    def data(self) -> bytes:
        body = self.head + b",".join(self.rows) + self.tail
        return len(body).to_bytes(LENGTH_BYTES, "big") + body


class Channel:
    """One kernel's. Any thread may use it."""

    def __init__(self, descriptor: int, step_of: Callable[[], str]) -> None:
        """`step_of`: the `msg_id` of the request for which the calling thread or task works."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, fileno=descriptor)
        self._socket.settimeout(None)
        self._step_of = step_of
        self._ids, self._batches = itertools.count(1), itertools.count(1)
        self._waiting: dict[int, Waiting] = {}
        self._outgoing: queue.SimpleQueue[_Outgoing] = queue.SimpleQueue()
        self._starting = threading.Lock()
        self._in_order = threading.Lock()
        """Held where ids are given out and sent: the host takes them in order alone."""
        self._threads: list[threading.Thread] = []
        self._is_begun = (threading.Lock(), threading.Lock())
        """Taken, and kept, by the thread that reads, and by the one that writes."""
        self._cancelled: list[Waiting] = []
        self._turn: tuple[asyncio.AbstractEventLoop, int] | None = None
        self.closed = False

    def new_batch(self) -> int:
        """A number for the questions of one call."""
        return next(self._batches)

    def batch_of_turn(self) -> int:
        """The same for all that tasks ask in one turn of their loop: a gather is one batch, and goes in few frames."""
        loop = asyncio.get_running_loop()
        turn = self._turn
        if turn is None or turn[0] is not loop:
            turn = self._turn = (loop, self.new_batch())
            loop.call_soon(self._end_turn)
        return turn[1]

    def _end_turn(self) -> None:
        self._turn = None

    def ask(
        self, items: Iterable[Item], opts: Opts, asked: list[Waiting], loop: asyncio.AbstractEventLoop | None = None
    ) -> None:
        """Send questions; who waits for them is put into `asked` in their order, also where this is interrupted.

        `loop`: where a task waits for them, and not a thread.
        """
        self._start()
        said = json.dumps(opts, ensure_ascii=False)
        head = f'{{"ask":{{"step":{json.dumps(self._step_of())},"opts":{said},"items":['.encode()
        rows: list[tuple[Waiting, bytes]] = []
        size = 0
        for item in items:
            waiting, row = Waiting() if loop is None else Waiting(0, loop.create_future()), _row(item)
            asked.append(waiting)
            if isinstance(row, SubcallError):
                waiting.future.set_result(row)
                continue
            if len(rows) == FRAME_ITEMS_MAX or (rows and size + len(row) > FRAME_BYTES):
                self._send(head, rows, more=True)
                rows, size = [], 0
            rows.append((waiting, row))
            size += len(row)
        self._send(head, rows)

    def _send(self, head: bytes, rows: list[tuple[Waiting, bytes]], *, more: bool = False) -> None:
        if rows:
            with self._in_order:
                numbered = [b"[%d,%b" % (self._await(waiting), row) for waiting, row in rows]
                self._outgoing.put(_Outgoing(head, numbered, b'],"more":true}}' if more else b"]}}"))
        if self.closed:
            self._give_up()

    def _await(self, waiting: Waiting) -> int:
        waiting.id = next(self._ids)
        self._waiting[waiting.id] = waiting
        return waiting.id

    def question(self, kind: str, said: Callable[[int], Any]) -> Any:
        """Ask the host itself; `said` makes the frame's content of an id. Raises: SubcallError."""
        found = self._begin(kind, said).result()
        if isinstance(found, SubcallError):
            raise found
        return found

    def _begin(self, kind: str, said: Callable[[int], Any]) -> Future[Any]:
        self._start()
        waiting = Waiting(0, future := Future[Any]())
        with self._in_order:
            frame = {kind: said(self._await(waiting))}
            self._outgoing.put(_Outgoing(json.dumps(frame).encode()))
        if self.closed:
            self._give_up()
        return future

    def cancel(self, asked: Iterable[Waiting]) -> None:
        """Nobody waits for these any more; one frame for those that have no answer yet."""
        ids = [one.id for one in asked if self._waiting.pop(one.id, None) is not None]
        for first in range(0, len(ids), 10_000):
            self._outgoing.put(_Outgoing(json.dumps({"cancel": ids[first : first + 10_000]}).encode()))

    def cancel_soon(self, one: Waiting) -> None:
        """The same in an event loop's thread: one frame for all that are cancelled in one turn of the loop."""
        if not self._cancelled:
            asyncio.get_running_loop().call_soon(self._cancel_all)
        self._cancelled.append(one)

    def _cancel_all(self) -> None:
        cancelled, self._cancelled = self._cancelled, []
        self.cancel(cancelled)

    def missed(self, ids: Sequence[int]) -> Future[Any]:
        """Tell the host that the answers to these did not have the schema that was asked for.

        Who waits for its word knows that the step's account has it, which is closed with the step.
        """
        return self._begin("missed", lambda number: {"id": number, "of": list(ids)})

    # --- the two threads

    def _start(self) -> None:
        if len(self._threads) == 2 or self.closed:
            return
        with self._starting:
            for number in range(len(self._threads), 2):
                thread = threading.Thread(target=self._run, args=(number,), name=OWN_THREADS[number], daemon=True)
                thread.start()
                self._threads.append(thread)

    def _run(self, number: int) -> None:
        """The work of one thread. An interrupt in its `start` has another one begun: the first that comes does it."""
        if self._is_begun[number].acquire(blocking=False):
            (self._read, self._write)[number]()

    def _write(self) -> None:
        following: _Outgoing | None = None
        while True:
            frame, following = following or self._outgoing.get(), None
            while frame.rows:
                try:
                    following = self._outgoing.get_nowait()
                except queue.Empty:
                    break
                if not frame.takes(following):
                    break
                frame.rows, frame.tail = frame.rows + following.rows, following.tail
                following = None
            try:
                self._socket.sendall(frame.data)
            except OSError:
                self._close()
                return

    def _read(self) -> None:
        buffer = bytearray()
        try:
            while piece := self._socket.recv(RECEIVED_BYTES):
                buffer += piece
                while len(buffer) >= LENGTH_BYTES:
                    end = LENGTH_BYTES + int.from_bytes(buffer[:LENGTH_BYTES], "big")
                    if len(buffer) < end:
                        break
                    frame = json.loads(buffer[LENGTH_BYTES:end])
                    del buffer[:end]
                    _give(self._answered(*row) for row in frame["got"])
        except OSError:
            pass
        finally:
            self._close()

    def _answered(self, number: int, is_answer: bool, value: Any) -> tuple[Waiting | None, Any]:
        given = value if is_answer else SubcallError(value["code"], value["message"])
        return self._waiting.pop(number, None), given

    def _close(self) -> None:
        self.closed = True
        self._give_up()

    def _give_up(self) -> None:
        while self._waiting:
            with contextlib.suppress(KeyError):  # another thread was faster
                _give([(self._waiting.popitem()[1], SubcallError("gone", GONE))])


def _give(answers: Iterable[tuple[Waiting | None, Any]]) -> None:
    """To the threads that wait one by one, to the tasks of a loop all at once: each call into it is a system call."""
    of_loops: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Any], Any]]] = {}
    for waiting, given in answers:
        if waiting is None:
            continue
        if isinstance(future := waiting.future, asyncio.Future):
            of_loops.setdefault(future.get_loop(), []).append((future, given))
        else:
            with contextlib.suppress(InvalidStateError):  # a task that waited for it was cancelled
                future.set_result(given)
    for loop, pairs in of_loops.items():
        with contextlib.suppress(RuntimeError):  # it is closed
            loop.call_soon_threadsafe(_give_in_loop, pairs)


def _give_in_loop(pairs: list[tuple[asyncio.Future[Any], Any]]) -> None:
    for future, given in pairs:
        if not future.done():
            future.set_result(given)


def _row(item: Item) -> bytes | SubcallError:
    """What follows the id; or why it cannot be sent."""
    chars, room = len(item.prompt) + len(item.text or ""), FRAME_BYTES_MAX - HEAD_BYTES
    if chars > ITEM_CHARS_MAX:
        return _too_large(f"{chars:,} characters", ITEM_CHARS_MAX)
    parts = [item.prompt, item.text] + ([] if item.repair is None else [item.repair])
    row = json.dumps(parts, ensure_ascii=False)[1:].encode(errors="replace")
    return row if len(row) <= room else _too_large(f"{len(row):,} bytes as JSON", room)


def _too_large(size: str, most: int) -> SubcallError:
    return SubcallError("too_large", f"The question has {size}, and may have {most:,}; cut the text into pieces.")
