"""Opens a session: from a context's source to a kernel with the context in it.

Is: what `rlm_init_context` does below its handle. Is not: the handle (`registry.py`). Above: `registry.py`.
Below: `session/contexts/`, `kernel/pool.py`, `session/kernels/context_loading.py`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from rlm_kernel_mcp.context.loader.hashing import Unhashed
from rlm_kernel_mcp.context.payload import Payload
from rlm_kernel_mcp.context_wire import ContextGoneReply, LoadContextReply
from rlm_kernel_mcp.errors import KernelDied
from rlm_kernel_mcp.kernel.kernel import Kernel
from rlm_kernel_mcp.kernel.pool import KernelPool
from rlm_kernel_mcp.kernel.untrusted.answers import imports_of
from rlm_kernel_mcp.questions_wire import ASKING, CALLING
from rlm_kernel_mcp.session.contexts.contexts import SessionContext
from rlm_kernel_mcp.session.contexts.given import Options
from rlm_kernel_mcp.session.contexts.means import Means
from rlm_kernel_mcp.session.contexts.readings import Reading
from rlm_kernel_mcp.session.contexts.source import ContextSource
from rlm_kernel_mcp.session.functions.offered import HostFunction
from rlm_kernel_mcp.session.kernels.context_loading import (
    FIRST_KEY,
    context_report,
    load_nothing,
    load_whole,
)
from rlm_kernel_mcp.session.reports import Opened, Wall
from rlm_kernel_mcp.session.session import Session
from rlm_kernel_mcp.wire import INFO

INFO_S: Final = 20.0
NO_CHILD: Final = {
    "rlm_query": "rlm_query('question', text, schema=...) -> as llm_query here: no session of its own",
    "rlm_query_batched": "rlm_query_batched('question' or one each, texts) -> the same for many",
}
"""What is told of these names where the user lets no session ask for one of its own (`RLM_SUBCALL_DEPTH`)."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A kernel with its context, before it has a handle."""

    kernel: Kernel
    context: SessionContext
    namespace: dict[str, str]
    """The names that the kernel offers, with a line on each."""
    imports: tuple[str, ...]
    walls: tuple[Wall, ...]
    duration_ms: int
    """How long all of it took."""
    reading: Reading | None = None
    """What still reads the context's files; then the kernel has no context yet."""
    unhashed: Unhashed | None = None
    """What the hash of the context is to be made of."""
    functions: tuple[HostFunction, ...] = ()
    """What its code may call."""
    question: str | None = None
    """What the session is for."""

    def told(self, session: Session) -> Opened:
        """What is told of the session that it has become. Of the names with which code asks, where somebody answers."""
        answerer, first = session.account.answerer, session.contexts.contexts.first
        untold = {*ASKING, *CALLING} - {*session.account.asking, first.name}
        without = {name: line for name, line in NO_CHILD.items() if name in self.namespace and name != first.name}
        lines = self.namespace | (without if answerer is not None and answerer.depth < 2 else {})
        return Opened(
            session_id=session.session_id,
            config=session.account.limits,
            counters=session.counters,
            context=session.contexts.report(first),
            namespace={name: line for name, line in lines.items() if name not in untold},
            imports=self.imports,
            walls=self.walls,
            answerer=answerer,
            host_functions=self.functions,
        )

    def discard(self) -> None:
        """Nobody wants what is still to come."""
        if self.reading is not None:
            self.reading.discard()
        if self.unhashed is not None:
            self.unhashed.close()


async def prepare(source: ContextSource, options: Options, means: Means, pool: KernelPool) -> Prepared:
    """Take a kernel and load the context into it, or without it where that takes longer than `options.wait_ms` to read.

    Raises:
        ContextNotFound, ContextDenied, ContextTooLarge, InvalidInput: before a kernel is taken.
        KernelStartFailed, SandboxUnavailable, KernelDied.
    """
    begun_ns = time.monotonic_ns()
    opening = source.opened(means, progress=options.progress)
    reading = Reading(asyncio.create_task(opening, name="reading of a context"), options.progress)
    try:
        # `wait`: the reading goes on after this call has been answered.
        await asyncio.wait({reading.task}, timeout=options.wait_ms / 1000)
        if reading.task.done():
            prepared = await _with_context(source, means, pool, reading, begun_ns)
            return replace(prepared, functions=options.functions, question=options.question)
        kernel, (left, imports) = await pool.take(partial(_without_context, name=source.name))
    except BaseException:
        reading.discard()
        raise
    context = SessionContext(replace(source, text=None))
    prepared = _prepared(kernel, context, left["names"], imports, begun_ns, reading)
    return replace(prepared, functions=options.functions, question=options.question)


async def _with_context(
    source: ContextSource, means: Means, pool: KernelPool, reading: Reading, begun_ns: int
) -> Prepared:
    payload = reading.task.result()
    try:

        async def copied() -> Payload:
            nonlocal payload
            payload.close()
            payload = await source.opened(means, copy=True, progress=reading.progress)
            return payload

        async def load(kernel: Kernel) -> tuple[LoadContextReply, tuple[str, ...]]:
            return await load_whole(kernel, payload, copied, source.name), await _imports(kernel)

        kernel, (loaded, imports) = await pool.take(load)
        report = context_report(payload, loaded, source.name)
        context = SessionContext(replace(source, text=None), report, marks=reading.progress.marks)
        context.note_origin(payload)
        prepared = _prepared(kernel, context, loaded["names"], imports, begun_ns)
        return replace(prepared, unhashed=payload.unhashed())
    finally:
        payload.close()


async def _without_context(kernel: Kernel, name: str) -> tuple[ContextGoneReply, tuple[str, ...]]:
    return await load_nothing(kernel, name), await _imports(kernel)


def _prepared(
    kernel: Kernel,
    context: SessionContext,
    names: Mapping[str, str],
    imports: tuple[str, ...],
    begun_ns: int,
    reading: Reading | None = None,
) -> Prepared:
    # The context of the name of a function has it.
    kept = {key: line for key, line in names.items() if key == FIRST_KEY or key != context.name}
    named = {context.name if key == FIRST_KEY else key: line for key, line in kept.items()}
    duration_ms = (time.monotonic_ns() - begun_ns) // 1_000_000
    return Prepared(kernel, context, named, imports, walls_of(kernel), duration_ms, reading)


async def _imports(kernel: Kernel) -> tuple[str, ...]:
    try:
        async with asyncio.timeout(INFO_S):
            return imports_of((await kernel.client.request(INFO, {})).content)
    except TimeoutError:
        raise KernelDied(f"The kernel did not say what it is within {INFO_S:.0f} s.") from None


def walls_of(kernel: Kernel) -> tuple[Wall, ...]:
    """Which walls hold a kernel: what it said before any user code ran."""
    return tuple(Wall(row["name"], row["holds"], row["detail"]) for row in kernel.walls)
