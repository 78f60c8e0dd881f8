"""What a client costs where one host serves all of them, and where each has its own server: start and memory."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable

import psutil

from bench.measure import Amounts, Bar, Figures, Row, interleave
from bench.processes import pss_mb, settle, status_mb
from bench.sides.hosted import OWN, STARTED, one_host
from bench.sides.ours import OurServer, our_servers

BARE = (sys.executable, "-I", "-S", "-c", "pass")
WHY = (
    "the front has 10 ms of processor time, of which a bare Python has 7.4, and the host 4.5, with what it does once "
    "the answer is there; they take turns six times, each of which waits where other work has the processors"
)


async def host_start(amounts: Amounts) -> list[Row]:
    """From the start of what a client's configuration names until `initialize` is answered; the host is there."""
    with one_host() as hosted, our_servers() as servers:
        hosted.client()  # as long as it is there, so is the host

        async def front() -> float:
            begin = time.perf_counter()
            client = hosted.front()
            client.initialize()
            elapsed_ms = (time.perf_counter() - begin) * 1000
            hosted.check(client)
            hosted.leave(client)
            return elapsed_ms

        async def own() -> float:
            begin = time.perf_counter()
            client = OurServer(servers.directory, STARTED, OWN)
            client.initialize()
            elapsed_ms = (time.perf_counter() - begin) * 1000
            client.close()
            return elapsed_ms

        async def bare() -> float:
            begin = time.perf_counter()
            subprocess.run(BARE, check=True)  # noqa: ASYNC221  (nothing else is to run meanwhile)
            return (time.perf_counter() - begin) * 1000

        sides = [front, own, bare]
        ours, other, least = await interleave(sides, amounts.times(15), warm_up=amounts.times(1))
    what = "`bin/rlm-mcp` starts and finds a host, which answers `initialize`"
    return [
        Row(what, ours, "it starts a server of the client's own, which answers it", other, bar=Bar(0.1)),
        Row(what, ours, "a bare `python3 -I -S -c pass` starts and ends", least, bar=Bar(2), why_missed=WHY),
    ]


async def host_cold(amounts: Amounts) -> list[Row]:
    """The same for the first client, which starts the host; and until its first session is open."""
    answered: list[list[float]] = [[], []]
    opened: list[list[float]] = [[], []]

    def timed(start: Callable[[], OurServer], side: int) -> OurServer:
        begin = time.perf_counter()
        client = start()
        client.initialize()
        answered[side].append((time.perf_counter() - begin) * 1000)
        client.initialized()
        session_id = client.open_session()
        opened[side].append((time.perf_counter() - begin) * 1000)
        client.finalize(session_id)
        return client

    with one_host() as hosted, our_servers() as servers:

        async def first() -> float:
            client = timed(hosted.front, 0)
            hosted.check(client)
            hosted.leave(client)
            hosted.end()
            return answered[0][-1]

        async def own() -> float:
            timed(lambda: OurServer(servers.directory, STARTED, OWN), 1).close()
            return answered[1][-1]

        await interleave([first, own], amounts.times(6))
    against = "a client's own server does"
    ours, other, mine, theirs = (Figures(tuple(side)) for side in (*answered, *opened))
    return [
        Row("the first client starts a host, which answers `initialize`", ours, against, other, bar=Bar(1.15)),
        Row("the first client starts a host, and has its first session", mine, against, theirs),
    ]


async def host_memory(amounts: Amounts) -> list[Row]:
    """What one more client costs that has listed the tools, and called none yet."""
    count = amounts.times(4)
    try:
        with one_host() as hosted:
            fronts = [hosted.client()]
            await settle(hosted.pid)
            before = pss_mb(hosted.pid) + pss_mb(fronts[0].pid)
            fronts += [hosted.client() for _ in range(2 * count)]
            await settle(hosted.pid)
            more = pss_mb(hosted.pid) + sum(pss_mb(front.pid) for front in fronts) - before
            resident = Figures(tuple(status_mb(front.pid, "VmRSS") for front in fronts))
        other = await _more_servers(count)
    except psutil.AccessDenied:
        what = "the memory (PSS) of kernels is not shown to this user: run the benchmark as root"
        return [Row(what, Figures((0.0,)), unit="MB")]
    ours = Figures((more / (2 * count),))
    what = "each further idle client of a host takes this much memory (PSS), its front and its share of the host"
    against = "each further server of a client's own takes this much, with its spare kernel"
    return [
        Row(what, ours, against, Figures((other,)), unit="MB", bar=Bar(0.05)),
        Row("a front has this much memory resident", resident, unit="MB", bar=Bar(10, of="ours")),
    ]


async def _more_servers(count: int) -> float:
    """MB that each server takes beyond the first one."""
    with our_servers() as servers:
        await settle(servers.start().pid)
        before = pss_mb(servers.started[0].pid)
        for _ in range(count):
            await settle(servers.start().pid)
        return (sum(pss_mb(server.pid) for server in servers.started) - before) / count
