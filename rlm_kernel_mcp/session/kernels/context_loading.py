"""Loads contexts into a kernel, and says what was loaded.

Is: the host's side of `LOAD_CONTEXT`: the request, and what is made of the answer. Is not: when, and for whom
(`recovery.py`, `session/opening.py`, `session/contexts/loads.py`), nor where a payload comes from (`context/`).
Above: those. Below: `kernel/`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Awaitable, Callable, Iterable, Sequence
from itertools import accumulate, groupby, islice
from operator import itemgetter
from typing import Final, Literal, Protocol

from rlm_kernel_mcp.context.hints import hints
from rlm_kernel_mcp.context.payload import Facts, Payload
from rlm_kernel_mcp.context_wire import (
    BAD_JSON,
    CANNOT_MAP,
    EXPLORING,
    LOAD_CONTEXT,
    NAME_TAKEN,
    ContextGoneReply,
    DocumentRow,
    DocumentTable,
    LoadContextReply,
    LoadContextRequest,
)
from rlm_kernel_mcp.errors import ContextTooLarge, InvalidInput, KernelDied, RlmError
from rlm_kernel_mcp.kernel.client import KernelClient
from rlm_kernel_mcp.kernel.mapped_file import MappedFile
from rlm_kernel_mcp.kernel.placement.base import ManagedProcess
from rlm_kernel_mcp.kernel.thread_count import threads_of
from rlm_kernel_mcp.kernel.untrusted.answers import failure_of, is_ok, loaded_context, without_context
from rlm_kernel_mcp.kernel.untrusted.messages import Message
from rlm_kernel_mcp.questions_wire import ASKING, CALLING
from rlm_kernel_mcp.session.context_reports import ContextReport, DocumentInfo
from rlm_kernel_mcp.session.snapshots.requests import TakesDescriptors, pass_descriptor
from rlm_kernel_mcp.text.markup import code
from rlm_kernel_mcp.text.printable import printable
from rlm_kernel_mcp.text.safe_text import safe_text
from rlm_kernel_mcp.text.wording import counted
from rlm_kernel_mcp.wire import DOCUMENTS_LISTED, EDGE_CHARS

log = logging.getLogger(__name__)
LOAD_TIMEOUT_S: Final = 120.0
BYTES_OF_S: Final = 2_000_000
"""What a kernel may take to load a context: `LOAD_TIMEOUT_S`, and a second more for each 2 MB that it has to decode. A
disk from which several contexts are read at a time is that slow."""
MESSAGE_S: Final = 20.0
"""The same where all of it comes with the message: clients of MCP give up after 60 s, and are to have a session by then
that another kernel has."""
NAMES_CHARS: Final = 4_000
"""All names in a list of documents together: twenty may have 4,096 each."""
How = Literal["text", "json", "value", "again"]
"""As `LoadContextRequest.add`."""
FUNCTIONS: Final = frozenset({*EXPLORING, *ASKING, *CALLING})
"""What every kernel has: neither lost nor restored."""
FIRST_KEY: Final = "context"
"""What a kernel calls the first context in the names that it offers, whatever its name is."""


class TakesContexts(TakesDescriptors, Protocol):
    """A kernel, as far as it is given contexts: a session's, or another client's in which a notebook runs again."""

    claims_before: int

    @property
    def client(self) -> KernelClient: ...

    @property
    def process(self) -> ManagedProcess: ...

    @property
    def dead(self) -> asyncio.Future[int]: ...

    @property
    def mapped(self) -> list[MappedFile]: ...


def offered_names(names: Iterable[str], first_name: str) -> tuple[str, ...]:
    """The names that a kernel offers to one session, as that calls them. `first_name`: of its first context."""
    return tuple(first_name if name == FIRST_KEY else name for name in names if name not in FUNCTIONS)


async def load_context(
    kernel: TakesContexts,
    payload: Payload,
    name: str = FIRST_KEY,
    *,
    add: bool = False,
    again: bool = False,
    later: bool = False,
) -> LoadContextReply:
    """Hand a payload to a kernel that has run nobody's code yet; its reply, and the lines in it, are then true.

    That holds for each load: the first comes before any step, a second one (the file changed meanwhile) follows at
    once, and a fresh kernel gets its context before the values, whose own code runs when they come back. So the lines
    on the names are ours when a model reads them, which is once, after the first load. They are bounded all the same:
    nobody is to depend on this order to keep a kernel's words from acting. A context that is added to a session whose
    steps have run (`add`) comes from a kernel that may lie.

    A kernel that cannot map what is to be mapped gets it to decode, and `payload.held` says so, where there is room.
    `later`: it is to take it now, and bind it when a notebook that runs again comes so far; its reply says nothing.

    Raises:
        InvalidInput: the name is taken, or the text is not JSON.
        ContextTooLarge: the kernel cannot hold it.
        KernelDied: the kernel went away, or could not decode it.
    """
    how: How | None = None
    if add:
        is_value = payload.value_bytes is not None
        how = "again" if again else "text" if payload.kind != "json" else "value" if is_value else "json"
    reply = await _load(kernel, payload, name, how, later=later)
    ename, evalue = failure_of(reply.content)
    if payload.held != "memory" and ename == CANNOT_MAP:
        payload.hold_in_memory()
        if payload.room is not None and payload.byte_count > payload.room.decoded_bytes:
            why = f"this kernel cannot map it: {code(safe_text(evalue)[:200])}"
            raise payload.room.too_large(payload.byte_count, why)
        reply = await _load(kernel, payload, name, how, later=later)
        ename, evalue = failure_of(reply.content)
    if is_ok(reply.content):
        if payload.held != "memory" and payload.descriptor is not None:
            kernel.mapped.append(MappedFile.of(payload.descriptor, sum(row[1] for row in payload.rows)))
            let_go = payload.kept()
            kernel.dead.add_done_callback(lambda _: let_go())
        return loaded_context(reply.content)
    raise _refusal(payload, name, ename, evalue, add=add)


def _refusal(payload: Payload, name: str, ename: str, evalue: str, *, add: bool) -> RlmError:
    """Why a kernel has not taken a context."""
    if ename == "MemoryError":
        what = "the value of that JSON text" if payload.kind == "json" else "them"
        return ContextTooLarge(
            f"The context has {payload.byte_count:,} bytes in {counted(len(payload.documents), 'document')}; the "
            f"session's memory (RLM_MEMORY_LIMIT_MB) cannot hold {what}."
        )
    if ename == NAME_TAKEN and add:
        return InvalidInput(f"The session has a variable named {name!r} already.", "Give the context another name.")
    if ename == BAD_JSON and add:
        return InvalidInput(
            f"json_text is not JSON: {code(safe_text(evalue)[:200])}.", "Correct it, or give it as text."
        )
    return KernelDied(f"The kernel could not take the context: {code(safe_text(evalue)[:500])}.")


async def load_whole(
    kernel: TakesContexts,
    payload: Payload,
    copied: Callable[[], Awaitable[Payload]],
    name: str,
    *,
    add: bool = False,
) -> LoadContextReply:
    """As `load_context`; where the payload's file was written to meanwhile, a copy is loaded, whatever came of that.

    `copied`: reads it again as a copy, which is in the payload's place from then on: if the file has ended this kernel,
    another one gets that.
    """
    loaded = None
    try:
        loaded = await load_context(kernel, payload, name, add=add)
    except (KernelDied, ContextTooLarge):
        if not payload.has_changed():
            raise
    if loaded is not None and not payload.has_changed():
        return loaded
    return await load_context(kernel, await copied(), name, add=add, again=add)


async def load_nothing(kernel: TakesContexts, name: str) -> ContextGoneReply:
    """Unbind the first context's names in a fresh kernel: it could not be loaded, and is not an empty text.

    Raises:
        KernelDied: the kernel went away.
    """
    return without_context((await _ask_to_load(kernel, {"source": "gone", "name": name}, [], None)).content)


async def _load(kernel: TakesContexts, payload: Payload, name: str, how: How | None, *, later: bool) -> Message:
    descriptor = None if payload.data is not None or payload.descriptor is None else payload.passed()
    # Not in the message's own JSON: the kernel parses that where nobody answers for a lack of memory.
    buffers = [json.dumps(_table(payload.rows)).encode(), *([] if payload.data is None else [payload.data])]
    request = _request(payload, name)
    if how is not None:
        request["add"] = how
    if later:
        request["later"] = True
    if how == "value" and payload.facts is not None:
        request["chars"] = payload.facts.chars
    return await _ask_to_load(kernel, request, buffers, descriptor)


def _table(rows: Sequence[DocumentRow]) -> DocumentTable:
    runs = groupby(rows, key=itemgetter(2, 3))
    return {
        "names": [row[0] for row in rows],
        "bytes": [row[1] for row in rows],
        "codecs": [(encoding, errors, sum(1 for _ in run)) for (encoding, errors), run in runs],
    }


def _request(payload: Payload, name: str) -> LoadContextRequest:
    if payload.data is not None:
        return {"source": "buffer", "name": name}
    if payload.held == "memory" or payload.layout is None or payload.lines is None:
        request: LoadContextRequest = {"source": "descriptor", "name": name}
        if payload.char_counts is not None and payload.layout is not None:
            request["layout"] = payload.layout
        return request
    mapped: LoadContextRequest = {"source": "mapped", "name": name, "layout": payload.layout, "lines": payload.lines}
    if payload.utf8 is not None:
        mapped["utf8"] = payload.utf8
    return mapped


async def _ask_to_load(
    kernel: TakesContexts, request: LoadContextRequest, buffers: Sequence[bytes], descriptor: int | None
) -> Message:
    if kernel.claims_before:
        request["claims_before"] = kernel.claims_before
    timeout_s = MESSAGE_S
    if descriptor is not None:
        timeout_s = LOAD_TIMEOUT_S
        timeout_s += 0 if request["source"] == "mapped" else os.fstat(descriptor).st_size / BYTES_OF_S
        pass_descriptor(kernel, descriptor)
    try:
        async with asyncio.timeout(timeout_s):
            return await kernel.client.request(LOAD_CONTEXT, request, buffers=buffers)
    except TimeoutError:
        log.warning("kernel %d took no context; its threads: %s", kernel.process.pid, threads_of(kernel.process.pid))
        raise KernelDied(f"The kernel did not take the context within {timeout_s:.0f} s.") from None


def context_report(payload: Payload, loaded: LoadContextReply, name: str = FIRST_KEY) -> ContextReport:
    """What is reported about a context that has been loaded."""
    known = payload.facts or Facts(loaded["chars"], loaded["lines"], loaded["head"], loaded["tail"])
    # No text twice: of a short context the tail is what the head does not have.
    tail_chars = min(EDGE_CHARS, max(0, known.chars - EDGE_CHARS))
    documents = () if payload.kind == "json" else payload.documents
    sizes = loaded["documents"] if payload.facts is None else [payload.facts.chars]
    named = [DocumentInfo(safe_text(one.name), chars) for one, chars in zip(documents, sizes, strict=False)]
    undecodable = [(safe_text(name), count) for name, count in islice(payload.undecodable.items(), DOCUMENTS_LISTED)]
    return ContextReport(
        name=name,
        kind=payload.kind,
        chars=known.chars,
        lines=known.lines,
        bytes=payload.byte_count,
        sha256=payload.sha256,
        head=safe_text(known.head[:EDGE_CHARS]),
        tail=safe_text(known.tail[len(known.tail) - tail_chars :]),
        documents=tuple(named[: _fitting(one.name for one in named)]),
        document_count=len(documents),
        encodings=payload.encodings,
        undecodable_bytes=sum(payload.undecodable.values()),
        undecodable_in=dict(undecodable[: _fitting(name for name, _ in undecodable)]),
        held=payload.held,
        skipped={str(kind): count for kind, count in payload.skipped.counts.items()},
        skipped_first=tuple(safe_text(line) for line in payload.skipped.examples.values()),
        prefix=None if payload.prefix is None else safe_text(printable(payload.prefix)),
        hints=tuple(map(safe_text, hints(payload.documents))),
    )


def _fitting(names: Iterable[str]) -> int:
    """How many of these names, whole ones from the first on, a list of documents has room for."""
    return sum(end <= NAMES_CHARS for end in accumulate(map(len, names)))
