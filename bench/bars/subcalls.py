"""Questions of code to a model: what the way to whoever answers costs, and how busy it keeps them.

Is: a session of this process over a backend of this process, beside a bare socket pair and bare timers; and an endpoint
on loopback, beside its client alone. Is not: a model.
"""

from __future__ import annotations

import asyncio
import importlib.util
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from bench.measure import Amounts, Bar, Figures, Row, interleave
from rlm_kernel_mcp.session.answering.backends.openai_api import OpenAIBackend
from rlm_kernel_mcp.session.answering.backends.protocol import Answer, Asked, Backend, Facts
from rlm_kernel_mcp.session.answering.books import StoreBooks
from rlm_kernel_mcp.session.answering.switchboard import Ceilings, Switchboard
from rlm_kernel_mcp.session.registry import Registry
from rlm_kernel_mcp.session.reports import Guardrails
from rlm_kernel_mcp.settings import Settings, load_settings
from tests.endpoints.endpoint import Endpoint

PARALLEL, TIMER_S, ENDPOINT_S = 64, 0.02, 0.5
LIMITS = Guardrails(
    max_steps=10_000, max_runtime_ms=3_600_000, budget_limit=10_000_000, max_subcalls=100_000,
    subcall_tokens_limit=1_000_000_000,
)  # fmt: skip
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
import time
questions = [f"{n} {__SEED__}" for n in range(__COUNT__)]
begin = time.perf_counter()
got = llm_query_batched(questions)
took = time.perf_counter() - begin
assert all(got), [one for one in got if not one][:1]
took
"""
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


class InProcess:
    """Answers after a while, or at once."""

    facts = Facts("in-process", "here", "m")

    def __init__(self, delay_s: float = 0.0) -> None:
        self._delay_s = delay_s
        self.calls = 0

    async def answer(self, asked: Asked) -> Answer:
        del asked
        self.calls += 1
        if self._delay_s:
            await asyncio.sleep(self._delay_s)
        return Answer("yes", 10, 1)

    async def close(self) -> None:
        """It has nothing."""


class Asking:
    """A session whose code asks a backend of this process."""

    def __init__(self, registry: Registry, session_id: str) -> None:
        self._registry, self._session_id = registry, session_id

    async def result(self, code: str, **values: object) -> tuple[float, ...]:
        """What a step's last expression gave: numbers."""
        for name, value in values.items():
            code = code.replace(f"__{name.upper()}__", repr(value))
        report = await self._registry.run_repl(
            self._session_id, code, timeout_ms=600_000, wait_ms=600_000, max_output_chars=10_000
        )
        if report.status != "ok":
            raise RuntimeError(f"a step ended with {report.status}: {report.error or report.note}")
        return tuple(float(part) for part in (report.result or "").strip("()").split(",") if part.strip())


def _settings(directory: str) -> Settings:
    return load_settings(directory, {"RLM_STATE_DIR": f"{directory}/state", "HOME": directory})


@asynccontextmanager
async def asking(backend: Backend) -> AsyncIterator[Asking]:
    """With everything that a user's has: cache, trace and the day's count."""
    with tempfile.TemporaryDirectory(prefix="rlm-bench-") as directory:
        registry = await Registry.open(_settings(directory))
        try:
            books = StoreBooks(registry.store, registry._writer, backend.facts, is_cached=True, day_max=10**9)
            board = Switchboard(backend, Ceilings(10**6, 10**12, parallel=PARALLEL), books, books)
            registry.handles._shared = replace(registry.handles._shared, switchboard=board)
            opened = await registry.init_context(context_text="x", context_paths=None, limits=LIMITS)
            yield Asking(registry, opened.session_id)
        finally:
            await registry.close()


async def _echoed(count: int) -> tuple[float, float]:
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
    async with asking(InProcess()) as session:
        await session.result(ONE_BY_ONE, count=20, chars=1)
        mine: list[tuple[float, ...]] = []
        bare: list[tuple[float, ...]] = []
        for _ in range(amounts.times(7)):
            mine.append(await session.result(ONE_BY_ONE, count=count, chars=200))
            bare.append(await _echoed(count))
        large = [await session.result(ONE_BY_ONE, count=count // 10, chars=100_000) for _ in range(amounts.times(5))]
    what, echo = (
        "llm_query with an answerer that takes no time, with cache, trace and limits",
        "a bare socket pair's echo",
    )
    rows = [
        Row(f"{what}: {name}", _figures(mine, at), f"{echo}: {name}", _figures(bare, at), "us", Bar(limit))
        for at, (name, limit) in enumerate((("median", 3.0), ("95th percentile", 4.0)))
    ]
    return [
        *rows,
        Row(f"{what}, about 100,000 characters: median", _figures(large, 0), unit="us", bar=Bar(1_000.0, of="ours")),
    ]


async def subcalls_many(amounts: Amounts) -> list[Row]:
    """A thousand at 64, 20 ms each; and the same again, out of the cache."""
    count = 64 if amounts.smoke else 1_000
    backend, seeds = InProcess(TIMER_S), iter(range(1_000))
    async with asking(backend) as session:

        async def ours() -> float:
            return count / (await session.result(TOGETHER, count=count, seed=next(seeds)))[0]

        async def timers() -> float:
            gate, begin = asyncio.Semaphore(PARALLEL), time.perf_counter()

            async def one() -> None:
                async with gate:
                    await asyncio.sleep(TIMER_S)

            await asyncio.gather(*(one() for _ in range(count)))
            return count / (time.perf_counter() - begin)

        mine, bare = await interleave([ours, timers], amounts.times(5), warm_up=1)
        first = backend.calls
        await session.result(TOGETHER, count=count, seed=0)
        again = Figures((float(backend.calls - first),))
    return [
        Row(
            f"{count:,} questions, {PARALLEL} at a time, 20 ms each (answers a second)",
            mine, "the same timers alone", bare, "/s", Bar(0.9, "at least"),
        ),
        Row("the same batch once more: questions that are sent", again, unit="", bar=Bar(0.0, of="ours")),
    ]  # fmt: skip


async def subcalls_endpoint(amounts: Amounts) -> list[Row]:
    """Over HTTP, where an answer takes half a second."""
    if importlib.util.find_spec("openai") is None:
        print(
            "subcalls-endpoint: left out, since the client is not installed (bin/setup --with openai)", file=sys.stderr
        )
        return []
    count = 64 if amounts.smoke else 512
    seeds = iter(range(1_000))
    async with Endpoint(delay_s=0.05 if amounts.smoke else ENDPOINT_S) as endpoint:
        environ = {"RLM_SUBCALL_BACKEND": "openai", "RLM_SUBCALL_MODEL": "m", "RLM_SUBCALL_PARALLEL": str(PARALLEL)}
        environ |= {"OPENAI_BASE_URL": endpoint.url, "HOME": "/"}
        wanted = load_settings(Path("/"), environ).subcalls
        alone = OpenAIBackend(wanted)
        async with asking(OpenAIBackend(wanted)) as session:

            async def ours() -> float:
                return count / (await session.result(TOGETHER, count=count, seed=next(seeds)))[0]

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


def _figures(samples: list[tuple[float, ...]], at: int) -> Figures:
    assert statistics.median(one[at] for one in samples) > 0
    return Figures(tuple(one[at] for one in samples))
