"""Who waits for whom when all places are held."""

from __future__ import annotations

import asyncio

import pytest

from rlm_kernel_mcp.errors import SessionBusy
from rlm_kernel_mcp.session.kernels import slots
from rlm_kernel_mcp.session.kernels.slots import KernelSlots, SlotOwner
from tests.sessions import WAIT_S, until

pytestmark = pytest.mark.anyio


class Idle:
    """An idle session; `slow`: its values take without end to be kept."""

    running = False
    changing = False

    owner: SlotOwner | None = None

    def __init__(self, held: KernelSlots, name: str, used_at_s: float, *, slow: bool = False) -> None:
        self._slots, self.session_id, self.used_at_s = held, name, used_at_s
        self._slow = slow
        self.asked, self.reason = 0, ""

    async def stop_kernel(self, reason: str) -> bool:
        self.reason = reason
        self.asked += 1
        if self._slow:
            await asyncio.Event().wait()
        await asyncio.sleep(0)
        self._slots.release(self.session_id)
        return True


async def held_by(held: KernelSlots, *sessions: Idle) -> None:
    for session in sessions:
        await held.acquire(session.session_id, session)


async def test_a_session_that_takes_its_time_to_give_way_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever needs a place gets another's, and so does whoever comes after."""
    monkeypatch.setattr(slots, "PATIENCE_S", 0.01)
    held = KernelSlots(3)
    hostile, first, second = (Idle(held, name, at, slow=name == "h") for at, name in enumerate(["h", "a", "b"]))
    await held_by(held, hostile, first, second)
    async with asyncio.timeout(WAIT_S):
        await asyncio.gather(held.acquire("c"), held.acquire("d"))
    assert (hostile.asked, first.asked, second.asked) == (1, 1, 1)
    assert set(held._held) == {"h", "c", "d"}


async def test_as_many_give_way_as_places_are_needed_and_no_more() -> None:
    """Those that were idle longest; who came first has the first place."""
    held = KernelSlots(3)
    sessions = [Idle(held, name, at) for at, name in enumerate("abc")]
    await held_by(held, *sessions)
    order: list[str] = []

    async def take(name: str) -> None:
        await held.acquire(name)
        order.append(name)

    async with asyncio.timeout(WAIT_S):
        await asyncio.gather(take("d"), take("e"))
    assert [session.asked for session in sessions] == [1, 1, 0]
    assert "RLM_MAX_SESSIONS" in sessions[0].reason
    assert order == ["d", "e"]
    assert set(held._held) == {"c", "d", "e"}


async def test_a_free_place_that_is_about_to_be_taken_costs_nobody_a_kernel() -> None:
    """Two wait, one place becomes free, one session is asked."""
    held = KernelSlots(3)
    first, second = Idle(held, "a", 0), Idle(held, "b", 1)
    first.changing = second.changing = True
    await held_by(held, first, second)
    await held.acquire("opening")
    waiting = [asyncio.create_task(held.acquire(name)) for name in ("c", "d")]
    await until(lambda: len(held._waiting) == 2)
    first.changing = second.changing = False
    held.release("opening")
    async with asyncio.timeout(WAIT_S):
        await asyncio.gather(*waiting)
    assert (first.asked, second.asked) == (1, 0)
    assert set(held._held) == {"b", "c", "d"}


async def test_a_place_that_becomes_free_is_for_who_has_waited_longest() -> None:
    """Also where somebody else asks in that moment; who gives up waiting is in nobody's way."""
    held = KernelSlots(1)
    await held.acquire("opening")  # nobody can be asked to give way
    waiting = [asyncio.create_task(held.acquire(name)) for name in ("first", "gives up", "third")]
    await until(lambda: len(held._waiting) == 3)
    held.release("opening")
    late = asyncio.create_task(held.acquire("late"))
    async with asyncio.timeout(WAIT_S):
        await waiting[0]
        assert set(held._held) == {"first"}
        waiting[1].cancel()
        await asyncio.wait({waiting[1]})
        held.release("first")
        await waiting[2]
        held.release("third")
        await late
    assert set(held._held) == {"late"}


