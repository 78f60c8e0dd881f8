"""Sessions as a person at a terminal reads a list of them: how each stands, how near its limits it is, what it is for.

Is: one or two lines a session. Is not: the form for pipes and scripts (`commands/sessions.py`). Above: `sessions.py`,
`following/footer.py`.
Below: `terminal.py`, `table.py`, `words.py`, `session/listing.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final

from rlm_kernel_mcp.commands.showing.heading import LIMITS, one_line
from rlm_kernel_mcp.commands.showing.table import padded
from rlm_kernel_mcp.commands.showing.terminal import Printer, Style
from rlm_kernel_mcp.commands.showing.words import Marks, ago, bar
from rlm_kernel_mcp.session.listing import counters_of, ended_for, facts_of, limits_of, recorded_status, used_of
from rlm_kernel_mcp.store.store import SessionRecord
from rlm_kernel_mcp.text.wording import counted, waits_words

HEAD: Final = ("SESSION", "STATE", "STEPS", "RUNTIME, S", "CHARACTERS", "CONTEXT", "LAST USED", "CLIENT")
STATE: Final = HEAD.index("STATE")
STYLE_OF: Final[Mapping[str, Style]] = {"running": "answer", "stopped": "bad", "finalized": "dim"}

Row = tuple[SessionRecord, int | None, int]
"""A session, the process that drives it, and for how many answers its step waits."""


def show_sessions(rows: Sequence[Row], printer: Printer, drawn: Marks, now: datetime) -> None:
    """Print them, the first one first; without bars where these would make a line longer than the terminal has it."""
    head, *lines = padded([HEAD, *([*_cells(*row, drawn, now)] for row in rows)])
    if len("  ".join(head)) > printer.width:
        head, *lines = padded([HEAD, *([*_cells(*row, None, now)] for row in rows)])
    printer.line(("  ".join(head), "dim"))
    for (record, holder, _), cells in zip(rows, lines, strict=True):
        status = recorded_status(record, driven=holder is not None)
        before, state, after = cells[:STATE], cells[STATE], cells[STATE + 1 :]
        style: Style = STYLE_OF.get(status, "plain")
        printer.line(("  ".join([*before, ""]), "plain"), (f"{state}  ", style), ("  ".join(after), "plain"))
        if record.question:
            printer.line((f"    {one_line(record.question)[: max(printer.width - 4, 8)]}", "dim"))


def _cells(record: SessionRecord, holder: int | None, waits: int, drawn: Marks | None, now: datetime) -> Iterator[str]:
    used, most = used_of(record), limits_of(record)
    yield record.session_id
    yield state_of(record, driven=holder is not None, waits=waits)
    for counter, divisor, _ in LIMITS:
        count, limit = used[counter], most.get(counter)
        share = "" if limit is None else f"/{limit // divisor:,}"
        bars = "" if limit is None or drawn is None else f" {bar(count, limit, drawn)}"
        yield f"{count // divisor:,}{share}{bars}"
    chars, _ = facts_of(record)
    context = one_line(record.kind) if chars is None else f"{one_line(record.kind)}, {counted(chars, 'character')}"
    yield context if record.parent is None else f"{context}; child of {one_line(record.parent)}"
    yield ago(record.last_used_at, now)
    yield one_line(record.client or "not known")


def state_of(record: SessionRecord, *, driven: bool, waits: int) -> str:
    """How it stands, in a few words. `driven`: by a server. `waits`: for how many answers its step does."""
    status = recorded_status(record, driven=driven)
    if waits:
        return f"{status}, {waits_words(waits)}"
    if ended_for(record, driven=driven) is not None:
        return "ended without an answer"
    match status:
        case "running":
            return f"running step {counters_of(record).step_index:,}"
        case "stopped":
            return f"stopped: {one_line(record.stop_reason or 'a limit')}"
        case "finalized":
            return (
                "answered" if record.finish_reason == "completed" else f"ended: {one_line(record.finish_reason or '')}"
            )
        case _:
            return status if driven else f"{status}, no server"
