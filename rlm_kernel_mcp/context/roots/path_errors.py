"""A path in words: whether it can be one, how a message shows it, and the errors that name it.

Is: the wording for what a path is or what became of it. Is not: finding that out (`opening.py`).
Above: `opening.py`, and all that takes paths. Below: `text/printable.py`.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from typing import Final

from rlm_kernel_mcp.errors import ContextDenied, ContextNotFound, InvalidInput, RequestRefused
from rlm_kernel_mcp.text.printable import printable

MAX_PATH_BYTES: Final = 4_095
"""Longest path that is accepted (Linux's PATH_MAX without its NUL)."""
_SHOWN_CHARS: Final = 200
_REPLACED: Final = "it was replaced while it was being opened"
_ROOTS_SHOWN: Final = 5
_DENIED_CAUSES: Final = {
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.EIO: "input/output error",
    errno.EINVAL: _REPLACED,
    errno.ESTALE: _REPLACED,
}
_MISSING_CAUSES: Final = {
    errno.ENOENT: "does not exist",
    errno.ENOTDIR: "does not exist: a part of it that should be a directory is a file",
    errno.ELOOP: "leads to no file: its links form a circle",
}


def quoted(text: str) -> str:
    """A path as a message shows it: quoted, with unprintable characters escaped, and at most 200 characters long."""
    name = printable(text)
    return f"'{name}'" if len(name) <= _SHOWN_CHARS else f"'{name[:_SHOWN_CHARS]}…' ({len(text):,} characters)"


def checked(given: object) -> str:
    """A path as the caller gave it, if it is one that the operating system can be asked about.

    Raises:
        InvalidInput: it is not a string, is empty, is longer than 4,095 bytes, or has a NUL or a lone surrogate.
    """
    if not isinstance(given, str):
        raise InvalidInput(f"context_paths has a value of type {type(given).__name__}; each path must be a string.")
    if not given:
        raise InvalidInput("context_paths has an empty path.")
    if "\0" in given:
        raise InvalidInput(f"The path {quoted(given)} has a NUL character, which no file name can have.")
    try:
        length = len(os.fsencode(given))
    except UnicodeEncodeError as error:
        raise InvalidInput(f"The path {quoted(given)} has a lone surrogate, which no file name can have.") from error
    if length > MAX_PATH_BYTES:
        raise InvalidInput(f"The path {quoted(given)} is {length:,} bytes long; the limit is {MAX_PATH_BYTES:,} bytes.")
    return given


def begins_at(given: str, working_dir: str) -> str:
    """Where a relative path begins, as a further sentence of an error; nothing for an absolute one."""
    return "" if given.startswith(("/", "~")) else f" Relative paths begin at {quoted(working_dir)}."


def outside(given: str, roots: Sequence[str], begins: str = "", *, lost: Sequence[str] = ()) -> ContextDenied:
    """The error for a path outside the roots. It may name them, since they are the user's own setting.

    `begins`: as `begins_at` has it. `lost`: roots that are not there any more.
    """
    named = ", ".join(quoted(root) for root in roots[:_ROOTS_SHOWN]) or "none that exists"
    more = f" and {len(roots) - _ROOTS_SHOWN:,} more" if len(roots) > _ROOTS_SHOWN else ""
    message = f"{quoted(given)} is outside the allowed roots, which are {named}{more}.{begins}"
    if not lost:
        return ContextDenied(message)
    gone = ", ".join(quoted(root) for root in lost[:_ROOTS_SHOWN])
    return ContextDenied(
        f"{message} Out of reach, or moved, removed or replaced since it was opened, and no root any more: {gone}.",
        "Ask the user to put that directory back, or to start the MCP server anew, which opens what is there then.",
    )


def moved(given: str) -> ContextDenied:
    """The error for a path at which there is another file by now."""
    return ContextDenied(f"{quoted(given)} was replaced while it was being opened; it is no longer what was asked for.")


def pseudo_file(given: str) -> ContextDenied:
    """The error for a path below /proc or the like."""
    return ContextDenied(
        f"{quoted(given)} is a pseudo-file of the operating system (/proc, /sys and the like); a context is read from "
        "regular files.",
        "Give the path of a regular file or of a directory.",
    )


def unreadable(given: str, error: OSError, begins: str = "") -> RequestRefused:
    """The error for a path that the caller named and that cannot be opened. `begins`: as `begins_at` has it."""
    if error.errno in _MISSING_CAUSES:
        return ContextNotFound(f"{quoted(given)} {_MISSING_CAUSES[error.errno]}.{begins}")
    if error.errno == errno.ENAMETOOLONG:
        return InvalidInput(f"The path {quoted(given)} is longer than this file system allows.")
    return ContextDenied(
        f"{quoted(given)} cannot be read: {cause(error)}.",
        "Ask the user to make it readable for the server, or give another path.",
    )


def cause(error: OSError) -> str:
    """Why a file could not be read, in a few words without a path."""
    missing = {errno.ENOENT: "gone", errno.ELOOP: "a circle of links", errno.ENOTDIR: "gone"}
    number = error.errno or 0
    return _DENIED_CAUSES.get(number) or missing.get(number) or os.strerror(number).lower()


def kind_of(mode: int) -> str:
    """What to call an entry that is neither a regular file nor a directory."""
    kinds = (
        (stat.S_ISFIFO, "a FIFO"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISCHR, "a device"),
        (stat.S_ISBLK, "a device"),
    )
    return next((name for test, name in kinds if test(mode)), "not a regular file")
