"""A program answers what the code of its step asks, where its user has set the backend `agent`.

Is: the questions of a running step, page by page, and their answers, those of a page at once. Is not: who may answer
(any client of the session may), nor how long a question waits (`session/parked/`). Above: `async_session.py`. Below:
`door.py`, `session/parked/reports.py`.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, Final

from rlm_kernel_mcp.doors.door import Door
from rlm_kernel_mcp.errors import InvalidInput
from rlm_kernel_mcp.session.parked.reports import AskedItem
from rlm_kernel_mcp.session.reports import StepReport

Answer = Callable[[AskedItem], str | Awaitable[str]]
"""Gives the answer to one question; JSON where the question has a schema."""
WAIT_MS: Final = 600_000
LOOK_S: Final = 0.05
"""Between two looks for a step that has yet to begin."""


async def answered(door: Door, session_id: str, running: asyncio.Task[StepReport], answer: Answer) -> None:
    """Answer what a step asks until its call has ended. Raises: what `answer` raises."""
    given: list[dict[str, Any]] = []
    while not running.done():
        report = await door.answer_questions({"session_id": session_id, "answers": given, "wait_ms": WAIT_MS})
        items = page_of(report)
        texts = await asyncio.gather(*(_text(answer, item) for item in items))
        given = [{"id": item.id, "text": text} for item, text in zip(items, texts, strict=True)]
        if not given:
            await asyncio.wait({running}, timeout=LOOK_S)


def page_of(report: StepReport) -> tuple[AskedItem, ...]:
    """The questions that a report shows."""
    return () if report.questions is None else report.questions.items


async def _text(answer: Answer, item: AskedItem) -> str:
    """Raises: InvalidInput: it is none; what `answer` raises."""
    said = answer(item)
    text: object = await said if isinstance(said, Awaitable) else said
    if inspect.iscoroutine(text):
        text.close()
        raise InvalidInput("`answer` gave a coroutine: give `run` a plain function here, or use an AsyncSession.")
    if not isinstance(text, str):
        raise InvalidInput(f"`answer` gave a {type(text).__name__} for a question, and has to give its text.")
    return text
