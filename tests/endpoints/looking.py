"""Where a key must not be: what a process has in its environment and in its memory, and what lies in files."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

from tests.parts import skip_for_lack_of


def environment_of(pid: int) -> bytes:
    """Of a process, as far as it lets us see it."""
    with contextlib.suppress(PermissionError):
        return Path(f"/proc/{pid}/environ").read_bytes()
    return b""


def memory_of(pid: int) -> bytes:
    """All that a process has written to; the test is skipped where it cannot be looked into."""
    parts = []
    try:
        with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
            for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
                place, rights, *_, name = (line + " ").split(" ", 5)
                begin, end = (int(part, 16) for part in place.split("-"))
                if rights.startswith("rw") and "[v" not in name and end - begin < 1 << 28:
                    memory.seek(begin)
                    with contextlib.suppress(OSError):
                        while begin < end and (part := memory.read(end - begin)):
                            begin += len(part)
                            parts.append(part)
    except PermissionError:
        skip_for_lack_of("the right to look into a kernel's memory", "run it as root")
    return b"".join(parts)


def files_with(secret: str, directories: Iterable[Path]) -> list[str]:
    """The files below some directories that hold it."""
    found = []
    for file in (file for directory in directories for file in directory.rglob("*")):
        with contextlib.suppress(FileNotFoundError):  # it is gone by now
            if file.is_file() and secret.encode() in file.read_bytes():
                found.append(str(file))
    return found


def processes_with(secret: str, pids: Iterable[int]) -> list[str]:
    """Those that hold it, in their environment or anywhere that they have written to."""
    found = []
    for pid in pids:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended by now
            if secret.encode() in environment_of(pid):
                found.append(f"the environment of process {pid}")
            if secret.encode() in memory_of(pid):
                found.append(f"the memory of process {pid}")
    return found
