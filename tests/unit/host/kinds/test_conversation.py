"""A program's calls to its host: answered each by its number, bounded, and ended with the program."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import pytest

from rlm_kernel_mcp.doors.calling.functions import Functions
from rlm_kernel_mcp.doors.link import Link
from rlm_kernel_mcp.doors.wire.messages import TEXT_BYTES_MAX, call_of, packed, unpacked
from rlm_kernel_mcp.doors.wire.packets import Packets
from rlm_kernel_mcp.errors import HostEnded, InternalError, InvalidInput, SessionBusy
from rlm_kernel_mcp.host.kinds import conversation
from rlm_kernel_mcp.host.kinds.conversation import LARGE_AT_ONCE, OUTPUT_BYTES_MAX, Conversation
from rlm_kernel_mcp.session.reports import Left, StepReport, VariableSlice

pytestmark = pytest.mark.anyio
WAIT_S: Final = 60
SESSION: Final = {"session_id": "s_1"}


class Calls:
    """Stands for the sessions of a host."""

    def __init__(self) -> None:
        self.begun = asyncio.Queue[str]()
        self.ends = asyncio.Event()
        self.cancelled = list[str]()
        self.is_over = asyncio.Event()
        self.output = ""
        self.fault: Exception | None = None
        self.callee: Any = None

    @contextlib.contextmanager
    def under_way(self, _call: object, _session_id: object) -> Iterator[None]:
        """As there."""
        yield

    async def _wait(self, what: str) -> None:
        self.begun.put_nowait(what)
        if self.fault is not None:
            raise self.fault
        try:
            await self.ends.wait()
        except asyncio.CancelledError:
            self.cancelled.append(what)
            raise

    async def registry(self) -> None:
        """As there."""

    async def run(self, arguments: dict[str, Any], tell: Any, callee: Any = None) -> StepReport:
        """Print, and wait."""
        self.callee = callee
        if tell is not None:
            for start in range(0, len(self.output), 1 << 20):
                tell("stdout", self.output[start : start + (1 << 20)])
        await self._wait(str(arguments["code"])[:10])
        return StepReport("ok", 1, 0, Left(1, 1, 1), stdout=self.output)

    async def get(self, _arguments: object, limit: int, *, as_text: bool) -> VariableSlice:
        """Wait, and give a value."""
        await self._wait("get")
        return VariableSlice("x", "str", None, [limit, as_text], False, 1, 0, None, False)

    async def answer_questions(self, arguments: dict[str, Any], turn: Any) -> StepReport:
        """Wait, and make a page when it is its turn."""
        await self._wait("answer_questions")
        await turn()
        self.begun.put_nowait("page")
        await self.is_over.wait()
        return StepReport("needs_answers", 1, 0, Left(1, 1, 1), stdout=str(arguments["take"]))

    async def trace_page(self, _arguments: object, _offset: int) -> tuple[list[Any], None]:
        """As there."""
        return [], None

    async def interrupt(self, session_id: str) -> None:
        """Refuse."""
        raise SessionBusy(f"{session_id} is busy")

    async def let_all_go(self) -> None:
        """As there."""
        self.is_over.set()


class Ends:
    """A host's end and a program's."""

    def __init__(self) -> None:
        self.ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (self.ours, self.theirs):
            end.setblocking(False)
        self.calls = Calls()
        self.pidfd = os.pidfd_open(os.getpid())
        calls: Any = self.calls
        self.host = Conversation(self.theirs, calls)
        self.serving = asyncio.create_task(self.host.serve(self.pidfd))

    async def close(self) -> None:
        """The program ends."""
        self.ours.close()
        self.calls.ends.set()
        await asyncio.wait_for(self.serving, WAIT_S)
        self.theirs.close()
        os.close(self.pidfd)


@asynccontextmanager
async def connected() -> AsyncIterator[Ends]:
    ends = Ends()
    try:
        yield ends
    finally:
        await ends.close()


@asynccontextmanager
async def linked() -> AsyncIterator[tuple[Ends, Link]]:
    async with connected() as ends:
        link = Link(ends.ours)
        try:
            yield ends, link
        finally:
            await link.close()


async def said(ends: Ends, *messages: list[bytes]) -> None:
    """The program says messages by hand."""
    for message in messages:
        await Packets(ends.ours, 0).send(message)


@dataclass
class Program:
    """Functions of a program: one that gives what it is called with, and one that never ends."""

    names: tuple[str, ...] = ("same", "never")
    dropped: list[int] = field(default_factory=list)
    called: asyncio.Event = field(default_factory=asyncio.Event)

    def call(
        self,
        number: int,
        name: str,
        arguments: str,
        gave: Callable[[str | None, str | None], None],
        at_once: Callable[[str | None, str | None], bool],
    ) -> None:
        del at_once
        if name == "never" and number:
            self.called.set()
        else:
            gave(*((arguments, None) if "error" not in arguments else (None, arguments)))

    def hear(self) -> None:
        """It tells at once."""

    def drop(self, number: int) -> None:
        self.dropped.append(number)
        self.called.set()


async def test_a_step_s_code_calls_functions_of_the_program_that_runs_it() -> None:
    """Large arguments go whole, as JSON, and what comes back is given once."""
    async with linked() as (ends, link):
        program = Program()
        running = asyncio.create_task(link.run({**SESSION, "code": "1"}, None, program))
        await ends.calls.begun.get()
        callee, gave = ends.calls.callee, asyncio.Queue[tuple[str | None, str | None]]()
        assert callee.names == ["same", "never"]
        for text in ('{"a": 1}', '{"a": "' + "x" * 100_000 + '"}', '{"error": 1}'):
            callee.call(1, "same", text, lambda text, error: gave.put_nowait((text, error)))
            async with asyncio.timeout(WAIT_S):
                assert await gave.get() == ((None, text) if "error" in text else (text, None))
        callee.call(2, "never", "{}", lambda text, error: gave.put_nowait((text, error)))
        async with asyncio.timeout(WAIT_S):
            await program.called.wait()
            program.called.clear()
            callee.drop(2)
            await program.called.wait()
        assert (program.dropped, gave.empty()) == ([2], True)
        ends.calls.ends.set()
        assert (await running).status == "ok"


async def test_what_a_plain_function_gives_its_own_thread_says_and_nobody_says_it_again() -> None:
    """Large values go by the loop, in their parts."""
    async with linked() as (ends, link):
        functions, put = Functions({"same": lambda of: of}), link._outbox.put
        of_the_loop, gave = list[bytes](), asyncio.Queue[tuple[str | None, str | None]]()

        def noted(parts: Sequence[bytes], *sent: Callable[[], object]) -> None:
            of_the_loop.append(parts[0])
            put(parts, *sent)

        link._outbox.put = noted  # type: ignore[assignment, method-assign]
        running = asyncio.create_task(link.run({**SESSION, "code": "1"}, None, functions))
        await ends.calls.begun.get()
        of_the_loop.clear()
        for number, of in enumerate(("x", "x" * 100_000, "y")):
            text = json.dumps(of)
            heard = lambda text, error: gave.put_nowait((text, error))  # noqa: E731
            ends.calls.callee.call(number, "same", f'{{"of":{text}}}', heard)
            async with asyncio.timeout(WAIT_S):
                assert await gave.get() == (text, None)
        ends.calls.ends.set()
        await running
        by_the_loop = {json.loads(said)["gave"] for said in of_the_loop if b'"gave"' in said}
        assert (0 in by_the_loop, 1 in by_the_loop, gave.empty()) == (False, True, True)
        functions.close()


@pytest.mark.parametrize(
    "answer",
    [{"gave": 9, "text": "1"}, {"gave": True, "text": "1"}, {"gave": "1", "error": ""}, {"gave": None, "text": 5}],
    ids=["of-no-call", "a-flag", "a-text", "nothing"],
)
async def test_an_answer_to_no_call_is_passed_over(answer: dict[str, Any]) -> None:
    """Also one to a step that is not, and the program is served on."""
    async with connected() as ends:
        run = call_of(1, "run", {**SESSION, "code": "1"}, functions=["f"])
        await said(ends, run)
        await ends.calls.begun.get()
        await said(ends, packed({"id": 1, **answer}), packed({"id": 5, **answer}))
        ends.calls.ends.set()
        heard, _ = await unpacked(await Packets(ends.ours, 1 << 20).receive())
        assert (heard["id"], "result" in heard) == (1, True)


@pytest.mark.parametrize("text", [[7], 5, None, {"a": 1}], ids=["no-part", "number", "null", "object"])
async def test_a_program_that_does_not_say_what_its_function_gave_has_failed(text: object) -> None:
    async with connected() as ends:
        await said(ends, call_of(1, "run", {**SESSION, "code": "1"}, functions=["f"]))
        await ends.calls.begun.get()
        gave: asyncio.Future[tuple[object, object]] = asyncio.get_running_loop().create_future()
        ends.calls.callee.call(1, "f", "{}", lambda text, error: gave.set_result((text, error)))
        await said(ends, packed({"id": 1, "gave": 1, "text": text}))
        async with asyncio.timeout(WAIT_S):
            assert await gave == (None, "The program did not say what it gave.")


@pytest.mark.parametrize("functions", ["f", [1], ["f" * 65], ["f"] * 65, {"f": 1}])
async def test_names_of_functions_are_bounded(functions: object) -> None:
    async with connected() as ends:
        await said(ends, call_of(1, "run", {**SESSION, "code": "1"}, functions=functions))
        heard, _ = await unpacked(await Packets(ends.ours, 1 << 20).receive())
        assert heard["error"]["kind"] == "InvalidInput"


async def test_calls_are_answered_each_by_its_number_and_as_they_end() -> None:
    async with linked() as (ends, link):
        running = asyncio.create_task(link.run({**SESSION, "code": "1"}, None))
        assert await ends.calls.begun.get() == "1"
        with pytest.raises(SessionBusy, match="s_1 is busy"):
            await link.interrupt("s_1")
        assert not running.done()
        ends.calls.ends.set()
        assert (await running).status == "ok"
        assert (await link.get(SESSION, 7, as_text=True)).value == [7, True]


async def test_a_call_that_nobody_waits_for_is_cancelled_in_the_host() -> None:
    async with linked() as (ends, link):
        running = asyncio.create_task(link.run({**SESSION, "code": "1"}, None))
        await ends.calls.begun.get()
        running.cancel()
        await asyncio.wait([running])
        ends.calls.fault = SessionBusy("so much came after it")
        with pytest.raises(SessionBusy):
            await link.run({**SESSION, "code": "2"}, None)
        assert ends.calls.cancelled == ["1"]


async def test_a_fault_of_the_host_is_told_without_what_it_was(caplog: pytest.LogCaptureFixture) -> None:
    async with linked() as (ends, link):
        ends.calls.fault = ZeroDivisionError("a secret")
        with pytest.raises(InternalError) as raised:
            await link.run({**SESSION, "code": "1"}, None)
        assert "a secret" not in raised.value.message
        assert "a secret" in caplog.text


async def test_a_program_that_does_not_read_is_told_no_more_than_the_bound_and_finds_the_rest_in_the_report() -> None:
    """The host keeps that much of its output, and neither the step nor a neighbour waits."""
    async with connected() as ends:
        ends.calls.output = "x" * (3 * OUTPUT_BYTES_MAX)
        await said(ends, call_of(1, "run", {**SESSION, "code": "1"}, tells=True))
        await ends.calls.begun.get()
        assert ends.host._unread_bytes <= OUTPUT_BYTES_MAX
        async with linked() as (_, neighbour):
            with pytest.raises(SessionBusy):
                await neighbour.interrupt("s_1")
        ends.calls.ends.set()
        heard, packets = 0, Packets(ends.ours, 1 << 30)
        while True:
            head, *texts = await packets.receive()
            if b'"result"' in head:
                break
            heard += len(texts[0]) if texts else len(json.loads(head)["text"])
        assert 0 < heard <= OUTPUT_BYTES_MAX
        assert [len(text) for text in texts] == [len(ends.calls.output)]


async def test_output_that_came_faster_than_it_was_read_is_told_in_full_at_the_end() -> None:
    async with linked() as (ends, link):
        ends.calls.output = "0123456789abcdef" * (3 * OUTPUT_BYTES_MAX // 16)
        ends.calls.ends.set()
        told = list[str]()
        report = await link.run({**SESSION, "code": "1"}, lambda _stream, text: told.append(text))
        assert "".join(told) == report.stdout == ends.calls.output


async def test_large_answers_are_made_a_few_at_a_time() -> None:
    async with linked() as (ends, link):
        reading = [asyncio.create_task(link.get(SESSION, 1, as_text=False)) for _ in range(LARGE_AT_ONCE + 1)]
        for _ in range(LARGE_AT_ONCE):
            await ends.calls.begun.get()
        with pytest.raises(SessionBusy):  # behind them, and yet at once
            await link.interrupt("s_1")
        assert ends.calls.begun.empty()
        ends.calls.ends.set()
        await asyncio.gather(*reading)


async def test_pages_of_questions_are_made_a_few_at_a_time_however_many_calls_wait_for_them() -> None:
    """The wait itself is nobody's turn: a program may wait in as many sessions as it likes."""
    async with linked() as (ends, link):
        asking = [link.answer_questions({**SESSION, "take": take}) for take in range(3 * LARGE_AT_ONCE)]
        waiting = [asyncio.create_task(one) for one in asking]
        for _ in waiting:
            assert await ends.calls.begun.get() == "answer_questions"
        ends.calls.ends.set()
        for _ in range(LARGE_AT_ONCE):
            assert await ends.calls.begun.get() == "page"
        with pytest.raises(SessionBusy):  # whoever has had a turn would have come before this
            await link.interrupt("s_1")
        assert ends.calls.begun.empty()
        ends.calls.is_over.set()
        assert [report.stdout for report in await asyncio.gather(*waiting)] == [str(n) for n in range(len(waiting))]


