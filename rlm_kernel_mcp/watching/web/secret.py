"""The secret of the live page: a token in the address that is printed, and what a browser gets for it.

Is: a file of this user's alone, so that a page that is open goes on where `watch` is started again; it is made anew
after a week. Is not: who is let in by it (`gate.py`). Above: `commands/watch.py`, `gate.py`. Below: the file system.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import stat
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

DIRECTORY: Final = "watch"
"""Below the state directory (`store/database/file.py` knows it as ours)."""
FILE: Final = "token"
LASTS_S: Final = 7 * 24 * 3600
PLACE_CHARS: Final = 32
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Secret:
    """What lets somebody in."""

    token: str

    @property
    def cookie(self) -> str:
        """The cookie's value, from which nobody learns the token."""
        return self._made_for(b"the cookie of the live page")

    @property
    def place(self) -> str:
        """Where the page is: an address that nobody guesses, and that lets nobody in by itself.

        A browser sends cookies of 127.0.0.1 to all of its ports, where other people's servers may be; those of one
        path it sends to that path alone.
        """
        return self._made_for(b"the place of the live page")[:PLACE_CHARS]

    def _made_for(self, what: bytes) -> str:
        return hmac.new(self.token.encode(), what, hashlib.sha256).hexdigest()

    def is_token(self, given: str) -> bool:
        return _is_same(given, self.token)

    def is_cookie(self, given: str) -> bool:
        return _is_same(given, self.cookie)


def _is_same(given: str, kept: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), kept.encode())


def secret_of(state_dir: Path) -> Secret:
    """The secret of a state directory; one that lasts as long as this process, where the directory keeps none."""
    place = state_dir / DIRECTORY / FILE
    kept = _kept(place)
    if kept is not None:
        return Secret(kept)
    token = secrets.token_urlsafe(32)
    with suppress(OSError):
        _keep(place, token)
    return Secret(token)


def _kept(place: Path) -> str | None:
    """The token in a file that is this user's alone and not too old; None: there is no such."""
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
    return text if _TOKEN.fullmatch(text) else None


def _keep(place: Path, token: str) -> None:
    """Raises: OSError."""
    place.parent.mkdir(mode=0o700, exist_ok=True)
    new = place.with_name(f"{FILE}.{os.getpid()}")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        os.fchmod(descriptor, 0o600)
        os.write(descriptor, token.encode())
    finally:
        os.close(descriptor)
    new.rename(place)
