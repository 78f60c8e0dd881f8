"""A long text comes from a kernel whole, or is not taken: whatever the kernel sends, and whatever it says of that."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest

from rlm_kernel_mcp.context_wire import Claim
from rlm_kernel_mcp.errors import CitationMismatch, InvalidInput, KernelDied, RlmError, SessionBusy, SessionFinalized
from rlm_kernel_mcp.kernel.untrusted.snapshot_stream import StreamBroken
from rlm_kernel_mcp.session import finalize
from rlm_kernel_mcp.session.kernels import long_text
from rlm_kernel_mcp.store.long_answers import PagedText
from rlm_kernel_mcp.text.safe_text import cut_text
from tests.fake_kernel import FakeKernel, Fakes, all_of, fake_registry
from tests.sessions import WAIT_S, SessionDriver, until

pytestmark = pytest.mark.anyio

SHORT, LONGEST = 100_000, 1_500_000
"""In place of the real limits."""
TEXT: Final = "The first line of the text.\nThe second line has the answer: 42.\n"
PIECE: Final = "Größe \ud800 😀\x1b and \u202e more, of an answer that was put together;\n"
ANSWER: Final = PIECE * (1_000_000 // len(PIECE))


@pytest.fixture(autouse=True)
def lower_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finalize, "ANSWER_CHARS_MAX", SHORT)
    monkeypatch.setattr(finalize, "LONG_CHARS_MAX", LONGEST)


async def opened(fakes: Fakes, answer: str = ANSWER) -> tuple[SessionDriver, FakeKernel]:
    """A session whose `answer` is bound."""
    session, kernel = await fakes.open(TEXT)
    kernel.names["answer"] = answer
    return session, kernel


def pages_left(fakes: Fakes) -> int:
    """Of answers, in the store."""
    with closing(sqlite3.connect(fakes.registry.settings.state_dir / "sessions.db")) as connection:
        (count,) = connection.execute("SELECT count(*) FROM answer_pages").fetchone()
    return int(count)


async def read_back(fakes: Fakes, session_id: str, max_chars: int = 150_000) -> tuple[str, str | None]:
    """The final answer from the pages of the trace, and the note of the last one."""
    parts, offset = list[str](), 0
    while True:
        page = await fakes.registry.get_trace(
            session_id, from_step=None, to_step=None, detail="full", max_output_chars=max_chars, offset=offset
        )
        parts += [event.result or "" for event in page.events if event.action == "finalize"]
        if page.next_offset is None:
            return "".join(parts), page.note
        offset = page.next_offset


@pytest.mark.parametrize("max_chars", [1, 40, 100_000])
async def test_a_long_answer_is_shown_as_a_short_one_is(fakes: Fakes, max_chars: int) -> None:
    """Head, tail and the sentence between them; the same call again has the same."""
    session, _ = await opened(fakes)
    await session.ok("1 + 1")
    reports = [
        await fakes.registry.finalize(
            session.session_id, final_text=None, final_var_name="answer", max_output_chars=max_chars
        )
        for _ in range(2)
    ]
    where = 'rlm_get_trace(from_step=1, detail="full") gets all of it, page by page'
    cut = cut_text(ANSWER, max_chars, where)
    assert (where in cut.text) == (max_chars > 1_000)
    assert reports[0].note is None or f"{where}." in reports[0].note
    assert (reports[0].final_answer, reports[0].cut_chars) == (cut.text, cut.cut_chars)
    assert reports[0].final_answer_chars == len(ANSWER)
    assert reports[1] == reports[0]
    assert session.session_id not in fakes.registry.handles.sessions
    with pytest.raises(SessionFinalized, match=f"{len(ANSWER):,} characters"):
        await fakes.registry.finalize(session.session_id, final_text="x", final_var_name=None, max_output_chars=9)


async def test_the_trace_has_all_of_it_and_so_has_the_next_server(tmp_path: Path) -> None:
    """In pages of any size, made safe to show as the whole would be."""
    async with fake_registry(tmp_path) as fakes:
        session, _ = await opened(fakes)
        report = await session.finalize(var="answer")
        events = await session.trace("summary")
        assert events[-1].summary == f"final answer of {len(ANSWER):,} characters from a variable"
    async with fake_registry(tmp_path) as fakes:
        text, note = await read_back(fakes, session.session_id)
        assert (text, note) == (cut_text(ANSWER, 1 << 30, "").text, None)
        again = await fakes.registry.finalize(
            session.session_id, final_text=None, final_var_name="answer", max_output_chars=100_000
        )
        assert again == report
        (row,) = (await fakes.registry.list_sessions(state="all")).rows
        assert row.status == "finalized"


async def test_what_is_damaged_of_it_is_said_and_the_rest_can_be_read(fakes: Fakes) -> None:
    """The page of the trace before it is there."""
    session, _ = await opened(fakes)
    await session.finalize(var="answer")
    with closing(sqlite3.connect(fakes.registry.settings.state_dir / "sessions.db")) as connection, connection:
        connection.execute("UPDATE answer_pages SET data = x'00' WHERE number = 3")
    text, note = await read_back(fakes, session.session_id)
    whole = cut_text(ANSWER, 1 << 30, "").text
    assert whole.startswith(text)
    assert 150_000 < len(text) < len(whole)
    assert "1 event" in (note or "")


async def test_marks_of_a_long_answer_are_checked_wherever_they_stand(fakes: Fakes) -> None:
    """One that leads nowhere refuses it; then nothing of it is kept, and the session goes on."""
    session, kernel = await opened(fakes)
    session.session.evidence.take([Claim(3, "context", "context", 28, 63, "", "")], [])
    cited = ANSWER + " [c3]" + ANSWER[:300_000]
    kernel.names |= {
        "wrong": cited + "[c4]",
        "many": "".join(f"[c{number}]" for number in range(30_000)),
        "good": cited,
    }
    with pytest.raises(CitationMismatch, match=r"1 of 2 citations did not pass.*c4 is missing"):
        await session.finalize(var="wrong")
    with pytest.raises(InvalidInput, match="more than 1,000 marks"):
        await session.finalize(var="many")
    assert pages_left(fakes) == 0
    assert (await session.ok("1 + 1")).result == "2"
    report = await session.finalize(var="good")
    assert [(one.id, one.status) for one in report.citations or ()] == [("c3", "verified")]
    assert report.final_answer_chars == len(cited)


def sent(data: bytes, **said: Any) -> Callable[[str], tuple[bytes, dict[str, Any]]]:
    return lambda _: (data, said)


WHOLE, CHARS = all_of(ANSWER)[0], len(ANSWER)
LIES: dict[str, tuple[Callable[[str], tuple[bytes, dict[str, Any]]], str]] = {
    "fewer than it says": (sent(WHOLE[:500_000].decode("utf-8", "ignore").encode(), chars=CHARS), "which said that"),
    "more than it says": (sent(WHOLE, chars=CHARS - 1), f"{CHARS:,} characters of the final answer came"),
    "nothing": (sent(b"", chars=CHARS), "0 characters of the final answer came"),
    "nothing said": (sent(WHOLE), "could not send it"),
    "no number": (sent(WHOLE, chars=str(CHARS)), "could not send it"),
    "a negative number": (sent(WHOLE, chars=-1), "could not send it"),
    "no text": (sent(b"x" * 600_000 + b"\xff", chars=600_001), "not valid UTF-8"),
    "half a character": (sent(WHOLE + b"\xf0\x9f", chars=CHARS), "not valid UTF-8"),
    "more than there may be": (sent(b"x" * (LONGEST + 1), chars=LONGEST), "more than 1,500,000 characters"),
    "a failure": (sent(WHOLE, status="error", ename="MemoryError"), "could not send it"),
}


@pytest.mark.parametrize(("sends", "told"), LIES.values(), ids=LIES.keys())
async def test_a_kernel_that_sends_something_else_has_no_answer_taken(
    fakes: Fakes, sends: Callable[[str], tuple[bytes, dict[str, Any]]], told: str
) -> None:
    """Nothing of it is kept, and what it sends rightly is taken afterwards."""
    session, kernel = await opened(fakes)
    kernel.sends = sends
    with pytest.raises(KernelDied, match=told) as refused:
        await session.finalize(var="answer")
    assert "The session is as it was" in refused.value.next_step
    assert pages_left(fakes) == 0
    kernel.sends = all_of
    assert (await session.finalize(var="answer")).final_answer_chars == CHARS


async def test_a_value_that_is_no_text_is_refused(fakes: Fakes) -> None:
    """A kernel of ours shows no other value at such a length; this one says that it does."""
    session, kernel = await opened(fakes)
    kernel.sends = sent(b"", status="error", ename="ValueError", evalue="it is no text")
    with pytest.raises(InvalidInput, match="answer is no str"):
        await session.finalize(var="answer")


async def test_a_text_above_the_limit_is_not_asked_for(fakes: Fakes) -> None:
    """Its length is known before."""
    session, kernel = await opened(fakes, "x" * (LONGEST + 1))
    with pytest.raises(InvalidInput, match=r"answer has 1,500,001 characters; a final answer has at most 1,500,000\."):
        await session.finalize(var="answer")
    assert "rlm_send_text_request" not in kernel.heard


async def test_a_text_that_fits_a_message_goes_by_one(fakes: Fakes) -> None:
    """As ever."""
    session, kernel = await opened(fakes, "x" * SHORT)
    assert (await session.finalize(var="answer")).final_answer_chars == SHORT
    assert "rlm_send_text_request" not in kernel.heard
    assert pages_left(fakes) == 0


async def test_a_kernel_that_is_silent_is_not_waited_for(fakes: Fakes, monkeypatch: pytest.MonkeyPatch) -> None:
    """It holds the pipe, and sends nothing."""
    monkeypatch.setattr(long_text, "READ_TIMEOUT_S", 0.1)
    monkeypatch.setattr(long_text, "BROKEN_S", 0.1)
    session, kernel = await opened(fakes)
    kernel.deaf.add("rlm_send_text_request")
    with pytest.raises(KernelDied, match="nothing more of it came"):
        await session.finalize(var="answer")
    assert (await session.ok("1 + 1")).result == "2"


async def test_a_kernel_that_dies_meanwhile_is_said_to_have_died(fakes: Fakes) -> None:
    """Whatever half of a text has come."""
    session, kernel = await opened(fakes)

    def dies(_: str) -> tuple[bytes, dict[str, Any]]:
        kernel.process.end(-9)
        return WHOLE[: len(WHOLE) // 2], {}

    kernel.sends = dies
    with pytest.raises(KernelDied, match="The kernel is gone"):
        await session.finalize(var="answer")
    assert pages_left(fakes) == 0


async def test_a_call_that_is_cancelled_leaves_nothing(fakes: Fakes) -> None:
    """And holds up nobody: the next one is served."""
    session, kernel = await opened(fakes)
    kernel.deaf.add("rlm_send_text_request")
    call = asyncio.ensure_future(session.finalize(var="answer"))
    await until(lambda: "rlm_send_text_request" in kernel.heard)
    call.cancel()
    await asyncio.wait({call}, timeout=WAIT_S)
    assert call.cancelled()
    assert pages_left(fakes) == 0
    kernel.close()
    kernel._unanswered.clear()
    kernel.deaf.clear()
    assert (await session.finalize(var="answer")).final_answer_chars == CHARS


async def test_a_pipe_and_its_request_go_in_one_stretch(fakes: Fakes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another's request in between would get the pipe, and this one that other's descriptor."""
    session, kernel = await opened(fakes)
    order, loop = list[str](), asyncio.get_running_loop()
    passing, sending = kernel.pass_descriptor, kernel.control.send

    def passed(descriptor: int, *, shell: bool = False) -> None:
        order.append("the pipe")
        loop.call_soon(order.append, "another's turn")
        passing(descriptor, shell=shell)

    def sent_now(frames: Sequence[bytes]) -> None:
        order.append("its request")
        sending(frames)

    monkeypatch.setattr(kernel, "pass_descriptor", passed)
    await session.value("answer")
    monkeypatch.setattr(kernel.control, "send", sent_now)
    await session.finalize(var="answer")
    assert order[-3:] == ["the pipe", "its request", "another's turn"]


