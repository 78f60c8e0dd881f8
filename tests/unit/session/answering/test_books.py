"""What questions were asked, and what was answered, is in the store in whole and in order."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest

from rlm_kernel_mcp.session.answering import books as books_module
from rlm_kernel_mcp.session.answering import keeping, sending
from rlm_kernel_mcp.session.answering.backends.protocol import Facts
from rlm_kernel_mcp.session.answering.books import StoreBooks
from rlm_kernel_mcp.session.answering.keeping import Entry, Kept, Keys, Said, Spent
from rlm_kernel_mcp.session.answering.questions import Sketch
from rlm_kernel_mcp.session.answering.switchboard import Ceilings, Switchboard
from rlm_kernel_mcp.session.reports import SubcallsUsed
from rlm_kernel_mcp.store.store import Store
from rlm_kernel_mcp.store.subcalls import Texts
from rlm_kernel_mcp.store.writer import AT_ONCE_CHARS, Writer
from tests.sessions import WAIT_S, until
from tests.unit.session.answering.scripted import FACTS, Givens, ScriptedBackend, account, question

pytestmark = pytest.mark.anyio
NOW: Final = datetime(2026, 11, 29, 12, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def writer(store: Store) -> Iterator[Writer]:
    made = Writer(store)
    yield made
    made.close()


def books_over(store: Store, writer: Writer, *, is_cached: bool = True, day_max: int = 100) -> StoreBooks:
    return StoreBooks(store, writer, FACTS, is_cached=is_cached, day_max=day_max, now=lambda: NOW)


async def test_an_answer_is_there_for_whoever_asks_next_and_after_a_restart(
    store: Store, writer: Writer, tmp_path: Path
) -> None:
    """Long ones too, which a thread writes; none is where the user wants none to be kept."""
    books = books_over(store, writer)
    long = Kept("x" * 300_000, "m-1")
    books.keep("s_1", "a", Kept("yes", "m-1"))
    books.keep("s_1", "b", long)
    assert await books.kept(["a", "b", "c"]) == {"a": Kept("yes", "m-1"), "b": long}
    await books.settled("s_1")
    assert books.kept_at_once(["a", "b", "c"]) == {"a": Kept("yes", "m-1"), "b": long}
    assert books.kept_at_once([str(number) for number in range(1_000)]) is None
    other = Store.open(tmp_path)
    with_other = books_over(other, Writer(other))
    assert await with_other.kept(["a"]) == {"a": Kept("yes", "m-1")}
    other.close()
    without = books_over(store, writer, is_cached=False)
    without.keep("s_1", "d", Kept("no"))
    assert (without.kept_at_once(["a", "d"]), await without.kept(["a"])) == ({}, {})


async def test_each_question_has_its_row_with_its_texts(store: Store, writer: Writer) -> None:
    """A duplicate has none of its own."""
    books = books_over(store, writer)
    asked = question(7, "prompt", text="data", step_index=3, batch=2, schema="{}")
    first = books.write(
        "s_1", Entry(asked, "m", "answered", "yes", said=Said("m-1"), spent=Spent(5, 2, None, 1, 30, 400))
    )
    second = books.write("s_1", Entry(question(8, "prompt"), "m", "duplicate", "yes", duplicate_of=7))
    books.note_missed("s_1", [first])
    await books.settled("s_1")
    one, other = store.subcalls.rows("s_1")
    assert (one.id, one.number, one.step_index, one.batch, one.fate, one.error_code) == (
        first, 7, 3, 2, "answered", "schema",
    )  # fmt: skip
    assert one.ts == "2026-11-29T12:00:00.000Z"  # as an event's
    assert (one.backend, one.model_asked, one.model_said, one.has_schema) == ("scripted", "m", "m-1", 1)
    assert (one.prompt_chars, one.text_chars, one.answer_chars) == (6, 4, 3)
    assert (one.tokens_in, one.tokens_out, one.attempts, one.queued_ms, one.duration_ms) == (5, 2, 1, 30, 400)
    assert one.text_sha256 == "3a6eb0790f39ac87c94f3856b2dd2c5d110e6811602261a9a923d3bb23adc8b7"
    assert (other.fate, other.duplicate_of, other.text_sha256) == ("duplicate", 7, None)
    assert store.subcalls.texts("s_1", first) == Texts("prompt", "data", "yes")
    assert store.subcalls.texts("s_1", second) == Texts()


async def test_a_batch_that_a_server_did_not_finish_asks_the_next_one_for_the_rest_alone(
    store: Store, writer: Writer, tmp_path: Path
) -> None:
    """Nothing is paid twice: what was answered is in the store, whatever ended the server."""
    backend = ScriptedBackend(delay_s=lambda asked: 0.0 if asked.prompt in "ab" else 1e6)
    books = books_over(store, writer)
    board, givens = Switchboard(backend, Ceilings(parallel=4), books, books), Givens()
    broker = board.broker("s_1", account())
    for number, prompt in enumerate("abcd", 1):
        broker.ask(question(number, prompt), givens.taker(number))
    await givens.all(1, 2)
    await books.settled("s_1")
    later = Store.open(tmp_path)  # the first server is as good as killed: it writes nothing more
    second, its_writer = ScriptedBackend(delay_s=lambda asked: 0.0), Writer(later)
    its_books = books_over(later, its_writer)
    its_board, its_givens = Switchboard(second, None, its_books, its_books), Givens()
    again = its_board.broker("s_1", account())
    for number, prompt in enumerate("abcd", 1):
        again.ask(question(number, prompt), its_givens.taker(number))
    await its_givens.all()
    assert sorted(second.prompts) == ["c", "d"]
    await its_board.close()
    its_writer.close()
    assert later.answers.asked_on("2026-11-29") == 16 + 2  # a server that is killed gives nothing back
    later.close()
    await board.close()


async def test_what_a_killed_server_s_step_has_spent_is_not_forgotten(store: Store, writer: Writer) -> None:
    """Its record says what was used when the step began; the trace has the rest, and the larger one counts."""
    books = books_over(store, writer)
    for number, tokens in ((1, 5), (2, 7)):
        books.write("s_1", Entry(question(number), "m", "answered", "yes", spent=Spent(tokens, 2, None, 1)))
    await books.settled("s_1")
    board, killed, ended = Switchboard(ScriptedBackend(), books=books), account(), account(used=9)
    assert board.broker("s_1", killed).left().subcalls == 1_000 - 2
    assert killed.subcalls == SubcallsUsed(2, 16)
    assert board.broker("s_1", ended).left().subcalls == 1_000 - 9
    await board.close()


async def test_the_day_s_questions_are_taken_from_the_store_and_given_back_to_it(store: Store, writer: Writer) -> None:
    """The one that goes beyond is refused."""
    books = books_over(store, writer, day_max=3)
    backend = ScriptedBackend(delay_s=lambda asked: 0.0)
    board, givens = Switchboard(backend, None, books, books), Givens()
    broker = board.broker("s_1", account())
    for number in range(1, 5):
        broker.ask(question(number), givens.taker(number))
    await givens.all()
    assert [givens[number] for number in range(1, 5)][-1] == "budget"
    assert len(backend.calls) == 3
    assert store.answers.asked_on("2026-11-29") == 3
    assert await books.grant(1) == 0
    books.give_back(1)
    await writer.settled("questions of the day")
    assert await books.grant(9) == 1


async def test_a_server_that_ends_while_it_takes_some_of_the_day_gives_them_back(
    store: Store, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store takes them, whoever waits for that."""
    monkeypatch.setattr(sending, "CLOSE_S", WAIT_S)
    busy = threading.Event()
    writer.do("questions of the day", busy.wait, AT_ONCE_CHARS + 1)
    books, backend = books_over(store, writer), ScriptedBackend()
    board, givens = Switchboard(backend, None, books, books), Givens()
    board.broker("s_1", account()).ask(question(1), givens.taker(1))
    await until(lambda: board._sender._granting is not None)
    await asyncio.sleep(0)  # it has asked the store, which is busy
    closing = asyncio.create_task(board.close())
    await asyncio.sleep(0)
    busy.set()
    await closing
    await writer.settled("questions of the day")
    assert store.answers.asked_on("2026-11-29") == 0
    assert (givens[1], backend.calls) == ("gone", [])


