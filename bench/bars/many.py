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
        "docs/floors.md: a step of one session alone keeps one processor busy for 2.8 ms, and one of sixteen at once "
        "costs 3.1 ms, since its kernel finds cold caches: 1.7 times the rate would be 95 % of two processors' time"
    )
    return [Row(what, ours, "one session alone runs steps", other, unit="steps/s", bar=bar, why_missed=why)]


def step_call(session_id: str) -> Call:
    """A trivial step."""
    return "rlm_run_repl", {"session_id": session_id, "code": "1+1"}


def _rate(server: OurServer, calls: list[Call], steps: int) -> float:
    return steps / server.calls(calls, steps)
