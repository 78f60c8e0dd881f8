"""`rlm-kernel-mcp kill`: a session's kernel ends, whoever uses it; with `--forget` nothing of the session is kept.

Is: who is asked for that, and what is said where nobody can be. Is not: the end itself (`session/idle_watch.py`), nor
the removal (`store/pruning.py`). Above: `cli.py`. Below: `looking/live.py`, `looking/at_host.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from rlm_kernel_mcp.commands.looking.at_host import ask_host, require_host
from rlm_kernel_mcp.commands.looking.live import find_session, opened_store
from rlm_kernel_mcp.errors import SessionBusy
from rlm_kernel_mcp.settings import Settings

INSTEAD: Final = "End that server's client: its kernels end with it, and the values of all its sessions are kept."


def kill(settings: Settings, environ: Mapping[str, str], session_id: str, *, forget: bool) -> int:
    """End a session's kernel, if it has one. `environ`: what the settings were made from.

    Raises:
        SessionNotFound: there is no such session. SessionElsewhere: a server has it that cannot be asked. SessionBusy.
    """
    with opened_store(settings) as store:
        has_one = find_session(store, session_id).kernel_pid != 0
        if (holder := store.holder(session_id)) is not None:
            require_host(settings, environ, session_id, holder, INSTEAD)
            ask_host(lambda link: link.end_kernel(session_id))
        said = f"Session {session_id} has no kernel."
        if has_one and holder is not None:
            said = f"The kernel of session {session_id} has ended; its values are kept, and come back on use."
        if forget:
            if why := store.forget(session_id):
                raise SessionBusy(
                    f"Session {session_id} is not forgotten, or not all of it: {why}",
                    "Call this again; as long as it is there, its client may go on with it at any time.",
                )
            said = f"Session {session_id} is forgotten, with its steps, its values and its child sessions."
    print(said)
    return 0