async def test_code_that_asks_what_is_never_sent_fills_no_disk(
    store: Store, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tally counts all of it; the trace has the first ones, and everything that was sent."""
    monkeypatch.setattr(books_module, "UNSENT_MAX", 5)
    books = books_over(store, writer)
    board, givens = Switchboard(ScriptedBackend(delay_s=lambda asked: 0.0), Ceilings(subcalls=3), books), Givens()
    broker = board.broker("s_1", account())
    for number in range(1, 21):
        broker.ask(question(number, "x" * 1_000 + str(number)), givens.taker(number))
    await givens.all()
    await books.settled("s_1")
    rows = store.subcalls.rows("s_1")
    assert [row.fate for row in rows].count("answered") == 3
    assert [row.error_code for row in rows].count("budget") == 5
    assert broker.tally(1).failed == {"budget": 17}
    assert {store.subcalls.texts("s_1", row.id) for row in rows if row.error_code} == {Texts()}
    books.note_missed("s_1", [0])


async def test_what_takes_long_is_written_and_looked_up_in_threads(
    store: Store, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many rows, though each is small; many answers without their schema, which are one write."""
    sizes: list[int] = []
    write = writer.do

    def noted(session_id: str, what: Callable[[], object], chars: int = 0) -> bool:
        sizes.append(chars)
        return write(session_id, what, chars)

    monkeypatch.setattr(writer, "do", noted)
    books = books_over(store, writer)
    entry = Entry(question(1, schema="{}"), "m", "answered", "yes", spent=Spent(5, 2, None, 1))
    few = [books.write("s_1", entry) for _ in range(10)]
    books.flush()
    stopped = Entry(question(2), "m", "failed", error_code="stopped")
    many = [books.write("s_1", stopped) for _ in range(1_000)]
    books.flush()
    books.note_missed("s_1", few[:1])
    books.note_missed("s_1", many)
    assert [size > AT_ONCE_CHARS for size in sizes] == [False, True, False, True]
    await books.settled("s_1")
    assert [row.error_code for row in store.subcalls.rows("s_1")].count("schema") == 1_001


async def test_what_is_paid_is_written_soon_and_what_was_not_sent_may_wait(
    store: Store, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thousands of those come where something ends; they are written with the next answer, or once they hold much."""
    books, written = books_over(store, writer), list[str]()
    write = writer.do

    def noted(order: str, what: Callable[[], object], chars: int = 0) -> bool:
        written.append(order)
        return write(order, what, chars)

    monkeypatch.setattr(writer, "do", noted)
    stopped = Entry(question(1, "x" * 1_000), "m", "failed", error_code="stopped")
    answered = Entry(question(2), "m", "answered", "yes", spent=Spent(5, 2, None, 1))
    for _ in range(100):
        books.write("s_1", stopped)
    assert written == []
    books.write("s_1", answered)
    books.write("s_1", answered)
    assert written == [books_module.order_of("s_1")]
    for _ in range(books_module.PATIENT_CHARS // 1_000 + 1):
        books.write("s_2", stopped)
    assert written == [books_module.order_of("s_1"), books_module.order_of("s_2")]
    await books.settled("s_1")
    await books.settled("s_2")
    assert (len(store.subcalls.rows("s_1")), len(store.subcalls.rows("s_2"))) == (102, 1_001)


async def test_a_forecast_of_thousands_looks_at_its_schema_once_and_leaves_others_the_loop(
    store: Store, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that takes time is done in threads, however long the schema is."""
    made: list[str] = []
    threads: set[threading.Thread] = set()

    class Noted(Keys):
        def __init__(self, facts: Facts, model: str, schema: str | None) -> None:
            made.append(schema or "")
            super().__init__(facts, model, schema)

        def of(self, digest: str) -> str:
            threads.add(threading.current_thread())
            return super().of(digest)

    monkeypatch.setattr(keeping, "Keys", Noted)
    books = books_over(store, writer)
    board = Switchboard(ScriptedBackend(), Ceilings(100_000, 10**9), books)
    schema = "s" * 64_000
    sketches = [Sketch(f"{number:064x}", 100) for number in range(10_000)]
    forecast = await board.broker("s_1", account()).forecast(sketches, schema, None, fresh=False)
    assert (forecast.calls, made) == (10_000, [schema])
    assert threading.main_thread() not in threads
    await board.close()
