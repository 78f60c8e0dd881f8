"""Questions of code to a model: what the way to whoever answers costs, and how busy it keeps them.

Is: sessions of this process whose questions are answered in this process, over the channel alone and with cache, trace
and limits, beside a bare socket pair and bare timers; and a server over an endpoint on loopback, beside the endpoint's
client alone. Is not: a model, nor how it ends (`subcalls_ends.py`).
"""

from __future__ import annotations

import asyncio
import importlib.util
import socket
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

from bench.measure import Amounts, Bar, Figures, Row, interleave
from bench.sides.asking import PARALLEL, Asking, AtOnce, InProcess, asking
from bench.sides.ours import our_server
from rlm_kernel_mcp.session.answering.backends.openai_api import OpenAIBackend
from rlm_kernel_mcp.session.answering.backends.protocol import Asked
from rlm_kernel_mcp.settings import load_settings
from tests.endpoints.endpoint import Endpoint

TIMER_S, ENDPOINT_S = 0.02, 0.5
WAYS = {
    "over the channel alone": (
        "in quiet stretches (10th percentile of 3,000): an echo whose frames are JSON takes 37 us where the bare one "
        "takes 24, the kernel's end 32 us more, of which 15 are the thread that reads and wakes the one that asks, and "
        "the host's end 35 us (12 to read and check the frame, 11 to write the answer)"
    ),
    "with cache, trace and limits": (
        "beside the channel, of the host's processor time: limits, a task with a deadline and the account 60 us, the "
        "look-up in the table of answers 28 us, the row 8 us; rows are written 30 at a time, 1.4 ms that one question "
        "in 30 waits for. Of 100,000 characters each is hashed twice (60 us) and packed in a thread beside the next"
    ),
}
"""What is between a kernel and who answers it, and what is known of a miss."""
WHY_MANY = (
    "beside the 20 ms a question takes of the host's processor time 17 us over the channel alone and 140 us with "
    "cache, trace and limits (a third of it the rows), and of its kernel's 10 us in a batch, 40 of a task and 150 of "
    "one of 64 threads; where processors are shared with others all of that is late too"
)
ONE_BY_ONE = """
import time
def timed(count, text):
    took = []
    for n in range(count):
        begin = time.perf_counter()
        llm_query(f"{n} {time.time_ns()}", text)
        took.append((time.perf_counter() - begin) * 1e6)
    return sorted(took)
took = timed(__COUNT__, "x" * __CHARS__)
took[len(took) // 2], took[len(took) * 95 // 100]
"""
TOGETHER = """
import asyncio, time
from concurrent.futures import ThreadPoolExecutor
questions = [f"{n} {__SEED__}" for n in range(__COUNT__)]
begin = time.perf_counter()
__ASK__
took = time.perf_counter() - begin
assert all(got), [one for one in got if not one][:1]
took
"""
BATCH = TOGETHER.replace("__ASK__", "got = llm_query_batched(questions)")
GATHER = TOGETHER.replace("__ASK__", "got = await asyncio.gather(*map(llm_query_async, questions))")
THREADS = TOGETHER.replace("__ASK__", "with ThreadPoolExecutor(64) as pool: got = list(pool.map(llm_query, questions))")
ECHO = """
import socket, sys, time
wire, took = socket.socket(fileno=int(sys.argv[1])), []
data = b"x" * 200
for _ in range(int(sys.argv[2])):
    begin = time.perf_counter()
    wire.sendall(data)
    wire.recv(4096)
    took.append((time.perf_counter() - begin) * 1e6)
took.sort()
print(took[len(took) // 2], took[len(took) * 95 // 100])
"""


async def echoed(count: int) -> tuple[float, float]:
    """Median and 95th percentile, in us, of a process's way over a bare socket pair to this loop and back."""
    ours, theirs = socket.socketpair()
    loop = asyncio.get_running_loop()
    with ours, theirs:
        ours.setblocking(False)
        loop.add_reader(ours, lambda: ours.send(ours.recv(4096)))
        argv = [sys.executable, "-I", "-c", ECHO, str(theirs.fileno()), str(count)]
        child = await asyncio.create_subprocess_exec(*argv, stdout=subprocess.PIPE, pass_fds=[theirs.fileno()])
        said, _ = await child.communicate()
        loop.remove_reader(ours)
    median, late = map(float, said.split())
    return median, late


