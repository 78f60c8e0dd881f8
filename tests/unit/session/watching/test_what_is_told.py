"""What the watchers of a session are told, over kernels that are not processes; and what a watcher does not do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from rlm_kernel_mcp.errors import SessionBusy, VariableNotFound
from rlm_kernel_mcp.session.contexts.given import Given, Options
from rlm_kernel_mcp.session.idle_watch import can_be_let_go
from rlm_kernel_mcp.session.reports import Guardrails
from rlm_kernel_mcp.session.watching import feeds as feeds_module
from rlm_kernel_mcp.session.watching import live_output
from rlm_kernel_mcp.session.watching.feeds import Watcher
from tests.fake_kernel import DIES, FOREVER, FakeKernel, Fakes
from tests.sessions import WAIT_S, SessionDriver, end_session, until

pytestmark = pytest.mark.anyio


class Ear:
    """A watcher, and what it has heard."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self.heard: list[dict[str, Any]] = []

    async def next(self, kind: str) -> dict[str, Any]:
        """The next event of a kind, with what came before it in `heard`."""
        while True:
            async with asyncio.timeout(WAIT_S):
                self.heard.append(json.loads(await self._watcher.next()))
            if self.heard[-1]["type"] == kind:
                return self.heard[-1]

    def kinds(self, *left_out: str) -> Sequence[str]:
        return [event["type"] for event in self.heard if event["type"] not in left_out]


@contextmanager
def watched(fakes: Fakes, session: SessionDriver) -> Iterator[Ear]:
    with fakes.registry._shared.feeds.watch(session.session_id) as watcher:
        yield Ear(watcher)


def say(kernel: FakeKernel, text: str, stream: str = "stdout") -> None:
    """Have the running step print something."""
    assert kernel._running is not None
    kernel.iopub.say("stream", {"name": stream, "text": text}, kernel._running[0])


async def test_a_step_is_told_as_it_begins_and_ends_and_its_ids_are_the_record_s(fakes: Fakes) -> None:
    session, _ = await fakes.open()
    with watched(fakes, session) as ear:
        await session.ok("x = 1")
        begin, end = await ear.next("begin"), await ear.next("step")
    assert ear.kinds() == ["watching", "begin", "step"]
    assert ear.heard[0]["here"]
    assert (begin["step"], begin["code"], begin["code_chars"]) == (1, "x = 1", 5)
    assert begin["id"] == end["id"]
    assert (end["status"], end["source"], end["used"]["steps"]) == ("ok", "mcp", 1)
    rows = fakes.registry.store.events(session.session_id)
    assert [str(row.id) for row in rows] == [str(rows[0].id), end["id"]]


async def test_a_step_that_is_told_to_have_ended_is_in_the_record(fakes: Fakes) -> None:
    session, _ = await fakes.open()
    with watched(fakes, session) as ear:
        driving = asyncio.create_task(session.ok("x = 1"))
        end = await ear.next("step")
        row = next(row for row in fakes.registry.store.events(session.session_id) if str(row.id) == end["id"])
        assert row.result_status == "ok"
        await driving


async def test_output_is_told_while_the_step_runs_and_its_end_before_the_step_s(fakes: Fakes) -> None:
    session, kernel = await fakes.open()
    with watched(fakes, session) as ear:
        await session.begin(FOREVER)
        assert (await ear.next("output"))["text"] == "begun\n"
        say(kernel, "oh\x1b", "stderr")
        piece = await ear.next("output")
        assert (piece["stream"], piece["at"], piece["text"]) == ("stderr", 0, "oh\x1b")
        say(kernel, "last")
        await session.interrupt()
        end = await ear.next("step")
    assert ear.kinds("interrupt") == ["watching", "begin", "output", "output", "output", "step"]
    assert [event["text"] for event in ear.heard if event.get("at") == 6] == ["last"]
    assert end["status"] == "interrupted"
    assert end["printed"] == {"stdout": 10, "stderr": 3}


async def test_one_that_comes_late_is_told_of_the_step_that_runs_and_others_hear_nothing_twice(fakes: Fakes) -> None:
    session, kernel = await fakes.open()
    await session.begin(FOREVER)
    await session.until_printed("begun")
    with watched(fakes, session) as first:
        assert (await first.next("begin"))["code"] == FOREVER
        assert (await first.next("output"))["text"] == "begun\n"
        say(kernel, "more\n")
        await session.until_printed("more")
        with watched(fakes, session) as second:
            assert (await second.next("output"))["text"] == "begun\nmore\n"
            assert (await first.next("output"))["text"] == "more\n"
            say(kernel, "rest\n")
            for ear in (first, second):
                piece = await ear.next("output")
                assert (piece["at"], piece["text"]) == (11, "rest\n")
        await session.interrupt()
        await first.next("step")
    assert "".join(event["text"] for event in first.heard if event["type"] == "output") == "begun\nmore\nrest\n"


async def test_a_restore_says_which_names_are_back_and_which_are_lost_and_why(fakes: Fakes) -> None:
    session, _ = await fakes.open()
    await session.ok("kept = 1")
    await until(lambda: session.session.kernel.recovery.snapshots.step == 1)
    with watched(fakes, session) as ear:
        await session.run(DIES)
        ended, restore = await ear.next("kernel_ended"), await ear.next("restore")
        step = await ear.next("step")
    assert ended["reason"]
    assert "kept" in restore["restored"]
    assert (restore["more_lost"], restore["more_restored"]) == (0, 0)
    assert step["status"] == "kernel_died"


