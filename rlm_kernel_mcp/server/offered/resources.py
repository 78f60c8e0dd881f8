"""Resources of MCP: each session's trace and notebook by its URI, and the page of `session_view.py`.

Is: what is listed, a page at a time, and what is read, within bounds. A client sees here what it sees by the tools: the
sessions of its state directory, and of those nothing that is for people alone. Is not: how a trace is written, or a
notebook, which whoever makes this gives. Above: `mcp_server.py`. Below: `session_view.py`, errors, `text/wording.py`.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar

import anyio
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError
from mcp.types import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    ListResourcesResult,
    ListResourceTemplatesResult,
    PaginatedRequestParams,
    ReadResourceRequestParams,
    ReadResourceResult,
    Resource,
    ResourceTemplate,
    TextResourceContents,
)

from rlm_kernel_mcp.errors import InternalError, RequestRefused, RlmError
from rlm_kernel_mcp.server.offered import session_view
from rlm_kernel_mcp.session.callers.caller import Caller
from rlm_kernel_mcp.session.reports import SessionSummary
from rlm_kernel_mcp.session.trace.reports import TracePage
from rlm_kernel_mcp.text.safe_text import safe_text
from rlm_kernel_mcp.text.wording import counted, damaged_words

if TYPE_CHECKING:
    from rlm_kernel_mcp.session.registry import Registry

log = logging.getLogger(__name__)

LISTED: Final = 50
"""Sessions on one page of the list; each has two resources."""
TRACE_CHARS: Final = 40_000
"""Characters of one page of a trace, about: clients have models read it, and Codex cuts what is longer than 48,000."""
MARKDOWN: Final = "text/markdown"
NOTEBOOK: Final = "application/x-ipynb+json"
PREFIX: Final = "rlm://sessions/"
_OF_SESSION: Final = re.compile(r"rlm://sessions/([^/?#\s]{1,64})/(trace|notebook)(?:\?offset=([0-9]{1,15}))?")
_CURSOR: Final = re.compile(r"[0-9]{1,15}")
AGAIN: Final = "Ask again; if it fails again, tell the user."
SHOWN_CHARS: Final = 120
"""Of a URI or a cursor of the client's in an error."""


class HasRegistry(Protocol):
    """What a server has for all requests (`LazyRegistry`), as far as it is known here."""

    async def get(self, session_id: str | None = None) -> Registry:
        """The registry, or that which answers for a session."""


L = TypeVar("L", bound=HasRegistry)


@dataclass(frozen=True, slots=True)
class Written:
    """How what is read is written."""

    trace: Callable[[TracePage, int, str], str]
    """A page of a trace; of its footnotes at most so many characters; and what reads the rest, with `{}` for where."""
    notebook: Callable[[Registry, str], Awaitable[tuple[str, int]]]
    """A session's notebook, and how many of its events are damaged. Raises: RlmError, also where it is too large."""


