"""A client's ends of the wire as this process has them: on none of them does a call ever wait.

Is: own descriptors, and one read or write of what can be had at once. A flag of the client's is never changed:
`O_NONBLOCK` belongs to the open file, which its other processes share. A pipe or a terminal is opened a second time, a
socket and a device are asked at each call, and a regular file does not wait. Is not: lines (`reader.py`, `writer.py`).
Above: `reader.py`, `writer.py`. Below: the operating system.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import stat
from typing import Final

READ_BYTES: Final = 1 << 16
"""As much as a pipe holds. A larger buffer would be mapped, and given back, for each line."""
_AT_ONCE: Final = socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL


class End:
    """One descriptor of our own, over the same pipe, socket, terminal or file as the one that was given."""

    def __init__(self, descriptor: int, flags: int, ready: int) -> None:
        mode = os.fstat(descriptor).st_mode
        self._poll: select.poll | None = None
        self._socket: socket.socket | None = None
        is_terminal = os.isatty(descriptor)
        self._room = 1 if is_terminal else select.PIPE_BUF
        if stat.S_ISSOCK(mode):
            self.number = os.dup(descriptor)
            self._socket = socket.socket(fileno=self.number)
        elif stat.S_ISREG(mode) or stat.S_ISDIR(mode):
            self.number = os.dup(descriptor)
        elif stat.S_ISFIFO(mode) or is_terminal:
            self.number = self._opened(descriptor, flags, ready)
        else:
            self.number = self._asked_first(descriptor, ready)

    def close(self) -> None:
        """Give the descriptor back; the client's own is as it was.

        It does not wait, as a close may whose data is not out yet: whoever gave the descriptor has that still, and so
        the last close is theirs (of a host's client, `host/entry/closing.py`).
        """
        if self._socket is not None:
            self._socket.close()
        else:
            os.close(self.number)

    def _opened(self, descriptor: int, flags: int, ready: int) -> int:
        with contextlib.suppress(OSError):
            return os.open(f"/proc/self/fd/{descriptor}", flags | os.O_NONBLOCK | os.O_NOCTTY)
        return self._asked_first(descriptor, ready)  # another user's pipe

    def _asked_first(self, descriptor: int, ready: int) -> int:
        """What cannot be opened again, or does something else when it is, as many a device (a virtio port, a tape).

        It is asked before each call, which is exact as long as nobody else reads, or writes, at the same end. Room is
        that for one byte in a terminal, for `PIPE_BUF` in a pipe, and for a buffer in a device.
        """
        self._poll = select.poll()
        own = os.dup(descriptor)
        self._poll.register(own, ready)
        return own

    def _ask(self) -> None:
        if self._poll is not None and not self._poll.poll(0):
            raise BlockingIOError


class Source(End):
    """What is read from."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor, os.O_RDONLY, select.POLLIN)

    def read(self) -> bytes:
        """What is there now, at most `READ_BYTES`; nothing at the end.

        Raises:
            BlockingIOError: nothing has come yet.
        """
        if self._socket is not None:
            return self._socket.recv(READ_BYTES, _AT_ONCE)
        self._ask()
        return os.read(self.number, READ_BYTES)

    def read_into(self, room: memoryview) -> int:
        """As `read`, into this room, which only the operating system looks at; returns how many bytes."""
        if self._socket is not None:
            return self._socket.recv_into(room, flags=_AT_ONCE)
        self._ask()
        return os.readv(self.number, [room])


class Sink(End):
    """What is written to."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor, os.O_WRONLY, select.POLLOUT)

    def write(self, data: memoryview) -> int:
        """Write what there is room for now; returns how many bytes.

        Raises:
            BlockingIOError: there is no room.
        """
        if self._socket is not None:
            return self._socket.send(data, _AT_ONCE)
        self._ask()
        return os.write(self.number, data if self._poll is None else data[: self._room])
