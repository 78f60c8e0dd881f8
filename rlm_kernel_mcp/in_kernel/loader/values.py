"""A JSON text to the value that it says, written down so that a kernel has it without parsing anything.

Is: `json` and `marshal` of the standard library, and the words for what a text is not. Is not: the walls, nor what is
said to the host (`process.py`). Above: `process.py`. Below: the standard library.
"""

from __future__ import annotations

import gc
import json
import marshal
import os
from typing import Final

from rlm_kernel_mcp.both_sides.whole_writes import write_at
from rlm_kernel_mcp.context_wire import WORDS_CHARS, Written

FORMAT: Final = 4
"""Of `marshal`: the kernel in a container may be of an earlier Python."""


def write_value(source: int, target: int) -> Written:
    """Read the JSON text in one file, UTF-8, and write its value into another."""
    gc.disable()  # nothing here is a circle, and a look at millions of values takes seconds
    try:
        written = _marshalled(source)
        write_at(target, written, 0)
    except _Refused as error:
        return {"bytes": 0, "refused": error.reason, "words": error.words[:WORDS_CHARS], "errno": 0}
    except MemoryError:
        return {"bytes": 0, "refused": "memory", "words": "", "errno": 0}
    except OSError as error:
        return {"bytes": 0, "refused": "no_room", "words": "", "errno": error.errno or 0}
    return {"bytes": len(written), "refused": "", "words": "", "errno": 0}


class _Refused(Exception):
    def __init__(self, reason: str, words: str = "") -> None:
        super().__init__(reason)
        self.reason, self.words = reason, words


def _marshalled(source: int) -> bytes:
    try:
        value = json.loads(_text(source))
    except json.JSONDecodeError as error:
        raise _Refused("syntax", str(error)) from None
    except RecursionError:
        raise _Refused("deep") from None
    except ValueError:  # the only other one: a whole number of more digits than the interpreter reads
        raise _Refused("digits") from None
    try:
        return marshal.dumps(value, FORMAT)
    except ValueError:
        raise _Refused("deep") from None


def _text(source: int) -> str:
    size = os.fstat(source).st_size
    data = bytearray()
    while len(data) < size and (block := os.pread(source, 1 << 24, len(data))):
        data += block
    return data.decode("utf-8", "surrogatepass")
