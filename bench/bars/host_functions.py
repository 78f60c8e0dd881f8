"""A program's functions, called by the code of its session: what a call takes, here and by way of a host.

Is: calls one after the other of a function that does nothing, beside a bare socket pair's echo of the same run. Is not:
calls that an agent answers, which wait for a page.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from bench.bars.subcalls import echoed
from bench.measure import Amounts, Bar, Figures, Row
from rlm_kernel_mcp.api import Session

WHY = (
    "the echo hands over twice between threads, a call three times, by way of a host five times, and what is done "
    "between takes two to three times as long in threads that have just slept: docs/decisions/0155 has it stage by "
    "stage, and docs/floors.md what the least takes that could be right"
)
TIMED = """
import time
def timed(count):
    took = []
    for n in range(count):
        begin = time.perf_counter()
        host_call("__NAME__", n=n, text="x" * 150)
        took.append((time.perf_counter() - begin) * 1e6)
    return sorted(took)
took = timed(__COUNT__)
took[len(took) // 2], took[len(took) * 95 // 100]
"""
WAYS = {"off": "in the program's process", "required": "by way of a host"}
FUNCTIONS = {"plain": "a plain function", "coroutine": "a coroutine function"}
LIMIT = Bar(4.0)


def plain(n: int, text: str) -> int:
    """Does nothing."""
    del text
    return n


async def coroutine(n: int, text: str) -> int:
    """Does nothing either."""
    del text
    return n


@contextmanager
def session_of(host: str) -> Iterator[Session]:
    """A session of a place, and of a host, of its own."""
    with ExitStack() as ends:
        directory = ends.enter_context(tempfile.TemporaryDirectory(prefix="rlm-f-", ignore_cleanup_errors=True))
        env = {"RLM_STATE_DIR": f"{directory}/s", "RLM_HOST_DIR": f"{directory}/h", "RLM_HOST_IDLE_S": "1"}
        functions = {"plain": plain, "coroutine": coroutine}
        options = {"context_text": "x", "host_functions": functions}
        yield ends.enter_context(Session(host=host, env=env, **options))  # type: ignore[arg-type]


async def host_functions(amounts: Amounts) -> list[Row]:
    """One call after the other."""
    count = 20 if amounts.smoke else 400
    mine: dict[tuple[str, str], list[tuple[float, float]]] = {}
    bare: list[tuple[float, float]] = []
    with ExitStack() as ends:
        sessions = {host: ends.enter_context(await asyncio.to_thread(session_of, host)) for host in WAYS}

        async def took(host: str, name: str, calls: int) -> tuple[float, float]:
            code = TIMED.replace("__NAME__", name).replace("__COUNT__", str(calls))
            report = await asyncio.to_thread(sessions[host].run, code)
            median, late = map(float, (report.result or "").strip("()").split(","))
            return median, late

        for host in WAYS:
            await took(host, "plain", 20)
        for _ in range(amounts.times(7)):
            for host in WAYS:
                for name in FUNCTIONS:
                    mine.setdefault((host, name), []).append(await took(host, name, count))
            bare.append(await echoed(count))
    return [
        Row(
            f"host_call of {FUNCTIONS[name]} that does nothing, {WAYS[host]}: {what}",
            Figures(tuple(one[at] for one in samples)),
            f"a bare socket pair's echo: {what}",
            Figures(tuple(one[at] for one in bare)),
            "us",
            LIMIT if name == "plain" and at == 0 else None,
            WHY,
        )
        for (host, name), samples in mine.items()
        for at, what in enumerate(("median", "95th percentile"))
    ]
