"""What the live page costs those whom it watches, and how long it takes to have something to show."""

from __future__ import annotations

import asyncio
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bench.measure import Amounts, Bar, Figures, Row, interleave, milliseconds
from bench.processes import settle, spent_s, worked_ms
from bench.sides.hosted import Hosted, one_host
from bench.sides.ours import OurServer
from tests.front.watching.pages import Page, Stream
from tests.unit.watching.recorded import Recorded

FEW, MANY = 100, 10_000
REST_S: Final = 5.0
BUSY: Final = "for part in range(20):\n    print(part, sum(number * number for number in range(40_000)))"
"""A step of some 100 ms that prints as it goes."""
TOLD_S: Final = 0.05
TICK_MS: Final = 10.0
"""What the system's account of a process's time can show."""


async def watch_content(amounts: Amounts) -> list[Row]:
    """From a request to the first events of a session, which a page can show, with few steps and with many."""
    many = FEW if amounts.smoke else MANY
    with tempfile.TemporaryDirectory(prefix="rlm-bench-") as directory:
        place = Path(directory)
        for name, count in (("s_few", FEW), ("s_many", many)):
            session = Recorded(place / "state", name)
            for number in range(count):
                session.step(f"search('needle {number}')", stdout=f"{number} found\n" * 20, result=f"'{number}'")
            session.close()
        page = Page({"RLM_STATE_DIR": str(place / "state"), "RLM_HOST": "off"}, place / "log")
        try:
            sides = [lambda name=name: _first_events(page, name) for name in ("s_many", "s_few")]
            ours, other = await interleave(sides, amounts.times(40), warm_up=amounts.times(3))
        finally:
            page.close()
    what = f"a page has the first events of a session of {many:,} steps"
    return [Row(what, ours, f"of one of {FEW} steps", other, bar=Bar(2.0))]


async def watch_step(amounts: Amounts) -> list[Row]:
    """A running step that prints, with a page that watches it and without one, in one host.

    Both by the clock, which another program's load lengthens, and by the time of the processor in the host and below.
    """
    times, warm_up = amounts.times(100), amounts.times(5)
    with one_host() as hosted:
        client = hosted.client()
        watched, alone = client.open_session(), client.open_session()
        worked: tuple[list[float], list[float]] = ([], [])
        with _watching(hosted, watched):
            pairs = zip((watched, alone), worked, strict=True)
            sides = [lambda one=one, kept=kept: _busy(client, one, hosted.pid, kept) for one, kept in pairs]
            ours, other = await interleave(sides, times, warm_up)
    worked_ours, worked_other = (Figures(tuple(kept[warm_up:])) for kept in worked)
    what = "a step that prints takes this much processor time, of the host and its kernels, while a page watches it"
    return [
        Row("a step that prints runs while a page watches it", ours, "while none does", other, bar=Bar(1.02)),
        Row(what, worked_ours, "while none does", worked_other, bar=Bar(1.02)),
    ]


async def watch_idle(amounts: Amounts) -> list[Row]:
    """What a host at rest uses, with a page that watches a session and without one."""
    rest_s = 0.1 if amounts.smoke else REST_S
    with one_host() as hosted:
        client = hosted.client()
        session_id = client.open_session()
        client.step(session_id, "1 + 1")

        async def used_ms() -> float:
            await settle(hosted.pid)
            before = spent_s(hosted.pid)
            await asyncio.sleep(rest_s)
            return (spent_s(hosted.pid) - before) * 1000

        alone = [await used_ms() for _ in range(amounts.times(3))]
        with _watching(hosted, session_id):
            watched = [await used_ms() for _ in range(amounts.times(3))]
    what = f"a host at rest uses this much processor time in {rest_s:g} s while a page watches"
    ours, other = Figures(tuple(watched)), Figures(tuple(alone))
    return [Row(what, ours, "while none does", other, bar=Bar(TICK_MS, of="ours"))]


async def _first_events(page: Page, session_id: str) -> float:
    """How long it takes until the first events are there."""

    async def asked() -> None:
        stream = page.follow(session_id)
        stream.until("events")
        stream.close()

    return await milliseconds(asked)


async def _busy(client: OurServer, session_id: str, host_pid: int, worked: list[float]) -> float:
    """How long the step took; and what was worked for it, until all that watch it can have been told."""
    before_ms, begin = worked_ms(host_pid), time.perf_counter()
    report = client.step(session_id, BUSY)
    elapsed_ms = (time.perf_counter() - begin) * 1000
    if report["status"] != "ok":
        raise RuntimeError(f"the step has ended otherwise: {report}")
    await asyncio.sleep(TOLD_S)
    worked.append(worked_ms(host_pid) - before_ms)
    return elapsed_ms


@contextmanager
def _watching(hosted: Hosted, session_id: str) -> Iterator[None]:
    """A page that reads whatever it is told of a session."""
    page = Page(hosted.env, hosted.state.parent / "watch.stderr")
    stream = page.follow(session_id)
    stream.until("state", live=True)
    reader = threading.Thread(target=_read, args=(stream,), daemon=True)
    reader.start()
    try:
        yield
    finally:
        page.kill()
        reader.join()
        stream.close()


def _read(stream: Stream) -> None:
    for _ in stream.messages():
        stream.seen.clear()
