"""What a long session costs: the server's memory after many steps, and restoring a killed kernel's values."""

from __future__ import annotations

import asyncio
import json
import os
import signal

from bench.measure import Amounts, Bar, Figures, Row, milliseconds
from bench.processes import busiest, settle, status_mb
from bench.sides.ours import OurServer, our_server

EARLY, LATE = 1_000, 20_000
BIG_MB = 50
LOOK_S, KEEP_LIMIT_S = 0.05, 20.0
KEEP = f"text = 'x' * {BIG_MB // 2 * 1_000_000}\nraw = bytes({BIG_MB // 2 * 1_000_000})"


async def memory_flat(amounts: Amounts) -> list[Row]:
    """Resident memory of the server process alone, in one session, with steps that print and bind."""
    early, late = (20, 100) if amounts.smoke else (EARLY, LATE)
    with our_server() as server:
        session_id = server.open_session()

        async def after(count: int) -> float:
            for number in range(count):
                server.step(session_id, f"x = {number}\nprint(x)\nx + 1")
            await settle(server.pid)
            return status_mb(server.pid, "VmRSS")

        before = await after(early)
        now = await after(late - early)
    return [
        Row(
            f"the server has this much memory resident after {late:,} steps",
            Figures((now,)),
            f"it had this much after {early:,} steps",
            Figures((before,)),
            unit="MB",
            bar=Bar(1.05),
        )
    ]


async def restore(amounts: Amounts) -> list[Row]:
    """From a SIGKILL until the reply of the next step that uses the values."""
    samples = []
    with our_server() as server:
        for _ in range(amounts.times(8)):
            session_id = server.open_session()
            server.step(session_id, KEEP)
            await _kept(server, session_id)
            samples.append(await _killed_and_back(server, session_id))
            server.finalize(session_id)
    what = f"a kernel that was killed in a step is replaced, and its {BIG_MB} MB of variables are back and used"
    return [Row(what, Figures(tuple(samples)), bar=Bar(1_500, of="ours"))]


async def _kept(server: OurServer, session_id: str) -> None:
    """Return when the values are on the disk."""
    index = server.directory / "state" / "snapshots" / f"{session_id}.json"
    for _ in range(int(KEEP_LIMIT_S / LOOK_S)):
        if index.exists():
            entries = json.loads(index.read_text(encoding="utf-8"))["entries"]
            if all(name in entries and entries[name]["why"] is None for name in ("text", "raw")):
                return
        await asyncio.sleep(LOOK_S)
    raise TimeoutError(f"the values were not kept within {KEEP_LIMIT_S:.0f} s")


async def _killed_and_back(server: OurServer, session_id: str) -> float:
    index = server.start_endless(session_id, "while True: pass")
    kernel = await busiest(server.pid)

    async def action() -> None:
        os.kill(kernel, signal.SIGKILL)
        report = server.call("rlm_await_step", session_id=session_id, step_index=index)
        assert report["status"] == "kernel_died", report
        assert report["lost"]["lost"] == [], report["lost"]
        used = server.step(session_id, "len(text) + len(raw)")
        assert used["result"] == str(BIG_MB // 2 * 2 * 1_000_000), used

    return await milliseconds(action)
