"""A session's code gives a question about a text to a session of its own, in which an agent works."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import pytest

from rlm_kernel_mcp.api import AsyncSession
from rlm_kernel_mcp.errors import InvalidInput, SessionFinalized
from rlm_kernel_mcp.session.answering.books import StoreBooks
from rlm_kernel_mcp.session.answering.switchboard import Ceilings
from rlm_kernel_mcp.session.asking import passing, trials
from rlm_kernel_mcp.session.boards.agents import AGENT, AgentBoard
from rlm_kernel_mcp.session.children.by_agent import ByAgent
from rlm_kernel_mcp.session.children.nesting import Nest
from rlm_kernel_mcp.session.children.opening import open_children
from rlm_kernel_mcp.session.kernels import long_text
from rlm_kernel_mcp.session.parked.reports import AnswerGiven, AskedItem, Handed
from rlm_kernel_mcp.session.registry import Registry
from rlm_kernel_mcp.session.reports import Guardrails, StepReport
from rlm_kernel_mcp.session.trace.reading import nested_trace
from tests.kernel.asking.conftest import Here
from tests.sessions import AMPLE, WAIT_S, SessionDriver, end_session, until

pytestmark = pytest.mark.anyio
WAIT_MS: Final = int(WAIT_S * 1000)
ENOUGH: Final = replace(AMPLE, max_subcalls=200)


def is_gone(session: SessionDriver) -> bool:
    """Whether nothing of it is in memory."""
    return session.session_id not in session.registry.handles.sessions


@dataclass
class Parent:
    """A session whose code asks, and whoever drives it and works in its children."""

    session: SessionDriver
    books: StoreBooks

    async def asks(self, code: str, count: int = 1) -> list[AskedItem]:
        """Run a step up to its questions, which may come one after the other on a busy machine."""
        report = await self.session.run(code)
        async with asyncio.timeout(WAIT_S):
            while report.questions is not None and report.questions.waiting < count:
                await asyncio.sleep(0)
                report = await self.answer()
        assert report.questions is not None, report
        assert len(report.questions.items) == count
        return list(report.questions.items)

    async def answer(self, *answers: AnswerGiven, **options: Any) -> StepReport:
        """As `rlm_answer`."""
        handed = Handed(answers, **{"wait_ms": WAIT_MS, **options})
        async with asyncio.timeout(WAIT_S):
            return await self.session.registry.answer(self.session.session_id, handed)

    def child(self, item: AskedItem) -> SessionDriver:
        """The session that a question names."""
        assert f"Work on session {item.child_session} with rlm_run_repl" in item.prompt
        return SessionDriver(self.session.registry, item.child_session)

    async def lines(self) -> list[dict[str, Any]]:
        """What the trace tells of each question."""
        await self.books.settled(self.session.session_id)
        events = [event for event in await self.session.trace() if event.action == "subcalls"]
        return [json.loads(line) for event in events for line in (event.stdout or "").splitlines()]


@pytest.fixture(scope="module")
async def nested_registry(asking_registry: Registry) -> AsyncIterator[tuple[Registry, StoreBooks]]:
    """Its sessions may have children, and these none."""
    handles = asking_registry.handles
    before = handles._shared
    books = StoreBooks(asking_registry.store, asking_registry._writer, AGENT, is_cached=True, day_max=0)
    nest = Nest(AgentBoard(Ceilings(subcalls=1_000), books), 2, ByAgent())
    handles._shared = replace(before, switchboard=nest)
    open_children(nest, asking_registry, handles._shared)
    try:
        yield asking_registry, books
    finally:
        handles._shared = before


async def opened(nested: tuple[Registry, StoreBooks], limits: Guardrails = ENOUGH) -> Parent:
    return Parent(await SessionDriver.open(nested[0], "alpha\nbeta\n", limits), nested[1])


@pytest.fixture
async def parent(
    nested_registry: tuple[Registry, StoreBooks], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Parent]:
    # A kernel that gets no processor is not one that says nothing.
    monkeypatch.setattr(trials, "LOOK_S", WAIT_S)
    monkeypatch.setattr(passing, "SEND_S", WAIT_S)
    monkeypatch.setattr(long_text, "READ_TIMEOUT_S", WAIT_S)
    made = await opened(nested_registry)
    yield made
    await end_session(made.session)


async def test_the_final_answer_of_a_child_session_is_the_answer_of_its_question(parent: Parent) -> None:
    """The child has the text as its context, its own steps, and its place below its parent in the record."""
    (item,) = await parent.asks("rlm_query('Which word is last?', 'one two three')")
    assert item.text is None
    assert item.prompt.endswith("Question: Which word is last?")
    assert "is a text of 13 characters" in item.prompt
    child = parent.child(item)
    listed = (await child.registry.list_sessions()).rows
    assert [one.chars for one in listed if one.session_id == child.session_id] == [13]
    assert await child.value("context") == "one two three"  # which needs a kernel, before any step
    first = await child.ok("context.split()[-1]")
    assert (first.result, first.lost, first.note) == ("'three'", None, None)
    await child.finalize(var="context")
    done = await parent.session.end_of(1)
    assert (done.status, done.result) == ("ok", "'one two three'")
    assert done.subcalls is not None
    assert (done.subcalls.asked, done.subcalls.answered, done.budget.subcalls_left) == (1, 1, 199)
    (line,) = await parent.lines()
    assert (line["kind"], line["depth"], line["child_session"]) == ("rlm", 1, child.session_id)
    assert line["answered_by"] == f"agent:{child.session_id}"
    record = parent.session.registry.store.session(child.session_id)
    assert record is not None
    assert (record.parent, record.depth, record.status) == (parent.session.session_id, 1, "finalized")
    assert next(event.action for event in await child.trace()) == "init_context"


async def test_an_answer_to_the_question_itself_is_taken_too_and_the_child_ends(parent: Parent) -> None:
    """A sub-agent that may not work there says why, or answers; nothing of its session goes on."""
    items = await parent.asks("rlm_query_batched('How many?', ['a b', 'c'])", 2)
    # Either may have been opened first.
    first, second = sorted(items, key=lambda item: "text of 3 characters" not in item.prompt)
    await parent.child(first).ok("x = 1")
    done = await parent.answer(AnswerGiven(first.id, "two"), AnswerGiven(second.id, error="not mine"))
    assert done.result == "['two', SubcallError('declined', 'not mine')]"
    for item in (first, second):
        child = parent.child(item)
        await until(partial(is_gone, child))
        with pytest.raises(SessionFinalized, match="has ended without a final answer: its parent's step has ended, or"):
            await child.run("1")
        with pytest.raises(SessionFinalized, match="has ended without a final answer"):
            await child.finalize(text="late")
        last = (await child.trace())[-1]
        assert (last.action, last.result_status) == ("finalize", "ended")
    assert {line.get("error_code") for line in await parent.lines()} == {None, "declined"}


async def test_an_answer_without_the_wanted_schema_is_brought_into_form_by_a_question_more(parent: Parent) -> None:
    (item,) = await parent.asks("rlm_query('How many words?', 'one two three', schema=int)")
    assert item.schema == '{"type":"integer"}'
    again = await parent.answer(AnswerGiven(item.id, "There are three words."))
    assert again.questions is not None
    (form,) = again.questions.items
    assert (form.kind, form.text) == ("llm", "There are three words.")
    assert "The data is an answer to this question: How many words?" in form.prompt
    done = await parent.answer(AnswerGiven(form.id, "3"))
    assert done.result == "3"


async def test_a_child_has_a_text_that_is_too_long_for_a_question(parent: Parent) -> None:
    """In a file of the server's own, which is gone with the child: another kernel gets it too, and a citation holds."""
    code = "text = 'é' * 1_000_000 + '\\ud800 end'\nrlm_query('What is last?', text)"
    (item,) = await parent.asks(code)
    assert "is a text of 1,000,005 characters" in item.prompt
    child = parent.child(item)
    assert (await child.ok("len(context), context[-3:], context[1_000_000]")).result == "(1000005, 'end', '\\ud800')"
    loaders = parent.session.registry._shared.loaders
    assert loaders is not None
    spool = loaders.spool
    assert spool.used_bytes > 1_000_000
    kernel = child.kernel
    kernel.process.kill()
    async with asyncio.timeout(WAIT_S):
        await asyncio.shield(kernel.dead)
    assert (await child.ok("len(context), cite(span(1_000_002, 1_000_005))")).result == "(1000005, [c1])"
    await child.finalize(text="end [c1]")
    assert (await parent.session.end_of(1)).result == "'end [c1]'"
    await until(lambda: spool.used_bytes == 0)
    (line,) = await parent.lines()
    assert line["text_chars"] == 1_000_005