async def test_a_call_that_is_cut_off_ends_the_search_for_marks(fakes: Fakes, monkeypatch: pytest.MonkeyPatch) -> None:
    """It looks at each character, in a thread that others need too."""
    session, _ = await opened(fakes, "[" + "\uff43\uff11" * 60_000 + "]" + ANSWER)
    begun, goes_on, seen = threading.Event(), threading.Event(), list[int]()
    pages = PagedText.pages

    def counted(self: PagedText, before_each: Callable[[], object]) -> Iterator[str]:
        for page in pages(self, before_each):
            seen.append(len(page))
            begun.set()
            goes_on.wait(WAIT_S)
            yield page

    monkeypatch.setattr(PagedText, "pages", counted)
    call = asyncio.ensure_future(session.finalize(var="answer"))
    await asyncio.to_thread(begun.wait, WAIT_S)
    call.cancel()
    await asyncio.wait({call}, timeout=WAIT_S)
    goes_on.set()
    await asyncio.wrap_future(finalize._markers.submit(int))  # one of its threads is free again
    assert (call.cancelled(), len(seen)) == (True, 1)
    assert pages_left(fakes) == 0


async def test_two_calls_at_once_are_one_answer(fakes: Fakes) -> None:
    """The second finds it given."""
    session, kernel = await opened(fakes)
    first, second = await asyncio.gather(session.finalize(var="answer"), session.finalize(var="answer"))
    assert first == second
    assert kernel.heard.count("rlm_send_text_request") == 1


