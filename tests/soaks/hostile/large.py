"""Parts of `bin/soak hostile`: files that change while they are loaded and mapped, and lines of gigabytes.

Is: what a log that is rotated, cut off or written over does to sessions, and two texts of 10 GB, held against `wc`. Is
not: the run (`sources.py`).
"""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Final

from rlm_kernel_mcp.context.loader.places import Place
from rlm_kernel_mcp.errors import RlmError
from rlm_kernel_mcp.session.evidence.documents import Documents
from tests.sessions import SessionDriver
from tests.soaks.hostile.room import MB, HostileRoom, meanwhile

LINE: Final = b"2026-11-28 ERROR customer 17 waited for 31 ms at the counter\n"
WHOLE: Final = LINE * (12 * MB // len(LINE))
WIDE: Final = "Grüße, Привет, 日本, 😀\n".encode() * (12 * MB // 40)
STATUSES: Final = {"ok", "error", "kernel_died"}


async def written(room: HostileRoom) -> str:
    """A file that a thread cuts off, writes over, extends and replaces while it is opened and while it is worked on."""
    path = room.directory / "log.txt"
    change = _changes(path, room.chance)
    told = {"opened": 0, "refused": 0, "steps": 0, "lost": 0, "named": 0, "loaded again": 0}
    for round_ in range(room.times(100)):
        path.write_bytes(WHOLE if round_ % 2 else WIDE)
        with meanwhile(change) if round_ % 3 else nullcontext():
            one = await room.open(path)
        if isinstance(one, RlmError):
            told["refused"] += 1
            continue
        told["opened"] += 1
        with meanwhile(change):
            for code in ("context.count('ERROR')", "len(context), context[-10:]", "sum(map(ord, context[::4096]))"):
                report = await one[0].run(code)
                told["steps"] += 1
                room.check(report.status in STATUSES, f"{code} ended as {report.status}")
                if report.lost is not None:
                    told["lost"] += 1
                    told["loaded again"] += "as it is now" in dict(report.lost.names).get("context", "")
                    told["named"] += "truncated" in report.lost.reason
                    is_told = "truncated" in report.lost.reason or "written to" in report.lost.reason
                    room.check(is_told, f"lost by {report.lost.reason}")
        room.check((await one[0].run("1 + 1")).result == "2", "a session does not answer any more")
        await one[0].finalize(text="done")
    return ", ".join(f"{count:,} {what}" for what, count in told.items())


def _changes(path: Path, chance: random.Random) -> Callable[[], None]:
    """One change of a file, drawn."""

    def change() -> None:
        way = chance.randrange(6)
        if way == 0:
            os.truncate(path, chance.randrange(path.stat().st_size + 1))
        elif way == 1:
            with path.open("r+b") as file:
                file.seek(chance.randrange(path.stat().st_size + 1))
                file.write(chance.randbytes(chance.randrange(1, 9_000)))
        elif way == 2:
            with path.open("ab") as file:
                file.write(LINE * chance.randrange(1, 20_000))
        elif way == 3:
            fresh = path.with_suffix(".new")
            fresh.write_bytes(chance.choice((WHOLE, WIDE)))
            fresh.rename(path)
        elif path.stat().st_size > 64 * MB:
            os.truncate(path, 0)

    return change


async def one_line(room: HostileRoom) -> str:
    """10 GB without a line end: 64 KB of text, and then a hole, whose NULs are ASCII."""
    path, size = room.directory / "line.txt", room.times(10 * 1024) * MB
    path.write_bytes(b"x" * (1 << 16))
    os.truncate(path, size)
    with path.open("r+b") as file:
        file.seek(size - 7)
        file.write(b"the end")
    session = await _compared(room, path, size)
    found = await room.long_step(session, "context.find('the end'), context[:3], 'y' in context")
    room.check(found.result == repr((size - 7, "xxx", False)), f"found {found.result}")
    room.check(await _place(session, path.name, size - 2) == Place(size - 2, size - 2, 1), "the place near the end")
    path.unlink()
    return f"{size // MB:,} MB"


async def newlines(room: HostileRoom) -> str:
    """10 GB of nothing but line ends."""
    path, size = room.directory / "newlines.txt", room.times(10 * 1024) * MB
    block = b"\n" * (16 * MB)
    with path.open("wb") as file:
        for _ in range(size // len(block)):
            file.write(block)
        file.write(block[: size % len(block)])
    session = await _compared(room, path, size)
    room.check(
        (await session.ok("context[-3:], context.rfind('x', -1_000_000)")).result == repr(("\n\n\n", -1)), "ends"
    )
    for at in (0, 65_536, size // 2, size - 1):
        room.check(await _place(session, path.name, at) == Place(at, at, at + 1), f"the place of byte {at:,}")
    path.unlink()
    return f"{size // MB:,} MB"


async def _compared(room: HostileRoom, path: Path, size: int) -> SessionDriver:
    """A session over a large file, with the counts that wc has, and a step that goes through all of it."""
    opened = await room.open(path)
    assert not isinstance(opened, RlmError), opened
    session, told = opened
    counting = await asyncio.create_subprocess_exec("wc", "-lc", str(path), stdout=subprocess.PIPE)
    ends, byte_count = map(int, (await counting.communicate())[0].split()[:2])
    is_open = 0 if size == ends else 1
    room.check((told.chars, told.bytes) == (byte_count, byte_count), f"{told.chars:,} characters of {byte_count:,}")
    room.check(told.lines == ends + is_open, f"{told.lines:,} lines, and {ends:,} line ends for wc")
    room.check(told.held == "mapped", f"held {told.held}")
    counted = await room.long_step(session, "context.count('\\n')")
    room.check(counted.result == str(ends), f"the kernel counts {counted.result}, {counted.status}")
    memory = session.kernel.process.memory_bytes() // MB
    room.check(memory < 256, f"the kernel has {memory} MB of its own")
    return session


async def _place(session: SessionDriver, document: str, byte: int) -> Place | None:
    contexts = session.session.contexts.contexts

    def found() -> Place | None:
        with Documents(contexts) as documents:
            listed = documents.find(contexts.first.name, document)
            if listed is None:
                return None
            with documents.open(listed) as opened:
                return None if opened is None else opened.at_byte(byte)

    return await asyncio.to_thread(found)