async def test_long_and_short_texts_of_one_call_are_their_own_children_s(parent: Parent) -> None:
    """In their order, whichever came first."""
    code = "rlm_query_batched('q', ['a' * 500_000, 'b', 'c' * 600_000])"
    for item in await parent.asks(code, 3):
        child = parent.child(item)
        await child.ok("found = f'{len(context):,} {context[0]}'")
        await child.finalize(var="found")
    assert (await parent.session.end_of(1)).result == "['500,000 a', '1 b', '600,000 c']"


async def test_a_long_text_is_refused_where_a_model_is_asked_and_by_itself_where_it_is_too_long(
    parent: Parent,
) -> None:
    (item,) = await parent.asks("rlm_query('q', 'text')")
    child = parent.child(item)
    code = "try:\n    rlm_query('q', 'x' * 500_000)\nexcept SubcallError as e:\n    print(e)"
    refused = await child.ok(code)
    assert (
        refused.stdout
        == "too_large: The question has 500,001 characters, and may have 400,000; cut the text into pieces.\n"
    )
    await child.finalize(text="done")
    assert (await parent.session.end_of(1)).result == "'done'"
    report = await parent.session.ok("rlm_query_batched('q', ['x' * 64_000_001])[0].code")
    assert report.result == "'too_large'"


