"""The queue of a watcher, and who has how many: whoever publishes waits for nobody."""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlm_kernel_mcp.errors import RequestRefused
from rlm_kernel_mcp.kernel.execution import Execution
from rlm_kernel_mcp.kernel.untrusted.reply import PIECES_MAX, BoundedText
from rlm_kernel_mcp.session.reports import LossReport
from rlm_kernel_mcp.session.steps.run import RunningStep
from rlm_kernel_mcp.session.watching.events import EVENT_BYTES_MAX, NAMES_MAX, Event, Recorded, encoded, loss_fields
from rlm_kernel_mcp.session.watching.feeds import (
    QUEUE_BYTES_MAX,
    QUEUE_EVENTS_MAX,
    WATCHERS_MAX,
    Feeds,
    Watcher,
)
from rlm_kernel_mcp.session.watching.live_output import LOOK_CHARS, LiveOutput, begin_of

pytestmark = pytest.mark.anyio
WORST = "\U0001f600"
"""Twelve bytes as JSON."""


FINAL: Recorded = {
    "type": "final",
    "id": "1",
    "ts": "",
    "step": 1,
    "status": "completed",
    "source": "mcp",
    "ms": 0,
    "used": {"steps": 1, "runtime_ms": 0, "chars": 0},
}


def ended(number: int, reason: str = "") -> Event:
    return {"type": "kernel_ended", "ts": str(number), "reason": reason}


async def read(watcher: Watcher, count: int) -> list[dict[str, Any]]:
    return [json.loads(await watcher.next()) for _ in range(count)]


async def test_one_that_does_not_read_keeps_a_bounded_number_and_is_told_how_many_it_missed() -> None:
    feeds, more = Feeds(), 7
    with feeds.watch("s_1") as slow, feeds.watch("s_1") as quick:
        assert await read(quick, 1) == [{"type": "watching", "session": "s_1", "here": False}]
        feed = feeds.of("s_1")
        assert feed is not None
        for number in range(QUEUE_EVENTS_MAX + more):
            feed.publish(ended(number))
            assert (await read(quick, 1))[0]["ts"] == str(number)
        heard = await read(slow, QUEUE_EVENTS_MAX)
        assert [event.get("ts") for event in heard[1:]] == [str(number) for number in range(QUEUE_EVENTS_MAX - 1)]
        assert await read(slow, 1) == [{"type": "dropped", "events": more + 1}]
        feed.publish(ended(-1))
        assert (await read(slow, 1))[0]["ts"] == "-1"


async def test_large_events_of_one_that_does_not_read_are_bounded_in_bytes() -> None:
    feeds = Feeds()
    with feeds.watch("s_1") as watcher:
        feed, count = feeds.of("s_1"), 500
        assert feed is not None
        for number in range(count):
            feed.publish(ended(number, "x" * 10_000))
        kept = [await watcher.next()]
        while b"dropped" not in kept[-1]:
            kept.append(await watcher.next())
        assert sum(map(len, kept[:-1])) <= QUEUE_BYTES_MAX
        assert json.loads(kept[-1])["events"] == count + 1 - len(kept[:-1])


async def test_an_event_that_no_socket_passes_counts_as_one_that_was_missed() -> None:
    watcher = Watcher()
    watcher.put(b"x" * (EVENT_BYTES_MAX + 1))
    assert await read(watcher, 1) == [{"type": "dropped", "events": 1}]


async def test_between_what_waits_and_what_comes_nothing_is_missing_but_what_is_said() -> None:
    """Once one was dropped none is kept until all that waits was read: the gap stands where it is."""
    watcher = Watcher()
    for number in range(QUEUE_EVENTS_MAX + 1):
        watcher.put(encoded(ended(number)))
    await watcher.next()
    watcher.put(encoded(ended(-1)))  # there is room for it, but it would stand before the gap
    rest = await read(watcher, QUEUE_EVENTS_MAX)
    assert rest[-1] == {"type": "dropped", "events": 2}


