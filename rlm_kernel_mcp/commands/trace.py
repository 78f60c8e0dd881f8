"""`rlm-kernel-mcp trace`: what was done in a session, live or ended, in full.

Is: the same events and pages that `rlm_get_trace` gives, uncut. Is not: asking a kernel: cells of a console that
nobody has asked for yet are added when the agent reads the trace.
Above: `cli.py`. Below: `live.py`, `session/trace.py`, `server/markdown.py`.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Final

from rlm_kernel_mcp.commands.live import find_session, opened_store
from rlm_kernel_mcp.server import markdown
from rlm_kernel_mcp.session.trace import page
from rlm_kernel_mcp.settings import Settings

ALL_CHARS: Final = 1 << 60


def print_trace(settings: Settings, session_id: str, *, as_json: bool) -> int:
    """Print every event, as text for reading or as one JSON object a line.

    Raises:
        SessionNotFound: there is no such session.
    """
    with opened_store(settings) as store:
        find_session(store, session_id)
        whole = page(store.events(session_id), detail="full", max_output_chars=ALL_CHARS, offset=0)
    if as_json:
        for event in whole.events:
            print(json.dumps(asdict(event)))
    else:
        print(markdown.trace(whole))
    return 0
