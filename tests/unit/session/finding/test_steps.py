"""What a step's reply has delivered of a context is in the record soon after, and nobody waits for it."""

from __future__ import annotations

import asyncio
from concurrent.futures import wait
from pathlib import Path
from typing import Any, Final

import pytest

from rlm_kernel_mcp.session.finding import steps as steps_module
from rlm_kernel_mcp.session.finding.placing import SMALL_CHARS
from rlm_kernel_mcp.session.seen.maps import DocumentPlace, SeenMap
from tests.fake_kernel import fake_registry
from tests.sessions import AMPLE, WAIT_S, SessionDriver

pytestmark = pytest.mark.anyio

LINE: Final = "A line of more than forty characters, which a reply has."
SMALL: Final = f"The first line of the text.\n{LINE}\nThe third line of it, which is not short either.\n"
LARGE: Final = "x\n" * SMALL_CHARS + SMALL


async def looked_for(session: SessionDriver) -> None:
    """Wait until all that was delivered has been looked for."""
    works = tuple(session.session.told.seen._works)
    _, left = await asyncio.to_thread(wait, works, WAIT_S)
    assert not left


def map_of(session: SessionDriver) -> SeenMap:
    found = SeenMap(session.registry.store, session.session_id)
    found.refresh()
    return found


async def test_of_a_small_context_what_a_step_has_shown_is_found_whatever_it_did(tmp_path: Path) -> None:
    """It is the step's, also where it is delivered a second time; and the trace for people has it."""
    async with fake_registry(tmp_path) as fakes:
        session, _ = await fakes.open(SMALL)
        report = await session.ok("context[28:84]")
        assert report.result == repr(LINE)
        await session.end_of(1)
        await looked_for(session)
        found = map_of(session)
        at = SMALL.index(LINE)
        assert found.delivered("context", 0, len(SMALL)) == [(at, at + len(LINE))]
        [head] = [head for head in session.registry.store.heads(session.session_id) if head.row.action == "run_repl"]
        assert found.of_event(head.row.id or 0).delivered == {"context": [(at, at + len(LINE))]}
        [event] = [event for event in await session.trace() if event.action == "run_repl"]
        assert "seen" not in event.facts
        await session.finalize(text="the answer")


async def test_in_a_larger_context_it_is_looked_for_where_the_kernel_says(tmp_path: Path) -> None:
    """What that says is no more than where to look; what it has searched is its own word, and the record has it."""
    async with fake_registry(tmp_path) as fakes:
        session, kernel = await fakes.open(LARGE)
        await session.ok("context[-106:-50]")
        at = LARGE.index(LINE)
        kernel.used = {"shown": [["context", "context", 0, 50]], "passes": {"context": [[0, len(LARGE), 2]]}}
        assert (await session.ok("context[-106:-50]")).result == repr(LINE)
        await looked_for(session)
        found = map_of(session)
        assert found.delivered("context", 0, len(LARGE)) == []
        assert found.searched("context", 0, len(LARGE), 2) == b"\2\2"
        kernel.used = {"shown": [["context", "context", at + 3, at + 9]], "functions": {"search": 1}}
        await session.ok("context[-106:-50]")
        await looked_for(session)
        assert map_of(session).delivered("context", 0, len(LARGE)) == [(at, at + len(LINE))]
        searched = [head.row.extra for head in session.registry.store.heads(session.session_id)]
        assert not any("passes" in extra or "shown" in extra for extra in searched if extra)


async def test_a_step_that_delivers_no_line_of_a_text_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor one of a context that is not looked through."""

    def never(*arguments: Any) -> None:
        raise AssertionError(arguments)

    monkeypatch.setattr(steps_module._thread, "submit", never)
    async with fake_registry(tmp_path) as fakes:
        session, kernel = await fakes.open(SMALL)
        await session.ok("context[:20]")
        await session.ok("names = [1, 2, 3]")
        kernel.used = {"shown": [["context", "context", 0, 50]]}
        await session.ok("len(context)")
        session, _ = await fakes.open(LARGE)
        await session.ok("context[-106:-50]")


async def test_a_map_has_all_documents_of_a_context_with_many(tmp_path: Path) -> None:
    """In characters of the context, and not in bytes; they are written once."""
    (root := tmp_path / "root").mkdir()
    texts = {f"{number:02}.txt": f"number {number}: größer\n" * (number % 3) for number in range(30)}
    for name, text in texts.items():
        (root / name).write_text(text, "utf-8")
    async with fake_registry(tmp_path / "state", RLM_CONTEXT_ROOTS=str(root)) as fakes:
        opened = await fakes.registry.init_context(context_text=None, context_paths=[str(root)], limits=AMPLE)
        session = SessionDriver(fakes.registry, opened.session_id)
        assert map_of(session).documents("context") == []
        for _ in range(2):
            await session.ok("1")
            await looked_for(session)
        expected, at = [], 0
        for name, text in texts.items():
            expected.append(DocumentPlace(name, at, len(text)))
            at += len(text)
        found = map_of(session)
        assert found.documents("context") == expected
        assert found.document_at("context", expected[17].start) == expected[17]
        assert len(session.session.told.seen._listed) == 1


async def test_a_server_that_ends_meanwhile_leaves_a_record_that_says_less(tmp_path: Path) -> None:
    """And says nothing of it in its log."""
    async with fake_registry(tmp_path) as fakes:
        session, _ = await fakes.open(SMALL)
        seen = session.session.told.seen
    seen.delivered(1, (LINE,), ())
    _, left = await asyncio.to_thread(wait, tuple(seen._works), WAIT_S)
    assert not left
