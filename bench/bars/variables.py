"""`rlm_get_var` of a small value, idle and in the middle of a running Python loop."""

from __future__ import annotations

from bench.bars.steps import STOCK, stock_step
from bench.measure import Amounts, Bar, Figures, Row, interleave, milliseconds
from bench.sides.ours import OurServer, our_server
from bench.sides.stock import stock_kernel

READS_A_LOOP = 5
WHY = "about 0.7 ms of a read are spent in the MCP SDK and the transport, and as much on the kernel's control channel"


async def get_var(amounts: Amounts) -> list[Row]:
    """Against a stock step: a stock kernel cannot show a value in any other way, and not at all while it runs code."""
    with our_server() as server:
        async with stock_kernel() as stock:
            session_id = server.open_session()
            server.step(session_id, "x = 1")

            async def read() -> None:
                assert server.call("rlm_get_var", session_id=session_id, var_name="x")["value"] == 1

            sides = [lambda: milliseconds(read), stock_step(stock)]
            ours, other = await interleave(sides, amounts.times(300), warm_up=amounts.times(20))
            what = "`rlm_get_var` reads a small value of an idle session"
            row = Row(what, ours, STOCK, other, bar=Bar(0.4), why_missed=WHY)

            running: list[float] = []
            idle: list[float] = []
            for _ in range(amounts.times(30)):
                running += await _read_in_a_loop(server, session_id, read)
                # Not while the loop runs: the loop would occupy one of two cores.
                idle += [await stock_step(stock)() for _ in range(READS_A_LOOP)]
    in_loop = Figures(tuple(running))
    return [
        row,
        Row(
            "`rlm_get_var` reads a small value while a Python loop runs",
            in_loop,
            STOCK,
            Figures(tuple(idle)),
            bar=Bar(0.4),
            why_missed=f"{WHY}; meanwhile the kernel's control thread waits some ten times for the interpreter lock",
        ),
    ]


async def _read_in_a_loop(server: OurServer, session_id: str, read: object) -> list[float]:
    assert callable(read)
    server.start_endless(session_id, "while True: pass")
    samples = [await milliseconds(read) for _ in range(READS_A_LOOP)]
    server.call("rlm_interrupt", session_id=session_id)
    return samples
