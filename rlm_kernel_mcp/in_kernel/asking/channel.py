"""The kernel's end of the channel on which code asks the host: questions go out, answers come in, any thread waits.

Is: a socket that the host has passed, a thread that reads it and one that writes to it, both started with the first
question. Is not: a wall: code that finds the socket can write to it what it likes, and the host knows that.
Above: `calls.py`, `asking.py`, `state.py`, `in_kernel/channels/threads.py`. Below: `waiters.py`,
`items.py`, `frames.py`, `errors.py`, `questions_wire.py`.

Nothing here blocks who asks but the wait at a gate: a `send` in the thread of an event loop could not be interrupted.
What a thread asks it sends itself where that waits for nothing, and where it asks one thing it reads the answer itself:
handing either to another thread takes as long as all the rest.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
import threading
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from json.encoder import JSONEncoder
from typing import Any, Final, Protocol

from rlm_kernel_mcp.in_kernel.asking.errors import SubcallError
from rlm_kernel_mcp.in_kernel.asking.frames import Frame, Incoming, Outgoing, Row
from rlm_kernel_mcp.in_kernel.asking.items import Item, TextPipe, row_of, write_text
from rlm_kernel_mcp.in_kernel.asking.waiters import Gate, Waiting, give
from rlm_kernel_mcp.questions_wire import FRAME_BYTES, FRAME_ITEMS_MAX, Opts

OWN_THREADS: Final = ("questions in", "questions out")
"""Names of the two threads; `in_kernel/channels/threads.py` does not count them as the session's."""
_json: Final = JSONEncoder(ensure_ascii=False).encode
GONE: Final = "The host has closed the channel on which questions are asked; a new step may have another."


class Asks(Protocol):
    """How code's questions are answered: over a channel to the host, or from a notebook (`recorded.py`)."""

    def new_batch(self) -> int:
        """A number for the questions of one call."""

    def batch_of_turn(self) -> int:
        """The same for all that tasks ask in one turn of their loop."""

    def depth(self) -> int:
        """How many levels of sessions there may be below this one."""

    def ask(
        self, items: Iterable[Item], opts: Opts, asked: list[Waiting], whose: Gate | asyncio.AbstractEventLoop
    ) -> None:
        """Ask questions; who waits for them is put into `asked` in their order."""

    def question(self, kind: str, said: Callable[[int], Any]) -> Any:
        """Ask the host itself; `said` makes what it is asked of an id. Raises: SubcallError."""

    def cancel(self, asked: Iterable[Waiting]) -> None:
        """Nobody waits for these any more."""

    def cancel_soon(self, one: Waiting) -> None:
        """The same in an event loop's thread."""

    def missed(self, ids: Sequence[int], whose: Gate | asyncio.AbstractEventLoop) -> Waiting:
        """The answers to these did not have the schema that was asked for."""


