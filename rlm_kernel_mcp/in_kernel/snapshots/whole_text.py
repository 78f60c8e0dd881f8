"""A whole text through a pipe: a final answer that is too long for a message.

Is: the characters of a `str`, piece by piece, while none of the session's own code runs. Is not: a wall, nor a check:
the host counts what comes, and believes nothing else. Runs in the control thread. Above: `control.py`. Below:
`writer.py`, the pipe.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, Final

from rlm_kernel_mcp.in_kernel.snapshots.writer import write_all
from rlm_kernel_mcp.wire import SendTextReply

PIECE_CHARS: Final = 1 << 16
"""Characters that are copied at a time: all of them at once could be more than the session has memory for."""


def send_text(user_ns: Mapping[str, Any], asked: Mapping[str, Any], passed: Callable[[], int]) -> SendTextReply:
    """Write the text that `SendTextRequest` names into the pipe that `passed` takes, and close that.

    Raises:
        ValueError: it is no text. OSError: the host does not want it any more. MemoryError.
    """
    descriptor = passed()
    try:
        # Taken once: the name may be bound anew meanwhile, and a text itself never changes.
        value: Any = user_ns.get(asked["name"])
        if not issubclass(type(value), str):
            raise ValueError("it is no text")
        # The methods of `str`: those of a subclass are the session's own code.
        chars = str.__len__(value)
        for start in range(0, chars, PIECE_CHARS):
            piece = str.__getitem__(value, slice(start, start + PIECE_CHARS))
            write_all(descriptor, piece.encode("utf-8", "surrogatepass"))
        return {"status": "ok", "chars": chars}
    finally:
        os.close(descriptor)
