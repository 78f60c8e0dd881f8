"""Many sessions stepping at once: steps a second in total."""

from __future__ import annotations

from bench.measure import Amounts, Bar, Row, interleave
from bench.sides.ours import Call, OurServer, our_server

SESSIONS = 16


async def many(amounts: Amounts) -> list[Row]:
    """Each session always has one step under way; against one session alone, in the same server."""
    steps = 1 if amounts.smoke else 400
    with our_server({"RLM_MAX_SESSIONS": str(SESSIONS + 1)}) as server:
        sessions = [server.open_session() for _ in range(SESSIONS)]

        async def rate(count: int) -> float:
            return _rate(server, [_step(session_id) for session_id in sessions[:count]], max(steps, count))

        ours, other = await interleave([lambda: rate(SESSIONS), lambda: rate(1)], amounts.times(9), amounts.times(1))
    bar = Bar(1.7, "at least")
    what = f"{SESSIONS} sessions stepping at once"
    why = (
        "a step takes 1.4 ms of the server's processor time and 1.9 ms of its kernel's (1.4 ms where one session has "
        "the caches for itself): two cores bound that to some 580 steps/s, of which one session alone makes 340, since "
        "it uses the whole of one core; and a fifth of the two stays idle, where a kernel is woken beside its waker"
    )
    return [Row(what, ours, "one session alone", other, unit="steps/s", bar=bar, why_missed=why)]


def _step(session_id: str) -> Call:
    return "rlm_run_repl", {"session_id": session_id, "code": "1+1"}


def _rate(server: OurServer, calls: list[Call], steps: int) -> float:
    return steps / server.calls(calls, steps)
