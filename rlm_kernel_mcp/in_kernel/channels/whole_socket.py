"""A socket that sends a message whole or not at all, also while user code has taken all memory.

libzmq takes a message part by part, and each part takes memory: a message that was broken off would be the beginning of
the next one, and the host ends a kernel that sends something malformed. Is not: a wall. Above:
`in_kernel/ipython/app.py`. Below: pyzmq.
"""

from __future__ import annotations

import errno
import itertools
import time
from collections.abc import Sequence
from typing import Any, Final

import zmq

MORE: Final = int(zmq.SNDMORE)
LOOK_S: Final = 0.002
LOOKS: Final = 30_000
"""How often a message that has begun tries again for memory, which makes a minute: user code may hold it until its step
ends."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether Python or libzmq was out of memory."""
    return isinstance(error, MemoryError) or (isinstance(error, zmq.ZMQError) and error.errno == errno.ENOMEM)


class WholeSocket(zmq.Socket[Any]):
    """The class of a kernel's sockets."""

    def send_multipart(
        self,
        msg_parts: Sequence[Any],
        flags: int = 0,
        copy: bool = True,
        track: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Send a message; an error that is raised was raised before any of it was sent.

        A message that has begun and gets no memory ends with empty parts: the host reads one malformed message, says
        so, and the next one is whole.

        Raises:
            TypeError: a part is neither bytes nor a frame.
            zmq.ZMQError: as `zmq.Socket.send_multipart`, ENOMEM among them.
            MemoryError: Python had none.
        """
        for part in msg_parts:
            if not isinstance(part, (bytes, zmq.Frame)):
                memoryview(part)
        # All that the loop needs is made before the first part is sent: then there may be no memory for a number.
        alone, more = int(flags), int(flags) | MORE
        rest = [(part, more) for part in msg_parts[1:-1]] + [(part, alone) for part in msg_parts[1:][-1:]]
        looks = itertools.repeat(None, LOOKS)
        sent = self.send(msg_parts[0], more if rest else alone, copy, track, **kwargs)
        for part, how in rest:
            for _ in looks:
                try:
                    sent = self.send(part, how, copy, track, **kwargs)
                    break
                except (MemoryError, zmq.ZMQError) as error:
                    if not is_out_of_memory(error):
                        raise
                time.sleep(LOOK_S)
            else:
                sent = self.send(b"", how, copy, track, **kwargs)
        return sent
