"""A text that a notebook keeps exactly: as it is, or in base64 where JSON in UTF-8 cannot hold it.

Is: both ways. Is not: which texts are kept, nor their limits (`names.py`). A program that writes a notebook anew writes
UTF-8, which has no lone surrogates. Above: `sources.py`, `notebook/writing/answers.py`, `notebook/running/file.py`.
Below: the standard library.
"""

from __future__ import annotations

import base64
import binascii


def in_base64(text: str) -> str | None:
    """Its UTF-8 (surrogatepass) in base64; None: the text itself will do."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return base64.b64encode(text.encode("utf-8", "surrogatepass")).decode("ascii")
    return None


def text_of(text: object, packed: object, most: int) -> str | None:
    """What a file has, which anybody may have written; None: nothing, no text, or more than so many characters."""
    if type(packed) is str and len(packed) <= 4 * most:
        try:
            text = base64.b64decode(packed, validate=True).decode("utf-8", "surrogatepass")
        except (binascii.Error, ValueError):
            return None
    return text if type(text) is str and len(text) <= most else None
