"""Loads of one session beside each other: what is told of all of them, and the server's end in the middle of one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, cast

import pytest

from rlm_kernel_mcp.context.payload import Payload
from rlm_kernel_mcp.session.contexts.contexts import ContextList, SessionContext
from rlm_kernel_mcp.session.contexts.given import Progress
from rlm_kernel_mcp.session.contexts.loads import ContextLoads
from rlm_kernel_mcp.session.contexts.readings import Reading
from rlm_kernel_mcp.session.contexts.source import ContextSource
from tests.fake_kernel import Fakes
from tests.sessions import WAIT_S, until
from tests.unit.session.evidence.sources import contexts_of

WAIT_MS: Final = int(WAIT_S * 1_000)


def begin(loads: ContextLoads, name: str, loaded: int, of: int) -> tuple[SessionContext, Callable[[], None]]:
    """A load that has come so far, and what ends it."""
    source = ContextSource(text="some more", name=name)
    context, end = SessionContext(replace(source, text=None), in_store=name), asyncio.Event()

    async def read() -> Payload:
        await end.wait()
        return await source.opened(loads.contexts.means)

    loads.contexts.all.append(context)
    loads.begin(context, source, Reading(asyncio.create_task(read()), Progress(loaded, of)))
    return context, end.set


@pytest.mark.anyio
async def test_what_is_told_of_all_loads_does_not_become_less_when_one_of_them_ends(fakes: Fakes) -> None:
    """Once all have ended it counts from the beginning."""
    session, _ = await fakes.open()
    loads = session.session.contexts
    (first, end_first), (second, end_second) = begin(loads, "one", 30, 100), begin(loads, "two", 10, 50)
    told = [loads.progress]
    end_first()
    await loads.wait(first, WAIT_MS)
    assert first.report is not None
    told.append(loads.progress)
    end_second()
    await loads.wait(second, WAIT_MS)
    told.append(loads.progress)
    third, end_third = begin(loads, "three", 2, 7)
    told.append(loads.progress)
    end_third()
    await loads.wait(third, WAIT_MS)
    assert told == [(40, 150), (110, 150), None, (2, 7)]


def test_a_server_s_end_does_not_wait_for_a_stored_text_that_is_loaded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A text may have 256 MB and the disk be slow, and a client kills what does not end in two seconds."""
    begun, wanted, ended = threading.Event(), threading.Event(), threading.Event()

    def source_of(contexts: ContextList, context: SessionContext) -> ContextSource:
        del contexts
        begun.set()
        wanted.wait(WAIT_S)
        ended.set()
        return context.source

    async def begin_and_end() -> None:
        kernel = cast(Any, SimpleNamespace(recovery=SimpleNamespace(gone={})))
        loads = ContextLoads(contexts, kernel, cast(Any, None), cast(Any, None))
        loads.begin(contexts.first, None)
        await until(begun.is_set)
        loads.cancel()

    contexts = contexts_of(tmp_path, ContextSource(text="some text"))
    monkeypatch.setattr(ContextList, "source_of", source_of)
    asyncio.run(begin_and_end())
    assert not ended.is_set()
    wanted.set()
    assert ended.wait(WAIT_S)
