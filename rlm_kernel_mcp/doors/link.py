"""One connection of a program to a host: calls and their answers, each by its number.

Is: `Door`, as long as this one host lives; what was asked when it ended is answered by `HostEnded`. Is not: how it was
connected (`knocking.py`), or what follows its end (`through_host.py`). Above: `through_host.py`. Below: `wire/`,
`calling/linked.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from rlm_kernel_mcp.doors.calling.linked import LinkedCalls
from rlm_kernel_mcp.doors.door import Arguments, Stream, Tell
from rlm_kernel_mcp.doors.wire.messages import (
    ANSWER_BYTES_MAX,
    HEAD_BYTES_MAX,
    HEAD_ITEMS_MAX,
    TEXT_BYTES_MAX,
    Head,
    call_of,
    error_heard,
    packed,
    said_at_once,
    unpacked,
)
from rlm_kernel_mcp.doors.wire.packets import Outbox, Packets
from rlm_kernel_mcp.doors.wire.values import codec
from rlm_kernel_mcp.errors import HostEnded, InvalidInput
from rlm_kernel_mcp.session.context_reports import LoadedSoFar
from rlm_kernel_mcp.session.contexts.given import Added
from rlm_kernel_mcp.session.reports import FinalReport, Opened, StepReport, VariableSlice
from rlm_kernel_mcp.session.scratch.reports import FilePart, ScratchFiles
from rlm_kernel_mcp.session.trace.reports import TraceEvent
from rlm_kernel_mcp.shielded import shielded
from rlm_kernel_mcp.text.json_items import is_crowded

if TYPE_CHECKING:
    from rlm_kernel_mcp.session.functions.callee import Callee

log = logging.getLogger(__name__)
CLOSE_S: Final = 15.0
STREAMS: Final[tuple[Stream, ...]] = ("stdout", "stderr")


@dataclass(slots=True)
class _Asked:
    answer: asyncio.Future[tuple[Head, list[str]]]
    tell: Tell | None
    calls: LinkedCalls | None = None
    """Of the functions of the program that runs a step."""


class Link:
    """The connection, from the program's admission on."""

    def __init__(self, connection: socket.socket) -> None:
        """`connection` is the link's from now on."""
        loop = asyncio.get_running_loop()
        self._connection = connection
        self._packets = Packets(connection, ANSWER_BYTES_MAX)
        self._numbers = itertools.count(1)
        self._packets.take = self._taken
        self._asked: dict[int, _Asked] = {}
        self._outbox = Outbox(self._packets)
        self._tasks = [loop.create_task(one, name="a host's answers") for one in (self._hear(), self._outbox.run())]
        for task in self._tasks:
            task.add_done_callback(self._end)
        self._is_over = False

    @property
    def is_over(self) -> bool:
        """Whether the host, or the connection, has ended, though nobody has been told yet."""
        if not self._is_over and not self._packets.is_ahead:  # an answer may have come just before the end
            with contextlib.suppress(BlockingIOError):
                if not self._seen():
                    self._end()
        return self._is_over

    def _seen(self) -> bytes:
        """What there is to be heard, as far as that tells the end; at the end there is nothing."""
        try:
            return self._connection.recv(1, socket.MSG_PEEK)
        except ConnectionError:
            return b""

    async def open(self) -> None:
        await self._ask(None, "open", {})

    async def init_context(self, arguments: Arguments) -> Opened:
        opened: Opened = await self._ask(Opened, "init_context", arguments)
        return opened

    async def add_context(self, arguments: Arguments) -> Added:
        added: Added = await self._ask(Added, "add_context", arguments)
        return added

    async def run(self, arguments: Arguments, tell: Tell | None, callee: Callee | None = None) -> StepReport:
        told = dict.fromkeys(STREAMS, 0)

        def count(stream: Stream, text: str) -> None:
            told[stream] += len(text)
            if tell is not None:
                tell(stream, text)

        has = {} if callee is None else {"functions": list(callee.names)}
        counts = None if tell is None else count
        report: StepReport = await self._ask(
            StepReport, "run", arguments, counts, callee, tells=tell is not None, **has
        )
        if tell is not None:
            for stream in STREAMS:  # of what came faster than it was read the rest is not told before the end
                if rest := getattr(report, stream)[told[stream] :]:
                    tell(stream, rest)
        return report

    async def answer_questions(self, arguments: Arguments) -> StepReport:
        report: StepReport = await self._ask(StepReport, "answer_questions", arguments)
        return report

    async def interrupt(self, session_id: str) -> None:
        await self._ask(None, "interrupt", {"session_id": session_id})

    async def get(self, arguments: Arguments, limit: int, *, as_text: bool) -> VariableSlice:
        part: VariableSlice = await self._ask(VariableSlice, "get", arguments, limit=limit, as_text=as_text)
        return part

    async def finalize(self, arguments: Arguments) -> FinalReport:
        report: FinalReport = await self._ask(FinalReport, "finalize", arguments)
        return report

    async def answer_part(self, session_id: str, offset: int) -> str:
        part: str = await self._ask(str, "answer", {"session_id": session_id}, offset=offset)
        return part

    async def trace(self, arguments: Arguments) -> Sequence[TraceEvent]:
        events = list[TraceEvent]()
        offset: int | None = 0
        while offset is not None:
            page, offset = await self._ask(tuple[list[TraceEvent], int | None], "trace", arguments, offset=offset)
            events += page
        return events

    async def let_go(self, session_id: str) -> None:
        await self._ask(None, "let_go", {"session_id": session_id})

    async def end_kernel(self, session_id: str) -> None:
        """End a session's kernel, whoever uses it; its values are kept."""
        await self._ask(None, "end_kernel", {"session_id": session_id})

    async def reopen_kernel(self, session_id: str) -> None:
        """See that a session has its kernel, which stays when this connection ends."""
        await self._ask(None, "reopen_kernel", {"session_id": session_id})

    async def loaded_so_far(self, session_id: str) -> LoadedSoFar:
        """How far what a session's steps wait for is loaded."""
        found: LoadedSoFar = await self._ask(LoadedSoFar, "loaded_so_far", {"session_id": session_id})
        return found

    async def files(self, session_id: str) -> ScratchFiles:
        """What a session's code has written into its scratch directory."""
        found: ScratchFiles = await self._ask(ScratchFiles, "files", {"session_id": session_id})
        return found

    async def file_part(self, session_id: str, name: str, offset: int) -> FilePart:
        """Some of one of these files, from a byte on."""
        asked = {"session_id": session_id, "name": name, "offset": offset}
        part: FilePart = await self._ask(FilePart, "file_part", asked)
        return part

    async def close(self) -> None:
        """End the sessions that it has opened, and the connection."""
        if not self.is_over:
            await shielded(self._close(), "the end of the sessions in a host", within_s=CLOSE_S)

    async def _close(self) -> None:
        try:
            await self._ask(None, "close", {})
        except HostEnded:
            pass  # and all of them with it
        finally:
            self._end()

    async def _ask(
        self,
        kind: Any,
        call: str,
        arguments: Mapping[str, Any],
        tell: Tell | None = None,
        callee: Callee | None = None,
        **more: object,
    ) -> Any:
        """Its answer, as a value of that kind. Where this wait is cancelled, so is the call."""
        if self.is_over:
            raise _ended(call)
        number = next(self._numbers)
        calls = None if callee is None else LinkedCalls(callee, self._outbox)
        asked = self._asked[number] = _Asked(asyncio.get_running_loop().create_future(), tell, calls)
        try:
            self._outbox.put(_within_bounds(number, call, arguments, more))
            said, texts = await asked.answer
        except asyncio.CancelledError:
            self._outbox.put(packed({"cancel": number}))
            raise
        except ConnectionError:
            raise _ended(call) from None
        finally:
            del self._asked[number]
            if calls is not None:
                calls.drop_all()
        if "error" in said:
            raise error_heard(said["error"])
        return None if kind is None else codec(kind).read(said["result"], texts)

    async def _hear(self) -> None:
        while parts := await self._packets.receive():
            said, texts = await unpacked(parts)
            asked = self._asked.get(said["id"])  # of a call that was cancelled nobody waits for the answer
            if asked is None:
                continue
            if asked.calls is not None and ("call" in said or "drop" in said):
                asked.calls.heard(said, texts)
            elif "out" in said:
                if asked.tell is not None:
                    asked.tell(said["out"], codec(str).read(said["text"], texts))
            elif not asked.answer.done():
                asked.answer.set_result((said, texts))

    def _taken(self, packet: bytes) -> bool:
        """A call of a function is made as its packet comes: somebody waits for it, and a task's turn takes long."""
        said = said_at_once(packet, b'"call":')
        asked = None if said is None else self._asked.get(said.get("id", 0))
        if said is None or asked is None or asked.calls is None or "call" not in said:
            return False
        asked.calls.heard(said, ())
        return True

    def _end(self, ended: asyncio.Task[None] | None = None) -> None:
        """The host has ended, or we have: nothing will be answered any more."""
        if ended is not None and not ended.cancelled() and (error := ended.exception()) is not None:
            level = logging.DEBUG if isinstance(error, OSError) else logging.ERROR
            log.log(level, "the connection to the host is of no use any more", exc_info=error)
        if self._is_over:
            return
        self._is_over = True
        for task in self._tasks:
            task.cancel()
        self._outbox.let_go()
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)  # a child that was forked may have it too
        self._connection.close()
        for asked in self._asked.values():
            if not asked.answer.done():
                asked.answer.set_exception(ConnectionResetError())


