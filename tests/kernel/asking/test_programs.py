"""A Python program answers what the code of its own step asks, by a function that it gives to `run`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from rlm_kernel_mcp.api import AskedItem, AsyncSession
from rlm_kernel_mcp.doors.registry_calls import RegistryCalls
from rlm_kernel_mcp.session.boards.agents import AgentBoard
from rlm_kernel_mcp.session.registry import Registry
from tests.kernel.asking.conftest import answered_by
from tests.sessions import WAIT_S

pytestmark = pytest.mark.anyio


class Here(RegistryCalls):
    """`Door` to a registry that lives on."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def registry(self, session_id: str | None = None) -> Registry:
        del session_id
        return self._registry

    async def open(self) -> None:
        """It is."""

    async def close(self) -> None:
        """It stays."""


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