class Resources(Generic[L]):
    """Those of one client's server."""

    def __init__(self, caller_of: Callable[[ServerRequestContext[L]], Caller | None], written: Written) -> None:
        self._caller_of, self._written = caller_of, written
        self._turn: asyncio.Task[Any] | None = None
        """Of the request whose notebook is written, or waits to be taken by the wire."""

    def offer(self, server: Server[L]) -> None:
        """Have a server list and read them, and say that it has a page for MCP Apps."""
        server.add_request_handler("resources/list", PaginatedRequestParams, self.listed)
        server.add_request_handler("resources/templates/list", PaginatedRequestParams, self.templates)
        server.add_request_handler("resources/read", ReadResourceRequestParams, self.read)
        server.extensions.update(session_view.ANNOUNCED)

    async def listed(self, ctx: ServerRequestContext[L], params: PaginatedRequestParams | None) -> ListResourcesResult:
        """A page of the sessions, those that were used last first, ended ones too."""
        cursor = (params and params.cursor) or "0"
        if _CURSOR.fullmatch(cursor) is None:
            raise MCPError(INVALID_PARAMS, f"There is no cursor {_shown(cursor)}: leave it out, and follow nextCursor.")
        with _edge("resources/list"):
            registry = await ctx.lifespan_context.get()
            caller = self._caller_of(ctx)
            found = await registry.list_sessions(state="all", limit=LISTED, offset=int(cursor), caller=caller)
        has_page = not int(cursor) and session_view.is_shown_by(ctx.session.client_capabilities)
        resources = [session_view.listed()] if has_page else []
        resources += [one for row in found.rows for one in _of(row)]
        return ListResourcesResult(resources=resources, next_cursor=str(found.goes_on) if found.omitted else None)

    async def templates(
        self, _ctx: ServerRequestContext[L], _params: PaginatedRequestParams | None
    ) -> ListResourceTemplatesResult:
        """How a session's resources are called."""
        return ListResourceTemplatesResult(
            resource_templates=[
                ResourceTemplate(
                    uri_template=f"{PREFIX}{{session_id}}/trace{{?offset}}",
                    name="trace",
                    title="Trace of a session",
                    description=f"All that was done, in full, about {TRACE_CHARS:,} characters at a time; the end of a "
                    "page names the URI of the next.",
                    mime_type=MARKDOWN,
                ),
                ResourceTemplate(
                    uri_template=f"{PREFIX}{{session_id}}/notebook",
                    name="notebook",
                    title="Notebook of a session",
                    description="A Jupyter notebook of it, which runs again over the same sources.",
                    mime_type=NOTEBOOK,
                ),
            ]
        )

    async def read(self, ctx: ServerRequestContext[L], params: ReadResourceRequestParams) -> ReadResourceResult:
        """What a URI names."""
        uri = str(params.uri)
        if uri == session_view.URI:
            return ReadResourceResult(contents=[await anyio.to_thread.run_sync(session_view.contents)])
        named = _OF_SESSION.fullmatch(uri)
        if named is None or (named[2] == "notebook" and named[3] is not None):
            known = f"{PREFIX}SESSION_ID/trace, {PREFIX}SESSION_ID/notebook and {session_view.URI}"
            message = f"There is no resource {_shown(uri)}; there are {known}."
            raise MCPError(INVALID_PARAMS, message, {"uri": uri[:SHOWN_CHARS]})
        with _edge("resources/read"):
            registry = await ctx.lifespan_context.get(named[1])
            if named[2] == "trace":
                contents = await self._trace(registry, uri, named[1], int(named[3] or 0))
            else:
                contents = await self._notebook(registry, uri, named[1])
        return ReadResourceResult(contents=[contents])

    async def _trace(self, registry: Registry, uri: str, session_id: str, offset: int) -> TextResourceContents:
        page = await registry.get_trace(
            session_id, from_step=None, to_step=None, detail="full", max_output_chars=TRACE_CHARS, offset=offset
        )
        goes_on = f" from offset {offset:,} on" if offset else ""
        rest = f"read {PREFIX}{session_id}/trace?offset={{}}"
        text = f"# Trace of session {session_id}{goes_on}\n\n{self._written.trace(page, TRACE_CHARS, rest)}\n"
        return TextResourceContents(uri=uri, mime_type=MARKDOWN, text=text)

    async def _notebook(self, registry: Registry, uri: str, session_id: str) -> TextResourceContents:
        await self._own_turn()
        text, damaged = await self._written.notebook(registry, session_id)
        meta = {"rlm/note": damaged_words(damaged, "event")} if damaged else None
        return TextResourceContents(uri=uri, mime_type=NOTEBOOK, text=text, _meta=meta)

    async def _own_turn(self) -> None:
        """Wait until the notebook before is with the wire, which has one answer at a time: then its request has ended.

        Each keeps one of the few readers of all clients for seconds, and then waits as a whole for a client that may
        ask 256 times and read nothing.
        """
        own = asyncio.current_task()
        while (before := self._turn) is not None and before is not own and not before.done():
            await asyncio.wait({before})
        self._turn = own


def _of(row: SessionSummary) -> Iterator[Resource]:
    said = f"{row.status}, {counted(row.step_index, 'step')}, last used {row.last_used_at}"
    kinds = (("trace", "Trace", MARKDOWN), ("notebook", "Notebook", NOTEBOOK))
    for kind, title, mime_type in kinds:
        yield Resource(
            uri=f"{PREFIX}{row.session_id}/{kind}",
            name=f"{row.session_id}/{kind}",
            title=f"{title} of session {row.session_id}",
            description=f"Session {row.session_id}: {said}.",
            mime_type=mime_type,
        )


@contextmanager
def _edge(method: str) -> Iterator[None]:
    """Whatever fails is an error of the protocol: the SDK would tell its text, which may hold anything."""
    try:
        yield
    except RlmError as error:
        log.info("%s refused: %s", method, error.code)
        raise _of_protocol(error) from None
    except Exception as error:
        log.exception("%s failed", method)
        fault = InternalError(f"{method} failed inside the server; its log on stderr has the details.", AGAIN)
        raise _of_protocol(fault) from error


def _of_protocol(error: RlmError) -> MCPError:
    code = INVALID_PARAMS if isinstance(error, RequestRefused) else INTERNAL_ERROR
    return MCPError(code, safe_text(f"{error.code}: {error.message} {error.next_step}"))


def _shown(said: str) -> str:
    """What a client has said, in an error."""
    return repr(safe_text(said[:SHOWN_CHARS]))
