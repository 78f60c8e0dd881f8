"""A program's sessions in the host of its user, which its threads, an agent and that one's sub-agents share.

Is: `Door`, over one host after another; or, where none can be had and that will do, in this process; and the choice of
a place, which may be a cluster. Is not: one connection (`link.py`), or how it comes about (`knocking.py`). Above:
`api.py`. Below: `link.py`, `knocking.py`, `in_process.py`.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final, Literal

from rlm_kernel_mcp.doors.door import Arguments, Door, Tell
from rlm_kernel_mcp.doors.in_process import InProcess
from rlm_kernel_mcp.doors.knocking import attached
from rlm_kernel_mcp.doors.link import Link
from rlm_kernel_mcp.doors.loop_thread import REOPEN
from rlm_kernel_mcp.doors.program import Program
from rlm_kernel_mcp.errors import HostUnavailable, InvalidInput
from rlm_kernel_mcp.front.front import NoHost
from rlm_kernel_mcp.session.contexts.given import Added
from rlm_kernel_mcp.session.reports import FinalReport, Opened, StepReport, VariableSlice
from rlm_kernel_mcp.session.trace.reports import TraceEvent
from rlm_kernel_mcp.settings import ENTRANCE
from rlm_kernel_mcp.shielded import made_in_thread

if TYPE_CHECKING:
    from rlm_kernel_mcp.session.functions.callee import Callee

log = logging.getLogger(__name__)

Host = Literal["auto", "required", "off"]
HOSTS: Final = ("auto", "required", "off")

Attach = Callable[[Program], socket.socket]

_said = set[str]()
"""Why there was no host, which is said once in a process."""


def door_of(host: Host, env: Mapping[str, str] | None, cluster: str | None = None) -> Door:
    """The place for sessions that a program asks for. Raises: InvalidInput: there is no such place."""
    if host not in HOSTS:
        raise InvalidInput(f"host={host!r} is not known; it is one of {', '.join(map(repr, HOSTS))}.")
    asked = {**os.environ, **(env or {})}
    if where := _cluster_of(cluster, asked):
        door: Door = importlib.import_module(ENTRANCE).door(where, env)
        return door
    is_own = asked.get("RLM_HOST") == "off" or asked.get("RLM_SANDBOX_MODE") == "container"  # as a front has it
    if host == "off" or (host == "auto" and is_own):
        return InProcess(env)
    return ThroughHost(env, or_here=host == "auto")


def _cluster_of(said: str | None, environ: Mapping[str, str]) -> str:
    """Which cluster a program wants; what it says goes before its environment; empty: none. Raises: InvalidInput."""
    found = environ.get("RLM_CLUSTER", "") if said is None else said
    if said == "" or not isinstance(found, str):
        raise InvalidInput(f'cluster={said!r} is none: it is "auto", the address of one, or "off".')
    return "" if found == "off" else found


class ThroughHost:
    """`Door`: sessions in a host, which goes on with another one where that ends."""

    def __init__(
        self, env: Mapping[str, str] | None = None, *, or_here: bool = False, attach: Attach = attached
    ) -> None:
        """`env`: settings (`RLM_...`) that go before those of the environment.

        `or_here`: have them in this process where no host can be had. `attach`: connects to a host, in a thread.
        """
        self._env = dict(env or {})
        self._or_here = or_here
        self._attach = attach
        self._program: Program | None = None
        self._place: Link | InProcess | None = None
        self._turn = asyncio.Lock()

    async def open(self) -> None:
        if self._program is None:
            self._program = Program.of(self._env)
        await (await self._door()).open()

    async def _door(self) -> Link | InProcess:
        """Where the next call goes. Raises: HostUnavailable; InvalidInput: it is closed; as the opening of a place."""
        async with self._turn:
            if self._program is None:
                raise InvalidInput("The session is closed.", REOPEN)
            if self._place is None or (isinstance(self._place, Link) and self._place.is_over):
                self._place = await self._found(self._program)
            return self._place

    async def _found(self, program: Program) -> Link | InProcess:
        try:
            if not program.opened:
                program.open_directories()
            return Link(await made_in_thread(partial(self._attach, program), socket.socket.close))
        except (NoHost, OSError, ValueError) as error:
            why = f"{error}"
            if not self._or_here:
                raise HostUnavailable(f"No host can be had for this program: {why}.") from None
        if why not in _said:
            _said.add(why)
            log.warning("sessions are in this process, without a host: %s", why)
        here = InProcess(program=program)
        await here.open()
        return here

    async def init_context(self, arguments: Arguments) -> Opened:
        return await (await self._door()).init_context(arguments)

    async def add_context(self, arguments: Arguments) -> Added:
        return await (await self._door()).add_context(arguments)

    async def run(self, arguments: Arguments, tell: Tell | None, callee: Callee | None = None) -> StepReport:
        return await (await self._door()).run(arguments, tell, callee)

    async def answer_questions(self, arguments: Arguments) -> StepReport:
        return await (await self._door()).answer_questions(arguments)

    async def interrupt(self, session_id: str) -> None:
        await (await self._door()).interrupt(session_id)

    async def get(self, arguments: Arguments, limit: int, *, as_text: bool) -> VariableSlice:
        return await (await self._door()).get(arguments, limit, as_text=as_text)

    async def finalize(self, arguments: Arguments) -> FinalReport:
        return await (await self._door()).finalize(arguments)

    async def answer_part(self, session_id: str, offset: int) -> str:
        return await (await self._door()).answer_part(session_id, offset)

    async def trace(self, arguments: Arguments) -> Sequence[TraceEvent]:
        return await (await self._door()).trace(arguments)

    async def let_go(self, session_id: str) -> None:
        place = self._place
        if place is not None and not (isinstance(place, Link) and place.is_over):  # what has ended has let it go
            await place.let_go(session_id)

    async def close(self) -> None:
        place = self._leave()
        if place is not None:
            await place.close()

    def _leave(self) -> Link | InProcess | None:
        program, place, self._program, self._place = self._program, self._place, None, None
        if program is not None:
            program.close()
        return place
