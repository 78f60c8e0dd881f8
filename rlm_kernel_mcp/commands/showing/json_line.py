"""An event of a trace for programs: one JSON object in a line.

Is: an event with its texts, safe. Is not: which events, nor when. Above: `forms.py`, `commands/following/json_view.py`.
Below: `session/trace/reports.py`.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

from rlm_kernel_mcp.session.evidence.citations import Checked
from rlm_kernel_mcp.session.trace.reports import TraceEvent


def json_line(event: TraceEvent, **more: str | int) -> str:
    """One event. `more`: what is said of it beside that."""
    data = more | asdict(event)
    evidence = data.pop("evidence")
    data |= data.pop("facts")
    if not event.displays:
        del data["displays"]
    return json.dumps(data | (Checked.of_record(evidence).rows(sys.maxsize) if evidence else {}))
