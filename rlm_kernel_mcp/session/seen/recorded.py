"""What the record keeps of a step's look at the contexts, and what is made of it again.

Is: pure functions: ranges to the data of a row, and back. Is not: the rows (`store/maps/seen.py`). Sans-I/O. Above:
`maps.py`, `session/finding/steps.py`, `session/trace/journal.py`. Below: `ranges.py`, `context_wire.py`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from rlm_kernel_mcp.context_wire import Run
from rlm_kernel_mcp.session.seen.ranges import Range, merged

Kind = Literal["searched", "delivered"]
"""Of a row: what the kernel says that its functions went over; and what the host has found in what it delivered."""
SEARCHED: Final[Kind] = "searched"
DELIVERED: Final[Kind] = "delivered"
RANGES_MAX: Final = 2_000
"""Delivered ranges of a step, and of a window of a map; those with least between them are joined beyond."""


def searched_data(passes: Mapping[str, Sequence[Run]]) -> bytes:
    """Of a row of the kind `searched`, whose contexts are those that a kernel names; empty where nothing was."""
    if not passes:
        return b""
    return json.dumps({name: list(runs) for name, runs in passes.items()}, separators=(",", ":")).encode()


def delivered_data(ranges: Mapping[str, Sequence[Range]]) -> bytes:
    """Of a row of the kind `delivered`."""
    found = {name: merged(some, RANGES_MAX) for name, some in ranges.items() if some}
    return json.dumps(found, separators=(",", ":")).encode()


def searched_of(data: bytes) -> dict[str, list[Run]]:
    """What such a row says, of contexts that there may not be."""
    found: dict[str, Any] = json.loads(data)
    return {name: [(start, end, times) for start, end, times in runs] for name, runs in found.items()}


def delivered_of(data: bytes) -> dict[str, list[Range]]:
    """What such a row says."""
    found: dict[str, Any] = json.loads(data)
    return {name: [(start, end) for start, end in some] for name, some in found.items()}
