"""What it costs a host to ask another one for a session."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Final

import pytest

from rlm_kernel_mcp.errors import SessionBusy
from rlm_kernel_mcp.front.front import Place
from rlm_kernel_mcp.host.entry.rights import looked_at
from rlm_kernel_mcp.host.others import moving
from rlm_kernel_mcp.host.others.known import Known
from rlm_kernel_mcp.host.others.moving import OtherHosts, ask_for

pytestmark = pytest.mark.anyio
WAIT_S: Final = 60
MANY: Final = 100
"""More than the door has threads."""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def place(short_dir: Path) -> Place:
    return Place({"RLM_HOST_DIR": str(short_dir), "RLM_STATE_DIR": str(short_dir)})


async def test_many_calls_that_wait_for_another_host_leave_the_door_its_threads(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = threading.Event()
    monkeypatch.setattr(moving, "ask_for", lambda *_: answers.wait(WAIT_S))
    asks = [asyncio.create_task(OtherHosts(place).ask("s_1", 1)) for _ in range(MANY)]
    try:
        assert await asyncio.wait_for(looked_at(lambda: "seen"), WAIT_S / 2) == "seen"
        assert not any(ask.done() for ask in asks)
    finally:
        answers.set()
        await asyncio.wait(asks)


def test_all_waits_for_another_host_have_one_deadline(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """It breaks off twice at the last moment, and lives on: the call does not begin to wait anew each time."""
    waits = list[float]()
    now = time.monotonic()

    def ask(_self: Known, _verb: str, _words: object, wait_s: float) -> None:
        nonlocal now
        waits.append(wait_s)
        now += 5
        raise ConnectionResetError

    known = Known(place, "1", place.socket)
    monkeypatch.setattr(moving, "host_of", lambda *_: known)
    monkeypatch.setattr(Known, "ask", ask)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as holder:
        monkeypatch.setattr(time, "monotonic", lambda: now)
        assert holder.pid != os.getpid()
        with pytest.raises(SessionBusy, match="not let go within 8 s"):
            ask_for(place, "s_1", holder.pid, now + moving.ANSWER_S)
        monkeypatch.undo()
    assert waits == pytest.approx([8, 3])


def test_what_another_host_keeps_is_told_with_a_call_that_this_one_can_answer(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own next step, to await the step there, would be answered the same way here."""
    known = Known(place, "1", place.socket)
    monkeypatch.setattr(moving, "host_of", lambda *_: known)
    kept = (1, [moving.KEPT, "Step 2 has been running for 3 s.", "Call rlm_await_step with step_index=2."])
    monkeypatch.setattr(Known, "ask", lambda *_: kept)
    with pytest.raises(
        SessionBusy, match=r"Step 2 has been running for 3 s\. It is in another of your hosts"
    ) as refused:
        ask_for(place, "s_1", 1, time.monotonic() + moving.ANSWER_S)
    assert refused.value.next_step.startswith("Await or stop it from a client of that host, or call this again later")
