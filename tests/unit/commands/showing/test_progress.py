"""While something takes long, a person sees how far it is; and nobody else sees anything."""

from __future__ import annotations

import asyncio
import io
import sys

import pytest

from rlm_kernel_mcp.commands.showing.progress import CLEAR, shown_while
from tests.unit.commands.showing.test_terminal import Terminal

pytestmark = pytest.mark.anyio


class Work:
    """What ends once it was looked at so often."""

    def __init__(self, *said: tuple[int, int]) -> None:
        self.said, self.ended = list(said), asyncio.Event()
        self.looks = 0

    async def run(self) -> str:
        await self.ended.wait()
        return "done"

    async def look(self) -> tuple[int, int]:
        self.looks += 1
        found = self.said.pop(0)
        if not self.said:
            self.ended.set()
        return found


async def test_a_person_sees_how_much_is_done_and_nothing_of_it_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it is known of how much, nothing; and never more than all."""
    monkeypatch.setattr(sys, "stderr", shown := Terminal())
    work = Work((0, 0), (500, 1_000), (2_000, 1_000))
    assert await shown_while(work.run(), work.look, "bytes", pause_s=0.0) == "done"
    drawn = [part.rstrip("\r") for part in shown.getvalue().split(CLEAR)[1:]]
    assert drawn[0] == ""
    assert drawn[1].startswith("bytes [############............] 500 of 1,000, about")
    assert drawn[2].startswith("bytes [########################] 1,000 of 1,000")
    assert drawn[-1] == ""


async def test_where_nobody_looks_nothing_is_asked_or_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", shown := io.StringIO())
    work = Work((0, 0))
    work.ended.set()
    assert await shown_while(work.run(), work.look, "bytes", pause_s=0.0) == "done"
    assert (work.looks, shown.getvalue()) == (0, "")


async def test_a_failure_of_the_work_or_of_a_look_ends_both_and_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", shown := Terminal())

    async def fails() -> str:
        raise ValueError("the work")

    async def never() -> str:
        await asyncio.Event().wait()
        return ""

    async def look() -> tuple[int, int]:
        raise ConnectionError("the look")

    with pytest.raises(ValueError, match="the work"):
        await shown_while(fails(), look, "bytes")
    before = asyncio.all_tasks()
    with pytest.raises(ConnectionError, match="the look"):
        await shown_while(never(), look, "bytes", pause_s=0.0)
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before
    assert shown.getvalue().endswith(f"{CLEAR}\r")
