"""A value that has no room in the snapshots is refused before it is copied: a copy of a gigabyte holds the kernel."""

from __future__ import annotations

import io
import tracemalloc
from collections.abc import Callable
from typing import Any, Final

import pytest

from rlm_kernel_mcp.in_kernel.snapshots import values
from rlm_kernel_mcp.in_kernel.snapshots.instance_reducers import Causes
from rlm_kernel_mcp.in_kernel.snapshots.pickling import read_value
from rlm_kernel_mcp.in_kernel.snapshots.values import write_value
from rlm_kernel_mcp.in_kernel.snapshots.writer import TooLarge

MB: Final = 1 << 20
LARGE: Final = "x" * (32 * MB)


class Holder:
    """A value of a class, with a field."""

    def __init__(self, field: object) -> None:
        self.field = field


@pytest.mark.parametrize(
    "made",
    [
        lambda: LARGE,
        LARGE.encode,
        lambda: bytearray(32 * MB),
        lambda: [LARGE],
        lambda: {"a": (1, LARGE.encode())},
        lambda: Holder([LARGE]),
        lambda: [bytearray(LARGE, "ascii")],
    ],
    ids=["str", "bytes", "bytearray", "in a list", "in a dict", "in an object", "bytearray in a list"],
)
def test_no_copy_is_made_of_what_is_too_large(made: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it stands in."""
    monkeypatch.setattr(values, "WATCHED_FROM_KB", 0)
    value = made()
    tracemalloc.start()
    try:
        with pytest.raises(TooLarge):
            write_value(value, io.BytesIO(), Causes(), MB)
        assert tracemalloc.get_traced_memory()[1] < MB
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("from_kb", [0, 1 << 40])
def test_what_has_room_is_kept_watched_or_not(from_kb: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit is of each text by itself; the sum is the writer's."""
    monkeypatch.setattr(values, "WATCHED_FROM_KB", from_kb)
    kept: Any = [LARGE[:MB], {"b": LARGE[:MB].encode()}, bytearray(MB), 7]
    file = io.BytesIO()
    write_value(kept, file, Causes(), MB)
    file.seek(0)
    assert read_value(file) == kept
