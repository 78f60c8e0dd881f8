"""`rlm-kernel-mcp watch`: the live page of the sessions, in a browser; or one session as a file.

Is: a process of its own that reads the record, and what a host tells its watchers. Is not: a client: it changes
nothing, and starts no host (decision 0166). Above: `cli.py`. Below: `looking/live.py`, `watching/`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from rlm_kernel_mcp.commands.looking.live import find_session, looked_at_store
from rlm_kernel_mcp.settings import Settings
from rlm_kernel_mcp.text.safe_text import safe_text
from rlm_kernel_mcp.text.wording import counted


def watch(settings: Settings, environ: Mapping[str, str], session_id: str | None, port: int) -> int:
    """Serve the page until Ctrl-C. `session_id`: the session that it shows first.

    Raises:
        SessionNotFound: there is none, or no record. InvalidInput: the port is another's.
    """
    from rlm_kernel_mcp.watching.web.secret import Tokens, secret_of
    from rlm_kernel_mcp.watching.web.serving import LOOPBACK, listening, serve

    with looked_at_store(settings) as store:
        if session_id is not None:
            find_session(store, session_id)
        listener = listening(port)
        first = "" if session_id is None else f"#/s/{session_id}"
        before, port = f"http://{LOOPBACK}:", listener.getsockname()[1]

        def let_in(token: str) -> None:
            with suppress(OSError):  # nobody reads there any more; who was let in is to get the page all the same
                _say("a browser was let in by this address, which is used up; for another one:")
                print(f"{before}{port}/t/{token}/{first}", flush=True)

        tokens = Tokens(let_in)
        print(f"{before}{port}/t/{tokens.current}/{first}", flush=True)
        _say("open this address in a browser of this machine; Ctrl-C ends the page, and nothing else")
        environ = {**environ, "RLM_STATE_DIR": str(settings.state_dir)}
        serve(listener, store, environ, secret_of(settings.state_dir), tokens)
    return 0


def export(settings: Settings, session_id: str, to: Path) -> int:
    """Write a session into one new file, which a browser shows without a server.

    Raises:
        SessionNotFound: there is none. OSError: the file cannot be written, or is there already.
    """
    from rlm_kernel_mcp.watching.exporting import exported
    from rlm_kernel_mcp.watching.record.whole import whole

    with looked_at_store(settings) as store:
        find_session(store, session_id)
        page = exported(whole(store, session_id))
    with to.open("x", encoding="utf-8") as file:  # one that is there is somebody's
        file.write(page)
    _say(f"{safe_text(str(to))} has {counted(len(page), 'character')}, and asks nobody for anything")
    return 0


def _say(text: str) -> None:
    print(f"rlm-kernel-mcp: {text}", file=sys.stderr, flush=True)
