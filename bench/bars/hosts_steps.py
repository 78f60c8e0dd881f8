"""Steps through one host against steps by a server for each client, and the way on after a host or a server ended."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from bench.bars.many import step_call
from bench.bars.steps import our_step
from bench.measure import Amounts, Bar, Figures, Row, interleave, milliseconds
from bench.processes import settle, spent_s
from bench.sides.hosted import one_host
from bench.sides.ours import Call, OurServer, calls_at_once, our_server, our_servers

CLIENTS = 8
LOOK_S, LOOK_LIMIT_S = 0.02, 30.0
ENDLESS = {"code": "begun = 1\nwhile True: pass", "timeout_ms": 120_000, "wait_ms": 120_000}


async def host_step(amounts: Amounts) -> list[Row]:
    """A trivial step, by a host or not."""
    with one_host() as hosted, our_server() as server:
        client = hosted.client()
        sides = [our_step(client, client.open_session()), our_step(server, server.open_session())]
        ours, other = await interleave(sides, amounts.times(300), warm_up=amounts.times(20))
    against = "it is answered by a server of the client's own"
    return [Row("a step of `1+1` is answered by a host", ours, against, other, bar=Bar(1.05))]


async def host_many(amounts: Amounts) -> list[Row]:
    """Each client has one step running all the time, all of them in one host, or each in its own server."""
    count = 2 if amounts.smoke else CLIENTS
    steps = max(count, amounts.times(240))
    spent: list[list[float]] = [[], []]
    with one_host() as hosted, our_servers() as servers:
        clients = [hosted.client() for _ in range(count)]
        for _ in range(count):
            servers.start()
        in_host, alone = ([(one, step_call(one.open_session())) for one in side] for side in (clients, servers.started))
        pids = [hosted.pid, *(front.pid for front in clients)], [server.pid for server in servers.started]
        for pid in (hosted.pid, *pids[1]):
            await settle(pid)

        async def rate(calls: Sequence[tuple[OurServer, Call]], side: int) -> float:
            before = sum(map(spent_s, pids[side]))
            seconds = calls_at_once(calls, steps)
            spent[side].append((sum(map(spent_s, pids[side])) - before) * 1000 / steps)
            return steps / seconds

        ours, other = await interleave([lambda: rate(in_host, 0), lambda: rate(alone, 1)], amounts.times(5))
    cost, others_cost = (Figures(tuple(side)) for side in spent)
    what = f"{count} clients of one host run steps at the same time, all together"
    used = "such a step takes this much processor time, of the fronts, the host and the kernels"
    return [
        Row(what, ours, "clients with a server for each do", other, unit="steps/s", bar=Bar(0.9, "at least")),
        Row(used, cost, "it takes this much of a client's own server and its kernel", others_cost),
    ]


async def host_elsewhere(amounts: Amounts) -> list[Row]:
    """The first step of a session by another client than the one that opened it, on either side of a server at rest.

    A session has taken the spare kernel, and its server starts another one, which takes longer than the step.
    """
    with one_host() as hosted, our_servers() as servers:
        here, there = hosted.client(), hosted.client()
        servers.start()

        async def by_the_host() -> float:
            session_id = await _with_a_value(here, hosted.state)
            await settle(hosted.pid)
            return await _used(there, session_id)

        async def by_another_server() -> float:
            first, second = servers.started[-1], servers.start()
            session_id = await _with_a_value(first, servers.state)
            await settle(second.pid)
            first.close()
            return await _used(second, session_id)

        ours, other = await interleave([by_the_host, by_another_server], amounts.times(8))
    what = "a session is used by another client of its host"
    against = "it is used by another server, which restores it, once its own has ended"
    why = (
        "since the bar was set, what it is compared with has become quicker: any first step of a session, with nothing "
        "in the processors' caches, is a quarter to a third of that (row 'a step of `1+1` is answered by a host')"
    )
    return [Row(what, ours, against, other, bar=Bar(0.3), why_missed=why)]


async def _with_a_value(server: OurServer, state: Path) -> str:
    """The handle of a session whose value is kept, which comes after its step's answer."""
    session_id = server.open_session()
    server.step(session_id, "x = 41")
    index = state / "snapshots" / f"{session_id}.json"
    for _ in range(int(LOOK_LIMIT_S / LOOK_S)):
        if index.exists():
            return session_id
        await asyncio.sleep(LOOK_S)
    raise TimeoutError(f"the value was not kept within {LOOK_LIMIT_S:.0f} s")


async def _used(server: OurServer, session_id: str) -> float:
    async def action() -> None:
        assert server.step(session_id, "x + 1")["result"] == "42"

    elapsed_ms = await milliseconds(action)
    server.finalize(session_id)
    return elapsed_ms


async def host_death(amounts: Amounts) -> list[Row]:
    """From a SIGKILL of the host, in the middle of a step, until the client has the answer to its call."""
    samples = []
    with one_host() as hosted:
        client, neighbour = hosted.client(), hosted.client()
        for _ in range(amounts.times(8)):
            session_id = client.open_session()
            request = client.begin(("rlm_run_repl", {"session_id": session_id, **ENDLESS}))
            await _begun(neighbour, session_id)

            async def killed(request: int = request) -> None:
                hosted.kill()
                assert "may have run" in client.receive(request)["error"]["message"]

            samples.append(await milliseconds(killed))
            neighbour.finalize(session_id)  # by the next host, on the same pipes
    what = "a call in flight is answered after its host was killed"
    return [Row(what, Figures(tuple(samples)), bar=Bar(250, of="ours"))]


async def _begun(neighbour: OurServer, session_id: str) -> None:
    """Return when the step runs."""
    for _ in range(int(LOOK_LIMIT_S / LOOK_S)):
        read = neighbour.begin(("rlm_get_var", {"session_id": session_id, "var_name": "begun"}))
        if not neighbour.receive(read)["result"].get("isError"):
            return
        await asyncio.sleep(LOOK_S)
    raise TimeoutError(f"the step did not begin within {LOOK_LIMIT_S:.0f} s")
