"""What passes on the way to a client with libzmq, and what does not, wherever the bytes are cut."""

from __future__ import annotations

import pytest

from rlm_kernel_mcp.kernel.untrusted.relayed.frames import (
    COMMAND,
    COMMAND_BYTES_MAX,
    LONG,
    MESSAGE_BYTES_MAX,
    MORE,
    PARTS_MAX,
    FrameWatch,
    NoMessage,
)
from rlm_kernel_mcp.kernel.untrusted.zmtp import GREETING

READY = bytes([COMMAND, 6]) + b"\x05READY"


def frame(size: int, flags: int = 0) -> bytes:
    head = bytes([flags, size]) if size <= 255 else bytes([flags | LONG]) + size.to_bytes(8, "big")
    return head + bytes(size)


def looked_at(data: bytes, cut: int, watch: FrameWatch | None = None) -> None:
    watch = watch or FrameWatch()
    for place in range(0, len(data), cut):
        watch.look(data[place : place + cut])


@pytest.mark.parametrize("cut", [1, 2, 3, 7, 63, 65, 10**6])
def test_messages_that_end_pass_however_many_there_are(cut: int) -> None:
    message = frame(0, MORE) + frame(255, MORE) + READY + frame(256, MORE) + frame(1_000)
    looked_at(GREETING + READY + message * 100, cut)


@pytest.mark.parametrize("cut", [997, 10**6])
@pytest.mark.parametrize(
    "bad",
    [
        frame(0, MORE) * (PARTS_MAX + 1),
        frame(1 << 17, MORE) * (MESSAGE_BYTES_MAX >> 17),
        bytes([LONG]) + (MESSAGE_BYTES_MAX + 1).to_bytes(8, "big"),
        bytes([LONG | MORE]) + b"\xff" * 8,
        bytes([LONG | COMMAND]) + (COMMAND_BYTES_MAX + 1).to_bytes(8, "big"),
        bytes([0x08, 0]),
    ],
    ids=["parts", "bytes", "large", "huge", "command", "flags"],
)
def test_a_message_past_the_bounds_does_not(bad: bytes, cut: int) -> None:
    watch = FrameWatch()
    watch.look(GREETING + READY + frame(10))
    with pytest.raises(NoMessage):
        looked_at(bad, cut, watch)


def test_it_is_known_before_the_body_has_come() -> None:
    watch = FrameWatch()
    watch.look(GREETING)
    with pytest.raises(NoMessage, match="8,388,608 bytes"):
        watch.look(bytes([LONG | MORE]) + (1 << 40).to_bytes(8, "big"))


@pytest.mark.parametrize(
    "greeting",
    [b"\x01\x00", b"\xff" + bytes(8) + b"\x00", GREETING[:10] + b"\x01", GREETING[:10] + b"\x02"],
    ids=["version 0", "version 1", "version 2", "none"],
)
@pytest.mark.parametrize("cut", [1, 100])
def test_earlier_versions_whose_frames_have_another_form_do_not_pass(greeting: bytes, cut: int) -> None:
    with pytest.raises(NoMessage):
        looked_at(greeting, cut)
