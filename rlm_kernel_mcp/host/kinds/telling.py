"""What a host answers those who are no clients: a command that asks how it is, a host that asks for a session.

Is: one answer to one question each. Is not: who may ask (`entry/verbs.py`), nor the asking (`others/`).
Above: `serving.py`. Below: `others/known.py`, `others/moving.py`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from rlm_kernel_mcp.errors import RlmError
from rlm_kernel_mcp.front.front import NoHost
from rlm_kernel_mcp.host.entry.handshake import Asked
from rlm_kernel_mcp.host.others.known import Condition
from rlm_kernel_mcp.host.others.moving import GONE, KEPT

MOVED: Final = "the session was moved to another of your hosts, a client of which used it"


@dataclass(frozen=True, slots=True)
class Telling:
    """The answers of one host."""

    condition: Callable[[], Condition]
    take_nobody: Callable[[], None]
    """Have the host take no further client."""
    hand_over: Callable[[str, str], Awaitable[None]]
    """Let a session go, for the reason given. Raises: SessionBusy: it is used."""

    async def drain(self, _asked: Asked, _descriptors: Sequence[int]) -> Sequence[str]:
        self.take_nobody()
        return ()

    async def status(self, _asked: Asked, _descriptors: Sequence[int]) -> Sequence[str]:
        return self.condition().words

    async def let_go(self, asked: Asked, _descriptors: Sequence[int]) -> Sequence[str]:
        if len(asked.words) != 1:
            raise NoHost("it is not said which session")
        try:
            await self.hand_over(asked.words[0], MOVED)
        except RlmError as error:
            return KEPT, error.message, error.next_step
        return (GONE,)
