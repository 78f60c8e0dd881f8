"""Who answers the sessions of a registry, by the settings of the client that opened it.

Is: settings to a switchboard. It imports no client's library and reads no key. Is not: any of its parts.
Above: `session/registry.py`. Below: `switchboard.py`, `books.py`, `backends/`.
"""

from __future__ import annotations

from rlm_kernel_mcp.session.answering.backends.openai_api import OpenAIBackend
from rlm_kernel_mcp.session.answering.books import StoreBooks
from rlm_kernel_mcp.session.answering.switchboard import Ceilings, Switchboard
from rlm_kernel_mcp.settings import Settings
from rlm_kernel_mcp.store.store import Store
from rlm_kernel_mcp.store.writer import Writer


def switchboard_of(settings: Settings, store: Store, writer: Writer) -> Switchboard | None:
    """Who answers; None: nobody does."""
    wanted = settings.subcalls
    if wanted.backend == "none":
        return None
    backend = OpenAIBackend(wanted)
    books = StoreBooks(store, writer, backend.facts, is_cached=wanted.is_cached, day_max=wanted.day_max)
    ceilings = Ceilings(
        subcalls=wanted.max_subcalls,
        tokens=wanted.max_tokens,
        usd=wanted.max_usd,
        price_usd=wanted.price_usd,
        parallel=wanted.parallel,
        per_minute=wanted.per_minute,
    )
    return Switchboard(backend, ceilings, books, books)
