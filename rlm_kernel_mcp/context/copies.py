"""The temporary file in which documents are laid together: without a name, and read-only to kernels.

Is: that file. Is not: what is written into it (`payload.py`). Above: that. Below: `paths.py`, `whole_writes.py`.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import ExitStack
from pathlib import Path

from rlm_kernel_mcp.context.paths import cause
from rlm_kernel_mcp.errors import ContextTooLarge
from rlm_kernel_mcp.whole_writes import write_at


def unlinked_file() -> tuple[int, int]:
    """A writing and a reading descriptor of an empty temporary file that has no name any more."""
    try:
        with ExitStack() as opened:
            writer, name = tempfile.mkstemp(prefix="rlm-context-")
            opened.callback(os.close, writer)
            try:
                # The kernel gets a descriptor that cannot write: it must not be able to fill the disk.
                reader = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
            finally:
                Path(name).unlink()
            opened.pop_all()
    except OSError as error:
        raise _no_room(error) from error
    return writer, reader


def append(writer: int, block: bytes, offset: int) -> None:
    """Write a block at the end, which is `offset`. Raises: ContextTooLarge: there is no room for it."""
    try:
        write_at(writer, block, offset)
    except OSError as error:
        raise _no_room(error) from error


def _no_room(error: OSError) -> ContextTooLarge:
    return ContextTooLarge(
        f"The files cannot be put together in the temporary directory: {cause(error)}.",
        "Give one file, or tell the user to free room in the temporary directory, or to set TMPDIR to a larger one.",
    )
