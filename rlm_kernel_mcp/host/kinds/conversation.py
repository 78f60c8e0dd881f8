"""The calls of one program over its connection: read, answered at the same time, and bounded.

Is: what is under way for a program, how much of it is kept for one that does not read, and the end with its process.
Is not: what a call does (`hosted_calls.py`), nor packets (`doors/wire/`). Above: `programs.py`. Below:
`hosted_calls.py`, `doors/wire/packets.py`, `entry/closing.py`.

Nobody else waits for a program: its output is sent as it reads, and of what it leaves lying `OUTPUT_BYTES_MAX` are
kept, or one piece; the rest of that stream it finds in its step's report. Large answers are made a few at a time, and
no further call is read while calls and answers that wait for it have more than `TEXT_BYTES_MAX`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, Final

from rlm_kernel_mcp.doors.door import Arguments, Stream, Tell
from rlm_kernel_mcp.doors.wire.messages import (
    CALL_BYTES_MAX,
    HEAD_ITEMS_MAX,
    TEXT_BYTES_MAX,
    Head,
    arguments_of,
    error_said,
    packed,
    said_at_once,
    unpacked,
)
from rlm_kernel_mcp.doors.wire.packets import BadMessage, Outbox, Packets
from rlm_kernel_mcp.doors.wire.values import codec
from rlm_kernel_mcp.errors import InternalError, InvalidInput, RlmError
from rlm_kernel_mcp.host.entry.closing import CLOSING
from rlm_kernel_mcp.host.kinds.calling import RemoteFunctions, names_of
from rlm_kernel_mcp.host.kinds.hosted_calls import HostedCalls, session_id_of
from rlm_kernel_mcp.session.context_reports import LoadedSoFar
from rlm_kernel_mcp.session.contexts.given import Added
from rlm_kernel_mcp.session.reports import FinalReport, Opened, StepReport, VariableSlice
from rlm_kernel_mcp.session.scratch.reports import FilePart, ScratchFiles
from rlm_kernel_mcp.session.trace.reports import TraceEvent
from rlm_kernel_mcp.shielded import shielded

log = logging.getLogger(__name__)

CALLS_MAX: Final = 1_024
REFUSALS_MAX: Final = 64
"""Calls above that, which are refused; where so many of these are not read yet, no more are read."""
LARGE: Final = ("get", "finalize", "answer", "trace", "file_part")
LARGE_AT_ONCE: Final = 4
"""Answers of megabytes that are made or wait to be read."""
OUTPUT_BYTES_MAX: Final = 4 << 20
PIECE_BYTES: Final = 200
"""What a piece of output takes beside its text."""
TEXT_CHARS_MAX: Final = 4_000_000
END_S: Final = 30.0
REPORTS: Final[Mapping[str, type]] = {
    "init_context": Opened,
    "add_context": Added,
    "answer_questions": StepReport,
    "finalize": FinalReport,
    "files": ScratchFiles,
    "file_part": FilePart,
    "loaded_so_far": LoadedSoFar,
}
"""Calls that take arguments alone, and what they give."""
Turn = Callable[[], Awaitable[None]]
OF_A_SESSION: Final = ("interrupt", "let_go", "end_kernel", "reopen_kernel")
"""Calls that take a handle and give nothing."""


class Conversation:
    """One program, until it or its connection ends."""

    def __init__(self, connection: socket.socket, calls: HostedCalls) -> None:
        self._packets = Packets(connection, CALL_BYTES_MAX, CLOSING.of)
        self._packets.take = self._taken
        self._calls = calls
        self._under_way: dict[int, asyncio.Task[None]] = {}
        self._bytes_under_way = 0
        """Of calls that are not answered, and of answers that are not sent."""
        self._freed = asyncio.Event()
        self._large = asyncio.Semaphore(LARGE_AT_ONCE)
        self._functions: dict[int, RemoteFunctions] = {}
        """Of the program, by the number of the call that runs a step."""
        self._outbox = Outbox(self._packets)
        self._unread_bytes = 0
        """Of output that is not sent yet."""

    async def serve(self, pidfd: int) -> None:
        """Answer until the program ends, or says what is no message. `pidfd`: of its process.

        A child that was forked may have the connection too, and is not whom the door let in.
        """
        loop, gone = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(pidfd, gone.set)
        tasks = [
            loop.create_task(one, name="a program's calls")
            for one in (self._receive(), self._outbox.run(), gone.wait())
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            loop.remove_reader(pidfd)
            await shielded(self._end(tasks), "the end of what a program has begun", within_s=END_S)

    async def _end(self, tasks: list[asyncio.Task[Any]]) -> None:
        for task in (ending := [*tasks, *self._under_way.values()]):
            task.cancel()
        await asyncio.wait(ending)
        for task in tasks:
            if not task.cancelled() and (error := task.exception()) is not None:
                log.info("a program's connection ended: %r", error)
        await self._calls.let_all_go()

    async def _receive(self) -> None:
        while parts := await self._packets.receive():
            await self._room()  # an answer may have been made since
            size = sum(map(len, parts))
            said, texts = await unpacked(parts, HEAD_ITEMS_MAX)
            del parts
            if "cancel" in said:
                if (task := self._under_way.get(_number(said, "cancel"))) is not None:
                    task.cancel()
                continue
            number = _number(said, "id")
            if "gave" in said:
                if (functions := self._functions.get(number)) is not None:
                    functions.gave(said, texts)
                continue
            if number in self._under_way:
                raise BadMessage(f"call {number} is under way already")
            self._follow(number, size, self._answer(number, said, arguments_of(said, texts)))
            del said, texts
            await self._room()

    def _taken(self, packet: bytes) -> bool:
        """What a function gave is taken as its packet comes: somebody waits for that, and it is no further call."""
        said = said_at_once(packet, b'"gave":')
        number = None if said is None else said.get("id")
        if said is None or type(number) is not int or "cancel" in said or "gave" not in said:
            return False
        if (functions := self._functions.get(number)) is not None:
            functions.gave(said, ())
        return True

    async def _room(self) -> None:
        """Wait until the program has read what it was answered, where that and its calls are too much."""
        while self._bytes_under_way > TEXT_BYTES_MAX or len(self._under_way) > CALLS_MAX + REFUSALS_MAX:
            self._freed.clear()
            await self._freed.wait()

    def _follow(self, number: int, size: int, work: Coroutine[Any, Any, None]) -> None:
        """Have a call answered, whatever becomes of it."""
        task = asyncio.get_running_loop().create_task(work, name="a program's call")
        self._under_way[number] = task
        self._bytes_under_way += size

        def ended(task: asyncio.Task[None]) -> None:
            del self._under_way[number]
            self._bytes_under_way -= size
            self._freed.set()
            if not task.cancelled() and (error := task.exception()) is not None:
                log.error("a program's call failed", exc_info=error)
                fault = InternalError("The call failed inside the host; its log has the details.")
                self._follow(number, size, self._say(packed({"id": number, "error": error_said(fault)})))

        task.add_done_callback(ended)

    async def _answer(self, number: int, said: Head, arguments: Arguments) -> None:
        """Do what a call asks, and return when its answer was read."""
        async with contextlib.AsyncExitStack() as held:

            async def turn() -> None:
                await held.enter_async_context(self._large)

            if said.get("call") in LARGE:
                await turn()
            await self._say(await self._answered(number, said, arguments, turn))

    async def _answered(self, number: int, said: Head, arguments: Arguments, turn: Turn) -> list[bytes]:
        """The answer to a call, as it is sent: of what the call gave nothing stays beside it."""
        texts = list[str]()
        try:
            if len(self._under_way) > CALLS_MAX:
                raise InvalidInput(f"{CALLS_MAX:,} calls of this program are under way, and no more are taken.")
            with self._calls.under_way(said.get("call"), arguments.get("session_id")):
                kind, result = await self._done(number, said, arguments, turn)
            return packed({"id": number, "result": codec(kind).write(result, texts)}, texts)
        except RlmError as error:
            return packed({"id": number, "error": error_said(error)})

    async def _say(self, message: Sequence[bytes]) -> None:
        """Send a message once all before it are, and return when it is."""
        is_sent, size = asyncio.Event(), sum(map(len, message))

        def sent() -> None:  # also of a call that was cancelled meanwhile: its answer stays in its place
            self._bytes_under_way -= size
            self._freed.set()
            is_sent.set()

        self._bytes_under_way += size
        self._outbox.put(message, sent)
        await is_sent.wait()

    async def _done(self, number: int, said: Head, arguments: Arguments, turn: Turn) -> tuple[Any, Any]:
        """What a call gives, and of which kind that is. `turn`: is awaited where that is large after a wait."""
        calls, call = self._calls, str(said.get("call"))
        if call in REPORTS:
            after_a_wait = (turn,) if call == "answer_questions" else ()  # the wait itself is nobody's turn
            return REPORTS[call], await getattr(calls, call)(arguments, *after_a_wait)
        if call in OF_A_SESSION:
            return None, await getattr(calls, call)(session_id_of(arguments))
        match call:
            case "run":
                return StepReport, await self._run(number, said, arguments)
            case "get":
                limit = min(_argument(said, "limit"), TEXT_CHARS_MAX)
                return VariableSlice, await calls.get(arguments, limit, as_text=said.get("as_text") is True)
            case "answer" | "trace":
                return await self._part(call, arguments, _argument(said, "offset"))
            case "open":
                await calls.registry()
            case "close":
                await calls.let_all_go()
            case _:
                raise InvalidInput(f"There is no call {call!r}.")
        return None, None

    async def _run(self, number: int, said: Head, arguments: Arguments) -> StepReport:
        tell = self._teller(number) if said.get("tells") else None
        if (names := names_of(said)) is None:
            return await self._calls.run(arguments, tell)
        callee = self._functions[number] = RemoteFunctions(number, names, self._outbox.put)
        try:
            return await self._calls.run(arguments, tell, callee)
        finally:
            del self._functions[number]

    async def _part(self, call: str, arguments: Arguments, offset: int) -> tuple[Any, Any]:
        """As `_done`, of what is given part by part."""
        if call == "answer":
            return str, await self._calls.answer_part(session_id_of(arguments), offset)
        return tuple[list[TraceEvent], int | None], await self._calls.trace_page(arguments, offset)

    def _teller(self, number: int) -> Tell:
        """Tells a step's output, as far as the program reads it; of a stream that it leaves lying nothing more."""
        behind = set[Stream]()

        def tell(stream: Stream, text: str) -> None:
            texts = list[str]()
            head = {"id": number, "out": stream, "text": codec(str).write(text, texts)}
            message = packed(head, texts)
            size = sum(map(len, message)) + PIECE_BYTES
            if stream in behind or (self._unread_bytes and self._unread_bytes + size > OUTPUT_BYTES_MAX):
                behind.add(stream)
                return

            def sent() -> None:
                self._unread_bytes -= size

            self._unread_bytes += size
            self._outbox.put(message, sent)

        return tell


def _number(said: Head, name: str) -> int:
    """Raises: BadMessage: it is none."""
    number = said.get(name)
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < 1 << 62:
        raise BadMessage(f"{name} is no number")
    return number


def _argument(said: Head, name: str) -> int:
    """Raises: InvalidInput: it is no number."""
    try:
        return _number(said, name)
    except BadMessage as error:
        raise InvalidInput(f"{error}.") from None
