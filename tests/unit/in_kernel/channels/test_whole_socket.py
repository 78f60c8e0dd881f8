"""A message is sent whole or not at all, whichever of its parts finds no memory."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import Any, Final

import pytest
import zmq

from rlm_kernel_mcp.in_kernel.channels import whole_socket
from rlm_kernel_mcp.in_kernel.channels.whole_socket import WholeSocket

PARTS: Final = [b"first", b"second" * 20, b"third" * 20, b"last" * 20]
NEXT: Final = [b"of the next", b"message"]
NO_MEMORY: Final = (MemoryError(), zmq.ZMQError(errno.ENOMEM))


class ShortOfMemory(WholeSocket):
    """Finds no memory for some of what it is given to send."""

    refused: dict[bytes, int]
    error: Exception

    def send(self, data: Any, *args: Any, **kwargs: Any) -> Any:
        """Send a part, or raise as often as it is to be refused."""
        if self.refused.get(data, 0) > 0:
            self.refused[data] -= 1
            raise self.error
        return super().send(data, *args, **kwargs)


@pytest.fixture
def ends() -> Iterator[tuple[ShortOfMemory, zmq.Socket[bytes]]]:
    """A socket that sends, and the one that hears it."""
    with zmq.Context() as context, ShortOfMemory(context, zmq.PAIR) as sender, context.socket(zmq.PAIR) as hearer:
        sender.refused, sender.error = {}, MemoryError()
        sender.bind("inproc://whole")
        hearer.connect("inproc://whole")
        hearer.rcvtimeo = 20_000
        yield sender, hearer


@pytest.mark.parametrize("error", NO_MEMORY, ids=["Python's", "libzmq's"])
@pytest.mark.parametrize("place", range(1, len(PARTS)))
def test_a_part_waits_for_memory_once_the_message_has_begun(
    ends: tuple[ShortOfMemory, zmq.Socket[bytes]], place: int, error: Exception
) -> None:
    sender, hearer = ends
    sender.error, sender.refused = error, {PARTS[place]: 3}
    sender.send_multipart(PARTS)
    sender.send_multipart(NEXT)
    assert [hearer.recv_multipart(), hearer.recv_multipart()] == [PARTS, NEXT]


def test_nothing_is_sent_of_a_message_whose_first_part_finds_no_memory(
    ends: tuple[ShortOfMemory, zmq.Socket[bytes]],
) -> None:
    sender, hearer = ends
    sender.refused = {PARTS[0]: 1}
    with pytest.raises(MemoryError):
        sender.send_multipart(PARTS)
    sender.send_multipart(NEXT)
    assert hearer.recv_multipart() == NEXT


def test_nothing_is_sent_of_a_message_with_a_part_that_cannot_be_sent(
    ends: tuple[ShortOfMemory, zmq.Socket[bytes]],
) -> None:
    sender, hearer = ends
    with pytest.raises(TypeError):
        sender.send_multipart([b"first", "text"])
    sender.send_multipart(NEXT)
    assert hearer.recv_multipart() == NEXT


def test_a_message_ends_with_empty_parts_where_no_memory_comes(
    ends: tuple[ShortOfMemory, zmq.Socket[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that the message after it is whole; the host says of this one that it is none."""
    monkeypatch.setattr(whole_socket, "LOOKS", 3)
    sender, hearer = ends
    sender.refused = {PARTS[2]: 1_000_000}
    sender.send_multipart(PARTS)
    sender.send_multipart(NEXT)
    assert [hearer.recv_multipart(), hearer.recv_multipart()] == [[*PARTS[:2], b"", b""], NEXT]
