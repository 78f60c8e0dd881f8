"""Many sessions running steps at once: total steps per second."""

from __future__ import annotations

from bench.measure import Amounts, Bar, Row, interleave
from bench.sides.ours import Call, OurServer, our_server

SESSIONS = 16


async def many(amounts: Amounts) -> list[Row]:
    """Each session always has one step running; against a single session in the same server."""
    steps = 1 if amounts.smoke else 400
    with our_server({"RLM_MAX_SESSIONS": str(SESSIONS + 1)}) as server:
        sessions = [server.open_session() for _ in range(SESSIONS)]

        async def rate(count: int) -> float:
            return _rate(server, [step_call(session_id) for session_id in sessions[:count]], max(steps, count))

        ours, other = await interleave([lambda: rate(SESSIONS), lambda: rate(1)], amounts.times(9), amounts.times(1))
    bar = Bar(1.7, "at least")
    what = f"{SESSIONS} sessions run steps at the same time, all together"
    why = (
        "a step costs the server 1.4 ms of processor time and its kernel 1.9 ms (1.4 ms where one session has the "
        "caches to itself): two cores allow about 580 steps/s, and one session alone makes 340 of them, since it uses "
        "the whole of one core; a fifth of the two cores stays idle while a kernel is woken on the core of its waker"
    )
    return [Row(what, ours, "one session alone runs steps", other, unit="steps/s", bar=bar, why_missed=why)]


def step_call(session_id: str) -> Call:
    """A trivial step."""
    return "rlm_run_repl", {"session_id": session_id, "code": "1+1"}


def _rate(server: OurServer, calls: list[Call], steps: int) -> float:
    return steps / server.calls(calls, steps)
