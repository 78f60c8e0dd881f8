"""The connections of the live page's server: how many there are, and how long one may be silent.

Is: uvicorn's own, with an end for whoever does not ask, or not to the end. Is not: who is answered (`gate.py`).
Above: `serving.py`. Below: uvicorn.

Any program of the machine may connect, also those of other users, and hold what it was given. uvicorn waits for the
first request of a connection without a bound, and for the rest of a later one: so there is a clock from the connection
on, and from the first byte of each request, and one connection too many takes the place of the oldest that asks
nothing.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.h11_impl import H11Protocol

CONNECTIONS_MAX: Final = 128
"""At a time. One more takes the place of the oldest that is not being answered."""
IDLE_S: Final = 10
"""How long a connection may stay without a request that is complete."""


class BoundedConnection(H11Protocol):
    """One of them."""

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        self._late: asyncio.TimerHandle | None = None
        self._number = 0

    @property
    def is_answered(self) -> bool:
        """Whether a request of it is under way."""
        return bool(self.cycle) and not self.cycle.response_complete  # before the first one there is none

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """asyncio: somebody has come."""
        super().connection_made(transport)
        self._number = max((one._number for one in self._others()), default=0) + 1
        self._await_request()
        if len(self.connections) > CONNECTIONS_MAX:
            silent = [one for one in self._others() if not one.is_answered]
            min(silent, key=lambda one: one._number, default=self).leave()

    def data_received(self, data: bytes) -> None:
        """asyncio: bytes have come."""
        super().data_received(data)
        if self.is_answered:
            self._stop_waiting()
        elif self._late is None:  # it goes on from the first byte, however slowly the next ones come
            self._await_request()

    def on_response_complete(self) -> None:
        """uvicorn: from now on its own clock runs, up to the next byte; the next request may have come already."""
        self._stop_waiting()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio: it is gone."""
        self._stop_waiting()
        super().connection_lost(exc)

    def leave(self) -> None:
        """End it, whatever it still has to say."""
        self._stop_waiting()
        self.connections.discard(self)
        self.transport.abort()

    def _others(self) -> list[BoundedConnection]:
        return [one for one in self.connections if isinstance(one, BoundedConnection) and one is not self]

    def _await_request(self) -> None:
        self._late = self.loop.call_later(IDLE_S, self.leave)

    def _stop_waiting(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None
