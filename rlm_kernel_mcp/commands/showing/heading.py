"""What stands above a trace at a terminal: what the session is for, how it stands, and its steps as a row of heights.

Is: three lines at most. Is not: the steps (`steps.py`). Above: `forms.py`. Below: `terminal.py`, `words.py`,
`session/listing.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from rlm_kernel_mcp.commands.showing.terminal import Part, Printer, Style
from rlm_kernel_mcp.commands.showing.words import Marks, heights
from rlm_kernel_mcp.session.listing import is_driven, limits_of, recorded_status, used_of
from rlm_kernel_mcp.store.store import SessionRecord, Store
from rlm_kernel_mcp.text.safe_text import safe_text

LIMITS: Final = (("step_index", 1, "steps"), ("runtime_ms", 1_000, "s"), ("budget_used", 1, "characters"))
"""A counter, what it is divided by, and its unit."""
COLOUR: Final[Mapping[str, Style]] = {
    "ok": "plain",
    "running": "plain",
    "error": "bad",
    "timeout": "gone",
    "interrupted": "gone",
    "kernel_died": "gone",
}


def one_line(text: str) -> str:
    """Words of others, safe and with no line of their own."""
    return " ".join(safe_text(text).split())


def show_heading(store: Store, record: SessionRecord, printer: Printer, drawn: Marks) -> None:
    """Print them."""
    if record.question:
        printer.line((one_line(record.question), "head"))
    used, most = used_of(record), limits_of(record)
    stands = [record.session_id, recorded_status(record, driven=is_driven(store, record))]
    stands += [f"opened by {one_line(record.client)}"] if record.client else []
    for counter, divisor, unit in LIMITS:
        limit = f" of {most[counter] // divisor:,}" if counter in most else ""
        stands.append(f"{used[counter] // divisor:,}{limit} {unit}")
    printer.line((drawn.dot.join(stands), "dim"))
    steps = [head.row for head in store.heads(record.session_id) if head.row.action == "run_repl"]
    row: list[Part] = []
    for place, height in heights([step.duration_ms for step in steps], printer.width):
        style: Style = COLOUR.get(steps[place].result_status, "dim")
        row.append((drawn.levels[height], style))
    if row:
        printer.line(*row)
    printer.line()
