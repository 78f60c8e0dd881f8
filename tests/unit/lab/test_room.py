"""How much of a kernel's output a page is sent."""

from __future__ import annotations

from rlm_kernel_mcp.lab.room import BYTES, BYTES_A_S, MESSAGES, MESSAGES_A_S, Room


def test_so_many_bytes_at_once_and_more_with_time() -> None:
    room = Room(0.0)
    assert room.takes(BYTES, 0.0)
    assert not room.takes(1_000, 0.0)
    assert room.takes(1_000, 1_000 / BYTES_A_S + 0.001)
    assert not room.takes(BYTES + 1, 1e9)


def test_so_many_messages_at_once_and_more_with_time() -> None:
    room = Room(5.0)
    assert all(room.takes(1, 5.0) for _ in range(MESSAGES))
    assert not room.takes(1, 5.0)
    assert not room.takes(1, 4.0)
    assert room.takes(1, 5.0 + 1.5 / MESSAGES_A_S)


def test_the_page_is_told_once_how_many_were_left_out() -> None:
    room = Room(0.0)
    assert room.notice() is None
    for _ in range(1_234):
        assert not room.takes(BYTES + 1, 0.0)
    told = room.notice()
    assert told is not None
    assert told.startswith("1,234 messages")
    assert room.notice() is None
