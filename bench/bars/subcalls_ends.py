"""Questions that wait, end or flood: what a wait is charged, how soon an interrupt ends it, and what a server takes.

Is: sessions of this process over a backend of this process; servers with and without a backend, and one whose kernel
floods it. Is not: how fast answers come (`subcalls.py`).
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import psutil

from bench.bars.starts import OURS, start_of
from bench.measure import Amounts, Bar, Figures, Row, interleave
from bench.processes import pss_mb, settle, status_mb
from bench.sides.asking import InProcess, asking
from bench.sides.ours import OurServer, our_server
from tests.endpoints.endpoint import Endpoint
from tests.escape.attack_server import opened
from tests.escape.cases import COURTESIES, read_corpus
from tests.escape.verdicts import tried

NEVER_S = 1e6
OPEN = 1_000
WAITS = {
    "one batch": "llm_query_batched([f'{n} {__SEED__}' for n in range(__COUNT__)])",
    "ten threads": """
import threading
def ask(part):
    llm_query_batched([f"{part} {n} {__SEED__}" for n in range(__COUNT__ // 10)])
threads = [threading.Thread(target=ask, args=(part,)) for part in range(10)]
for one in threads: one.start()
for one in threads: one.join()
""",
    "await": """
import asyncio
await asyncio.gather(*(llm_query_async(f"{n} {__SEED__}") for n in range(__COUNT__)))
""",
}
SLEEPS = "import time\ntime.sleep(600)"
IDLE = "llm_query_batched([f'{n} {__SEED__}' for n in range(64)]) and None"
BUSY = """
import threading, time
over = threading.Event()
def work():
    begin = time.thread_time()
    while time.thread_time() - begin < __SECONDS__: pass
    over.set()
begin = time.process_time()
threading.Thread(target=work).start()
while not over.is_set(): llm_query(f"{time.time_ns()}")
(time.process_time() - begin) * 1e3
"""
FLOOD = """
import gc, json, os
asking = next(one for one in gc.get_objects() if type(one).__name__ == "Channel" and hasattr(one, "_outgoing"))
fd, step, number = asking._socket.fileno(), asking._step_of(), 1_000
text = "x" * __CHARS__ + "\\N{GRINNING FACE}"
while True:
    items = [[number + at, "p", text] for at in range(64)]
    data = json.dumps({"ask": {"step": step, "opts": {"batch": 1}, "items": items}}).encode()
    data = len(data).to_bytes(4, "big") + data
    while data:
        data = data[os.write(fd, data):]
    number += 64
"""
WHY = (
    "an interrupt of time.sleep is 2.5 ms of the host's processor time and 2.5 of the kernel's; of a thousand "
    "questions the host ends each in 15 us, a hundred and more of them before its answer; a kernel whose tasks wait "
    "cancels each of these first, which is 10 ms of its processor time in all"
)
NOBODY_LISTENS = {
    "RLM_SUBCALL_BACKEND": "openai",
    "RLM_SUBCALL_MODEL": "m",
    "OPENAI_BASE_URL": "http://127.0.0.1:9/v1",
    "OPENAI_API_KEY": "sk-none",
}


async def subcalls_charged(amounts: Amounts) -> list[Row]:
    """What a step that waits is charged as runtime, with nothing beside the wait and with a loop."""
    seconds = 0.2 if amounts.smoke else 1.0
    backend = InProcess(seconds)
    charged: list[float] = []
    waited: list[float] = []
    worked: list[float] = []
    used: list[float] = []
    async with asking(backend) as session:
        await session.done(IDLE, seed=-1)
        for seed in range(amounts.times(5)):
            report = await session.done(IDLE, seed=seed)
            assert report.subcalls is not None
            charged.append(report.duration_ms)
            waited.append(report.subcalls.waited_ms)
            report = await session.done(BUSY, seconds=seconds)
            worked.append(report.duration_ms)
            used.append(float(report.result or 0))
    what = "runtime that is charged of a step"
    return [
        Row(f"{what} that waits for answers", _all(charged), "it waits", _all(waited), bar=Bar(0.1)),
        Row(
            f"{what} in which a loop runs beside a question", _all(worked), "its processor time", _all(used),
            bar=Bar(0.9, "at least"),
        ),
    ]  # fmt: skip


async def subcalls_interrupt(amounts: Amounts) -> list[Row]:
    """From the call until its answer, with a thousand questions open; and of a step that sleeps."""
    count = 100 if amounts.smoke else OPEN
    seeds = iter(range(1_000_000))
    async with asking(InProcess(NEVER_S)) as session:

        async def waiting(code: str) -> float:
            asked = code.replace("__COUNT__", str(count)).replace("__SEED__", str(next(seeds)))
            await session.begin(asked, count)
            return await session.interrupt()

        async def sleeping() -> float:
            await session.begin(SLEEPS, 0)
            await asyncio.sleep(0.1)
            return await session.interrupt()

        sides = [*(lambda code=code: waiting(code) for code in WAITS.values()), sleeping]
        *mine, other = await interleave(sides, amounts.times(9), warm_up=1)
    rows = []
    for how, figures in zip(WAITS, mine, strict=True):
        what = f"an interrupt of {count:,} open questions ({how})"
        rows += [
            Row(what, figures, "an interrupt of time.sleep", other, bar=Bar(3.0), why_missed=WHY),
            Row(what, figures, bar=Bar(300.0, of="ours")),
        ]
    return rows


async def subcalls_flood(amounts: Amounts) -> list[Row]:
    """The server's memory while a kernel writes questions without end, of characters that take it the most."""
    grown: list[float] = []
    for chars in (7_000, 60) if not amounts.smoke else (7_000,):
        async with Endpoint(delay_s=NEVER_S) as endpoint:
            environ = NOBODY_LISTENS | {"OPENAI_BASE_URL": endpoint.url, "RLM_IMPORT_POLICY": "any"}
            with our_server(environ) as server:
                session_id = await asyncio.to_thread(server.open_session)
                await asyncio.to_thread(server.step, session_id, "1")
                await settle(server.pid)
                before = status_mb(server.pid, "VmRSS")
                await asyncio.to_thread(server.start_endless, session_id, FLOOD.replace("__CHARS__", str(chars)))
                await _steady(server, 0.2 if amounts.smoke else 2.0)
                grown.append(status_mb(server.pid, "VmHWM") - before)
                await asyncio.to_thread(server.call, "rlm_interrupt", session_id=session_id)
    what = "memory that a server takes while a kernel floods it with questions, long ones and many"
    return [Row(what, Figures((max(grown),)), unit="MB", bar=Bar(100.0, of="ours"))]


async def _steady(server: OurServer, seconds: float) -> None:
    """Return when its memory has not grown for so long."""
    most, since_s = 0.0, time.monotonic()
    while time.monotonic() < since_s + seconds:
        await asyncio.sleep(0.05)
        if (now := status_mb(server.pid, "VmRSS")) > most + 0.5:
            most, since_s = now, time.monotonic()


async def subcalls_idle(amounts: Amounts) -> list[Row]:
    """A server of a user who has switched a backend on, before anybody asks."""
    with tempfile.TemporaryDirectory(prefix="rlm-bench-") as around:
        directory = Path(tempfile.mkdtemp(dir=around))
        starts = [start_of(OURS, directory, NOBODY_LISTENS), start_of(OURS, directory)]
        mine, bare = await interleave(starts, amounts.times(25), warm_up=amounts.times(3))
    rows = [Row("a server with a backend starts and answers `initialize`", mine, "without", bare, bar=Bar(1.05))]
    try:
        sides = [lambda: _idle_mb(NOBODY_LISTENS), lambda: _idle_mb({})]
        mine, bare = await interleave(sides, amounts.times(3))
    except psutil.AccessDenied:
        return rows  # this user may not look at the memory of kernels
    what = "an idle server with a backend, its session and a spare kernel, take this much memory (PSS)"
    return [*rows, Row(what, mine, "without", bare, unit="MB", bar=Bar(1.05))]


async def _idle_mb(environ: Mapping[str, str]) -> float:
    with our_server(environ) as server:
        server.step(server.open_session(), "1")  # by then the fork server is there
        await settle(server.pid)
        return pss_mb(server.pid)


async def subcalls_hostile(amounts: Amounts) -> list[Row]:
    """The corpus of what wants out, where code may ask a model and every module may be imported."""
    cases = [case for case in read_corpus() if case.category not in COURTESIES | {"resource", "kernel-surface"}]
    cases = cases[:3] if amounts.smoke else cases

    def out() -> int:
        with (
            tempfile.TemporaryDirectory(prefix="rlm-bench-") as around,
            opened(Path(tempfile.mkdtemp(dir=around)), "any", **NOBODY_LISTENS) as server,
        ):
            return sum(bool(tried(server, case)[1]) for case in cases)

    figures = Figures((float(await asyncio.to_thread(out)),))
    what = f"hostile programs of {len(cases)} that get out of the walls where code may ask a model"
    return [Row(what, figures, unit="", bar=Bar(0.0, of="ours"))]


def _all(samples: list[float]) -> Figures:
    return Figures(tuple(samples))
