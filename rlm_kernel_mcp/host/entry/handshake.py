"""What a front and its host say to each other, as the host reads and writes it.

Is: bounded messages to plain data, and what is refused of them. Is not: the socket (`door.py`), or what is true of the
peer (`confinement.py`). The format is frozen and `front/front.py` says what it is; unknown variables are left to the
settings. Above: `door.py`. Below: `front/front.py`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from rlm_kernel_mcp.front.front import PASSED_ON, WORD, NoHost
from rlm_kernel_mcp.front.needed import heard

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
    """What the connection is to be for (`verbs.py`)."""
    nonce: str
    """The secret that only who may see into this process can have read."""
    version: str
    package: str
    state: str
    words: tuple[str, ...] = field(repr=False)
    """All that follows, which each verb reads in its own way."""

    @property
    def environ(self) -> dict[str, str]:
        """The words of a client with settings: its variables."""
        pairs = (word.partition("=") for word in self.words if not word.startswith("--"))
        said = {name: value for name, _, value in pairs}
        return {name: value for name, value in said.items() if name.startswith(heard(PASSED_ON, said))}

    @property
    def options(self) -> tuple[str, ...]:
        """Those of its variables that came as options; the settings refuse those that there are not."""
        return tuple(word[2:] for word in self.words if word.startswith("--"))


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
    if word != WORD or len(parts) < 5 or len(data) > MESSAGE_BYTES_MAX:
        raise NoHost("the second message is not a front's")
    verb, nonce, version, package, state, *words = map(os.fsdecode, parts)
    return Asked(verb, nonce, version, package, state, tuple(words))


def seen(their_nonce: str, our_descriptor: int) -> bytes:
    """The answer to a hello: we could read your secret, and here is where ours is."""
    return b"\0".join((WORD, b"seen", os.fsencode(their_nonce), b"%d" % our_descriptor))


def served() -> bytes:
    return WORD + b"\0served"


def answered(verb: str, words: Iterable[str]) -> bytes:
    """The one answer to a question, as far as a message goes."""
    return b"\0".join((WORD, *map(os.fsencode, (verb, *words))))[:MESSAGE_BYTES_MAX]


def refused(reason: str) -> bytes:
    return WORD + b"\0no\0" + reason.encode("utf-8", "backslashreplace")[:REASON_BYTES_MAX]


def is_go(data: bytes) -> bool:
    """Whether the front waits for us still: from here on its pipes are ours."""
    return data == WORD + b"\0go"


def end() -> bytes:
    """The client's input has ended, and everything is answered."""
    return WORD + b"\0end"