def _ended(call: str) -> HostEnded:
    return HostEnded(f"The host ended before it answered {call}: a step that was running may have run.")


def _within_bounds(number: int, call: str, arguments: Arguments, more: Mapping[str, object]) -> list[bytes]:
    """A call as it is sent. Raises: InvalidInput: the host would not take it."""
    try:
        head, *texts = call_of(number, call, arguments, **more)
    except (TypeError, ValueError, RecursionError) as error:
        name = next((name for name, value in arguments.items() if not _is_json(value)), "(none by itself)")
        raise InvalidInput(f"The argument {name} of {call} cannot be said to a host: {error}.") from None
    size = sum(map(len, texts))
    if size > TEXT_BYTES_MAX:
        raise InvalidInput(
            f"The texts of {call} have {size:,} bytes as UTF-8; a host takes at most {TEXT_BYTES_MAX:,} at once.",
            'Write them to a file and give its path, or have the session in this process: host="off".',
        )
    if len(head) > HEAD_BYTES_MAX:
        raise InvalidInput(f"The other arguments of {call} have {len(head):,} bytes; {HEAD_BYTES_MAX:,} are taken.")
    if is_crowded(head, HEAD_ITEMS_MAX):
        raise InvalidInput(
            f"The other arguments of {call} have more than {HEAD_ITEMS_MAX:,} items (commas and brackets outside of "
            "texts), and no more are taken.",
            "Give fewer; one pattern stands for many paths.",
        )
    return [head, *texts]


def _is_json(value: object) -> bool:
    try:
        packed({"": value})
    except (TypeError, ValueError, RecursionError):
        return False
    return True
