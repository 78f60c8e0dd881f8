"""A large context by path: time, the host's peak memory, the kernel's memory."""

from __future__ import annotations

import asyncio
import resource
import subprocess
from pathlib import Path

from bench.measure import Amounts, Bar, Figures, Row, interleave, milliseconds
from bench.processes import MB, settle, spent_s, status_mb, tree
from bench.sides.ours import OurServer, our_server


async def context(amounts: Amounts) -> list[Row]:
    """`rlm_init_context` with the spare kernel ready, against reading the file's bytes in this process."""
    size = amounts.megabytes(100)
    with our_server() as server:
        path = _write(server.directory, size)

        async def ours() -> float:
            await settle(server.pid)
            opened: list[str] = []

            async def action() -> None:
                opened.append(server.open_session(context_paths=[path.name]))

            elapsed_ms = await milliseconds(action)
            server.finalize(opened[0])
            return elapsed_ms

        async def plain() -> None:
            assert len(path.read_bytes()) == size * MB

        mine, other = await interleave([ours, lambda: milliseconds(plain)], amounts.times(12), warm_up=1)
    what = f"a context of {size} MB is opened by its path and ready in memory"
    return [Row(what, mine, "a program reads the file's bytes", other, bar=Bar(6)), *(await _memory(size))]


async def _memory(size: int) -> list[Row]:
    peak, held = await _load(size)
    small_peak, _ = await _load(1)
    return [
        Row(
            f"the server's memory has this peak when it opens a context of {size} MB",
            Figures((peak,)),
            "it has this peak with one of 1 MB",
            Figures((small_peak,)),
            unit="MB",
            bar=Bar(1.02),
        ),
        Row(
            f"a kernel grows by this much with a context of {size} MB",
            Figures((held,)),
            "the text has this size",
            Figures((float(size),)),
            unit="MB",
            bar=Bar(1.3),
        ),
    ]


async def _load(size: int) -> tuple[float, float]:
    """(the server's peak, the growth of the kernels), in MB, measured in a server of its own."""
    with our_server() as server:
        path = _write(server.directory, size)
        server.finalize(server.open_session("x"))
        await settle(server.pid)
        before = _held(server)
        server.open_session(context_paths=[path.name])
        await settle(server.pid)
        # One more kernel than before, the new spare: its own memory is not the context's.
        return status_mb(server.pid, "VmHWM"), _held(server) - before


def _held(server: OurServer) -> float:
    """The private memory of the kernel that has most."""
    return max(status_mb(process.pid, "RssAnon") for process in tree(server.pid)[1:])


def _write(directory: Path, size: int) -> Path:
    path = directory / f"context-{size}.txt"
    path.write_bytes(b"0123456789abcde\n" * (size << 16))
    return path


async def files(amounts: Amounts) -> list[Row]:
    """Processor time of opening a directory of many files, up to `context` in the kernel, against find and cat."""
    count = 20_000 if not amounts.smoke else 100
    with our_server() as server:
        await asyncio.to_thread(_write_many, server.directory / "many", count)

        async def ours() -> float:
            await settle(server.pid)
            before = spent_s(server.pid)
            opened = server.open_session(context_paths=["many"])
            used_ms = (spent_s(server.pid) - before) * 1000
            server.finalize(opened)
            return used_ms

        async def plain() -> float:
            command = "find many -type f -print0 | xargs -0 cat | cat > /dev/null"
            before = _ended_children_s()
            await asyncio.to_thread(subprocess.run, command, shell=True, check=True, cwd=server.directory)
            return (_ended_children_s() - before) * 1000

        mine, other = await interleave([ours, plain], amounts.times(8), warm_up=1)
    what = f"a directory of {count:,} files is opened as one context (processor time)"
    return [Row(what, mine, "`find | xargs cat` reads them", other, bar=Bar(2))]


def _ended_children_s() -> float:
    """Processor time of all children that have ended. `os.times` is too coarse for a few files."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _write_many(directory: Path, count: int) -> None:
    for number in range(count):
        place = directory / f"part-{number // 100:03}"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"document-{number:05}.txt").write_text("one line of some forty characters, no more\n" * 20)
