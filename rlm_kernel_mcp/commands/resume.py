"""`rlm-kernel-mcp resume`: the kernel of a session that has none is started again, and what came back is said.

Is: the request to the host, and what the record then has of the restore. Is not: the restore itself
(`session/kernels/recovery.py`), nor its account to the agent, which gets that with its next step all the same. Above:
`cli.py`. Below: `looking/live.py`, `looking/at_host.py`, `showing/progress.py`, `server/pages/facts.py`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from rlm_kernel_mcp.commands.looking.at_host import ask_host
from rlm_kernel_mcp.commands.looking.live import find_session, opened_store
from rlm_kernel_mcp.commands.showing.progress import CONTEXT_BYTES, shown_while
from rlm_kernel_mcp.doors.link import Link
from rlm_kernel_mcp.errors import InvalidInput
from rlm_kernel_mcp.server.pages.facts import told
from rlm_kernel_mcp.session.trace.events import extra_of
from rlm_kernel_mcp.session.trace.facts import facts_of
from rlm_kernel_mcp.settings import Settings
from rlm_kernel_mcp.store.store import Store


def resume(settings: Settings, environ: Mapping[str, str], session_id: str, *, as_json: bool) -> int:
    """See that a session has its kernel, and print what came back. `environ`: what the settings were made from.

    Raises:
        SessionNotFound: there is no such session. SessionFinalized: it needs none any more. SessionBusy: no slot is
            free. InvalidInput: these settings want no host. HostUnavailable, KernelDied, KernelStartFailed.
    """
    is_off = environ.get("RLM_HOST") == "off"
    if is_off or settings.sandbox_mode == "container":
        why = "RLM_HOST is off" if is_off else "RLM_SANDBOX_MODE is container"
        raise InvalidInput(
            f"No kernel is started here: it would end with this command, since there is no host where {why}.",
            "Use the session: its next step starts its kernel.",
        )
    with opened_store(settings) as store:
        find_session(store, session_id)
        before = max((row_id for row_id, _ in _restores(store, session_id)), default=0)
        ask_host(lambda link: _reopened(link, session_id))
        came = [facts for row_id, facts in _restores(store, session_id) if row_id > before]
        pid = find_session(store, session_id).kernel_pid
    _print(session_id, pid, came[-1] if came else None, as_json=as_json)
    return 0


async def _reopened(link: Link, session_id: str) -> None:
    """A person sees meanwhile how far its contexts are."""

    async def look() -> tuple[int, int]:
        so_far = await link.loaded_so_far(session_id)
        return so_far.loaded_bytes, so_far.bytes

    await shown_while(link.reopen_kernel(session_id), look, CONTEXT_BYTES)


def _restores(store: Store, session_id: str) -> list[tuple[int, dict[str, Any]]]:
    """The ids of the events that tell of a restore, and what each says of the names."""
    rows = (head.row for head in store.heads(session_id) if head.row.action == "restore")
    return [(row.id or 0, facts_of(extra_of(row))) for row in rows]


def _print(session_id: str, pid: int, came: dict[str, Any] | None, *, as_json: bool) -> None:
    """`came`: what the restore says; None: there was none, since the kernel was there."""
    if as_json:
        names: dict[str, Any] = {"restored": [], "lost": [], "more_restored": 0, "more_lost": 0} | (came or {})
        print(json.dumps({"session_id": session_id, "pid": pid, "was_running": came is None, **names}))
        return
    print(f"The kernel of session {session_id} runs {'already' if came is None else 'again'} (pid {pid}).")
    for line in told(came or {}):
        print(line)
