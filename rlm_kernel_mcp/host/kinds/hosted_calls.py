"""The calls of one program in a host, each to whichever registry has its session.

Is: where its sessions are, what is under way in them, and what its end leaves: the kernels of its sessions end, as with
a process of its own, but for those that others use just then. Is not: what a call does (`doors/registry_calls.py`), or
how it came (`conversation.py`). Above: `conversation.py`, `programs.py`. Below: `doors/registry_calls.py`, `client.py`.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from rlm_kernel_mcp.doors.door import Arguments
from rlm_kernel_mcp.doors.registry_calls import RegistryCalls
from rlm_kernel_mcp.errors import InvalidInput
from rlm_kernel_mcp.host.kinds.client import Registries
from rlm_kernel_mcp.server.argument_types import SESSION_ID_CHARS_MAX
from rlm_kernel_mcp.session.callers.caller import Caller
from rlm_kernel_mcp.session.context_reports import LoadedSoFar
from rlm_kernel_mcp.session.reports import Opened
from rlm_kernel_mcp.session.scratch.reports import FilePart, ScratchFiles
from rlm_kernel_mcp.settings import Settings

if TYPE_CHECKING:
    from rlm_kernel_mcp.session.registry import Registry

log = logging.getLogger(__name__)

USES: Final = ("run", "get", "add_context", "finalize", "interrupt", "answer_questions")
"""Calls that count as a session's own (`Session.calls`)."""
RUNS: Final = ("run",)


class HostedCalls(RegistryCalls):
    """The calls of one program, each to the registry that has its session."""

    caller: Caller

    def __init__(self, registries: Registries, settings: Settings, caller: Caller) -> None:
        self._registries = registries
        self._settings = settings
        self.caller = caller
        self._used: dict[str, Registry] = {}
        """Where each session was when it was used last."""
        self._calls = Counter[str]()
        self._runs = Counter[str]()
        """Its calls that use a session just now, by session, and those of them that run a step."""

    async def registry(self, session_id: str | None = None) -> Registry:
        if session_id is None:
            return await self._registries.registry_for(self._settings)
        registry = self._used[session_id] = await self._of(session_id)
        return registry

    async def _of(self, session_id: str) -> Registry:
        """That of a session, which does not become one that the program has used."""
        return await self._registries.of_session(self._settings, session_id)

    async def init_context(self, arguments: Arguments) -> Opened:
        registry = await self.registry()
        opened = await super().init_context(arguments)
        self._used[opened.session_id] = registry
        return opened

    @contextmanager
    def under_way(self, call: object, session_id: object) -> Iterator[None]:
        """Entered during a call. Raises: InvalidInput: what it names is no handle."""
        name = session_id if isinstance(session_id, str) else ""
        if len(name) > SESSION_ID_CHARS_MAX:
            raise InvalidInput(f"session_id has {len(name):,} characters; a handle has {SESSION_ID_CHARS_MAX} at most.")
        self._count(call, name, 1)
        try:
            yield
        finally:
            self._count(call, name, -1)
            registry = self._used.get(name)
            if registry is not None and not self._calls[name] and not registry.has(name):
                del self._used[name]  # there was none, or its final answer was taken

    def _count(self, call: object, name: str, more: int) -> None:
        for counts, counted in ((self._calls, USES), (self._runs, RUNS)):
            if call in counted:
                counts[name] += more
            if not counts[name]:
                del counts[name]

    async def end_kernel(self, session_id: str) -> None:
        """End a session's kernel, whoever uses it: a person asks for that by a command."""
        from rlm_kernel_mcp.host.kinds.persons import end_kernel  # it brings the kernels

        await end_kernel(await self._of(session_id), session_id, self.caller)

    async def reopen_kernel(self, session_id: str) -> None:
        """See that a session has its kernel, also when this program has gone: so it is none that it has used."""
        from rlm_kernel_mcp.host.kinds.persons import reopen_kernel  # as above

        await reopen_kernel(await self._of(session_id), session_id, self.caller)

    async def loaded_so_far(self, arguments: Arguments) -> LoadedSoFar:
        """How far what a session's steps wait for is loaded, in whichever registry it was used last."""
        session_id = session_id_of(arguments)
        return LoadedSoFar(*((await self._of(session_id)).load_progress(session_id) or ()))

    async def files(self, arguments: Arguments) -> ScratchFiles:
        """What a session's code has written into its scratch directory."""
        from rlm_kernel_mcp.host.kinds.persons import list_files  # as above

        session_id = session_id_of(arguments)
        return await list_files(await self._of(session_id), session_id, self.caller)

    async def file_part(self, arguments: Arguments) -> FilePart:
        """Some of one of these files."""
        from rlm_kernel_mcp.host.kinds.persons import file_part  # as above

        session_id = session_id_of(arguments)
        return await file_part(await self._of(session_id), session_id, self.caller, arguments)

    async def let_go(self, session_id: str) -> None:
        """End the kernel of a session that it opened, unless somebody else is using it."""
        if registry := self._used.pop(session_id, None):
            calls, runs = self._calls[session_id], self._runs[session_id] > 0
            await registry.let_go(session_id, self.caller, calls, runs=runs)

    async def let_all_go(self) -> None:
        """The same of all."""
        ends = [self.let_go(session_id) for session_id in self._used]
        for problem in await asyncio.gather(*ends, return_exceptions=True):
            if isinstance(problem, BaseException):
                log.error("a program's session could not be let go", exc_info=problem)


def session_id_of(arguments: Arguments) -> str:
    """Raises: InvalidInput: it is no handle."""
    session_id = arguments.get("session_id")
    if not isinstance(session_id, str):
        raise InvalidInput("session_id must be text.")
    return session_id
