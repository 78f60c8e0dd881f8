"""What a person asks of a session by a command: that its kernel ends, or is there again, or gives its files out.

Is: each of them, whoever uses the session. Is not: a program's own calls (`doors/registry_calls.py`), nor the commands
(`commands/kill.py`, `commands/resume.py`, `commands/files.py`). Above: `hosted_calls.py`. Below:
`session/idle_watch.py`, `session/scratch/files.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rlm_kernel_mcp.doors.door import Arguments
from rlm_kernel_mcp.errors import InvalidInput, SessionBusy, SessionElsewhere
from rlm_kernel_mcp.session.callers.caller import Caller
from rlm_kernel_mcp.session.idle_watch import end_for_a_person
from rlm_kernel_mcp.session.scratch import files
from rlm_kernel_mcp.session.scratch.reports import FilePart, ScratchFiles
from rlm_kernel_mcp.shielded import shielded

if TYPE_CHECKING:
    from rlm_kernel_mcp.session.registry import Registry

WHY: Final = "a person has ended it (`rlm-kernel-mcp kill`)"
END_S: Final = 60.0
"""How long the values of a session may take to be kept."""


async def end_kernel(registry: Registry, session_id: str, caller: Caller) -> None:
    """End a session's kernel and what runs in it, whoever uses it, and let the session go: its record has all of it.

    Raises:
        SessionNotFound: there is none. SessionBusy: another process has it and keeps it, or it answers a question of a
            step of another session.
    """
    session = await registry.handles.get(session_id, caller.roots)
    what = f"the end of {session_id}'s kernel"
    try:
        await shielded(end_for_a_person(session, WHY, registry.handles.let_go), what, within_s=END_S)
        await registry.handles.settled(session_id)
    except TimeoutError:
        raise SessionBusy(
            f"The values of session {session_id} were not kept within {END_S:.0f} s: the disk of the session store "
            "does not answer.",
            "Call this again later.",
        ) from None


async def reopen_kernel(registry: Registry, session_id: str, caller: Caller) -> None:
    """See that a session has its kernel, with what can be restored; then the record has what came back.

    What is lost is told with the next step all the same.

    Raises:
        SessionNotFound: there is none. SessionFinalized: it needs no kernel any more. SessionBusy: no slot is free, or
            another process has it. KernelDied, KernelStartFailed, SandboxUnavailable: none could be started.
    """
    async with registry.handles.in_use(session_id, caller) as session:
        if not session.running:
            session.require_ready()
            async with session.kernel.reading():
                await session.journal.settled()


async def list_files(registry: Registry, session_id: str, caller: Caller) -> ScratchFiles:
    """The files in a session's scratch directory, by its kernel's word.

    Raises:
        SessionElsewhere: this host does not have it. KernelDied: it has no kernel, or that does not answer.
    """
    _require_here(registry, session_id)
    async with registry.handles.in_use(session_id, caller) as session:
        return await files.list_files(session.kernel, session_id)


async def file_part(registry: Registry, session_id: str, caller: Caller, arguments: Arguments) -> FilePart:
    """Some of one of them. Raises: InvalidInput: it names none; and as `list_files`."""
    name, offset = arguments.get("name"), arguments.get("offset")
    if not isinstance(name, str) or not 0 < len(name) <= files.NAME_CHARS_MAX:
        raise InvalidInput(f"name must be the name of a file, of at most {files.NAME_CHARS_MAX:,} characters.")
    if type(offset) is not int or not 0 <= offset <= files.OFFSET_MAX:
        raise InvalidInput(f"offset must be a number of bytes from 0 to {files.OFFSET_MAX:,}.")
    _require_here(registry, session_id)
    async with registry.handles.in_use(session_id, caller) as session:
        return await files.read_part(session.kernel, session_id, name, offset)


def _require_here(registry: Registry, session_id: str) -> None:
    """Raise SessionElsewhere of a session that would have to come here first: its files would end with its kernel."""
    if not registry.has(session_id):
        raise SessionElsewhere(
            f"Session {session_id} is not in the host that was asked, and its files would end with its kernel if it "
            "came here.",
            "Call this with the environment of the client that uses it (RLM_STATE_DIR, the same installation).",
        )
