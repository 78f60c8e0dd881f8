"""Places in a session's contexts, by the bytes of now: what a citation is checked against, whatever a kernel says.

Is: a document's own bytes, read from its file below the roots or from the stored text, and where in them a byte, a
character or a line is. Is not: the counting (`context/loader/`), nor a look at any kernel. Blocking, so it belongs into
a worker thread. Above: who checks citations. Below: `contexts.py`, `context/`.

No file is mapped here: one that is truncated while it is read has fewer bytes, and is reported as changed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from rlm_kernel_mcp.context.loader.compressed import form_of
from rlm_kernel_mcp.context.loader.index import ReadAt
from rlm_kernel_mcp.context.loader.places import Place, Places
from rlm_kernel_mcp.context.roots.opening import canonical_roots, open_below
from rlm_kernel_mcp.context.roots.path_errors import unreadable
from rlm_kernel_mcp.errors import ContextNotFound
from rlm_kernel_mcp.session.contexts.contexts import ContextList, SessionContext

Kind = Literal["byte", "char", "line"]


def place_of(contexts: ContextList, context: SessionContext, document: str, kind: Kind, value: int) -> Place:
    """Where a document's byte (the character in which it lies), character, or line (its first character) is.

    Raises:
        KeyError: the context has no such document. IndexError: that has no such place.
        Changed: its bytes are not those that were loaded.
        ContextNotFound, ContextDenied: they cannot be read any more.
    """
    places = _places(context)
    number = places.number(document)
    with bytes_of(contexts, context, document) as read:
        if kind == "byte":
            return places.at_byte(number, value, read)
        return places.at_char(number, value, read) if kind == "char" else places.at_line(number, value, read)


@contextmanager
def bytes_of(contexts: ContextList, context: SessionContext, document: str) -> Iterator[ReadAt]:
    """Read a document's bytes as they are now. Raises: KeyError, ContextNotFound, ContextDenied."""
    path = _places(context).path(document)
    if not path:
        text = contexts.store.context(contexts.session_id, context.in_store)
        if text is None:
            raise ContextNotFound("The context was given inline and its stored copy is gone.")
        yield lambda offset, size: text[offset : offset + size]
        return
    if form_of(path) != "plain":
        raise ContextNotFound(f"{document!r} is compressed: there is no place in its file that is one in its text.")
    try:
        descriptor = open_below(path, document, canonical_roots(contexts.means.settings.context_roots))
    except OSError as error:
        raise unreadable(document, error) from error
    try:
        yield lambda offset, size: os.pread(descriptor, size, offset)
    finally:
        os.close(descriptor)


def _places(context: SessionContext) -> Places:
    if context.places is None:
        raise ContextNotFound(f"The context {context.name!r} has no documents that this server has loaded.")
    return context.places
