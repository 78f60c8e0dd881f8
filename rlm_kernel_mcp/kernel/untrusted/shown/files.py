"""What a kernel says of the files in its scratch directory, checked: names, sizes, and the bytes of one, part by part.

Is: type, size and count of each field. Is not: whether it is true: a kernel may list what is not there, and send other
bytes than a file has. Nor a path: a name is a text here, with whatever characters, and what becomes of it on a disk is
decided where somebody takes it out (`commands/taking/names.py`). Above: `session/scratch/files.py`. Below: `errors.py`,
`context_wire.py`, `text/printable.py`.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from rlm_kernel_mcp.context_wire import FILE_PART_BYTES
from rlm_kernel_mcp.errors import KernelDied
from rlm_kernel_mcp.text.printable import printable

FILES_MAX: Final = 4_096
NAME_CHARS_MAX: Final = 4_096
SIZE_MAX: Final = 1 << 53
KINDS: Final = ("more", "link", "deep", "closed", "gone", "other")
"""What is no file that is listed: one too many, a symbolic link, a directory too deep down or without the right to look
into it, what is gone by now; a FIFO, a socket."""
_VERSION: Final = re.compile(r"[0-9-]{1,80}", re.ASCII)


@dataclass(frozen=True, slots=True)
class ScratchFile:
    """One file, by the kernel's word. `name`: its path below the directory, raw."""

    name: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class ScratchFiles:
    """Those of a session, by name; and of what is not listed the number, by its kind."""

    files: tuple[ScratchFile, ...]
    left_out: dict[str, int]


@dataclass(frozen=True, slots=True)
class FilePart:
    """Some of one: at most `FILE_PART_BYTES`, and as many unless it is the last."""

    data: str
    """Base64."""
    version: str
    """Another one than that of the part before: the file has changed in between."""
    last: bool


def files_in(content: Mapping[str, Any]) -> ScratchFiles:
    """The files that a kernel lists.

    Raises:
        KernelDied: it does not list them.
    """
    rows, others = content.get("files"), content.get("left_out")
    if content.get("status") != "ok" or not isinstance(rows, list) or not isinstance(others, dict):
        raise _refused(content, "did not list its files")
    found = {row.name: row for row in map(_file, rows[:FILES_MAX]) if row is not None}
    left_out = {kind: count for kind in KINDS if _is_count(count := others.get(kind)) and count}
    if more := len(rows) - len(found):
        left_out["more"] = left_out.get("more", 0) + more
    return ScratchFiles(tuple(found[name] for name in sorted(found)), left_out)


def part_in(content: Mapping[str, Any]) -> FilePart:
    """A part of a file that a kernel sends.

    Raises:
        KernelDied: it sends none, or more, or less without an end: who asks on would never come to one.
    """
    data, version, last = content.get("data"), content.get("version"), content.get("last")
    if content.get("status") != "ok" or not isinstance(data, str) or not isinstance(version, str):
        raise _refused(content, "did not send the file")
    if len(data) > FILE_PART_BYTES * 4 // 3 + 4 or not _VERSION.fullmatch(version) or not isinstance(last, bool):
        raise KernelDied("The kernel sent no part of a file, or too large a one.")
    try:
        raw = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise KernelDied("The kernel sent no part of a file: it is no base64.") from None
    if len(raw) > FILE_PART_BYTES or (not last and len(raw) < FILE_PART_BYTES):
        raise KernelDied(f"The kernel sent {len(raw):,} bytes of a file, where a part has {FILE_PART_BYTES:,}.")
    return FilePart(base64.b64encode(raw).decode("ascii"), version, last)


def _file(row: object) -> ScratchFile | None:
    if not isinstance(row, list) or len(row) != 2 or not isinstance(row[0], str) or not _is_count(row[1]):
        return None
    return ScratchFile(row[0], row[1]) if 0 < len(row[0]) <= NAME_CHARS_MAX else None


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < SIZE_MAX


def _refused(content: Mapping[str, Any], what: str) -> KernelDied:
    """With the words of the kernel's own exception, which are any text."""
    why = content.get("evalue")
    said = f": {printable(why[:200])}" if isinstance(why, str) and why else ""
    return KernelDied(f"The kernel {what}{said}.", "Call this again when its step has ended.")
