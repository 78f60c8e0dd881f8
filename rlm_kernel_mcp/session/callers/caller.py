"""Who calls: what is a connection's own, and is given to the registry with each of its calls.

Is: settings (working directory, imports, limits) and roots of one connection, a boundary between clients of one server.
Is not: a session, which belongs to its handle (docs/decisions/0001-sessions-belong-to-handles.md). Above: `server/`,
`session/registry.py`. Below: `context/roots/open_roots.py`, the settings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from rlm_kernel_mcp.context.roots.open_roots import Roots
from rlm_kernel_mcp.session.kernels.slots import SlotOwner
from rlm_kernel_mcp.session.reports import Connection
from rlm_kernel_mcp.settings import Settings


@dataclass(slots=True, eq=False)
class Caller:
    """One connection. What it may open is `roots`, whoever's session it uses."""

    connection: str
    """Names it; over stdin and stdout there is one, `stdio`."""
    settings: Settings
    roots: Roots
    """The directories below which its paths must lie, open."""
    client: str = ""
    """What the client calls itself, with its version: safe to show, and never a proof."""
    is_connected: bool = True

    @classmethod
    def of(cls, connection: str, settings: Settings) -> Caller:
        """A client that this process may open directories for: it opens the roots of the settings."""
        return cls(connection, settings, Roots.of(*settings.context_roots))

    @classmethod
    def of_descriptors(cls, connection: str, settings: Settings, roots: Iterable[int]) -> Caller:
        """A client that has opened its roots itself. The descriptors are the caller's from now on."""
        return cls(connection, settings, Roots.of_descriptors(roots))

    @property
    def slot_owner(self) -> SlotOwner:
        """For whom the kernels' slots of its sessions count."""
        return SlotOwner(self.connection, self.settings.max_sessions)

    def close(self) -> None:
        """The connection has ended. Sessions that it has opened know the roots that they were opened with."""
        self.is_connected = False
        self.roots.close()


class HasOwn(Protocol):
    """`Registry`, as far as it is known here."""

    own: Caller
    """Who calls where nobody is named."""


def give_to(registry: HasOwn, caller: Caller) -> None:
    """Have a registry serve one client, with no roots beside those that this has open: calls without a name are its."""
    registry.own.close()
    registry.own = caller


def whose(opened_by: Mapping[str, Caller], asks: Caller) -> Callable[[str], Connection | None]:
    """Whose connection each session is of, as `asks` sees it. `opened_by`: who opened each."""

    def connection(session_id: str) -> Connection | None:
        opener = opened_by.get(session_id)
        return None if opener is None or not opener.is_connected else "this" if opener is asks else "other"

    return connection
