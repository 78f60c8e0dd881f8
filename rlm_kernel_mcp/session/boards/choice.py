"""Who answers the sessions of a registry, by the settings of the client that opened it.

Is: settings to a switchboard. It imports no client's library and reads no key. Is not: any of its parts.
Above: `session/registry.py`. Below: `agents.py`, `session/answering/switchboard.py`, `session/answering/books.py`,
`session/answering/backends/`,
`session/answering/claude/`.
"""

from __future__ import annotations

from rlm_kernel_mcp.session.answering.backends.openai_api import OpenAIBackend
from rlm_kernel_mcp.session.answering.backends.protocol import Facts
from rlm_kernel_mcp.session.answering.books import StoreBooks
from rlm_kernel_mcp.session.answering.claude.claude_cli import ClaudeBackend
from rlm_kernel_mcp.session.answering.switchboard import Ceilings, Switchboard
from rlm_kernel_mcp.session.boards.agents import AGENT, AgentBoard
from rlm_kernel_mcp.session.children.by_agent import ByAgent
from rlm_kernel_mcp.session.children.loop import Loop
from rlm_kernel_mcp.session.children.nesting import Nest
from rlm_kernel_mcp.session.children.protocol import Way
from rlm_kernel_mcp.settings import Settings
from rlm_kernel_mcp.store.store import Store
from rlm_kernel_mcp.store.writer import Writer
from rlm_kernel_mcp.telemetry.spans import Spans
from rlm_kernel_mcp.variables.subcalls import SubcallSettings


def switchboard_of(
    settings: Settings, store: Store, writer: Writer, spans: Spans, *, is_hosted: bool = True
) -> Nest | None:
    """Who answers; None: nobody does. `is_hosted`: several clients share this process, so that each can answer."""
    wanted = settings.subcalls
    board = _board_of(wanted, store, writer, spans, is_hosted=is_hosted)
    way: Way = ByAgent() if wanted.backend == "agent" else Loop()
    return None if board is None else Nest(board, wanted.depth, way)


def _board_of(
    wanted: SubcallSettings, store: Store, writer: Writer, spans: Spans, *, is_hosted: bool
) -> Switchboard | AgentBoard | None:

    def books_of(facts: Facts) -> StoreBooks:
        books = StoreBooks(store, writer, facts, is_cached=wanted.is_cached, day_max=wanted.day_max)
        books.told = spans.asked
        return books

    if wanted.backend == "none":
        return None
    if wanted.backend == "agent":
        books = books_of(AGENT)
        return AgentBoard(_ceilings(wanted), books, lease_s=wanted.lease_s, is_reached_by_others=is_hosted)
    backend = backend_of(wanted)
    books = books_of(backend.facts)
    return Switchboard(backend, _ceilings(wanted), books, books)


def backend_of(wanted: SubcallSettings) -> OpenAIBackend | ClaudeBackend:
    """The endpoint or the program that is asked, where it is one of these."""
    return ClaudeBackend(wanted) if wanted.backend == "claude" else OpenAIBackend(wanted)


def _ceilings(wanted: SubcallSettings) -> Ceilings:
    return Ceilings(
        subcalls=wanted.max_subcalls,
        tokens=wanted.max_tokens,
        usd=wanted.max_usd,
        price_usd=wanted.price_usd,
        parallel=wanted.parallel,
        per_minute=wanted.per_minute,
    )
