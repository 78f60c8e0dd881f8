"""Gives a session a kernel with its context in it: the first one, and a fresh one after a loss.

Is: loading the context, and the honest account of what a fresh kernel does not have. Is not: the decision to replace a
kernel (`session_kernel.py`). Above: that, `session/opening.py`. Below: `session/snapshots/taking.py`, `kernel/pool.py`,
`context/`. A step is never run again by itself.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from rlm_kernel_mcp.context.payload import Payload
from rlm_kernel_mcp.errors import ContextNotFound, ContextTooLarge, KernelDied, RequestRefused
from rlm_kernel_mcp.kernel.kernel import Kernel
from rlm_kernel_mcp.kernel.pool import KernelPool
from rlm_kernel_mcp.kernel.untrusted.answers import failure_of, is_ok, loaded_context, without_context
from rlm_kernel_mcp.kernel.untrusted.messages import Message
from rlm_kernel_mcp.policy import Policy
from rlm_kernel_mcp.session.kernels.answering import Answering, Nobody
from rlm_kernel_mcp.session.kernels.slots import KernelSlots
from rlm_kernel_mcp.session.reports import ContextReport, DocumentInfo, LossReport, Variable
from rlm_kernel_mcp.session.snapshots.requests import pass_descriptor
from rlm_kernel_mcp.session.snapshots.restoring import Effort, Losses, SnapshotRestorer
from rlm_kernel_mcp.session.snapshots.states import Restoring, RestoringEvent
from rlm_kernel_mcp.session.snapshots.taking import SnapshotTaker
from rlm_kernel_mcp.text.safe_text import safe_text
from rlm_kernel_mcp.wire import (
    DOCUMENTS_LISTED,
    EDGE_CHARS,
    LOAD_CONTEXT,
    ContextGoneReply,
    DocumentRow,
    LoadContextReply,
    LoadContextRequest,
)

LOAD_TIMEOUT_S: Final = 120.0
NAMES_KEPT_MAX: Final = 2_000

OpenPayload = Callable[[], Awaitable[Payload]]
"""Opens the session's context again. Raises an RlmError if it is not what it was."""


@dataclass(slots=True)
class Recovery:
    """What a session needs to get a kernel."""

    pool: KernelPool
    policy: Policy
    open_payload: OpenPayload
    snapshots: SnapshotTaker
    restorer: SnapshotRestorer
    slots: KernelSlots
    names: OrderedDict[str, tuple[str, int]] = field(default_factory=OrderedDict)
    """Names that steps have bound, with type and step: what a kernel takes with it before it was snapshotted."""

    offered: tuple[str, ...] = ()
    """The names that the session's kernels offer by themselves, as the last one said."""
    gone: dict[str, str] = field(default_factory=dict)
    """What became of each name that a kernel took with it and that no step has bound since."""
    answering: Answering = field(default_factory=Nobody)
    """Who answers what the session's code asks."""

    def note_bound(self, step: int, updated: Iterable[Variable]) -> None:
        """Remember what a step bound."""
        for variable in updated:
            self.names[variable.name] = (variable.type, step)
            self.names.move_to_end(variable.name)
            self.gone.pop(variable.name, None)
        while len(self.names) > NAMES_KEPT_MAX:
            self.names.popitem(last=False)

    async def fresh_kernel(self, reason: str, last_step: int, effort: Effort) -> tuple[Kernel, LossReport]:
        """A kernel with the context and what the snapshots have, and the account of the rest.

        `last_step`: index of the last step that ended with the kernel alive. `effort`: what may be done for the values.

        Raises:
            KernelStartFailed, SandboxUnavailable, KernelDied.
            RestoreStopped: the caller gave up the values' return.
        """
        await self.snapshots.settle()
        try:
            kernel, filled = await self._filled(last_step, effort)
        except BaseException:
            effort.on(RestoringEvent.CUT_OFF)
            raise
        effort.on(RestoringEvent.FILLED)
        told = {name for name, _ in filled.lost}.union(filled.names)
        unkept = [
            (name, f"its value ({kind}) was not kept")
            for name, (kind, step) in self.names.items()
            if name not in told and (step > self.snapshots.step or self.restorer.left_out)
        ]
        lost = filled.gone + filled.lost + unkept
        self.gone |= {
            name: f"it was lost when the kernel was replaced after step {last_step} ({why})" for name, why in lost
        }
        return kernel, LossReport(safe_text(reason), tuple(lost), tuple(filled.back + filled.names))

    async def _filled(self, last_step: int, effort: Effort) -> tuple[Kernel, _Filled]:
        async def fill(fresh: Kernel) -> _Filled:
            effort.on(RestoringEvent.KERNEL_CAME)
            return await self._fill(fresh, last_step, effort)

        try:
            return await self.pool.take(fill)
        except KernelDied:
            if effort.state is Restoring.NO_KERNEL:
                raise
        # Values can be made to end whoever restores them: the session goes on without them.
        effort.on(RestoringEvent.TRIES_ENDED)
        return await self.pool.take(fill)

    async def _fill(self, kernel: Kernel, last_step: int, effort: Effort) -> _Filled:
        """Put the context and the snapshots into a fresh kernel; the context alone where the effort is at BARE."""
        back, gone = await self._load(kernel)
        if effort.state is Restoring.BARE:
            why = "no fresh kernel survived the restoring of the values"
            return _Filled(back, gone, [], self.restorer.all_lost(why))
        names, lost = await self.restorer.restore(kernel, last_step, effort)
        return _Filled(back, gone, names, lost)

    async def _load(self, kernel: Kernel) -> tuple[list[str], Losses]:
        """Load the context again; the names that are back, and (name, why not) of the others."""
        try:
            with await self.open_payload() as payload:
                loaded = await load_context(kernel, payload)
                if payload.has_changed():
                    raise ContextNotFound("the context's files were changed while they were loaded again")
                self.offered = tuple(loaded["names"])
                return list(self.offered), []
        except RequestRefused as error:
            refused = error.message
        left = await load_nothing(kernel)
        self.offered = tuple(left["names"])
        unbound = left["unbound"]
        return [name for name in self.offered if name not in unbound], [(name, refused) for name in unbound]

    def everything_lost(self, reason: str) -> LossReport:
        """The account when no fresh kernel could be started."""
        names = dict.fromkeys((*self.offered, *self.restorer.names, *self.names))
        gone = [(name, "no kernel to hold it; the next use tries again") for name in names]
        return LossReport(safe_text(reason), tuple(gone), ())