async def subcalls_one(amounts: Amounts) -> list[Row]:
    """One question after the other, with an answerer that takes no time."""
    count = 20 if amounts.smoke else 400
    mine: dict[str, list[tuple[float, ...]]] = {what: [] for what in WAYS}
    large: dict[str, list[tuple[float, ...]]] = {what: [] for what in WAYS}
    bare: list[tuple[float, ...]] = []
    async with asking(AtOnce()) as channel, asking(InProcess()) as whole:
        sessions = dict(zip(WAYS, (channel, whole), strict=True))
        for session in sessions.values():
            await session.result(ONE_BY_ONE, count=20, chars=1)
        for _ in range(amounts.times(7)):
            for what, session in sessions.items():
                mine[what].append(await session.result(ONE_BY_ONE, count=count, chars=200))
            bare.append(await echoed(count))
        for _ in range(amounts.times(5)):
            for what, session in sessions.items():
                large[what].append(await session.result(ONE_BY_ONE, count=count // 10, chars=100_000))
    rows = []
    for way, why in WAYS.items():
        what, own = f"llm_query with an answerer that takes no time, {way}", Bar(1_000.0, of="ours")
        for at, (name, bar) in enumerate((("median", Bar(3.0)), ("95th percentile", Bar(4.0)))):
            other = f"a bare socket pair's echo: {name}", figures(bare, at)
            rows.append(Row(f"{what}: {name}", figures(mine[way], at), *other, "us", bar, why))
        rows.append(Row(f"{what}: median", figures(mine[way], 0), unit="us", bar=own, why_missed=why))
        rows.append(
            Row(f"{what}, about 100,000 characters: median", figures(large[way], 0), unit="us", bar=own, why_missed=why)
        )
    return rows


async def subcalls_many(amounts: Amounts) -> list[Row]:
    """A thousand at 64, 20 ms each, asked in three ways; and the same again, out of the cache."""
    count = 64 if amounts.smoke else 1_000
    backend, seeds = InProcess(TIMER_S), iter(range(1_000))
    asked = {
        "in one batch": (BATCH, Bar(0.9, "at least")),
        "with await and gather": (GATHER, Bar(0.9, "at least")),
        "from 64 threads": (THREADS, Bar(0.5, "at least")),
    }
    async with asking(AtOnce(TIMER_S)) as channel, asking(backend) as whole:

        async def ours(session: Asking, code: str) -> float:
            return count / (await session.result(code, count=count, seed=next(seeds)))[0]

        async def timers() -> float:
            gate, begin = asyncio.Semaphore(PARALLEL), time.perf_counter()

            async def one() -> None:
                async with gate:
                    await asyncio.sleep(TIMER_S)

            await asyncio.gather(*(one() for _ in range(count)))
            return count / (time.perf_counter() - begin)

        cases = [(way, session, how) for way, session in zip(WAYS, (channel, whole), strict=True) for how in asked]
        sides = [partial(ours, session, asked[how][0]) for _, session, how in cases]
        *mine, bare = await interleave([*sides, timers], amounts.times(5), warm_up=1)
        first = backend.calls
        await whole.result(BATCH, count=count, seed="once more")
        second = backend.calls
        await whole.result(BATCH, count=count, seed="once more")
    what = f"{count:,} questions, {PARALLEL} at a time, 20 ms each (answers a second)"
    rows = [
        Row(f"{what}, {how}, {way}", figures, "the same timers alone", bare, "/s", asked[how][1], WHY_MANY)
        for (way, _, how), figures in zip(cases, mine, strict=True)
    ]
    again, once = Figures((float(backend.calls - second),)), Figures((float(second - first),))
    return [
        *rows,
        Row("questions that are sent for a batch that was asked before", again, "the first time", once, "", Bar(0.0)),
    ]


async def subcalls_endpoint(amounts: Amounts) -> list[Row]:
    """Over HTTP, where an answer takes half a second: by MCP, host and kernel."""
    if importlib.util.find_spec("openai") is None:
        print(
            "subcalls-endpoint: left out, since the client is not installed (bin/setup --with openai)", file=sys.stderr
        )
        return []
    count = 64 if amounts.smoke else 512
    seeds = iter(range(1_000))
    async with Endpoint(delay_s=0.05 if amounts.smoke else ENDPOINT_S) as endpoint:
        environ = {"RLM_SUBCALL_BACKEND": "openai", "RLM_SUBCALL_MODEL": "m", "RLM_SUBCALL_PARALLEL": str(PARALLEL)}
        environ |= {"RLM_SUBCALL_MAX": "100000", "RLM_SUBCALL_MAX_TOKENS": "1000000000"}
        environ |= {"OPENAI_BASE_URL": endpoint.url, "OPENAI_API_KEY": "sk-none"}
        alone = OpenAIBackend(load_settings(Path("/"), environ | {"HOME": "/"}).subcalls)
        with our_server(environ) as server:
            session_id = await asyncio.to_thread(
                server.open_session, max_subcalls=100_000, subcall_tokens_limit=1_000_000_000
            )

            async def ours() -> float:
                code = BATCH.replace("__COUNT__", str(count)).replace("__SEED__", str(next(seeds)))
                report = await asyncio.to_thread(server.step, session_id, code, wait_ms=600_000, timeout_ms=600_000)
                if report["status"] != "ok":
                    raise RuntimeError(f"a step ended with {report['status']}: {report['error']}")
                return count / float(report["result"])

            async def client() -> float:
                gate, begin = asyncio.Semaphore(PARALLEL), time.perf_counter()

                async def one(number: int) -> None:
                    async with gate:
                        await alone.answer(Asked(f"q{number}", None, "m"))

                await asyncio.gather(*map(one, range(count)))
                return count / (time.perf_counter() - begin)

            mine, bare = await interleave([ours, client], amounts.times(3), warm_up=1)
        await alone.close()
    what = f"{count} questions, {PARALLEL} at a time, to an endpoint on loopback that takes 500 ms (answers a second)"
    return [Row(what, mine, "the same client alone", bare, "/s", Bar(0.95, "at least"))]


def figures(samples: list[tuple[float, ...]], at: int) -> Figures:
    """One of several numbers of each sample."""
    return Figures(tuple(one[at] for one in samples))