async def test_one_place_is_spoken_of_as_one() -> None:
    """And more as many."""
    for limit, told in ((1, "The one session that may have a kernel is running a step;"), (2, "All 2 sessions that ")):
        held = KernelSlots(limit)
        for name in range(limit):
            session = Idle(held, str(name), name)
            session.running = True
            await held.acquire(str(name), session)
        with pytest.raises(SessionBusy, match=told):
            held.check_free("next")


def running(held: KernelSlots, name: str, owner: SlotOwner) -> Idle:
    """A session of a client in which a step runs."""
    session = Idle(held, name, 0)
    session.running, session.owner = True, owner
    return session


async def test_a_client_s_limit_is_its_own_and_no_other_s() -> None:
    """One that has all its slots at work is refused; another goes on, whatever waits before it."""
    held = KernelSlots(1, in_sum=100)
    small, large = SlotOwner("small", 1), SlotOwner("large", 3)
    await held_by(held, running(held, "a", small))
    with pytest.raises(SessionBusy, match="The one session that may have a kernel is running a step"):
        await held.acquire("b", owner=small)
    for name in "xyz":
        await held.acquire(name, running(held, name, large))
    with pytest.raises(SessionBusy, match="All 3 sessions that may have a kernel are running a step"):
        await held.acquire("more", owner=large)
    assert set(held._held) == {"a", "x", "y", "z"} == set(held._owners)


async def test_one_client_cannot_take_the_slots_of_all_others() -> None:
    """However high its own limit is, a quarter of all slots is left to others."""
    held = KernelSlots(1, in_sum=8)
    greedy, late = SlotOwner("greedy", 4_000), SlotOwner("late", 32)
    for number in range(6):
        await held.acquire(f"g{number}", running(held, f"g{number}", greedy))
    with pytest.raises(SessionBusy, match="All 6 sessions that may have a kernel are running"):
        await held.acquire("g6", owner=greedy)
    for name in "ab":
        await held.acquire(name, running(held, name, late))
    with pytest.raises(SessionBusy, match="All 8 sessions that may have a kernel, of all clients together"):
        await held.acquire("c", owner=late)


async def test_a_client_s_own_sessions_give_way_before_those_of_others() -> None:
    """The one that was idle longest of its own; another's only where it has none that is idle."""
    held = KernelSlots(1, in_sum=4)
    mine, theirs = SlotOwner("mine", 4), SlotOwner("theirs", 4)
    others, own = [Idle(held, name, at) for at, name in enumerate("ab")], [Idle(held, "c", 8), Idle(held, "d", 9)]
    for session in (*others, *own):
        session.owner = theirs if session in others else mine
    await held_by(held, *others, *own)
    async with asyncio.timeout(WAIT_S):
        await held.acquire("e", running(held, "e", mine))
    assert [one.asked for one in (*others, *own)] == [0, 0, 1, 0]
    assert "RLM_MAX_SESSIONS" not in own[0].reason
    own[1].running = True
    async with asyncio.timeout(WAIT_S):
        await held.acquire("f", running(held, "f", mine))
    assert [one.asked for one in (*others, *own)] == [1, 0, 1, 0]
    assert others[0].reason == "the server needed room for a session of another client"


async def test_who_waits_for_its_own_client_s_slot_holds_up_no_other_client() -> None:
    """Though it came first."""
    held = KernelSlots(1, in_sum=8)
    one, other = SlotOwner("one", 1), SlotOwner("other", 1)
    await held.acquire("opening", owner=one)  # nobody can be asked to give way
    waiting = asyncio.create_task(held.acquire("waits", owner=one))
    await until(lambda: len(held._waiting) == 1)
    async with asyncio.timeout(WAIT_S):
        await held.acquire("goes on", owner=other)
        assert not waiting.done()
        held.release("opening")
        await waiting
    assert set(held._held) == {"goes on", "waits"}
