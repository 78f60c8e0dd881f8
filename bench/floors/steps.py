"""What a step of `1+1` uses, thread by thread: ours, a stock kernel's, and sixteen of ours at once."""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from bench.bars.many import SESSIONS, step_call
from bench.floors.threads import Used, between, by_role, kernels_below, used_by
from bench.measure import Amounts, Figures, Row
from bench.processes import cpu_s, settle
from bench.sides.ours import OurServer, our_server
from bench.sides.stock import StockKernel, stock_kernel

BATCHES, STEPS = 25, 40
Batches = list[dict[str, Used]]


async def step(amounts: Amounts) -> list[Row]:
    """One session, and a stock kernel, in turn: processor time and sleeps of each thread."""
    batches, steps = amounts.times(BATCHES), amounts.times(STEPS)
    ours: Batches = []
    theirs: Batches = []
    walls: list[list[float]] = [[], []]
    with our_server() as server:
        async with stock_kernel() as stock:
            session_id = server.open_session()
            roles = await _roles(server, [session_id], steps)
            their_roles = {os.getpid(): "Jupyter's client", stock.pid: "the stock kernel"}
            await _stock_steps(stock, steps)
            for _ in range(batches):
                ours.append(await _measured(lambda: _our_steps(server, session_id, steps), roles, steps, walls[0]))
                theirs.append(await _measured(lambda: _stock_steps(stock, steps), their_roles, steps, walls[1]))
    rows = [Row("a step of `1+1` takes, from the call to the answer", Figures(tuple(walls[0])))]
    rows += _rows("a step of ours", ours)
    rows += [Row("a step of a stock kernel takes, without MCP", Figures(tuple(walls[1])))]
    return rows + _rows("a step of a stock kernel", theirs)


async def many(amounts: Amounts) -> list[Row]:
    """Sixteen sessions at once and one alone, in turn: what of the two processors is used, and by whom."""
    batches, steps = amounts.times(BATCHES // 2), max(SESSIONS, amounts.times(4 * STEPS))
    rows = []
    with our_server({"RLM_MAX_SESSIONS": str(SESSIONS + 1)}) as server:
        sessions = [server.open_session() for _ in range(SESSIONS)]
        roles = await _roles(server, sessions, steps)
        found: dict[int, Batches] = {1: [], SESSIONS: []}
        rates: dict[int, list[float]] = {1: [], SESSIONS: []}
        idle: dict[int, list[float]] = {1: [], SESSIONS: []}
        for _ in range(batches):
            for count in (1, SESSIONS):
                calls = [step_call(session_id) for session_id in sessions[:count]]
                seconds: list[float] = []

                async def run(calls: list[tuple[str, dict[str, str]]] = calls, seconds: list[float] = seconds) -> None:
                    seconds.append(server.calls(calls, steps))

                before = _idle_s()
                found[count].append(await _measured(run, roles, steps, []))
                idle[count].append((_idle_s() - before) / seconds[0])
                rates[count].append(steps / seconds[0])
    for count, who in ((1, "one session alone"), (SESSIONS, f"{SESSIONS} sessions at once")):
        rows.append(
            Row(f"{who} runs steps" if count == 1 else f"{who} run steps", Figures(tuple(rates[count])), unit="steps/s")
        )
        rows.append(
            Row(
                f"so many processors are idle while {who} steps"
                if count == 1
                else f"so many processors are idle while {who} step",
                Figures(tuple(idle[count])),
                unit="",
            )
        )
        rows += _rows(f"a step of {who}", found[count])
    return rows


async def _roles(server: OurServer, sessions: Sequence[str], steps: int) -> dict[int, str]:
    """What each process of a server is, found out by steps, which also warm everything up."""
    await settle(server.pid)
    before = cpu_s(server.pid)
    for session_id in sessions:
        for _ in range(max(20, steps)):
            server.step(session_id, "1+1")
    kernels = kernels_below(server.pid, before)
    return {server.pid: "the host", os.getpid(): "the benchmark's client", **dict.fromkeys(kernels, "the kernel")}


async def _our_steps(server: OurServer, session_id: str, steps: int) -> None:
    for _ in range(steps):
        server.step(session_id, "1+1")


async def _stock_steps(stock: StockKernel, steps: int) -> None:
    for _ in range(steps):
        await stock.step("1+1")


async def _measured(
    run: Callable[[], Awaitable[None]], roles: dict[int, str], steps: int, walls: list[float]
) -> dict[str, Used]:
    before, begin = used_by(roles), time.perf_counter()
    await run()
    walls.append((time.perf_counter() - begin) * 1000 / steps)
    used = by_role(between(before, used_by(roles)), roles)
    return {role: amount.each(steps) for role, amount in used.items()}


def _rows(what: str, batches: Batches) -> list[Row]:
    """A row for each thread that does anything, and one for all of them."""
    rows = []
    for role in batches[0]:
        used = [batch.get(role, Used()) for batch in batches]
        cpu, sleeps = (Figures(tuple(part)) for part in ([one.cpu_ms for one in used], [one.sleeps for one in used]))
        if cpu.median >= 0.005 or sleeps.median >= 0.05:
            rows.append(
                Row(f"{what}: processor time of {role}", cpu, f"it went to sleep so often: {sleeps.median:.1f}")
            )
    whole = Figures(tuple(sum(used.cpu_ms for used in batch.values()) for batch in batches))
    waited = Figures(tuple(sum(used.waited_ms for used in batch.values()) for batch in batches))
    return [
        *rows,
        Row(f"{what}: processor time in all", whole),
        Row(f"{what}: ready to run, with no processor free", waited),
    ]


def _idle_s() -> float:
    """Seconds that the processors of this machine have been idle, all together."""
    return float(Path("/proc/uptime").read_text(encoding="ascii").split()[1])
