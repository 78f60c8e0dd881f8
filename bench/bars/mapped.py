"""A context that is mapped from its file: opening it, its memory, and work on it compared with an ordinary `str`.

Processor time, of all processes: the figures are the work, whatever else the machine does.
"""

from __future__ import annotations

import asyncio
import os
import resource
import subprocess
from pathlib import Path

import psutil

from bench.measure import Amounts, Bar, Figures, Row, Sample, interleave, milliseconds
from bench.processes import MB, cpu_s, settle, spent_s, status_mb
from bench.sides.ours import OurServer, our_server

LINES = "".join(
    f"2026-11-28T10:{second // 60:02}:{second % 60:02} {level} worker-{second % 7} took {second * 37 % 991} ms for "
    f"customer{second * 13 % 499}@example.org\n"
    for second, level in enumerate(["INFO", "INFO", "WARN", "INFO", "ERROR"] * 720)
)
"""An hour of a log, which is repeated."""
LAST = "\nthe last line of it\n"
HASH_LIMIT_S = 600.0
"""Time for the hash of 10 GB, which runs in the background and must not disturb what is measured."""
SMALL_MB = 20
"""Large enough to be mapped in a session with 64 MB of memory."""
WORK = {
    "count": "{}.count('ERROR')",
    "in": "'nowhere in it' in {}",
    "re.findall": r"len(re.findall(r'ERROR .*customer(\d+)@', {}))",
}

ORDINARY = """
import re, time
class Ordinary:
    def __reduce__(self):
        raise TypeError("no snapshot tries to keep a gigabyte")
ordinary = Ordinary()
ordinary.text = context[:-1] + context[-1]
ordinary.text is context
"""


async def mapped(amounts: Amounts) -> list[Row]:
    """1 GB of ASCII by path, in sessions of 4 GB, so that an ordinary `str` of it fits beside it."""
    size = max(SMALL_MB, amounts.megabytes(1024))
    with our_server(env={"RLM_MEMORY_LIMIT_MB": "64" if amounts.smoke else str(4 * size)}) as server:
        path = server.directory / "context.txt"
        with path.open("w", encoding="ascii") as file:
            while file.tell() < size * MB:
                file.write(LINES)
        rows = [await _opening(server, path, size, amounts)]
        session = _opened(server, path)
        rows += await _memory(server, session, path, size)
        rows += await _work(server, session, size, amounts)
    return rows


async def mapped_step(amounts: Amounts) -> list[Row]:
    """Steps over 1 byte, and over 10 GB, most of which is a hole in the file: NUL is ASCII too.

    In sessions of 1 GB: each opens, is sliced and is searched to its end.
    """
    size = max(SMALL_MB, amounts.megabytes(10 * 1024))
    with our_server(env={"RLM_MEMORY_LIMIT_MB": "64"} if amounts.smoke else None) as server:
        path = server.directory / "holes.txt"
        path.write_text(LINES, encoding="ascii")
        with path.open("r+b") as file:
            file.truncate(size * MB - len(LAST))
            file.seek(0, os.SEEK_END)
            file.write(LAST.encode())
        sessions = _opened(server, path), server.open_session("x")
        await settle(server.pid, HASH_LIMIT_S)

        def over(session: str) -> Sample:
            async def step() -> float:
                async def action() -> None:
                    server.step(session, "len(context), context[-1:]")

                return await milliseconds(action)

            return step

        mine, other = await interleave([over(one) for one in sessions], amounts.times(200), warm_up=amounts.times(10))
        rows = [Row(f"a step runs over {size:,} MB that are mapped", mine, "it runs over 1 byte", other, bar=Bar(1.1))]
        return [*rows, *(await _searches(server, sessions, size, amounts))]


async def _searches(server: OurServer, sessions: tuple[str, str], size: int, amounts: Amounts) -> list[Row]:
    """Search for what occurs only at the end, in the whole text and in an ordinary `str` that fits into memory."""
    session, other = sessions
    part = min(size, 256)
    server.step(other, f"context = chr(0) * {part * MB}")

    def takes(session: str, megabytes: int) -> Sample:
        code = f"""
import time
began = time.process_time()
at = context.find({LAST[1:-1]!r})
print((time.process_time() - began) * 1_000 / {megabytes} * 1_024, at)
"""

        async def search() -> float:
            report = await asyncio.to_thread(server.step, session, code, wait_ms=600_000, timeout_ms=600_000)
            took, at = report["stdout"].split()
            assert int(at) == (-1 if session is other else size * MB - len(LAST) + 1), report
            return float(took)

        return search

    mine, ordinary = await interleave([takes(session, size), takes(other, part)], amounts.times(3), warm_up=1)
    what = f"each GB is searched, of {size:,} MB that are mapped in a session with 1 GB of memory (processor time)"
    why = (
        "the first searches map the pages: four in a row took 435, 223, 181 and 175 ms a GB on an AMD EPYC, and the "
        "first is not counted; the tree before sub-calls had the same ratio in the same hour (1.36)"
    )
    kernel = _kernel_of(server, session)
    server.step(other, "context = 'x'")
    bare = status_mb(_kernel_of(server, other).pid, "RssAnon")
    more_mb = status_mb(kernel.pid, "RssAnon") - bare
    return [
        Row(what, mine, "each GB of an ordinary `str` is searched", ordinary, bar=Bar(1.1), why_missed=why),
        _own_row(f"{size:,} MB that are mapped and were searched to the end", more_mb, 8),
    ]


def _own_row(what: str, more_mb: float, limit_mb: int) -> Row:
    return Row(
        f"a kernel with {what} has this much more private memory than one with 1 MB",
        Figures((more_mb,)),
        unit="MB",
        bar=Bar(limit_mb, of="ours"),
    )