async def test_names_that_a_restore_lost_are_told_with_the_reason(fakes: Fakes) -> None:
    session, kernel = await fakes.open()
    session.session.kernel.recovery.names["gone"] = ("list", 9)  # bound, and never kept
    with watched(fakes, session) as ear:
        kernel.process.kill()
        await session.ok("1")
        restore = await ear.next("restore")
    assert [row["name"] for row in restore["lost"]] == ["gone"]
    assert "list" in restore["lost"][0]["why"]


async def test_a_limit_is_told_once_and_every_call_that_is_refused(fakes: Fakes) -> None:
    session = await SessionDriver.open(fakes.registry, limits=Guardrails(max_steps=1))
    with watched(fakes, session) as ear:
        await session.ok("1")
        assert (await ear.next("limit"))["limit"] == "max_steps"
        assert (await session.run("2")).status == "stopped"
        assert (await ear.next("refused"))["code"] == "stopped"
        with pytest.raises(VariableNotFound):
            await session.value("nothing")
        assert (await ear.next("refused"))["code"] == "VARIABLE_NOT_FOUND"
    assert ear.kinds().count("limit") == 1


async def test_a_call_during_a_step_is_refused_and_told(fakes: Fakes) -> None:
    session, _ = await fakes.open()
    with watched(fakes, session) as ear:
        await session.begin(FOREVER)
        with pytest.raises(SessionBusy) as busy:
            await session.run("1")
        refused = await ear.next("refused")
        await session.interrupt()
    assert (refused["code"], refused["message"]) == ("SESSION_BUSY", busy.value.message)


async def test_contexts_the_final_answer_and_the_end_of_the_kernel_are_told(fakes: Fakes) -> None:
    session, _ = await fakes.open()
    with watched(fakes, session) as ear:
        await fakes.registry.add_context(session.session_id, Given("more text", None), Options("second"))
        await session.finalize(text="the answer")
        final = await ear.next("final")
    assert ear.kinds() == ["watching", "context_added", "kernel_ended", "final"]
    assert ear.heard[1]["summary"].startswith("second: text of 9 characters")
    assert final["status"] == "completed"
    assert fakes.registry.store.events(session.session_id)[-1].id == int(final["id"])


async def test_a_watcher_keeps_no_session_in_memory_and_hears_of_it_when_it_is_used_again(fakes: Fakes) -> None:
    session, _ = await fakes.open()
    with watched(fakes, session) as ear:
        used_at_s = session.session.used_at_s
        await session.session.stop_kernel("nobody used it")
        await ear.next("kernel_ended")
        assert can_be_let_go(session.session, idle_timeout_s=-1)
        assert session.session.used_at_s == used_at_s
        await end_session(session)
        assert not fakes.registry.has(session.session_id)
        await session.ok("1")
        await ear.next("step")
    assert ear.kinds() == ["watching", "kernel_ended", "begin", "restore", "step"]


async def test_one_watches_what_nobody_has_in_memory(fakes: Fakes) -> None:
    session, _ = await fakes.open()
    await end_session(session)
    with watched(fakes, session) as ear:
        await session.ok("1")
        await ear.next("step")
    assert not ear.heard[0]["here"]


async def test_where_nobody_watches_nothing_is_made(fakes: Fakes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not one event, and no look at the output."""
    other, _ = await fakes.open()
    session, kernel = await fakes.open()

    def fail(*_: object) -> None:
        raise AssertionError("an event was made")

    with watched(fakes, other):
        for module, name in ((feeds_module, "encoded"), (live_output, "begin_of"), (feeds_module, "LiveOutput")):
            monkeypatch.setattr(module, name, fail)
        await session.begin(FOREVER)
        await session.until_printed("begun")
        say(kernel, "x")
        await session.interrupt()
        await session.run(DIES)
        await session.finalize(text="done")


async def test_a_watcher_that_never_reads_holds_up_no_step(fakes: Fakes) -> None:
    session, kernel = await fakes.open()
    with watched(fakes, session) as never, watched(fakes, session) as ear:
        for _ in range(20):
            await session.begin(FOREVER)
            await session.until_printed("begun")
            say(kernel, "\x1b" * 200_000)
            await session.interrupt()
            await ear.next("step")
        assert never._watcher._bytes <= feeds_module.QUEUE_BYTES_MAX
        await never.next("dropped")
    assert never.heard[-1]["events"] > 0


async def test_after_the_last_watcher_nothing_looks_on(fakes: Fakes, monkeypatch: pytest.MonkeyPatch) -> None:
    session, _ = await fakes.open()
    with watched(fakes, session) as ear:
        await session.begin(FOREVER)
        await ear.next("output")
        feed = fakes.registry._shared.feeds.of(session.session_id)
    assert feed is not None
    output, looks = feed._output, []
    assert output is not None
    monkeypatch.setattr(output, "look", lambda: looks.append(1))
    output.stop()
    output._go_on()
    assert fakes.registry._shared.feeds.of(session.session_id) is None
    await session.interrupt()
    assert looks == []


async def test_of_a_step_that_has_ended_nothing_is_held_for_its_watchers(fakes: Fakes) -> None:
    session, _ = await fakes.open()
    with watched(fakes, session) as ear:
        await session.ok("1")
        await ear.next("step")
        feed = fakes.registry._shared.feeds.of(session.session_id)
        assert feed is not None
        assert feed._output is None
        assert session.session.journal.telling._step is None
