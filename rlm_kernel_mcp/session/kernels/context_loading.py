"""Loads contexts into a kernel, and says what was loaded.

Is: the host's side of `LOAD_CONTEXT`: the request, and what is made of the answer. Is not: when, and for whom
(`recovery.py`, `session/opening.py`, `session/contexts/loads.py`), nor where a payload comes from (`context/`).
Above: those. Below: `kernel/`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Sequence
from itertools import groupby, islice
from operator import itemgetter
from typing import Final, Literal

from rlm_kernel_mcp.context.payload import Facts, Payload
from rlm_kernel_mcp.context_wire import (
    BAD_JSON,
    CANNOT_MAP,
    LOAD_CONTEXT,
    NAME_TAKEN,
    ContextGoneReply,
    DocumentRow,
    DocumentTable,
    LoadContextReply,
    LoadContextRequest,
)
from rlm_kernel_mcp.errors import ContextTooLarge, InvalidInput, KernelDied
from rlm_kernel_mcp.kernel.kernel import Kernel
from rlm_kernel_mcp.kernel.mapped_file import MappedFile
from rlm_kernel_mcp.kernel.untrusted.answers import failure_of, is_ok, loaded_context, without_context
from rlm_kernel_mcp.kernel.untrusted.messages import Message
from rlm_kernel_mcp.session.reports import ContextReport, DocumentInfo
from rlm_kernel_mcp.session.snapshots.requests import pass_descriptor
from rlm_kernel_mcp.text.printable import printable
from rlm_kernel_mcp.text.safe_text import safe_text
from rlm_kernel_mcp.text.wording import counted
from rlm_kernel_mcp.wire import DOCUMENTS_LISTED, EDGE_CHARS

LOAD_TIMEOUT_S: Final = 120.0
How = Literal["text", "json", "value", "again"]
"""As `LoadContextRequest.add`."""
FIRST_KEY: Final = "context"
"""What a kernel calls the first context in the names that it offers, whatever its name is."""


def offered_names(names: Iterable[str], first_name: str) -> tuple[str, ...]:
    """The names that a kernel offers, as the session calls them. `first_name`: of its first context."""
    return tuple(first_name if name == FIRST_KEY else name for name in names)


async def load_context(
    kernel: Kernel, payload: Payload, name: str = FIRST_KEY, *, add: bool = False, again: bool = False
) -> LoadContextReply:
    """Hand a payload to a kernel that has run nobody's code yet; its reply, and the lines in it, are then true.

    That holds for each load: the first comes before any step, a second one (the file changed meanwhile) follows at
    once, and a fresh kernel gets its context before the values, whose own code runs when they come back. So the lines
    on the names are ours when a model reads them, which is once, after the first load. They are bounded all the same:
    nobody is to depend on this order to keep a kernel's words from acting. A context that is added to a session whose
    steps have run (`add`) is told of by a kernel that may lie.

    A kernel that cannot map what is to be mapped gets it to decode, and `payload.held` says so, where there is room.

    Raises:
        InvalidInput: the name is taken, or the text is not JSON.
        ContextTooLarge: the kernel cannot hold it.
        KernelDied: the kernel went away, or could not decode it.
    """
    how: How | None = None
    if add:
        is_value = payload.value_bytes is not None
        how = "again" if again else "text" if payload.kind != "json" else "value" if is_value else "json"
    reply = await _load(kernel, payload, name, how)
    ename, evalue = failure_of(reply.content)
    if payload.held != "memory" and ename == CANNOT_MAP:
        payload.hold_in_memory()
        if payload.room is not None and payload.byte_count > payload.room.decoded_bytes:
            raise payload.room.too_large(payload.byte_count, f"this kernel cannot map it: {safe_text(evalue)[:200]}")
        reply = await _load(kernel, payload, name, how)
        ename, evalue = failure_of(reply.content)
    if is_ok(reply.content):
        if payload.held != "memory" and payload.descriptor is not None:
            kernel.mapped.append(MappedFile.of(payload.descriptor, sum(row[1] for row in payload.rows)))
            let_go = payload.kept()
            kernel.dead.add_done_callback(lambda _: let_go())
        return loaded_context(reply.content)
    if ename == "MemoryError":
        what = "the value of that JSON text" if payload.kind == "json" else "them"
        raise ContextTooLarge(
            f"The context has {payload.byte_count:,} bytes in {counted(len(payload.documents), 'document')}; the "
            f"session's memory (RLM_MEMORY_LIMIT_MB) cannot hold {what}."
        )
    if ename == NAME_TAKEN and add:
        raise InvalidInput(f"The session has a variable named {name!r} already.", "Give the context another name.")
    if ename == BAD_JSON and add:
        raise InvalidInput(f"json_text is not JSON: {safe_text(evalue)[:200]}.", "Correct it, or give it as text.")
    raise KernelDied(f"The kernel could not take the context: {safe_text(evalue)[:500]}.")


async def load_unless_changed(
    kernel: Kernel, payload: Payload, name: str = FIRST_KEY, *, add: bool = False
) -> LoadContextReply | None:
    """As `load_context`; None where the payload's file was written to meanwhile, whatever the kernel made of it.

    It has then to be read again as a copy, and that has to be loaded, by another kernel if the file has ended this one.
    """
    loaded = None
    try:
        loaded = await load_context(kernel, payload, name, add=add)
    except (KernelDied, ContextTooLarge):
        if not payload.has_changed():
            raise
    return None if payload.has_changed() else loaded


async def load_nothing(kernel: Kernel, name: str) -> ContextGoneReply:
    """Unbind the first context's names in a fresh kernel: it could not be loaded, and is not an empty text.

    Raises:
        KernelDied: the kernel went away.
    """
    return without_context((await _ask_to_load(kernel, {"source": "gone", "name": name}, [], None)).content)


async def _load(kernel: Kernel, payload: Payload, name: str, how: How | None) -> Message:
    descriptor = None if payload.data is not None or payload.descriptor is None else payload.passed()
    # Not in the message's own JSON: the kernel parses that where nobody answers for a lack of memory.
    buffers = [json.dumps(_table(payload.rows)).encode(), *([] if payload.data is None else [payload.data])]
    request = _request(payload, name)
    if how is not None:
        request["add"] = how
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
        return {"source": "descriptor", "name": name}
    return {"source": "mapped", "name": name, "layout": payload.layout, "lines": payload.lines}


async def _ask_to_load(
    kernel: Kernel, request: LoadContextRequest, buffers: Sequence[bytes], descriptor: int | None
) -> Message:
    if descriptor is not None:
        pass_descriptor(kernel, descriptor)
    try:
        async with asyncio.timeout(LOAD_TIMEOUT_S):
            return await kernel.client.request(LOAD_CONTEXT, request, buffers=buffers)
    except TimeoutError:
        raise KernelDied(f"The kernel did not take the context within {LOAD_TIMEOUT_S:.0f} s.") from None


def context_report(payload: Payload, loaded: LoadContextReply, name: str = FIRST_KEY) -> ContextReport:
    """What the client is told of a context that has been loaded."""
    known = payload.facts or Facts(loaded["chars"], loaded["lines"], loaded["head"], loaded["tail"])
    # No text twice: of a short context the tail is what the head does not have.
    tail_chars = min(EDGE_CHARS, max(0, known.chars - EDGE_CHARS))
    documents = () if payload.kind == "json" else payload.documents
    sizes = loaded["documents"] if payload.facts is None else [payload.facts.chars]
    return ContextReport(
        name=name,
        kind=payload.kind,
        chars=known.chars,
        lines=known.lines,
        bytes=payload.byte_count,
        sha256=payload.sha256,
        head=safe_text(known.head[:EDGE_CHARS]),
        tail=safe_text(known.tail[len(known.tail) - tail_chars :]),
        documents=tuple(
            DocumentInfo(safe_text(document.name), chars) for document, chars in zip(documents, sizes, strict=False)
        ),
        document_count=len(documents),
        encodings=payload.encodings,
        undecodable_bytes=sum(payload.undecodable.values()),
        undecodable_in={
            safe_text(name): count for name, count in islice(payload.undecodable.items(), DOCUMENTS_LISTED)
        },
        held=payload.held,
        skipped={str(kind): count for kind, count in payload.skipped.counts.items()},
        skipped_first=tuple(safe_text(line) for line in payload.skipped.examples.values()),
        prefix=None if payload.prefix is None else safe_text(printable(payload.prefix)),
    )