async def test_a_disk_that_does_not_keep_it_leaves_the_session_open(
    fakes: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shorter answer can still be given, and it itself once there is room."""
    session, _ = await opened(fakes)
    database = type(fakes.registry.store._database)
    with monkeypatch.context() as full:
        full.setattr(database, "is_on_disk", property(lambda _: False))
        with pytest.raises(SessionBusy, match="does not keep so long a text"):
            await session.finalize(var="answer")
    assert pages_left(fakes) == 0
    assert (await session.ok("1 + 1")).result == "2"
    assert (await session.finalize(var="answer")).final_answer_chars == CHARS


async def test_a_disk_that_does_not_answer_is_not_waited_for(fakes: Fakes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither for the pages, nor for their removal; what has happened is said all the same."""
    released = threading.Event()

    def receive(reader: int, *_: object) -> PagedText:
        os.close(reader)
        released.wait(WAIT_S)
        raise StreamBroken("it has ended")

    monkeypatch.setattr(long_text, "_receive", receive)
    monkeypatch.setattr(long_text, "STREAM_S", 0.0)
    monkeypatch.setattr(long_text, "END_S", 0.0)
    session, _ = await opened(fakes)
    try:
        with pytest.raises(SessionBusy, match="the disk of the session store does not keep so long a text"):
            await session.finalize(var="answer")
    finally:
        released.set()
    assert (await session.ok("1 + 1")).status == "ok"


async def test_an_answer_that_was_taken_and_is_gone_is_an_error(fakes: Fakes) -> None:
    """And not an empty answer."""
    session, _ = await opened(fakes)
    await session.finalize(var="answer")
    with closing(sqlite3.connect(fakes.registry.settings.state_dir / "sessions.db")) as connection, connection:
        connection.execute("DELETE FROM answer_pages")
    with pytest.raises(RlmError, match="is damaged"):
        await session.finalize(var="answer")
    assert isinstance(fakes.registry.store.final_answer(session.session_id), PagedText)
