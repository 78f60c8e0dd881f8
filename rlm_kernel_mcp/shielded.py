"""Work that runs to its end whatever cancels the call that began it.

Is: the one way to await in an `except` or a `finally`, and to make a change that must not stop half-way: in a task of
its own, with a bound. Is not: for what a cancelled call may leave undone. Above: all of the host. Below: asyncio.

The SDK cancels a call by a scope of anyio, which cancels again at every await: what comes after an await in an `except`
or a `finally` would not run. `tests/test_architecture.py` refuses one that is not `await shielded(...)`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from typing import Any, Final, TypeVar

from rlm_kernel_mcp.errors import RlmError

log = logging.getLogger(__name__)
T = TypeVar("T")

WITHIN_S: Final = 30.0
_under_way: set[asyncio.Task[Any]] = set()
_unwanted: set[asyncio.Future[Any]] = set()
"""What threads are still making although nobody waits for it any more; it is discarded when it is made."""


async def shielded(work: Coroutine[Any, Any, T], what: str, *, within_s: float = WITHIN_S) -> T:
    """Do `work` in a task of its own and wait for it; where this wait is cancelled, `work` goes on.

    Whatever must follow belongs in `work`: after a cancelled wait, nothing that stands behind this call runs. What
    `work` then raises is logged. `what`: its name, for the log.

    Raises:
        TimeoutError: it did not end within `within_s` seconds, and was given up; and what `work` raises.
    """
    # A task has a cancel scope of its own: that of anyio around the caller does not reach into it.
    task = asyncio.get_running_loop().create_task(_bounded(work, what, within_s), name=what)
    # asyncio keeps only weak references to tasks, so this one could be collected half-way.
    _under_way.add(task)
    task.add_done_callback(_under_way.discard)
    try:
        await asyncio.wait({task})
    except asyncio.CancelledError:
        task.add_done_callback(_tell_nobody_waits)
        raise
    return task.result()


async def all_ended(within_s: float) -> None:
    """Wait for what `shielded` still runs in this event loop, the caller left out; what is left then is logged."""
    loop = asyncio.get_running_loop()
    end = loop.time() + within_s
    while waiting := {task for task in _under_way if task.get_loop() is loop} - {asyncio.current_task()}:
        if loop.time() >= end:
            log.error("not at an end after %.0f s: %s", within_s, ", ".join(task.get_name() for task in waiting))
            return
        await asyncio.wait(waiting, timeout=end - loop.time())


async def made_in_thread(make: Callable[[], T], discard: Callable[[T], object], executor: Executor | None = None) -> T:
    """What a thread makes. Where this wait is cancelled the thread goes on, and what it has made is discarded.

    Raises:
        What `make` raises.
    """
    making = asyncio.get_running_loop().run_in_executor(executor, make)
    try:
        await asyncio.wait({making})
    except asyncio.CancelledError:
        _unwanted.add(making)
        making.add_done_callback(lambda made: None if made.cancelled() or made.exception() else discard(made.result()))
        making.add_done_callback(_unwanted.discard)
        raise
    return making.result()


async def _bounded(work: Coroutine[Any, Any, T], what: str, within_s: float) -> T:
    bound = asyncio.timeout(within_s)
    try:
        async with bound:
            return await work
    except TimeoutError:
        if bound.expired():
            log.error("%s did not end within %.0f s, and was given up", what, within_s)
        raise


def _tell_nobody_waits(task: asyncio.Task[Any]) -> None:
    if task.cancelled() or (error := task.exception()) is None:
        return
    if isinstance(error, RlmError):
        log.info("%s, for which nobody waits any more: %s", task.get_name(), error.message)
    else:
        log.error("%s failed", task.get_name(), exc_info=error)
