"""A final answer that no message holds: from a real kernel into the record, and nowhere else in one piece."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import pytest

from rlm_kernel_mcp.errors import InvalidInput
from rlm_kernel_mcp.session.finalize import ANSWER_CHARS_MAX, LONG_CHARS_MAX
from rlm_kernel_mcp.session.registry import Registry
from rlm_kernel_mcp.store.long_answers import PagedText
from tests.losses import settle
from tests.processes import bounded_growth
from tests.sessions import SessionDriver, open_registry

pytestmark = pytest.mark.anyio

PIECE: Final = "Größe \ud800 😀 and more; "
COPIES: Final = ANSWER_CHARS_MAX // len(PIECE) + 1
MAKE: Final = f"answer = {PIECE!a} * {COPIES}"
GROWTH_MB: Final = 96
"""Of a server that takes an answer of 256 MB."""


def kept(registry: Registry, session_id: str) -> str:
    answer = registry.store.final_answer(session_id)
    assert isinstance(answer, PagedText)
    return answer.part(0, len(answer))


async def test_a_text_that_no_message_holds_is_the_answer_word_by_word(registry: Registry) -> None:
    """Lone surrogates too; the same call again gives the same, and its kernel is gone."""
    session = await SessionDriver.open(registry)
    await session.ok(MAKE)
    report = await session.finalize(var="answer")
    assert report.final_answer_chars == len(PIECE) * COPIES > ANSWER_CHARS_MAX
    assert report.final_answer.startswith("Größe \\ud800 😀 and more; ")
    assert report.final_answer.endswith("😀 and more; ")
    assert kept(registry, session.session_id) == PIECE * COPIES
    assert await session.finalize(var="answer") == report


async def test_a_text_of_a_class_of_the_session_s_own_is_the_text_that_it_is(registry: Registry) -> None:
    """None of its code is asked for it."""
    session = await SessionDriver.open(registry)
    code = "class Text(str):\n    def __len__(self): return 5\n    def __getitem__(self, at): return 'lies'\n"
    await session.ok(f"{code}    def encode(self, *how): return b'lies'\nanswer = Text({PIECE!a} * {COPIES})")
    assert (await session.finalize(var="answer")).final_answer_chars == len(PIECE) * COPIES
    assert kept(registry, session.session_id) == PIECE * COPIES


async def test_what_is_longer_or_no_text_is_refused_and_the_session_goes_on(registry: Registry) -> None:
    """A message says how long it is, and what may be."""
    session = await SessionDriver.open(registry)
    await session.ok(f"long = 'x' * {LONG_CHARS_MAX + 1}; rows = ['x' * 1_000] * 5_000; {MAKE}")
    with pytest.raises(InvalidInput, match="long has 64,000,001 characters; a final answer has at most 64,000,000"):
        await session.finalize(var="long")
    with pytest.raises(InvalidInput, match="rows is so large that its text leaves parts out"):
        await session.finalize(var="rows")
    assert (await session.run("1 + 1")).result == "2"
    assert (await session.finalize(var="answer")).final_answer_chars == len(PIECE) * COPIES


async def test_a_citation_in_a_long_answer_is_checked(registry: Registry) -> None:
    """Behind four million characters, where a message would have ended."""
    session = await SessionDriver.open(registry, "a line of the text\nand another one\n")
    await session.ok(f"{MAKE}\nanswer += f'so it is {{cite(lines(2))}}.'")
    report = await session.finalize(var="answer")
    assert [(one.id, one.status) for one in report.citations or ()] == [("c1", "verified")]


async def test_a_session_that_was_restored_has_its_long_answer_too(registry: Registry) -> None:
    """From the snapshot of the kernel that is gone."""
    session = await SessionDriver.open(registry)
    await session.ok(f"answer = 'x' * {ANSWER_CHARS_MAX + 1}")
    await settle(session)
    await session.session.stop_kernel("for a test")
    assert (await session.finalize(var="answer")).final_answer_chars == ANSWER_CHARS_MAX + 1
    assert kept(registry, session.session_id) == "x" * (ANSWER_CHARS_MAX + 1)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("character", ["x", "\U0001f600"], ids=["ASCII", "four bytes each"])
async def test_the_longest_answer_costs_the_server_no_memory(tmp_path: Path, character: str) -> None:
    """Counted: at no moment has the server half of the wide one in memory, and not even to show its ends."""
    async with open_registry(tmp_path) as registry:
        session = await SessionDriver.open(registry)
        await session.ok(f"answer = {character!a} * {LONG_CHARS_MAX}")
        with bounded_growth(os.getpid(), GROWTH_MB):
            report = await registry.finalize(
                session.session_id, final_text=None, final_var_name="answer", max_output_chars=200_000
            )
            assert report.final_answer_chars == LONG_CHARS_MAX
            answer = registry.store.final_answer(session.session_id)
            assert isinstance(answer, PagedText)
            assert registry.store.long_answers.is_whole(answer)
            assert answer.part(LONG_CHARS_MAX - 9, LONG_CHARS_MAX + 9) == character * 9
        assert (report.final_answer[0], report.final_answer[-1]) == (character, character)
