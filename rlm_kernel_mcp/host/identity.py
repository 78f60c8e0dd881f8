"""The place of one host: its directory, its socket and its lock.

Is: taking the place that a front locked, looking whether it is still ours, stepping aside for another host, and
leaving. Which place it is, the front says (`front/front.py`): the same from a login, cron, ssh or an editor. Is not:
who may come in (`door.py`). Above: `main.py`, `serving.py`, `lifetime.py`. Below: `others/known.py`,
`front/front.py`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import stat
from pathlib import Path
from typing import Final

from rlm_kernel_mcp.front.front import NoHost, Place, check_directory
from rlm_kernel_mcp.host.others.known import aside

log = logging.getLogger(__name__)

BACKLOG: Final = 1024
"""Clients that may wait while the host has no time to look."""


class Seat:
    """A place, and the lock that says that it is taken; the kernel releases the lock when this process ends."""

    def __init__(self, place: Place, lock: int) -> None:
        self.place = place
        self._path = place.socket
        self._lock = lock
        self._bound: os.stat_result | None = None
        os.set_inheritable(lock, False)

    def take(self) -> socket.socket:
        """Listen at the place, where nobody else does: a socket that lies there is a dead host's.

        Raises:
            NoHost, OSError: the place is not ours alone.
        """
        check_directory(self.place.directory)
        with contextlib.suppress(FileNotFoundError):
            found = os.lstat(self._path)
            if not stat.S_ISSOCK(found.st_mode) or found.st_uid != os.getuid():
                raise NoHost(f"{self._path} is not a socket of this user")
            Path(self._path).unlink()
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        before = os.umask(0o177)
        try:
            listener.bind(self._path)
        finally:
            os.umask(before)
        listener.listen(BACKLOG)
        self._bound = os.lstat(self._path)
        return listener

    def step_aside(self) -> socket.socket:
        """Give the place to whichever host comes next, and listen where only other hosts and commands look.

        Raises:
            NoHost, OSError: as `take` does; then nobody finds this host any more.
        """
        self.leave()
        self.give_up()
        self._path = aside(self.place, self.place.version, os.getpid())
        return self.take()

    @property
    def is_locked(self) -> bool:
        """Whether the lock is still the place's: else a front may start another host there."""
        return self._lock >= 0 and _is(self.place.lock, os.fstat(self._lock))

    @property
    def is_found(self) -> bool:
        """Whether who connects comes to us: what cleans /tmp removes sockets too."""
        return self._bound is not None and _is(self._path, self._bound)

    def leave(self) -> None:
        """Let nobody find this host any more; who has found it is served."""
        if self.is_found:
            _remove(self._path)

    def give_up(self) -> None:
        """The lock's file goes before the lock does: a front that waited for it sees that it has to make another."""
        if self.is_locked:
            _remove(self.place.lock)
        if self._lock >= 0:
            os.close(self._lock)
        self._lock = -1


def _remove(path: str) -> None:
    """Where that fails nothing is wrong: a lock that nobody holds can be had, and at a dead socket nobody is found."""
    try:
        Path(path).unlink()
    except OSError as error:
        log.warning("%s could not be removed: %s", path, error.strerror)


def _is(path: str, known: os.stat_result) -> bool:
    try:
        return os.path.samestat(os.lstat(path), known)
    except OSError:
        return False
