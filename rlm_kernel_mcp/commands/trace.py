"""`rlm-kernel-mcp trace`: what was done in a session, live or ended, in full.

Is: the same events that `rlm_get_trace` gives in pages, uncut. Is not: a request to a kernel: a console's cells that
nobody has fetched yet are added when the agent reads the trace. Above: `cli.py`. Below: `live.py`,
`session/trace/reading.py`, `server/markdown.py`.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

from rlm_kernel_mcp.commands.live import find_session, opened_store
from rlm_kernel_mcp.server import markdown
from rlm_kernel_mcp.session.trace.reading import whole_trace
from rlm_kernel_mcp.settings import Settings
from rlm_kernel_mcp.text.wording import damaged_words


def print_trace(settings: Settings, session_id: str, *, as_json: bool) -> int:
    """Print every event, as text for reading or as one JSON object a line.

    Raises:
        SessionNotFound: there is no such session.
    """
    with opened_store(settings) as store:
        if not store.knows(session_id):
            find_session(store, session_id)
        damaged = shown = 0
        for event in whole_trace(store, session_id):
            damaged += event is None
            shown += event is not None
            if event is not None:
                print(json.dumps(asdict(event)) if as_json else markdown.event(event) + "\n")
    if damaged:
        print(f"rlm-kernel-mcp: {damaged_words(damaged, 'event')}", file=sys.stderr)
    if not shown and not as_json:
        print("No events.")
    return 0
