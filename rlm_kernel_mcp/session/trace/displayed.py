"""What steps displayed, between a step's outcome, the rows of the record and an event of the trace.

Is: translation each way, and the few numbers that an event says of it. Is not: the rows (`store/displays.py`), nor what
may be displayed at all (`kernel/untrusted/shown/displays.py`). Above: `journal.py`, `reading.py`. Below:
`session/steps/outcomes.py`, `store/displays.py`.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from rlm_kernel_mcp.kernel.untrusted.shown.displays import PICTURES, REASONS, TYPES, Display, DisplayType, Reason
from rlm_kernel_mcp.session.steps.outcomes import Outcome
from rlm_kernel_mcp.session.trace.reports import Displayed
from rlm_kernel_mcp.store.displays import DisplayRow

DISPLAYED: Final = "displayed"
"""Among an event's facts, the number of its displays by their types; without it there is no row of any."""
NOT_DISPLAYED: Final = "not_displayed"
"""The number of those that are not kept, by the reason."""
NO_ROOM: Final = "the session has displayed as much as is kept of one"
DAMAGED: Final = "it is not what was written"
GONE: Final = "the store has it no more: its disk failed, and its memory was full"

_KNOWN: Final[dict[str, DisplayType]] = {kind: kind for kind in TYPES}


def display_facts(outcome: Outcome) -> dict[str, Any]:
    """What the event of a step says of it; nothing where there is nothing."""
    kept = Counter(display.mime_type for display in outcome.displays)
    found: dict[str, Any] = {DISPLAYED: dict(kept), NOT_DISPLAYED: dict(outcome.left_out)}
    return {name: counts for name, counts in found.items() if counts}


def left_out_in(facts: Mapping[str, Any]) -> dict[Reason, int]:
    """What an event's facts say of those that are not kept, as an outcome has it."""
    counts = facts.get(NOT_DISPLAYED)
    return {why: counts[why] for why in REASONS if why in counts} if isinstance(counts, dict) else {}


def rows_of(displays: Sequence[Display]) -> list[tuple[int, str, bytes]]:
    """As the store keeps them: bytes, of a text its UTF-8, lone surrogates too. It may be megabytes of work."""
    return [(display.place, display.mime_type, _bytes(display)) for display in displays]


def displays_of(rows: Sequence[DisplayRow]) -> tuple[Display, ...]:
    """Those that are there, as an outcome has them."""
    found = ((_KNOWN.get(row.mime_type), row.data, row.place) for row in rows)
    return tuple(Display(kind, _text(kind, data), place) for kind, data, place in found if kind and data is not None)


def displayed_in(rows: Sequence[DisplayRow], facts: Mapping[str, Any]) -> tuple[Displayed, ...]:
    """The same as an event has them that has these facts, with what is not there and why."""
    missing = sum(facts.get(DISPLAYED, {}).values()) - len(rows)
    return (*map(_displayed, rows), *(Displayed("", 0, 0, None, GONE) for _ in range(missing)))


def _displayed(row: DisplayRow) -> Displayed:
    if row.data is None or row.mime_type not in _KNOWN:
        why = NO_ROOM if row.data is None and not row.is_damaged else DAMAGED
        return Displayed(row.mime_type, row.place, row.size_bytes, None, why)
    return Displayed(row.mime_type, row.place, row.size_bytes, _text(row.mime_type, row.data))


def _bytes(display: Display) -> bytes:
    if display.mime_type in PICTURES:
        return base64.b64decode(display.data)
    return display.data.encode("utf-8", "surrogatepass")


def _text(mime_type: str, data: bytes) -> str:
    if mime_type in PICTURES:
        return base64.b64encode(data).decode("ascii")
    return data.decode("utf-8", "surrogatepass")
