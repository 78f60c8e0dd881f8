"""A session's start and memory: with a spare kernel and without, many at once, with the walls and without."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import psutil

from bench.measure import Amounts, Bar, Figures, Row, interleave, milliseconds
from bench.processes import pss_mb, settle
from bench.sides.ours import NO_LIMITS, OurServer, our_server
from bench.sides.stock import StockKernel, stock_kernels

STOCK_START = "a stock kernel starts and is ready"
AT_ONCE = 8
SPEC = Path(__file__).resolve().parents[2] / "kernelspecs" / "rlm-python"


async def init_context(amounts: Amounts) -> list[Row]:
    """A small text, with the spare kernel ready, since nothing else is going on."""
    with our_server() as server, tempfile.TemporaryDirectory(prefix="rlm-bench-stock-") as directory:

        async def ours() -> float:
            await settle(server.pid)
            return await open_and_finalize(server)

        sides = [ours, _stock_start(Path(directory))]
        mine, other = await interleave(sides, amounts.times(15), warm_up=amounts.times(1))
    what = "`rlm_init_context` opens a session while a spare kernel is ready"
    return [Row(what, mine, STOCK_START, other, bar=Bar(0.04))]


async def init_context_asking(amounts: Amounts) -> list[Row]:
    """The same where its code may ask, for which a channel is opened, and where nobody answers; and its first step."""
    with our_server() as asking, our_server({"RLM_SUBCALL_BACKEND": "none"}) as silent:

        async def opened(server: OurServer) -> float:
            await settle(server.pid)
            return await open_and_finalize(server)

        async def used(server: OurServer) -> float:
            await settle(server.pid)

            opened: list[str] = []

            async def action() -> None:
                opened.append(server.open_session())
                assert server.step(opened[0], "1+1")["status"] == "ok"

            elapsed_ms = await milliseconds(action)
            server.finalize(opened[0])
            return elapsed_ms

        sides = [lambda: opened(asking), lambda: opened(silent), lambda: used(asking), lambda: used(silent)]
        ours, other, used_ours, used_other = await interleave(sides, amounts.times(15), warm_up=amounts.times(1))
    what = "`rlm_init_context` opens a session whose code may ask, while a spare kernel is ready"
    without = "it opens one in which nobody answers"
    first = Row(what, ours, without, other, bar=Bar(1.2))
    return [
        first,
        Row("it does, and its first step is answered", used_ours, "the same where nobody answers", used_other),
    ]


async def burst(amounts: Amounts) -> list[Row]:
    """Sessions one after the other when the spare is used up; and several at once, until the last one is ready."""
    with our_server() as server, tempfile.TemporaryDirectory(prefix="rlm-bench-stock-") as directory:
        waiting: list[float] = []

        async def in_a_row() -> float:
            if not waiting:
                await settle(server.pid)
                opened, waiting[:] = await _open_in_a_row(server, 5)
                for session_id in opened:
                    server.finalize(session_id)
            return waiting.pop()

        sides = [in_a_row, _stock_start(Path(directory))]
        ours, other = await interleave(sides, amounts.times(16), warm_up=amounts.times(1))
        what = "`rlm_init_context` opens a session when the spare kernel has just been taken"
        rows = [Row(what, ours, STOCK_START, other, bar=Bar(0.2))]
        sides = [lambda: _all_at_once(server), lambda: _stock_at_once(Path(directory))]
        ours, other = await interleave(sides, amounts.times(5), warm_up=amounts.times(1))
    what = f"{AT_ONCE} calls of `rlm_init_context` at the same time are all answered"
    other_side = f"{AT_ONCE} stock kernels that start at the same time are all ready"
    return [*rows, Row(what, ours, other_side, other, bar=Bar(0.2))]


async def _open_in_a_row(server: OurServer, count: int) -> tuple[list[str], list[float]]:
    """The handles, and the time of each session except the first, which took the spare kernel."""
    opened: list[str] = []

    async def one() -> None:
        opened.append(server.open_session())

    elapsed = [await milliseconds(one) for _ in range(count)]
    return opened, elapsed[1:]


async def _all_at_once(server: OurServer) -> float:
    await settle(server.pid)
    before = {row["session_id"] for row in server.call("rlm_list_sessions")["sessions"]}
    call = ("rlm_init_context", {"context_text": "a small text", **NO_LIMITS})
    elapsed_s = server.calls([call] * AT_ONCE, AT_ONCE)
    for row in server.call("rlm_list_sessions")["sessions"]:
        if row["session_id"] not in before:
            server.finalize(row["session_id"])
    return elapsed_s * 1000


async def _stock_at_once(directory: Path) -> float:
    kernels = [StockKernel(directory) for _ in range(AT_ONCE)]
    try:
        return await milliseconds(lambda: asyncio.gather(*(kernel.start() for kernel in kernels)))
    finally:
        await asyncio.gather(*(kernel.close() for kernel in kernels))


async def walls(amounts: Amounts) -> list[Row]:
    """The same kernelspec, with different walls in its policy. No side has spare kernels.

    The bars are what a trial of these mechanisms took: 2 to 7 ms without namespaces, 8 to 14 ms more with them.
    """
    kinds = {"every wall": 21.0, "every wall but namespaces": 7.0, "no walls": 0.0}
    with tempfile.TemporaryDirectory(prefix="rlm-bench-specs-") as directory, contextlib.ExitStack() as stack:
        servers = []
        for number, kind in enumerate(kinds):
            _write_spec(Path(directory), f"walls-{number}", kind)
            server = stack.enter_context(our_server({"JUPYTER_PATH": directory, "RLM_KERNEL": f"walls-{number}"}))
            _check_walls(set(server.call("rlm_init_context", context_text="x")["walls"]), kind)
            servers.append(server)
        sides = [functools.partial(open_and_finalize, server) for server in servers]
        *with_walls, without = await interleave(sides, amounts.times(25), warm_up=amounts.times(2))
    rows = []
    for (kind, bar_ms), figures in zip(kinds.items(), with_walls, strict=False):
        what = f"`rlm_init_context` opens a session with {kind}, and no spare kernel"
        rows.append(Row(what, figures, "it opens one without any wall", without))
        pairs = zip(figures.samples, without.samples, strict=True)
        more = Figures(tuple(ours - other for ours, other in pairs))
        why = (
            "this is the difference of two starts: where its spread is wider than the bar, the machine had other work "
            "to do as well"
        )
        what = f"`rlm_init_context` takes longer by this with {kind} than without any"
        rows.append(Row(what, more, bar=Bar(bar_ms, of="ours"), why_missed=why))
    return rows


def _check_walls(held: set[str], kind: str) -> None:
    assert bool(held) == (kind != "no walls"), held
    assert "namespaces" not in held or kind == "every wall", held


def _write_spec(directory: Path, name: str, kind: str) -> None:
    spec = directory / "kernels" / name
    spec.mkdir(parents=True)
    policy = json.loads((SPEC / "policy.json").read_text(encoding="utf-8"))
    policy["pool"]["spare_kernels"] = 0
    if kind != "every wall":
        policy["walls"]["wanted"] = []
    if kind == "no walls":
        policy["walls"]["required"] = []
    (spec / "policy.json").write_text(json.dumps(policy), encoding="utf-8")
    (spec / "kernel.json").write_bytes((SPEC / "kernel.json").read_bytes())


async def memory(amounts: Amounts) -> list[Row]:
    """What one more idle session costs after a step, including its monitor process and its share of the server."""
    count = 2 if amounts.smoke else 8
    try:
        with our_server() as server:
            first = server.open_session()
            server.step(first, "1+1")
            ours = await _more_sessions(server, count)
        async with stock_kernels(count + 1) as kernels:
            for kernel in kernels:
                await kernel.step("1+1")
            # The first session pays for what all of them share.
            other = (sum(kernel.pss_mb() for kernel in kernels) - await _alone()) / count
    except psutil.AccessDenied:
        what = "the memory (PSS) of kernels is not shown to this user: run the benchmark as root"
        return [Row(what, Figures((0.0,)), unit="MB")]
    what = "each further idle session takes this much memory (PSS)"
    why = (
        "about 10 MB are pages of the fork server that the kernel writes to, most of them for reference counts, and "
        "3 MB are such pages of the process that watches over its namespaces"
    )
    other_side = "each further stock kernel takes this much", Figures((other,))
    return [Row(what, Figures((ours,)), *other_side, unit="MB", bar=Bar(0.5), why_missed=why)]


async def _more_sessions(server: OurServer, count: int) -> float:
    await settle(server.pid)
    before = pss_mb(server.pid)
    for _ in range(count):
        server.step(server.open_session(), "1+1")
    await settle(server.pid)
    return (pss_mb(server.pid) - before) / count


async def _alone() -> float:
    async with stock_kernels(1) as (kernel,):
        await kernel.step("1+1")
        return kernel.pss_mb()


async def open_and_finalize(server: OurServer) -> float:
    """A sample: `rlm_init_context`, in ms."""
    opened: list[str] = []

    async def action() -> None:
        opened.append(server.open_session())

    elapsed_ms = await milliseconds(action)
    server.finalize(opened[0])
    return elapsed_ms


def _stock_start(directory: Path) -> Callable[[], Awaitable[float]]:
    async def sample() -> float:
        kernel = StockKernel(directory)
        try:
            return await milliseconds(kernel.start)
        finally:
            await kernel.close()

    return sample
