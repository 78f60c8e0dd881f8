"""One document of a context, as it was read.

Is: data. Is not: reading. Above: `reading.py`, `by_loader.py`, `session/contexts/changes.py`. Below: `context_wire.py`,
`roots/identity.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from rlm_kernel_mcp.context.roots.identity import FileIdentity
from rlm_kernel_mcp.context_wire import Layout


@dataclass(slots=True)  # not frozen: that takes three times as long to construct, and there may be 200,000
class Document:
    """One document of a payload. `encoding` is a Python codec, and `errors` its error handler."""

    name: str
    byte_count: int
    encoding: str
    undecodable_bytes: int = 0
    errors: str = "strict"
    layout: Layout | None = field(default=None, compare=False)
    """How its characters are laid out in its bytes; None if they have to be decoded."""
    path: str | None = field(default=None, compare=False)
    """Its file, with all links resolved, where citations are verified; None for an inline text."""
    identity: FileIdentity | None = field(default=None, compare=False)
    """Which file it was, and its state when it was opened; None for an inline text."""
    looks: str = field(default="", compare=False)
    """One of `text_encoding.LOOKS`."""
    chars: int | None = field(default=None, compare=False)
    """How many characters it has; None: nobody has counted them."""
