"""The secret of the live page, and the tokens in the addresses that are printed, each of which lets one browser in.

Is: a file of this user's alone, so that a page that is open goes on where `watch` is started again; it is made anew
after a week. No token is in it: those are good for once, and for this process. Is not: who is let in (`gate.py`).
Above: `commands/watch.py`, `gate.py`. Below: the file system.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import stat
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

DIRECTORY: Final = "watch"
"""Below the state directory (`store/database/file.py` knows it as ours)."""
FILE: Final = "key"
LASTS_S: Final = 7 * 24 * 3600
PLACE_CHARS: Final = 32
USED_KEPT: Final = 1_000
"""Tokens of which is known that they were used, the newest ones."""
_KEY: Final = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)

Exchanged = Literal["let in", "used", "unknown"]


@dataclass(frozen=True, slots=True)
class Secret:
    """By which browsers that were let in are known."""

    key: str

    @property
    def cookie(self) -> str:
        """The cookie's value, from which nobody learns the key."""
        return self._made_for(b"the cookie of the live page")

    @property
    def place(self) -> str:
        """Where the page is: an address that nobody guesses, and that lets nobody in by itself.

        A browser sends cookies of 127.0.0.1 to all of its ports, where other people's servers may be; those of one
        path it sends to that path alone.
        """
        return self._made_for(b"the place of the live page")[:PLACE_CHARS]

    def _made_for(self, what: bytes) -> str:
        return hmac.new(self.key.encode(), what, hashlib.sha256).hexdigest()

    def is_cookie(self, given: str) -> bool:
        return _is_same(given, self.cookie)


class Tokens:
    """Those of one process: one that lets a browser in, and those that have."""

    def __init__(self, on_used: Callable[[str], None] = lambda new: None) -> None:
        """`on_used`: is told the next one, once one was used."""
        self.current = secrets.token_urlsafe(32)
        self._used = deque[str](maxlen=USED_KEPT)
        self._on_used = on_used

    def exchange(self, given: str) -> Exchanged:
        """Use a token, which nobody can do again."""
        if not _is_same(given, self.current):
            return "used" if any(_is_same(given, one) for one in self._used) else "unknown"
        self._used.append(self.current)
        self.current = secrets.token_urlsafe(32)
        self._on_used(self.current)
        return "let in"


def _is_same(given: str, kept: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), kept.encode())


def secret_of(state_dir: Path) -> Secret:
    """The secret of a state directory; one that lasts as long as this process, where the directory keeps none."""
    place = state_dir / DIRECTORY / FILE
    kept = _kept(place)
    if kept is not None:
        return Secret(kept)
    key = secrets.token_urlsafe(32)
    with suppress(OSError):
        _keep(place, key)
    return Secret(key)


def _kept(place: Path) -> str | None:
    """The key in a file that is this user's alone and not too old; None: there is no such."""
    try:
        descriptor = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        status = os.fstat(descriptor)
        is_ours = stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o077
        if not is_ours or not 0 <= time.time() - status.st_mtime < LASTS_S:
            return None
        text = os.read(descriptor, 100).decode("ascii", "replace")
    finally:
        os.close(descriptor)
    return text if _KEY.fullmatch(text) else None


def _keep(place: Path, key: str) -> None:
    """Raises: OSError."""
    place.parent.mkdir(mode=0o700, exist_ok=True)
    new = place.with_name(f"{FILE}.{os.getpid()}")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        os.fchmod(descriptor, 0o600)
        os.write(descriptor, key.encode())
    finally:
        os.close(descriptor)
    new.rename(place)
