"""A Python program answers what the code of its own step asks, by a function that it gives to `run`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from rlm_kernel_mcp.api import AskedItem, AsyncSession
from rlm_kernel_mcp.errors import InvalidInput
from rlm_kernel_mcp.session.boards.agents import AgentBoard
from rlm_kernel_mcp.session.boards.parking import UNATTENDED
from rlm_kernel_mcp.session.registry import Registry
from tests.kernel.asking.conftest import Here, answered_by
from tests.sessions import WAIT_S

pytestmark = pytest.mark.anyio


@pytest.fixture
async def session(asking_registry: Registry) -> AsyncIterator[AsyncSession]:
    with answered_by(asking_registry, AgentBoard()):
        made = AsyncSession(door=Here(asking_registry), context_text="alpha\nbeta\n")
        await made.open()
    yield made
    await made.close()


async def test_a_program_answers_the_questions_of_its_step(session: AsyncSession) -> None:
    """Whole and raw ones, also such as no page would hold, by a function or a coroutine function."""
    asked = list[AskedItem]()

    def shout(question: AskedItem) -> str:
        asked.append(question)
        return question.prompt.upper()

    async def later(question: AskedItem) -> str:
        return await asyncio.to_thread(shout, question)

    async with asyncio.timeout(WAIT_S):
        first = await session.run("llm_query_batched(list('abc') * 30, ['\\x1b' * 20_000] * 90)[-3:]", answer=shout)
        assert (first.status, first.result) == ("ok", "['A', 'B', 'C']")
        assert {one.text for one in asked} == {"\x1b" * 20_000}
        assert not any(one.cut for one in asked)
        pieces = list[str]()
        code = "for _ in range(3):\n    print(llm_query(f'q{_}'))"
        second = await session.run(code, answer=later, on_output=lambda piece: pieces.append(piece.text))
        assert "".join(pieces) == second.stdout == "Q0\nQ1\nQ2\n"


async def test_what_a_step_prints_is_charged_once(session: AsyncSession, asking_registry: Registry) -> None:
    """The call that answers gets questions alone: the step's own call has its end, and that of no earlier step."""
    account = asking_registry.handles.sessions[session.session_id].account

    async with asyncio.timeout(WAIT_S):
        for code in ("print('x' * 5_000)", "print('x' * 5_000, llm_query('q'))"):
            before = account.counters.budget_used
            report = await session.run(code, answer=lambda question: "a")
            assert account.counters.budget_used - before < len(code) + len(report.stdout) + 100


async def test_an_answer_that_is_no_text_is_named_as_what_the_function_gave(session: AsyncSession) -> None:
    async with asyncio.timeout(WAIT_S):
        with pytest.raises(InvalidInput, match="`answer` gave a NoneType for a question"):
            await session.run("llm_query('q')", answer=lambda question: None)  # type: ignore[arg-type, return-value]


async def test_the_questions_of_a_page_are_answered_at_the_same_time(session: AsyncSession) -> None:
    """A model takes a second for one as for ten."""
    begun, all_begun = list[str](), asyncio.Event()

    async def together(question: AskedItem) -> str:
        begun.append(question.prompt)
        if len(begun) == 3:
            all_begun.set()
        await all_begun.wait()
        return "a"

    async with asyncio.timeout(WAIT_S):
        report = await session.run("llm_query_batched(list('abc'))", answer=together)
    assert report.result == "['a', 'a', 'a']"


async def test_what_is_asked_is_refused_at_once_where_the_program_answers_nothing(session: AsyncSession) -> None:
    """Nobody would come to answer it: the code is told so, one question or many, and the next step may ask again."""
    async with asyncio.timeout(WAIT_S):
        for code in ("llm_query('a')", "llm_query_batched(['a', 'b'])"):
            report = await session.run(f"try: {code}\nexcept SubcallError as error: print(error)")
            assert (report.status, report.stdout) == ("ok", f"refused: {UNATTENDED.message}\n")
        assert (await session.run("llm_query('a')", answer=lambda question: "1")).result == "'1'"


async def test_what_the_function_raises_interrupts_the_step_and_is_raised(session: AsyncSession) -> None:
    def refuse(question: AskedItem) -> str:
        raise LookupError(question.prompt)

    async with asyncio.timeout(WAIT_S):
        with pytest.raises(LookupError, match="why"):
            await session.run("llm_query('why')", answer=refuse)
        assert (await session.run("1 + 1", answer=refuse)).result == "2"
        assert [event.result_status for event in await session.trace() if event.action == "run_repl"] == [
            "interrupted",
            "ok",
        ]
