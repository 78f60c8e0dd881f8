"""A node as a router sees it: a contract, and nothing else.

Is: what crosses between the two, in texts of JSON that could travel any way. Is not: a node (`cluster/node/`), what
carries the calls (Ray, or nothing where both are in one process), or what is in a text (`cluster/node/messages.py`).
Above: `router.py`, and what carries calls to nodes. Below: nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class Node(Protocol):
    """One node. Each call raises `NodeLost` where the node cannot be reached: whether it has done it nobody knows.

    A call that is cancelled is cancelled at the node too. Nobody bounds a call on its way: a router looks after a node
    that says nothing, by `load`.
    """

    async def call(self, verb: str, arguments: str, caller: str) -> str:
        """Have a call of a client done. It raises nothing but `NodeLost`: an error is an answer.

        Args:
            verb: `tool:NAME`, a tool of MCP, whose result is the JSON of a `CallToolResult`; or `door:METHOD`, whose
                result is as `doors/wire/values.py` writes it: a method of `doors/door.py` (of `trace` a page), and
                `list_sessions`, `trace_page` and `notebook`, for what is listed and read by MCP.
            arguments: a `messages.Asked`.
            caller: a `messages.Calling`.

        Returns:
            A `messages.Answer`. Its error is `SessionMoved` where this node does not drive the session, whatever the
            verb, the tools too, and nothing was done: a node looks for no session by itself. `NodeLost`: it had begun,
            and somebody has taken the session over since. `NoRoom`: it has none for another session.
        """

    async def adopt(self, session_id: str, epoch: int) -> None:
        """Claim this epoch, and take record and values over; the first use restores.

        Raises:
            SessionMoved: somebody has this epoch, or a newer one.
            SessionNotFound: the store has no such session. NoRoom: this node takes none.
        """

    async def release(self, session_id: str) -> None:
        """Let a session go: its values kept, all of it durable, its kernel ended. Raises: SessionBusy: a step runs."""

    async def load(self) -> str:
        """How full it is: a `messages.Load`. It answers at once, whatever else it does."""

    async def drain(self) -> None:
        """Take no new session, release those that are idle, and the others as they end."""


class Nodes(Protocol):
    """The nodes of a cluster."""

    async def present(self) -> Mapping[str, Node]:
        """Those that are there, by name, as far as is known now. Raises: ClusterUnavailable: nobody can tell."""