async def test_whoever_finishes_a_child_is_told_that_its_answer_has_not_the_wanted_schema(parent: Parent) -> None:
    """While the child is open: once it is not, a further question has to bring the answer into form."""
    (item,) = await parent.asks("rlm_query('How many words?', 'one two three', schema=int)")
    child = parent.child(item)
    with pytest.raises(InvalidInput, match=r"not the schema that was asked for: \$: 'three' is not of type 'integer'"):
        await child.finalize(text="three")
    await child.ok("found = str(len(context.split()))")
    await child.finalize(var="found")
    assert (await parent.session.end_of(1)).result == "3"
    assert [line["kind"] for line in await parent.lines()] == ["rlm"]


async def test_a_third_answer_without_the_wanted_schema_is_taken(parent: Parent) -> None:
    """Whoever cannot give it does not go round in circles: a model brings what was found into form."""
    (item,) = await parent.asks("rlm_query('How many words?', 'one two three', schema=int)")
    child = parent.child(item)
    for _ in range(2):
        with pytest.raises(InvalidInput, match="not the schema"):
            await child.finalize(text="three")
    await child.finalize(text="three")
    again = await parent.answer()
    assert again.questions is not None
    (form,) = again.questions.items
    assert (form.kind, form.text) == ("llm", "three")
    assert (await parent.answer(AnswerGiven(form.id, "3"))).result == "3"


async def test_what_children_use_is_in_their_parent_s_trace_while_its_step_waits(parent: Parent) -> None:
    """As it is in the budget of each reply."""
    (item,) = await parent.asks("rlm_query('q', 'text')")
    await parent.child(item).ok("print('x' * 100)")
    left = (await parent.answer()).budget
    step = next(event for event in await parent.session.trace() if event.action == "run_repl")
    used = step.guardrail_snapshot
    assert (step.result_status, used["step_index"], used["child_steps"]) == ("running", 1, 1)
    assert used["max_steps"] - used["step_index"] - used["child_steps"] == left.steps_left
    assert used["budget_limit"] - used["budget_used"] == left.chars_left
    await parent.child(item).finalize(text="done")
    assert (await parent.session.end_of(1)).result == "'done'"


@pytest.mark.parametrize("ends", ["interrupt", "kernel"])
async def test_children_end_with_their_parents_step(parent: Parent, ends: str) -> None:
    """Also one in which a step runs; and no kernel or value of theirs is left."""
    code = "from concurrent.futures import ThreadPoolExecutor\npool = ThreadPoolExecutor(2)\n"
    code += "got = [pool.submit(rlm_query, 'q', 'text') for _ in range(2)]\n"
    code += "got[0].result()"
    items = await parent.asks(code, 2)
    children = [parent.child(item) for item in items]
    await children[0].begin("import time\ntime.sleep(3600)")
    await children[1].ok("x = 1")
    if ends == "interrupt":
        report = await parent.session.interrupt()
        assert report.status == "interrupted"
        assert report.subcalls is not None
        assert report.subcalls.failed == {"stopped": 2}
    elif ends == "kernel":
        parent.session.kernel.process.kill()
        await until(lambda: not parent.session.session.running)
        assert (await parent.session.end_of(1)).status == "kernel_died"
    for item in items:
        await until(partial(is_gone, parent.child(item)))
        with pytest.raises(SessionFinalized, match="has ended without a final answer"):
            await parent.child(item).run("1")
    registry = parent.session.registry
    asleep = await registry.await_step(children[0].session_id, 1, wait_ms=0, max_output_chars=1_000)
    assert (asleep.status, asleep.lost) == ("interrupted", None)
    assert "[the session was ended: its parent's step has ended" in asleep.stderr
    listed = (await registry.list_sessions(state="all", limit=200)).rows
    told = {one.session_id: (one.status, one.ended) for one in listed}
    status, why = told[children[1].session_id]
    assert (status, (why or "")[:27]) == ("finalized", "its parent's step has ended")
    assert told[parent.session.session_id][1] is None


