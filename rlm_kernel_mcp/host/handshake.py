"""What a front and its host say to each other, as the host reads and writes it.

Is: bounded messages to plain data, and what is refused of them. Is not: the socket (`door.py`), or what is true of the
peer (`confinement.py`). The format is frozen and `front/front.py` says what it is; unknown variables are left to the
settings. Above: `door.py`. Below: `front/front.py`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final

from rlm_kernel_mcp.front.front import PASSED_ON, WORD, NoHost

MESSAGE_BYTES_MAX: Final = 131_072
ROOTS_MAX: Final = 64
STREAMS_AND_RIGHTS: Final = 6
"""Descriptors before the roots: stdin, stdout, stderr, the page, the proof, the working directory."""
DESCRIPTORS_MAX: Final = STREAMS_AND_RIGHTS + ROOTS_MAX
REASON_BYTES_MAX: Final = 2_048


@dataclass(frozen=True, slots=True)
class Asked:
    """The second message of a peer: what it asks, and for whom it takes us."""

    verb: str
    """`serve`: be this client's server. `drain`: take no further client."""
    nonce: str
    """The secret that only who may see into this process can have read."""
    version: str
    package: str
    state: str
    environ: dict[str, str]
    options: tuple[str, ...]
    """The variables that came as options; the settings refuse those that there are not."""


def read_hello(data: bytes) -> str:
    """The number of the descriptor whose name is the front's secret.

    Raises:
        NoHost: this is no front of ours.
    """
    parts = data.split(b"\0")
    if len(parts) != 3 or parts[:2] != [WORD, b"hello"] or not parts[2].isdigit() or len(parts[2]) > 10:
        raise NoHost("the first message is not a front's")
    return parts[2].decode("ascii")


def read_asked(data: bytes) -> Asked:
    """The second message.

    Raises:
        NoHost: this is no front of ours.
    """
    word, *parts = data.split(b"\0")
    if word != WORD or len(parts) < 5 or len(data) > MESSAGE_BYTES_MAX or parts[0] not in (b"serve", b"drain"):
        raise NoHost("the second message is not a front's")
    verb, nonce, version, package, state, *said = map(os.fsdecode, parts)
    options = tuple(text[2:] for text in said if text.startswith("--"))
    pairs = (text.partition("=") for text in said if not text.startswith("--"))
    environ = {name: value for name, _, value in pairs if name.startswith(PASSED_ON)}
    return Asked(verb, nonce, version, package, state, environ, options)


def seen(their_nonce: str, our_descriptor: int) -> bytes:
    """The answer to a hello: we could read your secret, and here is where ours is."""
    return b"\0".join((WORD, b"seen", os.fsencode(their_nonce), b"%d" % our_descriptor))


def served() -> bytes:
    return WORD + b"\0served"


def refused(reason: str) -> bytes:
    return WORD + b"\0no\0" + reason.encode("utf-8", "backslashreplace")[:REASON_BYTES_MAX]


def is_go(data: bytes) -> bool:
    """Whether the front waits for us still: from here on its pipes are ours."""
    return data == WORD + b"\0go"


def end() -> bytes:
    """The client's input has ended, and everything is answered."""
    return WORD + b"\0end"
