"""What the parts of `bin/soak hostile` share: sessions over files, and what must never be left over.

Is: opening, and the account of what went wrong. Is not: the files (`trees.py`, `large.py`).
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import psutil

from rlm_kernel_mcp.errors import RlmError
from rlm_kernel_mcp.session.context_reports import ContextReport
from rlm_kernel_mcp.session.contexts.given import Options
from rlm_kernel_mcp.session.registry import Registry
from rlm_kernel_mcp.session.reports import StepReport
from tests.sessions import AMPLE, SessionDriver

MB: Final = 1 << 20
LOAD_MS: Final = 600_000
CODES: Final = {"CONTEXT_TOO_LARGE", "CONTEXT_DENIED", "CONTEXT_NOT_FOUND", "INVALID_INPUT", "KERNEL_DIED"}
"""How a context of hostile files may be refused."""
HOST_MORE_MB: Final = 256
"""The host may have so much more at the end of a part than at its beginning."""


class HostileRoom:
    """One part of a run."""

    def __init__(self, registry: Registry, directory: Path, scale: float, seed: int) -> None:
        self.registry = registry
        self.directory = directory
        self.scale = scale
        self.chance = random.Random(seed)
        self.problems: list[str] = []
        self._memory = psutil.Process().memory_info().rss

    def times(self, count: int) -> int:
        """Rounds of a whole run, at this scale."""
        return max(1, int(count * self.scale))

    def check(self, holds: object, problem: str) -> None:
        """Note a problem where something does not hold."""
        if not holds:
            self.problems.append(problem)

    async def open(self, *paths: Path, **more: Any) -> tuple[SessionDriver, ContextReport] | RlmError:
        """A session over files, or why there is none: an error of the contract, and no other."""
        try:
            opened = await self.registry.init_context(
                context_text=None,
                context_paths=[str(path) for path in paths],
                limits=AMPLE,
                options=Options(wait_ms=LOAD_MS, **more),
            )
        except RlmError as error:
            self.check(error.code in CODES, f"{error.code}: {error}")
            return error
        assert isinstance(opened.context, ContextReport), "ten minutes were not enough"
        return SessionDriver(self.registry, opened.session_id), opened.context

    async def long_step(self, session: SessionDriver, code: str) -> StepReport:
        """A step that goes through gigabytes, on a machine that has other things to do."""
        return await self.registry.run_repl(
            session.session_id, code, timeout_ms=LOAD_MS, wait_ms=LOAD_MS, max_output_chars=8_000
        )

    async def leave(self) -> None:
        """End every session, and look at what is left."""
        for session_id in list(self.registry._sessions):
            await SessionDriver(self.registry, session_id).finalize(text="done")
        loaders = self.registry._shared.loaders
        assert loaders is not None
        end = time.monotonic() + 30
        while loaders.spool.used_bytes and time.monotonic() < end:  # noqa: ASYNC110 (nobody tells)
            await asyncio.sleep(0)
        self.check(loaders.spool.used_bytes == 0, f"{loaders.spool.used_bytes:,} bytes of the spool are still taken")
        more = (psutil.Process().memory_info().rss - self._memory) // MB
        self.check(more < HOST_MORE_MB, f"the host has {more:,} MB more than before")
        healthy = await self.open_text("all is well")
        self.check(healthy == "'all is well'", f"a session after all that answers {healthy}")

    async def open_text(self, text: str) -> str | None:
        """What a new session's kernel says of a text."""
        opened = await self.registry.init_context(context_text=text, context_paths=None, limits=AMPLE)
        session = SessionDriver(self.registry, opened.session_id)
        result = (await session.run("context")).result
        await session.finalize(text="done")
        return result


@contextmanager
def meanwhile(work: Callable[[], None]) -> Iterator[None]:
    """Do `work` again and again in a thread, as fast as it goes; what it raises of the file system is its own."""
    stop = threading.Event()

    def again() -> None:
        while not stop.is_set():
            try:
                work()
            except OSError:  # two of its own changes met
                time.sleep(0)

    thread = threading.Thread(target=again)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
