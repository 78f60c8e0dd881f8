"""The hard ways for a step to end: an interrupt, and a kernel that is killed and replaced."""

from __future__ import annotations

import os
import signal

from bench.measure import Amounts, Bar, Row, interleave, milliseconds
from bench.processes import busiest
from bench.sides.ours import our_server
from bench.sides.stock import stock_kernel

LOOP = "while True: pass"


async def interrupt(amounts: Amounts) -> list[Row]:
    """A Python loop, from the call until the client has the answer."""
    with our_server() as server:
        async with stock_kernel() as stock:
            session_id = server.open_session()

            async def ours() -> float:
                server.start_endless(session_id, LOOP)

                async def action() -> None:
                    assert server.call("rlm_interrupt", session_id=session_id)["status"] == "interrupted"

                return await milliseconds(action)

            async def other() -> float:
                msg_id = await stock.start_endless()
                return await milliseconds(lambda: stock.interrupt(msg_id))

            mine, theirs = await interleave([ours, other], amounts.times(20), warm_up=amounts.times(1))
    bar = Bar(150, of="ours")
    other_side = "an interrupt ends it in a stock kernel, which is idle again"
    return [Row("`rlm_interrupt` ends a Python loop", mine, other_side, theirs, bar=bar)]


async def kill(amounts: Amounts) -> list[Row]:
    """SIGKILL from outside in the middle of a step, until the answer: by then a fresh kernel holds the context."""
    with our_server() as server:
        async with stock_kernel() as stock:
            session_id = server.open_session()

            async def ours() -> float:
                index = server.start_endless(session_id, LOOP)
                kernel = await busiest(server.pid)

                async def action() -> None:
                    os.kill(kernel, signal.SIGKILL)
                    report = server.call("rlm_await_step", session_id=session_id, step_index=index)
                    assert report["status"] == "kernel_died", report

                elapsed_ms = await milliseconds(action)
                assert server.step(session_id, "len(context)")["status"] == "ok"
                return elapsed_ms

            mine, theirs = await interleave([ours, lambda: milliseconds(stock.restart)], amounts.times(12))
    bar = Bar(500, of="ours")
    what = "a kernel that was killed is replaced by a fresh one that has the context"
    return [Row(what, mine, "a stock kernel is restarted", theirs, bar=bar)]
