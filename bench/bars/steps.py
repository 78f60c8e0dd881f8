"""A step: against a stock kernel, with a large context, through a Python client, against a fresh interpreter a step."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable

from bench.measure import Amounts, Bar, Row, interleave, milliseconds
from bench.sides.fresh import fresh_step
from bench.sides.ours import NO_LIMITS, OurServer, our_server
from bench.sides.stock import StockKernel, stock_kernel
from tests.mcp.line_client import SERVE

CODE = "1+1"
STOCK = "a stock ipykernel, without MCP, executes `1+1` and is idle again"


def our_step(server: OurServer, session_id: str, code: str = CODE) -> Callable[[], Awaitable[float]]:
    """A sample: one step of ours, in ms."""

    async def action() -> None:
        assert server.step(session_id, code)["status"] == "ok"

    return lambda: milliseconds(action)


def stock_step(kernel: StockKernel, code: str = CODE) -> Callable[[], Awaitable[float]]:
    """A sample: one step of a stock kernel, in ms."""
    return lambda: milliseconds(lambda: kernel.step(code))


async def step(amounts: Amounts) -> list[Row]:
    """A trivial step through MCP against the stock kernel's."""
    with our_server() as server:
        async with stock_kernel() as stock:
            sides = [our_step(server, server.open_session()), stock_step(stock)]
            ours, other = await interleave(sides, amounts.times(300), warm_up=amounts.times(20))
    why = (
        "docs/floors.md: a step costs the host 1.4 ms of processor time and its kernel 1.0 ms, without a wait, where a "
        "stock step and its client cost 5.8 ms; in turn with that, it finds cold caches, which cost 0.7 ms more"
    )
    return [Row("a step of `1+1` is answered through MCP over stdio", ours, STOCK, other, bar=Bar(0.4), why_missed=why)]


async def step_sdk(amounts: Amounts) -> list[Row]:
    """The same with the SDK's Python client, whose work is then part of our figure."""
    # Imported here because it takes longer than most parts of a smoke run.
    from mcp.client import Client
    from mcp.client.stdio import StdioServerParameters, stdio_client

    with our_server() as elsewhere:
        parameters = StdioServerParameters(
            command=SERVE[0],
            args=list(SERVE[1:]),
            cwd=elsewhere.directory,
            env={**os.environ, "RLM_STATE_DIR": str(elsewhere.directory / "sdk")},
        )
        async with Client(stdio_client(parameters)) as client, stock_kernel() as stock:
            opened = await client.call_tool("rlm_init_context", {"context_text": "a small text", **NO_LIMITS})
            assert opened.structured_content is not None
            arguments = {"session_id": opened.structured_content["data"]["session_id"], "code": CODE}
            sides = [lambda: milliseconds(lambda: client.call_tool("rlm_run_repl", arguments)), stock_step(stock)]
            ours, other = await interleave(sides, amounts.times(200), warm_up=amounts.times(20))
    return [Row("a step of `1+1` is answered to the Python client of the MCP SDK", ours, STOCK, other)]


async def step_large(amounts: Amounts) -> list[Row]:
    """A step with a large context loaded against one with a single byte, in one server."""
    size = amounts.megabytes(200)
    with our_server() as server:
        (server.directory / "large.txt").write_bytes(b"0123456789abcde\n" * (size << 16))
        large = server.open_session(context_paths=["large.txt"])
        small = server.open_session("x")
        sides = [our_step(server, large), our_step(server, small)]
        ours, other = await interleave(sides, amounts.times(200), warm_up=amounts.times(20))
    what = f"a step of `1+1` is answered in a session with a context of {size} MB in memory"
    return [Row(what, ours, "in a session with a context of 1 byte", other, bar=Bar(1.1))]


async def step_fresh(amounts: Amounts) -> list[Row]:
    """What simple servers do: each step passes the state into a new interpreter and back."""
    rows = []
    for size in (0, amounts.megabytes(10)):
        text = "0123456789abcde\n" * (size << 16) if size else "x"
        state = {"context": text}

        async def fresh(state: dict[str, str] = state) -> None:
            fresh_step("n = len(context)", dict(state))

        with our_server() as server:
            (server.directory / "context.txt").write_text(text, encoding="ascii")
            session_id = server.open_session(context_paths=["context.txt"])
            sides = [our_step(server, session_id, "n = len(context)"), lambda: milliseconds(fresh)]
            ours, other = await interleave(sides, amounts.times(40), warm_up=amounts.times(3))
        of = f"{size} MB" if size else "1 byte"
        what = f"a step asks for the length of a context of {of}"
        rows.append(Row(what, ours, "a fresh `python -c` does, with the state as JSON in and out", other))
    return rows


async def step_cpu(amounts: Amounts) -> list[Row]:
    """Honest work that keeps the processor busy, which the walls must not slow down."""
    rounds = 1 if amounts.smoke else 12
    code = (
        "import re, collections\n"
        f"for _ in range({rounds}):\n"
        "    numbers = [(n * 7919) % 10007 for n in range(60_000)]\n"
        "    numbers.sort()\n"
        "    text = ' '.join(map(str, numbers))\n"
        "    found = collections.Counter(re.findall(r'\\d+', text))\n"
    )
    with our_server() as server:
        async with stock_kernel() as stock:
            sides = [our_step(server, server.open_session(), code), stock_step(stock, code)]
            ours, other = await interleave(sides, amounts.times(15), warm_up=amounts.times(2))
    what = "a step keeps the processor busy: it sorts, matches a regular expression and counts"
    return [Row(what, ours, "a stock ipykernel runs the same code", other, bar=Bar(1.05))]