async def test_calls_without_end_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "CALLS_MAX", 2)
    async with linked() as (ends, link):
        running = [asyncio.create_task(link.run({**SESSION, "code": "1"}, None)) for _ in range(2)]
        for _ in running:
            await ends.calls.begun.get()
        with pytest.raises(InvalidInput, match="2 calls of this program are under way"):
            await link.interrupt("s_1")
        ends.calls.ends.set()
        await asyncio.gather(*running)


async def test_refusals_that_nobody_reads_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "CALLS_MAX", 0)
    monkeypatch.setattr(conversation, "REFUSALS_MAX", 10)
    async with connected() as ends:
        ends.theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        sending = asyncio.create_task(said(ends, *(call_of(number, "open", {}) for number in range(10_000))))
        for _ in range(3_000):
            await asyncio.sleep(0)
            assert len(ends.host._under_way) <= 11
        sending.cancel()
        await asyncio.wait([sending])


async def test_no_further_call_is_read_while_the_texts_of_those_under_way_take_too_much(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(conversation, "TEXT_BYTES_MAX", 1_000)
    async with connected() as ends:
        await said(ends, *(call_of(number, "run", {**SESSION, "code": f"{number}" * 2_000}) for number in (1, 2)))
        assert await asyncio.wait_for(ends.calls.begun.get(), WAIT_S) == "1" * 10
        assert ends.calls.begun.empty()
        ends.calls.ends.set()
        assert await asyncio.wait_for(ends.calls.begun.get(), WAIT_S) == "2" * 10


@pytest.mark.parametrize("is_cancelled", [False, True])
async def test_no_further_call_is_read_while_answers_that_nobody_reads_take_too_much(
    monkeypatch: pytest.MonkeyPatch,
    is_cancelled: bool,
) -> None:
    """Nor where its call was cancelled after it was made."""
    monkeypatch.setattr(conversation, "TEXT_BYTES_MAX", 1_000_000)
    async with connected() as ends:
        ends.calls.output = "x" * 4_000_000
        ends.calls.ends.set()
        await said(ends, call_of(1, "run", {**SESSION, "code": "1"}))
        assert await asyncio.wait_for(ends.calls.begun.get(), WAIT_S) == "1"
        for _ in range(1_000):
            await asyncio.sleep(0)
        if is_cancelled:
            ends.host._under_way[1].cancel()
        await said(ends, call_of(2, "run", {**SESSION, "code": "2"}))
        for _ in range(1_000):
            await asyncio.sleep(0)
        assert ends.calls.begun.empty()
        _, text = await asyncio.wait_for(Packets(ends.ours, 1 << 30).receive(), WAIT_S)
        assert text == ends.calls.output.encode()
        assert await asyncio.wait_for(ends.calls.begun.get(), WAIT_S) == "2"


@pytest.mark.parametrize(
    "message",
    [
        [b"no JSON"],
        [b"[]"],
        [b"{}"],
        packed({"id": True, "call": "open", "arguments": {}, "texts": {}}),
        packed({"id": -1, "call": "open", "arguments": {}, "texts": {}}),
        packed({"id": 1, "call": "open"}),
        packed({"cancel": "all"}),
        [b"x" * (5 << 20)],
        packed({"id": 1, "call": "open", "arguments": {}, "texts": {}, "x": [[]] * 60_000}),
    ],
)
async def test_what_is_no_message_ends_the_connection(message: list[bytes]) -> None:
    async with connected() as ends:
        await said(ends, message)
        await asyncio.wait_for(ends.serving, WAIT_S)
        assert ends.calls.is_over.is_set()


@pytest.mark.parametrize(
    ("call", "more"), [("get", {}), ("get", {"limit": "7"}), ("trace", {"offset": None}), ("trace", {"offset": 1.5})]
)
async def test_a_call_with_a_wrong_number_is_refused(call: str, more: dict[str, Any]) -> None:
    async with linked() as (_, link):
        with pytest.raises(InvalidInput, match="is no number"):
            await link._ask(None, call, SESSION, **more)


@pytest.mark.parametrize("call", ["", "close_all", "registry", "__init__", "let_all_go"])
async def test_there_are_no_calls_but_those_that_are_meant(call: str) -> None:
    async with linked() as (_, link):
        with pytest.raises(InvalidInput, match="There is no call"):
            await link._ask(None, call, {})


async def test_the_end_of_a_program_ends_what_it_waits_for_and_what_it_began() -> None:
    async with connected() as ends:
        await said(ends, call_of(1, "run", {**SESSION, "code": "1"}))
        await ends.calls.begun.get()
        ends.ours.close()
        await asyncio.wait_for(ends.serving, WAIT_S)
        assert (ends.calls.cancelled, ends.calls.is_over.is_set()) == (["1"], True)


async def test_the_end_of_the_process_counts_though_a_child_has_the_connection() -> None:
    """It was not let in."""
    calls: Any = Calls()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs, subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:  # noqa: ASYNC220
        theirs.setblocking(False)
        pidfd = os.pidfd_open(process.pid)
        serving = asyncio.create_task(Conversation(theirs, calls).serve(pidfd))
        assert process.stdin is not None
        process.stdin.close()
        await asyncio.wait_for(serving, WAIT_S)
        assert calls.is_over.is_set()
        os.close(pidfd)


async def test_the_end_of_a_host_is_told_to_every_call_and_says_what_may_have_been() -> None:
    async with connected() as ends:
        link = Link(ends.ours)
        running = asyncio.create_task(link.run({**SESSION, "code": "1"}, None))
        await ends.calls.begun.get()
        ends.theirs.shutdown(socket.SHUT_RDWR)
        with pytest.raises(HostEnded, match="a step that was running may have run"):
            await running
        with pytest.raises(HostEnded):
            await link.open()
        await link.close()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            {"timeout_ms": 1, "code": {1}},
            "The argument code of run cannot be said to a host: Object of type set is not JSON serializable",
        ),
        ({"exclude": ["x" * 5_000_000]}, "4,194,304 are taken"),
        ({"exclude": ["x"] * 100_001}, "have more than 100,000 items"),
    ],
)
async def test_what_no_host_would_take_is_refused_before_it_is_sent(arguments: dict[str, Any], words: str) -> None:
    async with linked() as (_, link):
        with pytest.raises(InvalidInput, match=words):
            await link.run(arguments, None)
        await link.open()


async def test_a_text_that_is_too_large_for_a_host_is_refused_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rlm_kernel_mcp.doors.link.TEXT_BYTES_MAX", 100_000)
    async with linked() as (_, link):
        with pytest.raises(InvalidInput, match="100,001 bytes as UTF-8; a host takes at most 100,000") as raised:
            await link.init_context({"context_text": "x" * 100_001})
        assert "give its path" in raised.value.next_step
    assert TEXT_BYTES_MAX == 256 << 20
