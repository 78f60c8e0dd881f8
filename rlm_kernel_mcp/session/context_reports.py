"""What a session answers about its contexts: plain data between `session/` and `server/`.

Is: frozen dataclasses whose fields are the contract's, with its units. Is not: JSON, MCP or markdown, which
`server/responses.py` makes of them. All text here is already safe to show (`text/safe_text.py`).
Below: `context/held.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:  # it brings the policy's models, which nothing needs before `initialize` is answered
    from rlm_kernel_mcp.context.held import Held


@dataclass(frozen=True, slots=True)
class DocumentInfo:
    name: str
    chars: int


@dataclass(frozen=True, slots=True)
class ContextReport:
    """The context as it is reported to the client.

    `head` and `tail` have at most 400 characters each and never overlap: up to 400 characters are all in the head.
    """

    kind: Literal["text", "documents", "json"]
    chars: int
    lines: int
    bytes: int
    sha256: str | None
    """None while it is being made, which nobody waits for; and for good, of a file that was written to meanwhile."""
    head: str
    tail: str
    documents: tuple[DocumentInfo, ...]
    """The first 20; fewer where their names are long."""
    document_count: int
    encodings: dict[str, int] = field(default_factory=dict)
    """Number of documents by encoding."""
    skipped: dict[str, int] = field(default_factory=dict)
    """How many entries of directories and globs were left out, by kind, which is one word; and the first of each."""
    skipped_first: tuple[str, ...] = ()
    undecodable_bytes: int = 0
    """Bytes that are not a character of their document's encoding."""
    held: Held = "memory"
    """Whether its text is in the kernel's memory, or a file that the kernel has mapped."""
    undecodable_in: dict[str, int] = field(default_factory=dict)
    """How many of them each document holds; the first 20 documents that hold any."""
    prefix: str | None = None
    """The directory that the documents' names are relative to, as an absolute path; None of an inline text."""
    hints: tuple[str, ...] = ()
    """What to know of documents that are not what they were loaded as, one sentence each."""
    name: str = "context"
    state: Literal["ready"] = "ready"
    changed: bool = False


@dataclass(frozen=True, slots=True)
class LoadedSoFar:
    """Of all that a session's steps wait for; of nothing where they wait for none."""

    loaded_bytes: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class LoadingReport:
    """A context that is not there yet. `bytes`: in all, as far as that is known by now; `skipped` likewise."""

    name: str
    kind: str
    bytes: int
    loaded_bytes: int
    skipped: dict[str, int] = field(default_factory=dict)
