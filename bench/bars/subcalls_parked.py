"""A step of a session beside another one that waits for 10,000 answers, both through MCP over stdio.

Is: two servers that are alike, in one of which the questions wait. Is not: what asking costs (`subcalls.py`).
"""

from __future__ import annotations

import importlib.util
import sys
import time
from typing import Final

from bench.bars.steps import our_step
from bench.measure import Amounts, Bar, Row, interleave
from bench.sides.ours import WAIT_S, OurServer, our_server
from rlm_kernel_mcp.questions_wire import BATCH_MAX
from tests.endpoints.aside import asks, endpoint_aside

CEILINGS: Final = {"RLM_SUBCALL_MAX": "100000", "RLM_SUBCALL_MAX_TOKENS": "1000000000"}


async def subcalls_parked(amounts: Amounts) -> list[Row]:
    """While nobody answers them, a step of another session is what it was."""
    if importlib.util.find_spec("openai") is None:
        print("subcalls-parked: left out, since the client is not installed (bin/setup --with openai)", file=sys.stderr)
        return []
    count = 100 if amounts.smoke else BATCH_MAX
    with endpoint_aside(held=lambda seen: True) as endpoint:
        settings = asks(endpoint, **CEILINGS)
        with our_server(settings) as server, our_server(settings) as calm:
            park(server, count)
            sides = [our_step(one, one.open_session()) for one in (server, calm)]
            ours, other = await interleave(sides, amounts.times(300), warm_up=amounts.times(20))
    what = f"a step of `1+1` while another session waits for {count:,} answers"
    return [Row(what, ours, "the same while none does", other, bar=Bar(1.5))]


def park(server: OurServer, count: int) -> None:
    """Return when so many questions of a session's step are with the host."""
    session_id = server.open_session(max_subcalls=100_000, subcall_tokens_limit=1_000_000_000)
    code = f"llm_query_batched([str(n) for n in range({count})])"
    index = server.step(session_id, code, wait_ms=0)["step_index"]
    deadline = time.monotonic() + WAIT_S
    while True:
        report = server.call("rlm_await_step", session_id=session_id, step_index=index, wait_ms=100)
        if report["subcalls"] is not None and report["subcalls"]["asked"] == count:
            return
        if report["status"] != "running" or time.monotonic() > deadline:
            raise RuntimeError(f"the questions are not parked: {report}")
