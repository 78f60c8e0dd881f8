"""An answer on trial waits for the word of the kernel whose code asks, and for no longer than it may."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rlm_kernel_mcp.session.asking import trials
from rlm_kernel_mcp.session.asking.channel import KernelChannel
from rlm_kernel_mcp.session.asking.room import QuestionRoom
from rlm_kernel_mcp.session.asking.trials import Trials

pytestmark = pytest.mark.anyio


class Offered:
    """A channel with one open question, and what its kernel is given."""

    def __init__(self) -> None:
        self.trials, self.rows = Trials(), list[tuple[int, bool | None, Any]]()
        self.channel = KernelChannel(QuestionRoom())
        self.channel.give = self._give  # type: ignore[method-assign]
        self.channel.opened(7, 1)

    def _give(self, number: int, is_answer: bool | None, value: Any) -> None:
        self.rows.append((number, is_answer, value))

    async def look(self, number: int = 7) -> asyncio.Task[str | None]:
        """Begun, and offered."""
        task = asyncio.create_task(self.trials.look(self.channel, number, "three"))
        await asyncio.sleep(0)
        return task


@pytest.mark.parametrize("why", [None, "$: 'three' is not of type 'integer'"])
async def test_the_word_of_the_kernel_is_what_is_wrong_with_an_answer(why: str | None) -> None:
    """A second one, or one of another question, is no word."""
    offered = Offered()
    task = await offered.look()
    assert offered.rows == [(7, None, "three")]
    offered.trials.said(8, "another question")
    offered.trials.said(7, why)
    offered.trials.said(7, "a second word")
    assert await task == why
    offered.trials.said(7, "too late")


async def test_an_answer_that_nobody_waits_for_is_not_offered() -> None:
    offered = Offered()
    assert await (await offered.look(8)) is None
    assert offered.rows == []


async def test_the_end_of_a_kernel_ends_the_wait_for_its_word() -> None:
    offered = Offered()
    task = await offered.look()
    offered.trials.forget()
    assert await task is None


async def test_a_kernel_that_says_nothing_holds_no_answer_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its code may be at something else, or be another's."""
    monkeypatch.setattr(trials, "LOOK_S", 0.0)
    offered = Offered()
    assert await (await offered.look()) is None
    monkeypatch.undo()
    task = await offered.look()  # and it can be offered again
    offered.trials.said(7, "word")
    assert await task == "word"


async def test_a_question_that_is_not_asked_any_more_ends_the_wait_and_no_other_does() -> None:
    """Its step was interrupted, say, while its schema ran; whoever finishes the child is not to wait for that."""
    offered = Offered()
    task = await offered.look()
    offered.trials.forget({8}.__contains__)
    assert not offered.trials._open[7].done()
    offered.trials.forget({7}.__contains__)
    assert await task is None
