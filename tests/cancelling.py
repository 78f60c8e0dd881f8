"""A call that is cancelled at its n-th await, as the SDK cancels one, and what a server holds afterwards.

Is: an await is any of the call, or of a task that it started; the cancelling is a scope of anyio, which cancels again
at every await, and not `Task.cancel` once. Is not: a client over the wire (`tests/soaks/calls.py`).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import anyio
import psutil
from mcp.types import CallToolRequestParams

from rlm_kernel_mcp import shielded
from rlm_kernel_mcp.server import mcp_server
from rlm_kernel_mcp.server.mcp_server import LazyRegistry
from rlm_kernel_mcp.session.registry import Registry
from tests.sessions import WAIT_S, at_rest

T = TypeVar("T")


class Points:
    """Counts awaits; calls `cancel` at the n-th."""

    def __init__(self, nth: int) -> None:
        self._nth = nth
        self.count = 0
        self.cancel: Callable[[], object] = lambda: None

    def reach(self) -> None:
        self.count += 1
        if self.count == self._nth:
            self.cancel()


_points: ContextVar[Points | None] = ContextVar("points", default=None)


class _Counted:
    """A coroutine whose awaits are counted."""

    def __init__(self, work: Coroutine[Any, Any, Any], points: Points) -> None:
        self._work = work
        self._points = points

    def __await__(self) -> Generator[Any, Any, Any]:
        steps = self._work.__await__()
        resume: Callable[[Any], Any] = steps.send
        given: Any = None
        while True:
            try:
                waited_for = resume(given)
            except StopIteration as end:
                return end.value
            self._points.reach()
            try:
                resume, given = steps.send, (yield waited_for)
            except BaseException as error:  # noqa: BLE001  (handed on, whatever it is)
                resume, given = steps.throw, error


async def _counted(work: Coroutine[Any, Any, T], points: Points) -> T:
    result: T = await _Counted(work, points)
    return result


@contextmanager
def counted_tasks() -> Iterator[None]:
    """Within, the awaits of tasks that a counted call starts are counted too."""

    def make(loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> asyncio.Task[Any]:
        points = _points.get()
        if points is None:
            return asyncio.Task(work, loop=loop, **options)
        task = asyncio.Task(_counted(work, points), loop=loop, **options)
        task.add_done_callback(lambda _: work.close())  # one that is cancelled before it begins awaits nothing
        return task

    loop = asyncio.get_running_loop()
    loop.set_task_factory(make)
    try:
        yield
    finally:
        loop.set_task_factory(None)


async def cancelled_at(nth: int, call: Callable[[], Coroutine[Any, Any, Any]]) -> tuple[int, bool]:
    """Cancel a call at its n-th await; how many it came to, and whether it was cut off."""
    points = Points(nth)

    async def body() -> bool:
        _points.set(points)
        with anyio.CancelScope() as scope:
            points.cancel = scope.cancel
            await _counted(call(), points)
        return scope.cancelled_caught

    async with asyncio.timeout(WAIT_S):
        cut_off = await asyncio.get_running_loop().create_task(body())
    return points.count, cut_off


async def call_tool(registry: Registry, tool: str, **arguments: Any) -> dict[str, Any]:
    """A call as the server makes it of a request with a progress token; returns the envelope."""

    async def opened() -> Registry:
        return registry

    async def report_progress(*_: object, **__: object) -> None:
        """Nobody looks."""

    context: Any = SimpleNamespace(
        lifespan_context=LazyRegistry(opened),
        meta={"progress_token": 1},
        request_id=1,
        protocol_version="2025-06-18",
        session=SimpleNamespace(report_progress=report_progress, client_params=None),
    )
    result = await mcp_server._call_tool(context, CallToolRequestParams(name=tool, arguments=arguments))
    envelope: dict[str, Any] | None = result.structured_content
    assert envelope is not None
    return envelope


@dataclass(frozen=True)
class Held:
    """What a server holds, each to be the same before and after."""

    directories: int
    locks: tuple[str, ...]
    slots: tuple[str, ...]
    kernels: int
    sessions: tuple[str, ...]
    rows: int
    contexts: int
    processes: int
    descriptors: tuple[str, ...]


async def held_by(registry: Registry) -> Held:
    """Once all that is under way has come to its end."""
    async with asyncio.timeout(WAIT_S):
        for session in list(registry._sessions.values()):
            if session._task is not None:
                await asyncio.wait({session._task})
            await session.kernel.recovery.snapshots.settle()
        await shielded.all_ended(WAIT_S)
        if unwanted := {making for making in shielded._unwanted if making.get_loop() is asyncio.get_running_loop()}:
            await asyncio.wait(unwanted)
        if giving := {task for task in asyncio.all_tasks() if task.get_name() == "a kernel's way to ask"}:
            await asyncio.wait(giving)
        for session_id in list(registry._writer._since_s):
            await registry._writer.settled(session_id)
        await asyncio.to_thread(registry.store._database._checkpoints.join)
        while (filling := registry._pool._filling) is not None and not filling.done():
            await asyncio.wait({filling})
    await at_rest()  # the others', whose processes and descriptors are counted too
    run_directory, database = registry._run_dir.path, registry.store._database
    return Held(
        directories=sum(path.is_dir() for path in run_directory.iterdir()),
        locks=tuple(sorted(path.stem for path in (registry.settings.state_dir / "locks").glob("*"))),
        slots=tuple(sorted(registry._slots._held)),
        kernels=sum(session.has_kernel for session in registry._sessions.values()),
        sessions=tuple(sorted(registry._sessions)),
        rows=database.read("SELECT count(*) FROM sessions")[0][0],
        contexts=database.read("SELECT count(*) FROM contexts")[0][0],
        processes=len(psutil.Process().children(recursive=True)),
        descriptors=tuple(sorted(open_files())),
    )


def open_files() -> Iterator[str]:
    """What this process has open, each by its kind, or by its path where it has one.

    Without the store's files: its connections come and go by its own rules.
    """
    for entry in list(Path("/proc/self/fd").iterdir()):
        try:
            name = re.sub(r"\[\d+\]|(?<=^/proc/)\d+", "", str(entry.readlink()))
        except FileNotFoundError:
            continue  # the listing's own
        if "/sessions.db" not in name:
            yield name
