"""What a program says of its sessions, and what it is told while a step runs.

Is: the options with which a session is opened, by name and type, and a piece of output. Is not: a call
(`async_session.py`), or a check of what an option says (`server/validation.py`). Above: `async_session.py`, `api.py`.
Below: `door.py`, errors.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

from rlm_kernel_mcp.doors.door import Stream
from rlm_kernel_mcp.errors import InvalidInput

StrPath = str | os.PathLike[str]


class ContextOptions(TypedDict, total=False):
    """What a context is loaded with."""

    exclude: Sequence[str]
    """Patterns, as in .gitignore, of what directories and globs leave out."""
    wait_ms: int
    """Milliseconds to wait for it; after that it is `loading`, and the next step waits for it. 20,000."""


class SessionOptions(ContextOptions, total=False):
    """How a session is opened."""

    context_text: str
    """The context itself, kept exactly as given; or"""
    context_paths: StrPath | Sequence[StrPath]
    """files, directories and globs; or"""
    session_id: str
    """the handle of an earlier session, to go on with that. Exactly one of the three."""
    context_name: str
    """Name of the context's variable: `context`."""
    max_steps: int
    """Steps that may be run: 1,000,000."""
    max_runtime_ms: int
    """Milliseconds in which steps may be executing, in total: a day."""
    budget_limit: int
    """Characters of code in and of output delivered, in total: 1,000,000,000."""
    step_timeout_ms: int
    """Milliseconds after which one step is interrupted, unless `run` says otherwise: 60,000."""
    max_subcalls: int
    """Questions that the code may ask: 1,000, as far as the user allows (200 that the program answers itself)."""
    subcall_tokens_limit: int
    """Tokens of those questions and their answers, in total: 2,000,000."""
    question: str
    """What the run is for, at most 500 characters: shown to people who look at it."""
    host_functions: Mapping[str, Callable[..., Any]]
    """By name the functions of this process that the code may call (`host_call`), with arguments that are hostile."""


def require_known(options: Mapping[str, object]) -> None:
    """Raise InvalidInput if a session has no such option: before a host is asked, which is told JSON alone."""
    known = SessionOptions.__optional_keys__
    if unknown := [name for name in options if name not in known]:
        raise InvalidInput(f"A session has no option {', '.join(unknown)}; it has: {', '.join(sorted(known))}.")


@dataclass(frozen=True, slots=True)
class Output:
    """A piece of a step's output, as it comes: of the streams in their own order."""

    stream: Stream
    text: str

    def __str__(self) -> str:
        return self.text


Tell = Callable[[Output], object]
