"""What a kernel says of its names after a step, checked: it is data from an adversary.

Is: the shape and the bounds. Is not: the values (`session/snapshots/file.py`). Above: `session/snapshots/taking.py`.
Below: `text/safe_text.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from rlm_kernel_mcp.kernel.untrusted.fields import count_of
from rlm_kernel_mcp.kernel.untrusted.snapshot_stream import StreamBroken
from rlm_kernel_mcp.text.safe_text import safe_text
from rlm_kernel_mcp.wire import SNAPSHOT_NAME_CHARS_MAX, SNAPSHOT_NAMES_MAX

REASON_CHARS_MAX: Final = 300


@dataclass(frozen=True, slots=True)
class KernelReport:
    """What a kernel says of its names after a step, checked."""

    names: Mapping[str, tuple[str, str | None]]
    """Type, and why there is no value; None where there is one."""
    unverified: frozenset[str] = frozenset()
    """Names that were not examined this time."""
    more: int = 0
    """How many more names there are than are kept."""


def is_too_large(content: dict[str, Any]) -> bool:
    """Whether the message after a step only says that its snapshot has to be asked for through a pipe."""
    return content.get("status") == "too_large"


def checked_report(content: dict[str, Any]) -> KernelReport:
    """The kernel's account of its names, checked.

    Raises:
        StreamBroken: it is not one.
    """
    rows, more = content.get("names"), content.get("more")
    if content.get("status") != "ok" or not isinstance(rows, dict):
        raise StreamBroken(f"the kernel could not take it: {words(content.get('evalue'))[:REASON_CHARS_MAX]}")
    names: dict[str, tuple[str, str | None]] = {}
    for name, row in list(rows.items())[:SNAPSHOT_NAMES_MAX]:
        if isinstance(row, dict) and len(name) <= SNAPSHOT_NAME_CHARS_MAX:
            why = row.get("why")
            kind = words(row.get("type"))[:SNAPSHOT_NAME_CHARS_MAX]
            names[name] = (kind, None if why is None else words(why)[:REASON_CHARS_MAX])
    unverified = content.get("unverified")
    unverified = unverified[:SNAPSHOT_NAMES_MAX] if isinstance(unverified, list) else []
    named = frozenset(name for name in unverified if isinstance(name, str))
    return KernelReport(names, named, count_of(more) or 0)


def words(said: object) -> str:
    """A text, made safe to show. Anything else becomes an empty text: its own may be endless or too deep to make."""
    return safe_text(said[: 2 * REASON_CHARS_MAX]) if isinstance(said, str) else "?"