async def test_a_program_that_answers_nothing_is_told_so_before_a_child_is_opened(parent: Parent) -> None:
    code = "try:\n    rlm_query('q', 'text')\nexcept SubcallError as e:\n    print(e.code, budget().subcalls)"
    report = await parent.session.ok(code, answers=False)
    assert report.stdout == "refused 200\n"
    assert children_of(parent) == []


async def test_a_program_answers_the_question_of_a_child_from_its_text_or_by_code_in_the_child(
    nested_registry: tuple[Registry, StoreBooks],
) -> None:
    """A plain model has no tools: it is given what the code asked, as `llm_query` gives it."""
    door = Here(nested_registry[0])
    children = list[str]()

    async def answer(asked: AskedItem) -> str:
        children.append(asked.child_session)
        if asked.prompt == "plain":
            assert asked.kind == "rlm"
            return f"{asked.prompt}: {(asked.text or '').upper()} for {asked.schema}"
        async with AsyncSession(door=door, session_id=asked.child_session) as child:
            await child.run("found = f'{len(context.split())} words'")
            return (await child.finalize(final_var_name="found")).final_answer

    async with asyncio.timeout(WAIT_S), AsyncSession(door=door, context_text="alpha") as session:
        report = await session.run("rlm_query_batched(['plain', 'code'], ['one two', 'a b c'])", answer=answer)
        assert report.result == "['plain: ONE TWO for None', '3 words']"
        rows = await asyncio.to_thread(nested_registry[0].store.sessions)
        assert sorted(children) == sorted(one.session_id for one in rows if one.parent == session.session_id)


def children_of(parent: Parent) -> list[tuple[str, str]]:
    """Status and end of each in the record."""
    rows = parent.session.registry.store.sessions()
    return [(one.status, one.finish_reason or "") for one in rows if one.parent == parent.session.session_id]


async def test_a_child_that_is_asked_for_and_given_up_counts_and_is_ended(parent: Parent) -> None:
    """However often: no row is left that looks alive, and the questions are used up."""
    items = await parent.asks("rlm_query_batched('q', list('abcde'))", 5)
    await parent.session.interrupt()
    for item in items:
        await until(partial(is_gone, parent.child(item)))
    await parent.session.registry._writer.settled(parent.session.session_id)
    assert parent.session.session.account.subcalls.calls == 5
    await until(lambda: children_of(parent) == [("finalized", "ended")] * 5)


async def test_the_runtime_of_children_that_work_at_once_is_their_parents(
    nested_registry: tuple[Registry, StoreBooks],
) -> None:
    """Each has a part of what the others leave, and the parent's own step what is left beside them."""
    parent = await opened(nested_registry, replace(ENOUGH, max_runtime_ms=60_000))
    code = "from concurrent.futures import ThreadPoolExecutor\npool = ThreadPoolExecutor(3)\n"
    code += "got = [pool.submit(rlm_query, 'q', 'text') for _ in range(3)]\n[one.result() for one in got]\n"
    items = await parent.asks(code, 3)
    given = [parent.child(item).session.account.limits.max_runtime_ms for item in items]
    step = parent.session.session._running
    assert step is not None
    assert min(given) > 0
    assert step.timeout_ms + sum(given) <= 60_000
    for left, item in enumerate(items, 1):
        before_ms = step.timeout_ms
        await parent.answer(AnswerGiven(item.id, "x"), wait_ms=0)
        if left < 3:
            await until(lambda before_ms=before_ms: step.timeout_ms > before_ms)  # type: ignore[misc]
    assert (await parent.session.end_of(1)).result == "['x', 'x', 'x']"
    await end_session(parent.session)