def _opened(server: OurServer, path: Path, width: int | None = 1) -> str:
    """A session over a file. `width`: bytes per character; None if they differ."""
    session = server.open_session(context_paths=[path.name])
    held = server.step(session, "type(context) is str, len(context)", wait_ms=600_000)["result"]
    assert held == f"(True, {path.stat().st_size})" or width is None, held
    assert held.startswith("(True, "), held
    return session


async def _opening(server: OurServer, path: Path, size: int, amounts: Amounts) -> Row:
    async def ours() -> float:
        return await _open_and_close(server, path, "mapped")

    async def sha256sum() -> float:
        return await _of_program("sha256sum", str(path))

    mine, other = await interleave([ours, sha256sum], amounts.times(5), warm_up=1)
    what = f"a context of {size:,} MB is opened by its path, mapped and ready (processor time)"
    return Row(what, mine, "`sha256sum` reads the file", other, bar=Bar(2))


async def spooled(amounts: Amounts) -> list[Row]:
    """256 MB of UTF-8 with an emoji in one line of fifty: 4 bytes a character in memory, hence also on disk."""
    size = max(SMALL_MB, amounts.megabytes(256))
    with our_server(env={"RLM_MEMORY_LIMIT_MB": "64"} if amounts.smoke else None) as server:
        path = server.directory / "wide.txt"
        with path.open("w", encoding="utf-8") as file:
            while file.tell() < size * MB:
                file.write(LINES + "Grüße, Привет, 日本, 😀\n" * 72)

        async def ours() -> float:
            return await _open_and_close(server, path, "spooled")

        async def iconv() -> float:
            to = server.directory / "converted"
            return await _of_program("iconv", "-f", "UTF-8", "-t", "UTF-32LE", "-o", str(to), str(path))

        mine, other = await interleave([ours, iconv], amounts.times(5), warm_up=1)
        session, small = _opened(server, path, width=None), server.open_session("x" * MB)
        await settle(server.pid)
        own = _own_row(f"{size:,} MB of UTF-8 that are spooled", _more_mb(server, session, small), 12)
    what = f"{size:,} MB of UTF-8 are opened by path, written with 4 bytes a character, and ready (processor time)"
    return [Row(what, mine, "`iconv -t UTF-32LE` converts the file", other, bar=Bar(2.5)), own]


def _more_mb(server: OurServer, session: str, small: str) -> float:
    """How much more private memory one session's kernel has than another's, once both have read everything."""
    kernels = [_kernel_of(server, one) for one in (session, small)]
    for one in (session, small):
        server.step(one, "context.count('q')")
    mine, bare = (status_mb(kernel.pid, "RssAnon") for kernel in kernels)
    return mine - bare


async def _open_and_close(server: OurServer, path: Path, held: str) -> float:
    """Milliseconds of processor time until a context is ready, including the process that read it."""
    await settle(server.pid)
    before = spent_s(server.pid)
    opened = server.call("rlm_init_context", context_paths=[path.name])
    await settle(server.pid)
    after = spent_s(server.pid)
    assert opened["context"]["held"] == held, opened["context"]
    server.finalize(opened["session_id"])
    return (after - before) * 1_000


async def _of_program(*command: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    running = await asyncio.create_subprocess_exec(*command, stdout=subprocess.DEVNULL)
    assert await running.wait() == 0
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1_000


async def _memory(server: OurServer, session: str, path: Path, size: int) -> list[Row]:
    small, second = server.open_session("x" * MB), _opened(server, path)
    await settle(server.pid)  # what makes their hashes works beside them
    kernels = [_kernel_of(server, one) for one in (session, second)]
    more_mb = _more_mb(server, session, small)
    alone = kernels[0].memory_full_info().pss / MB
    server.step(second, "context.count('q')")
    both = sum(kernel.memory_full_info().pss for kernel in kernels) / MB
    for one in (small, second):
        server.finalize(one)
    return [
        _own_row(f"{size:,} MB that are mapped", more_mb, 8),
        Row(
            f"two kernels that have both read one mapped file of {size:,} MB take this much memory together (PSS)",
            Figures((both,)),
            "one of them alone takes this much",
            Figures((alone,)),
            unit="MB",
            bar=Bar(1.1),
        ),
    ]


def _kernel_of(server: OurServer, session: str) -> psutil.Process:
    """A session's kernel process: the one that is busy while its step runs."""
    before = cpu_s(server.pid)
    server.step(session, "sum(range(5_000_000))")
    now = cpu_s(server.pid)
    below = (pid for pid in now if pid != server.pid)
    return psutil.Process(max(below, key=lambda pid: now[pid] - before.get(pid, 0.0)))


async def _work(server: OurServer, session: str, size: int, amounts: Amounts) -> list[Row]:
    report = server.step(session, ORDINARY)
    assert report["result"] == "False", report

    def takes(code: str) -> Sample:
        async def work() -> float:
            timed = f"began = time.process_time(); {code}; print((time.process_time() - began) * 1_000)"
            report = server.step(session, timed)
            assert report["status"] == "ok", report
            return float(report["stdout"])

        return work

    rows = []
    for name, code in WORK.items():
        sides = [takes(code.format(text)) for text in ("context", "ordinary.text")]
        mine, other = await interleave(sides, amounts.times(5), warm_up=1)
        what = f"`{name}` goes over {size:,} MB that are mapped (processor time)"
        rows.append(Row(what, mine, "it goes over an ordinary `str`", other, bar=Bar(1.1)))
    return rows