@dataclass(frozen=True, slots=True)
class _Filled:
    """What a fresh kernel has of the session."""

    back: list[str]
    """The session's own names."""
    gone: Losses
    names: list[str]
    """The user's names."""
    lost: Losses


async def load_context(kernel: Kernel, payload: Payload) -> LoadContextReply:
    """Hand a payload to a kernel that has run nobody's code yet; its reply, and the lines in it, are then true.

    That holds for each load: the first comes before any step, a second one (the file changed meanwhile) follows at
    once, and a fresh kernel gets its context before the values, whose own code runs when they come back. So the lines
    on the names are ours when a model reads them, which is once, after the first load. They are bounded all the same:
    nobody is to depend on this order to keep a kernel's words from acting.

    Raises:
        ContextTooLarge: the kernel cannot hold it.
        KernelDied: the kernel went away, or could not decode it.
    """
    # Not in the message's own JSON: the kernel parses that where nobody answers for a lack of memory.
    rows: list[DocumentRow] = [(one.name, one.byte_count, one.encoding, one.errors) for one in payload.documents]
    table = json.dumps(rows).encode()
    request: LoadContextRequest = {"source": "descriptor" if payload.data is None else "buffer"}
    if payload.descriptor is not None and payload.data is None:
        pass_descriptor(kernel, os.dup(payload.descriptor))
    reply = await _ask_to_load(kernel, request, [table] if payload.data is None else [table, payload.data])
    if is_ok(reply.content):
        return loaded_context(reply.content)
    ename, evalue = failure_of(reply.content)
    if ename == "MemoryError":
        raise ContextTooLarge(
            f"The context has {payload.byte_count:,} bytes in {len(payload.documents):,} documents; the session's "
            "memory (RLM_MEMORY_LIMIT_MB) cannot hold them."
        )
    raise KernelDied(f"The kernel could not take the context: {safe_text(evalue)[:500]}.")


async def load_nothing(kernel: Kernel) -> ContextGoneReply:
    """Unbind the context's names in a fresh kernel: the context could not be loaded again, and is not an empty text.

    Raises:
        KernelDied: the kernel went away.
    """
    return without_context((await _ask_to_load(kernel, {"source": "gone"}, [])).content)


async def _ask_to_load(kernel: Kernel, request: LoadContextRequest, buffers: Sequence[bytes]) -> Message:
    try:
        async with asyncio.timeout(LOAD_TIMEOUT_S):
            return await kernel.client.request(LOAD_CONTEXT, request, buffers=buffers)
    except TimeoutError:
        raise KernelDied(f"The kernel did not take the context within {LOAD_TIMEOUT_S:.0f} s.") from None


def context_report(payload: Payload, loaded: LoadContextReply) -> ContextReport:
    """What the client is told of a context that has been loaded."""
    # No text twice: of a short context the tail is what the head does not have.
    tail_chars = min(EDGE_CHARS, max(0, loaded["chars"] - EDGE_CHARS))
    tail = loaded["tail"]
    return ContextReport(
        kind=payload.kind,
        chars=loaded["chars"],
        lines=loaded["lines"],
        bytes=payload.byte_count,
        sha256=payload.sha256,
        head=safe_text(loaded["head"][:EDGE_CHARS]),
        tail=safe_text(tail[len(tail) - tail_chars :]),
        documents=tuple(
            DocumentInfo(safe_text(document.name), chars)
            for document, chars in zip(payload.documents, loaded["documents"], strict=False)
        ),
        document_count=len(payload.documents),
        encodings=payload.encodings,
        undecodable_bytes=sum(payload.undecodable.values()),
        undecodable_in={
            safe_text(name): count for name, count in islice(payload.undecodable.items(), DOCUMENTS_LISTED)
        },
        skipped=tuple(safe_text(line) for line in payload.skipped.first),
        skipped_count=payload.skipped.count,
    )