async def test_a_sub_agent_takes_one_session_at_a_time_and_keeps_it_while_it_works_there(parent: Parent) -> None:
    await parent.asks("sorted(rlm_query_batched('q', ['a', 'b']))", 2)
    mine, other = await parent.answer(take=20), await parent.answer(take=20)
    assert mine.questions is not None
    assert other.questions is not None
    assert [len(page.items) for page in (mine.questions, other.questions)] == [1, 1]
    desk = parent.session.session.told.desk
    assert desk is not None
    (item,) = mine.questions.items
    before_s = desk._pile._leases[item.id]
    await parent.child(item).ok("1")
    assert desk._pile._leases[item.id] > before_s
    await parent.child(item).finalize(text="x")
    await parent.child(other.questions.items[0]).finalize(text="y")
    assert (await parent.session.end_of(1)).result == "['x', 'y']"


async def test_no_child_is_opened_that_could_never_have_a_kernel(parent: Parent) -> None:
    """Its parent, which waits, holds the only one that the client may have."""
    session = parent.session.session
    assert session.owner is not None
    session.owner = replace(session.owner, limit=1)
    report = await parent.session.ok("try:\n    rlm_query('q', 'text')\nexcept SubcallError as e:\n    print(e)")
    assert report.stdout.startswith("too_many: RLM_MAX_SESSIONS allows 1 kernel at a time")
    assert children_of(parent) == []


async def test_what_a_child_s_code_asks_at_the_last_depth_a_model_is_asked(parent: Parent) -> None:
    """Whoever drives the child answers that, at the child's own desk; it counts for the parent too."""
    (item,) = await parent.asks("rlm_query('outer', 'text')")
    child = Parent(parent.child(item), parent.books)
    (inner,) = await child.asks("budget().depth, rlm_query('inner', context)")
    assert (inner.kind, inner.prompt, inner.text) == ("llm", "inner", "text")
    assert (await child.answer(AnswerGiven(inner.id, "found"))).result == "(1, 'found')"
    await child.session.finalize(text="done")
    done = await parent.session.end_of(1)
    assert (done.result, done.budget.subcalls_left) == ("'done'", 198)
    await parent.lines()  # which waits for the rows
    await parent.books.settled(child.session.session_id)
    store = parent.session.registry.store
    (asked,), (below,) = (store.subcalls.rows(one.session.session_id) for one in (parent, child))
    assert (asked.parent, asked.child_session) == (None, child.session.session_id)
    assert (below.parent, below.child_session) == (parent.session.session_id, None)
    told = [(one.depth, one.event.action) for one in nested_trace(store, parent.session.session_id) if one.event]
    assert {action for depth, action in told if depth} == {"init_context", "run_repl", "subcalls", "finalize"}
    assert told[told.index((1, "init_context")) - 1] == (0, "subcalls")


async def test_more_children_than_may_be_open_are_refused_one_by_one(parent: Parent) -> None:
    """However many threads a kernel asks with: a policy's 128 have room for ten more than may wait."""
    code = """
from concurrent.futures import ThreadPoolExecutor
def ask(number):
    try:
        return rlm_query('q', 'text')
    except SubcallError as error:
        return error.code
pool = ThreadPoolExecutor(110)
got = [pool.submit(ask, number) for number in range(130)]
from collections import Counter
"""
    code += "Counter(one.result() for one in got).most_common()"
    begun = await parent.session.begin(code)
    nesting = parent.session.session.kernel.recovery.answering._answers  # type: ignore[attr-defined]
    desk = parent.session.session.told.desk
    assert desk is not None
    await until(lambda: begun.step_index == 1 and desk._pile.waiting + desk._pile.leased > 0)
    await until(lambda: nesting.broker.record.step.tally(1).asked == 130)
    assert len(nesting._under_way) <= 100
    report = await parent.session.interrupt()
    assert report.status in ("interrupted", "kernel_died")
    await until(lambda: not nesting._under_way)
    await until(lambda: set(children_of(parent)) == {("finalized", "ended")})


async def test_a_running_step_ends_when_all_of_the_runtime_is_its_children_s(parent: Parent) -> None:
    """It is not waited for up to the deadline that it had before."""
    await parent.session.begin("import time\ntime.sleep(3600)")
    account = parent.session.session.account
    await until(lambda: account.running is not None)
    lent = account.lend(replace(ENOUGH, max_runtime_ms=account.limits.max_runtime_ms))
    report = await parent.session.end_of(1)
    assert (report.status, account.stop) == ("timeout", None)
    account.take_back(lent)
