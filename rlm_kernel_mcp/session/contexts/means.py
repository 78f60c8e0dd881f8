"""What a context is read with, beside where it comes from: data.

Is: the server's means, what a session's other contexts take, and what is known of a context that was loaded before. Is
not: reading (`source.py`). Above: `source.py`, `contexts.py`, `session/opening.py`, `session/reopening.py`. Below:
`context/`, the settings.
"""

from __future__ import annotations

from dataclasses import dataclass

from rlm_kernel_mcp.context.held import Room
from rlm_kernel_mcp.context.loader.loaders import Loaders
from rlm_kernel_mcp.context.roots.identity import FileNumber
from rlm_kernel_mcp.settings import Settings


@dataclass(frozen=True, slots=True)
class Means:
    """What a server reads contexts with."""

    settings: Settings
    room: Room
    """What the contexts of one session may have."""
    loaders: Loaders | None = None
    """For what is large or compressed."""


@dataclass(frozen=True, slots=True)
class Beside:
    """What the session's other contexts take of the limits."""

    bytes: int = 0
    """Of those that are in the kernel's memory."""
    documents: int = 0


@dataclass(frozen=True, slots=True)
class Kept:
    """What is known of a context that was loaded, to know it again."""

    sha256: str | None
    states: str | None = None
    """As `Payload.states`."""
    mapped: FileNumber | None = None
    """Its own file, if the kernel had mapped that: it is loaded as it is now, as the kernel had it."""
