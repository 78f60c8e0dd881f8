"""What a kernel's messages are before they are sent: JSON that always arrives, and payloads that fit a message.

A courtesy to honest code, not a wall: a lone surrogate in an error's text, or a page of megabytes, would cost the reply
or the kernel. Above: `in_kernel/ipython/shell.py`, `in_kernel/ipython/kernel.py`. Below: ipykernel,
`in_kernel/display_text/value_text.py`.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from ipykernel.jsonutil import json_clean

from rlm_kernel_mcp.in_kernel.display_text.value_text import json_text

PAYLOAD_CHARS: Final = 400_000
"""Characters of JSON that all payloads of one reply may have."""


def pack(message: Any) -> bytes:
    """A part of a message as JSON in UTF-8.

    jupyter_client's own loses the message over a lone surrogate, and writes some of them as bytes that are not UTF-8.
    """
    try:
        text = _encode(message)
    except (TypeError, ValueError):
        message = json_clean(message)
        text = json.dumps(message, ensure_ascii=False, allow_nan=False)
    try:
        return text.encode()
    except UnicodeEncodeError:
        return json.dumps(message, default=_written, allow_nan=False).encode()


def _written(value: object) -> str:
    """A date, or the bytes of a picture, as Jupyter writes them; a message has no other objects."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    raise TypeError


_encode: Final = json.JSONEncoder(default=_written, ensure_ascii=False, allow_nan=False).encode
"""Made once: a step's messages have some twenty parts."""


def fitting(payloads: Sequence[Any]) -> tuple[list[Any], int]:
    """The payloads of a reply that are JSON and fit, in order; and how many are left out.

    None of their own code is run. Source: Jupyter messaging 5.5, "Payloads".
    """
    kept = []
    left = PAYLOAD_CHARS
    for payload in payloads:
        if not left:
            break
        made = json_text(payload)
        if made is not None and made[1] and len(made[0]) <= left:
            left -= len(made[0])
            kept.append(payload)
    return kept, len(payloads) - len(kept)