class Channel:
    """One kernel's, `Asks`. Any thread may use it."""

    def __init__(self, descriptor: int, step_of: Callable[[], str]) -> None:
        """`step_of`: the `msg_id` of the request for which the calling thread or task works."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, fileno=descriptor)
        self._socket.settimeout(None)
        self._step_of = step_of
        self._ids, self._batches = itertools.count(1), itertools.count(1)
        self._waiting: dict[int, Waiting] = {}
        self._outgoing = Outgoing(self._socket)
        self._incoming = Incoming(self._socket, self._waiting, self._given)
        self._starting = threading.Lock()
        self._in_order = threading.Lock()
        """Held where ids are given out and sent: the host takes them in order alone."""
        self._threads: list[threading.Thread] = []
        self._is_begun = (threading.Lock(), threading.Lock())
        """Taken, and kept, by the thread that reads, and by the one that writes."""
        self._cancelled: dict[asyncio.AbstractEventLoop, list[Waiting]] = {}
        """By the loop whose thread alone touches its list; one that ends before its turn leaves the others theirs."""
        self._turn: tuple[asyncio.AbstractEventLoop, int] | None = None
        self._head: tuple[str, Opts, bytes] = ("", {"batch": 0}, b"")
        """Step and options of the questions that came last, and how their frame began: a loop has them all the time."""
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

    def depth(self) -> int:
        """As the host's `BudgetRow` has it. Raises: SubcallError."""
        return int(self.question("budget", lambda number: number)["depth"])

    def ask(
        self, items: Iterable[Item], opts: Opts, asked: list[Waiting], whose: Gate | asyncio.AbstractEventLoop
    ) -> None:
        """Send questions; who waits for them is put into `asked` in their order, also where this is interrupted.

        `whose`: where a thread waits for them, or the loop whose task does.
        """
        self._start()
        head = self._head_of(self._step_of(), opts)
        rows: list[tuple[Waiting, bytes]] = []
        size = 0
        for item in items:
            waiting, row = Waiting.of(whose), row_of(item)
            asked.append(waiting)
            if item.comes:
                waiting.text = item.text
            if isinstance(row, SubcallError):
                give([(waiting, row)])
                continue
            if len(rows) == FRAME_ITEMS_MAX or (rows and size + len(row) > FRAME_BYTES):
                self._send(head, rows, more=True)
                rows, size = [], 0
            rows.append((waiting, row))
            size += len(row)
        self._send(head, rows)
        # A child's thread may have something to do for the host before its answer comes.
        self._have_read(asked, whose if opts.get("kind") != "rlm" else None)

    def _head_of(self, step: str, opts: Opts) -> bytes:
        before, known, head = self._head
        if step != before or opts is not known:
            head = f'{{"ask":{{"step":{_json(step)},"opts":{_json(opts)},"items":['.encode()
            self._head = step, opts, head
        return head

    def _send(self, head: bytes, rows: list[tuple[Waiting, bytes]], *, more: bool = False) -> None:
        if not rows:
            return
        with self._in_order:
            numbered = [b"[%d,%b" % (self._await(waiting), row) for waiting, row in rows]
            frame = Frame(head, numbered, b'],"more":true}}' if more else b"]}}")
            if isinstance(rows[0][0].at, Gate):
                self._outgoing.send_at_once(frame)
            else:  # its loop is about to ask for its other tasks, and those go together
                self._outgoing.send(frame)
        self._end_if_closed(waiting for waiting, _ in rows)

    def _have_read(self, asked: Sequence[Waiting], whose: Gate | asyncio.AbstractEventLoop | None) -> None:
        """See that the answers are read: one that a thread waits for by that thread itself."""
        if isinstance(whose, Gate) and len(asked) == 1:
            whose.read = partial(self._incoming.read_own, asked[0].id)
        else:
            self._incoming.wanted()

    def _await(self, waiting: Waiting) -> int:
        waiting.id = next(self._ids)
        self._waiting[waiting.id] = waiting
        return waiting.id

    def question(self, kind: str, said: Callable[[int], Any]) -> Any:
        """Ask the host itself; `said` makes the frame's content of an id. Raises: SubcallError."""
        gate = Gate()
        waiting = self._begin(kind, said, gate)
        gate.wait()
        if isinstance(waiting.given, SubcallError):
            raise waiting.given
        return waiting.given

    def _begin(self, kind: str, said: Callable[[int], Any], whose: Gate | asyncio.AbstractEventLoop) -> Waiting:
        self._start()
        waiting = Waiting.of(whose)
        with self._in_order:
            self._outgoing.send_at_once(Frame(_json({kind: said(self._await(waiting))}).encode()))
        self._have_read([waiting], whose)
        self._end_if_closed([waiting])
        return waiting

    def cancel(self, asked: Iterable[Waiting]) -> None:
        """Nobody waits for these any more; one frame for those that have no answer yet."""
        ids = [one.id for one in asked if self._waiting.pop(one.id, None) is not None]
        for first in range(0, len(ids), 10_000):
            with self._in_order:
                self._outgoing.send(Frame(_json({"cancel": ids[first : first + 10_000]}).encode()))

    def cancel_soon(self, one: Waiting) -> None:
        """The same in an event loop's thread: one frame for all that are cancelled in one turn of the loop."""
        loop = asyncio.get_running_loop()
        if (cancelled := self._cancelled.get(loop)) is not None:
            cancelled.append(one)
        else:
            loop.call_soon(self._cancel_all, loop)  # first: an interrupt may come between the two
            self._cancelled[loop] = [one]

    def _cancel_all(self, loop: asyncio.AbstractEventLoop) -> None:
        self.cancel(self._cancelled.pop(loop, ()))

    def missed(self, ids: Sequence[int], whose: Gate | asyncio.AbstractEventLoop) -> Waiting:
        """Tell the host that the answers to these did not have the schema that was asked for.

        Who waits for its word knows that the step's account has it, which is closed with the step.
        """
        return self._begin("missed", lambda number: {"id": number, "of": list(ids)}, whose)

    def send_text(self, number: int, descriptor: int) -> None:
        """Have the thread that waits for an answer write its question's long text into a pipe. In the control thread.

        Raises: ValueError: nobody waits there, or its text has been sent.
        """
        pipe = TextPipe(descriptor)
        waiting = self._waiting.get(number)
        if waiting is None or waiting.text is None or not isinstance(waiting.at, Gate):
            pipe.close()
            raise ValueError("nobody waits for this one")
        text, waiting.text = waiting.text, None
        waiting.at.tell(partial(write_text, text, pipe))

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
        self._outgoing.write()
        self._close()

    def _read(self) -> None:
        try:
            self._incoming.read()
        finally:
            self._close()

    def leave(self) -> None:
        """There is another channel: let its reader, and not its writer, go once the host has closed this one."""
        self._incoming.leave()

    def _given(self, rows: Iterable[Row]) -> None:
        give(pair for row in rows if (pair := self._answered(*row)) is not None)

    def _answered(self, number: int, is_answer: bool | None, value: Any) -> tuple[Waiting, Any] | None:
        if is_answer is None:
            self._try(number, value)
            return None
        waiting = self._waiting.pop(number, None)
        if waiting is None:
            return None
        return waiting, value if is_answer else SubcallError(value["code"], value["message"])

    def _try(self, number: int, answer: str) -> None:
        """Have an answer on trial looked at by the thread that waits for it: a schema may run for minutes."""
        waiting = self._waiting.get(number)
        if waiting is not None and isinstance(at := waiting.at, Gate):
            at.tell(partial(self._look, number, at.look, answer))

    def _look(self, number: int, look: Callable[[str], str | None], answer: str) -> None:
        said = _json({"looked": [number, look(answer)]}).encode(errors="replace")
        with self._in_order:
            self._outgoing.send_at_once(Frame(said))

    def _close(self) -> None:
        self.closed = True
        self._end_if_closed(list(self._waiting.values()))

    def _end_if_closed(self, asked: Iterable[Waiting]) -> None:
        """Where nothing comes any more, say so.

        A thread says it of what it has just asked alone: an interrupt there costs no other one its word.
        """
        if self.closed:
            give((one, SubcallError("gone", GONE)) for one in asked if self._waiting.pop(one.id, None) is not None)
