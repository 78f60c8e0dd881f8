"""Jupyter messages: building ours, parsing the kernel's.

Is: the codec between dicts and frames. Is not: trust: a message from a kernel is data from an adversary that knows
its own key, so size and shape are checked here before anyone looks inside. Source: Jupyter messaging 5.5, "The Wire
Protocol".
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

from rlm_kernel_mcp.text.json_items import is_crowded
from rlm_kernel_mcp.wire import DELIMITER

PROTOCOL_VERSION: Final = "5.5"
HEADER_BYTES_MAX: Final = 64 * 1024
"""Bytes of the header, and of the parent header."""
CONTENT_BYTES_MAX: Final = 3 << 20
"""Bytes of the content."""
ORIGINS_KEPT: Final = 64
"""Parent headers whose parsed ids are kept."""
LARGE_JSON_ITEMS: Final = 100_000
"""Commas and opening brackets of a JSON text, outside of its strings (`text/json_items.py`)."""


class BadMessage(Exception):
    """A kernel sent something that is not a Jupyter message, or one past the limits."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message from a kernel. `content` is a dict of anything; `buffers` are raw."""

    msg_type: str
    parent_id: str
    parent_session: str
    content: dict[str, Any]
    buffers: tuple[bytes, ...]
    parent_type: str = ""


class Codec:
    """Signs and builds messages of one client session."""

    def __init__(self, key: bytes) -> None:
        self.session = secrets.token_hex(16)
        self._built = 0
        # Keyed once and copied for each message: setting up the key is half of the work.
        self._hmac = hmac.HMAC(key, digestmod=hashlib.sha256)

    def has_built(self, msg_id: str) -> bool:
        """Whether this is the id of a request that this client has sent."""
        ours, _, number = msg_id.rpartition("_")
        # ASCII digits only: `isdecimal` admits others, and `int` would read them.
        return ours == self.session and number.isdecimal() and number.isascii() and int(number) <= self._built

    def build(
        self,
        msg_type: str,
        content: Mapping[str, object],
        buffers: Sequence[bytes] = (),
        metadata: Mapping[str, object] | None = None,
    ) -> tuple[str, list[bytes]]:
        """A request's (msg_id, frames)."""
        self._built += 1
        msg_id = f"{self.session}_{self._built}"
        header = {
            "msg_id": msg_id,
            "msg_type": msg_type,
            "username": "rlm",
            "session": self.session,
            "date": datetime.now(UTC).isoformat(),
            "version": PROTOCOL_VERSION,
        }
        parts = [json.dumps(part).encode() for part in (header, {}, metadata or {}, content)]
        mac = self._hmac.copy()
        for part in parts:
            mac.update(part)
        return msg_id, [DELIMITER, mac.hexdigest().encode(), *parts, *buffers]


def parse(frames: Sequence[bytes]) -> Message:
    """A kernel's message. The signature says nothing (the kernel holds the key) and is not checked.

    Raises:
        BadMessage: not a Jupyter message, or past the limits.
    """
    try:
        start = frames.index(DELIMITER) + 2
        # The metadata of a kernel are not read at all.
        header, parent, _, content = frames[start : start + 4]
    except ValueError:
        raise BadMessage("no delimiter, or fewer than four parts") from None
    if len(header) > HEADER_BYTES_MAX or len(parent) > HEADER_BYTES_MAX or len(content) > CONTENT_BYTES_MAX:
        raise BadMessage("a part is too large")
    parent_id, parent_session, parent_type = _origin(parent)
    return Message(
        msg_type=_text(_load(header).get("msg_type")),
        parent_id=parent_id,
        parent_session=parent_session,
        content=_load(content),
        buffers=tuple(frames[start + 4 :]),
        parent_type=parent_type,
    )


@lru_cache(maxsize=ORIGINS_KEPT)
def _origin(parent: bytes) -> tuple[str, str, str]:
    """`msg_id`, session and type of a parent header, which is the same in all messages of a step."""
    origin = _load(parent)
    return _text(origin.get("msg_id")), _text(origin.get("session")), _text(origin.get("msg_type"))


def _load(part: bytes) -> dict[str, Any]:
    value = parse_json(part)
    if not isinstance(value, dict):
        raise BadMessage("a part is not a JSON object")
    return value


def parse_json(part: bytes) -> Any:
    """A kernel's JSON text of bounded size, parsed in bounded memory and time.

    Raises:
        BadMessage: it is not JSON, or holds more than `LARGE_JSON_ITEMS` items.
    """
    if is_crowded(part, LARGE_JSON_ITEMS):
        raise BadMessage(f"a part of {len(part):,} bytes holds more than {LARGE_JSON_ITEMS:,} items")
    try:
        return json.loads(part)
    except (ValueError, RecursionError) as error:
        raise BadMessage(f"a part is not JSON: {type(error).__name__}") from error


def _text(value: object) -> str:
    return value if isinstance(value, str) and len(value) <= 256 else ""