async def test_the_final_answer_s_event_is_told_to_one_that_had_no_room_for_it() -> None:
    """Behind the gap, and behind what came after it: by it a watcher knows that nothing more comes."""
    feeds = Feeds()
    with feeds.watch("s_1") as watcher:
        feed = feeds.of("s_1")
        assert feed is not None
        for number in range(QUEUE_EVENTS_MAX):
            feed.publish(ended(number))
        feed.publish({**FINAL})
        feed.publish(ended(-1))
        heard = await read(watcher, QUEUE_EVENTS_MAX + 2)
        assert heard[-2:] == [{"type": "dropped", "events": 2}, FINAL]
        for number in range(QUEUE_EVENTS_MAX):
            feed.publish(ended(number))
        feed.publish({**FINAL})
        assert (await read(watcher, QUEUE_EVENTS_MAX + 1))[-1] == FINAL


async def test_a_session_is_known_only_as_long_as_somebody_watches_it() -> None:
    feeds = Feeds()
    with feeds.watch("s_1"):
        with feeds.watch("s_1"), feeds.watch("s_2"):
            assert feeds.count == 3
        assert feeds.of("s_1") is not None
        assert feeds.of("s_2") is None
    assert feeds.of("s_1") is None
    assert feeds.count == 0


async def test_there_are_only_so_many_watchers_and_one_that_goes_makes_room() -> None:
    feeds = Feeds()
    with ExitStack() as watching:
        for number in range(WATCHERS_MAX):
            last = feeds.watch(f"s_{number}")
            watching.enter_context(last)
        with pytest.raises(RequestRefused, match=f"{WATCHERS_MAX} watchers"), feeds.watch("s_0"):
            pass
        assert feeds.count == WATCHERS_MAX
    with feeds.watch("s_0"):
        assert feeds.count == 1


def running(code: str = "code") -> tuple[RunningStep, Execution]:
    execution = Execution("m")
    step = RunningStep(1, code, 1_000, execution=execution)
    step.row_id = 7
    return step, execution


async def test_each_look_tells_what_has_come_since_and_where_it_stands() -> None:
    step, execution = running()
    told: list[Any] = []
    output = LiveOutput(step, told.append, lambda: True)
    for piece in ("one\n", "", "two\n"):
        execution.reply.stdout.add(piece)
        output.look()
    execution.reply.stderr.add("oh")
    output.look()
    output.look()
    assert [(event["stream"], event["at"], event["text"]) for event in told] == [
        ("stdout", 0, "one\n"),
        ("stdout", 4, "two\n"),
        ("stderr", 0, "oh"),
    ]


async def test_of_a_flood_a_look_tells_the_end_and_the_place_shows_the_gap() -> None:
    step, execution = running()
    told: list[Any] = []
    output = LiveOutput(step, told.append, lambda: True)
    execution.reply.stdout.add("first")
    output.look()
    execution.reply.stdout.add("x" * 1_000_000 + "y" * LOOK_CHARS)
    output.look()
    assert "".join(event["text"] for event in told) == "first" + "y" * LOOK_CHARS
    assert told[1]["at"] == 1_000_005
    assert told[-1]["at"] + len(told[-1]["text"]) == execution.reply.stdout.chars


async def test_no_event_is_larger_than_a_message_of_the_socket() -> None:
    step, execution = running(WORST * 200_000)
    told: list[Any] = [begin_of(step)]
    execution.reply.stdout.add(WORST * 100_000)
    LiveOutput(step, told.append, lambda: True).look()
    rows = tuple((WORST * 300, WORST * 300) for _ in range(3_000))
    told.append(loss_fields(LossReport("gone", rows, tuple(name for name, _ in rows))))
    assert told[-1]["more_lost"] == told[-1]["more_restored"] == len(rows) - NAMES_MAX
    assert max(len(encoded(event)) for event in told) <= EVENT_BYTES_MAX


@given(st.lists(st.text(max_size=5), max_size=30), st.integers(0, 200))
def test_the_rest_of_a_text_is_found_from_any_character_on(pieces: list[str], start: int) -> None:
    for size in (0, PIECES_MAX - 10):  # some of them are joined already
        text = BoundedText(10_000)
        for piece in ["a"] * size + pieces:
            text.add(piece)
        assert text.since(start) == ("a" * size + "".join(pieces))[start:]
        assert text.since(start) == text.text()[start:]


async def test_lone_surrogates_pass() -> None:
    assert json.loads(encoded(ended(1, "\udc80")))["reason"] == "\udc80"
