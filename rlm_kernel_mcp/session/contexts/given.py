"""What a client gives for a context, and is answered: plain data between `server/` and `session/`.

Is: frozen dataclasses, of checked arguments and of `rlm_add_context`'s answer. Is not: where the text then comes from
(`source.py`). Above: `server/`, `session/registry.py`. Below: `changes.py`, `session/context_reports.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from rlm_kernel_mcp.session.context_reports import ContextReport, LoadingReport
from rlm_kernel_mcp.session.contexts.changes import FileMarks
from rlm_kernel_mcp.session.functions.offered import HostFunction, names_to_ask

WAIT_MS: Final = 20_000
QUESTION_CHARS_MAX: Final = 500
"""Of what a session is for, which people are shown."""
FIRST_NAME: Final = "context"
"""Of the first context, where the client wants no other."""


@dataclass(slots=True)
class Progress:
    """How far the reading of a context is. Written by its thread."""

    loaded_bytes: int = 0
    bytes: int = 0
    """In all, as far as it is known."""
    marks: FileMarks | None = None
    """The files as they were before they were read."""
    skipped: Mapping[str, int] = field(default_factory=dict)
    """How many entries of directories and globs were left out by then, by kind."""

    def on_bytes(self, count: int) -> None:
        """So many have been read by now. Neither number becomes smaller where the files are gone through once more."""
        self.loaded_bytes = max(count, self.loaded_bytes)
        self.bytes = max(count, self.bytes)


@dataclass(frozen=True, slots=True)
class Options:
    """How a context is loaded, whatever it is of."""

    name: str = FIRST_NAME
    exclude: tuple[str, ...] = ()
    """Globs of what is left out."""
    wait_ms: int = WAIT_MS
    """Milliseconds after which the call goes on without it."""
    progress: Progress = field(default_factory=Progress)
    """Where is told how far it is."""
    functions: tuple[HostFunction, ...] = ()
    """Of a session's first context: what its code may call."""
    question: str | None = None
    """Of that too: what the session is for, in the words of who opens it."""
    manifest: str | None = None
    """Of paths of another machine: what names the copies of their files (`manifests.py`)."""

    def asking(self, *, is_answered: bool) -> tuple[str, ...]:
        """The names with which the session's code asks somebody."""
        return names_to_ask(is_answered=is_answered, functions=self.functions)


@dataclass(frozen=True, slots=True)
class Given:
    """What it is of. Exactly one of the three is set."""

    text: str | None = None
    paths: tuple[str, ...] | None = None
    json_text: str | None = None


@dataclass(frozen=True, slots=True)
class Added:
    """`data` of `rlm_add_context`. `namespace`: the name, with a line on it."""

    session_id: str
    context: ContextReport | LoadingReport
    namespace: dict[str, str]
