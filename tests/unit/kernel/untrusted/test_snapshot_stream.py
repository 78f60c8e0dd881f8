"""The kernel's stream is read by someone who trusts no byte of it."""

from __future__ import annotations

import itertools
import json
import os
import struct
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlm_kernel_mcp.kernel.untrusted.snapshot_stream import (
    Event,
    NameBegins,
    StreamBroken,
    StreamDecoder,
    StreamLimits,
    ValueBytes,
    ValueEnds,
    decoded,
)
from rlm_kernel_mcp.wire import SNAPSHOT_ABORTED, SNAPSHOT_NAMES_MAX

LIMITS = StreamLimits(name_bytes=1_000_000, total_bytes=2_000_000)


def head(name: str, kind: str = "int") -> bytes:
    return b"N " + json.dumps({"name": name, "type": kind}).encode() + b"\n"


def chunk(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


END = struct.pack(">I", 0)
GIVEN_UP = struct.pack(">I", SNAPSHOT_ABORTED)


def read(blocks: Iterable[bytes]) -> list[tuple[str, str, bytes | None]]:
    """Every name of a stream with its type, and its bytes or None where it was given up."""
    return told(decoded(blocks, LIMITS))


def told(events: Iterable[Event]) -> list[tuple[str, str, bytes | None]]:
    found: list[tuple[str, str, bytes | None]] = []
    name, kind, value = "", "", bytearray()
    for event in events:
        match event:
            case NameBegins():
                name, kind, value = event.name, event.type, bytearray()
            case ValueBytes():
                value += event.data
            case ValueEnds():
                found.append((name, kind, bytes(value) if event.whole else None))
    return found


def cut(stream: bytes, size: int) -> list[bytes]:
    return [stream[start : start + size] for start in range(0, len(stream), size)]


def test_values_come_as_they_were_sent() -> None:
    """In one chunk or many, of any size, with names of any alphabet; a value that was given up is told as that."""
    big = os.urandom(900_000)
    stream = (
        head("a")
        + chunk(b"1")
        + END
        + head("größe", "str")
        + chunk(big[:7])
        + chunk(big[7:500_000])
        + chunk(big[500_000:])
        + END
        + head("half")
        + chunk(b"begun")
        + GIVEN_UP
        + head("empty")
        + END
    )
    for blocks in ([stream], cut(stream, 65_536), cut(stream, 3)):
        assert read(blocks) == [("a", "int", b"1"), ("größe", "str", big), ("half", "int", None), ("empty", "int", b"")]


def test_an_empty_stream_has_no_names() -> None:
    """Nothing changed in the step."""
    assert read([]) == []
    assert read([b""]) == []


@pytest.mark.parametrize(
    ("stream", "why"),
    [
        (b"garbage\n", "no[t]? JSON|not JSON"),
        (b"\x00" * 100_000, "does not end"),
        (b"N {}\n", "another shape"),
        (b"N []\n", "another shape"),
        (b"N 5\n", "another shape"),
        (b'X {"name": "a", "type": "b"}\n', "not JSON"),
        (b'{"name": "a", "type": "b"}\n', "another shape"),
        (b'N {"name": 5, "type": "b"}\n', "another shape"),
        (b'N {"name": "a", "type": null}\n', "another shape"),
        (b"N " + b"[" * 8_000 + b"\n", "not JSON"),
        (head("n" * 201), "201 characters"),
        (b"N " + b" " * 10_000, "head does not end"),
        (b"N " + b" " * 10_000 + b"\n", "head does not end"),
        (head("a")[:-1], "ends within a head"),
        (head("a"), "ends within a value"),
        (head("a") + b"\x00\x00", "ends within a value"),
        (head("a") + chunk(b"12345")[:-2], "ends within a value"),
        (head("a") + chunk(b"12345"), "ends within a value"),
        (head("a") + struct.pack(">I", 1_000_001), "1,000,000 bytes of one name"),
        (head("a") + chunk(b"x" * 600_000) * 2, "1,000,000 bytes of one name"),
        ((head("a") + chunk(b"x" * 900_000) + END) * 3, "2,000,000 bytes"),
        ((head("a") + chunk(b"x" * 900_000) + GIVEN_UP) * 3, "2,000,000 bytes"),
        ((head("a") + END) * (SNAPSHOT_NAMES_MAX + 1), "5,000 names"),
        ((head("a") + GIVEN_UP) * (SNAPSHOT_NAMES_MAX + 1), "5,000 names"),
    ],
)
def test_what_breaks_the_format_or_a_cap_ends_the_reading(stream: bytes, why: str) -> None:
    """At once, with the reason; nothing is held that the caps do not allow. In whatever blocks it comes."""
    for blocks in ([stream], cut(stream, 262_144), cut(stream, 1_000)):
        with pytest.raises(StreamBroken, match=why):
            read(blocks)


names = st.text(max_size=6)
chunks = st.lists(st.binary(min_size=1, max_size=9), max_size=4)
streams = st.lists(st.tuples(names, chunks, st.sampled_from([END, GIVEN_UP])), max_size=5).map(
    lambda rows: b"".join(head(name) + b"".join(map(chunk, data)) + end for name, data, end in rows)
)


@given(streams | st.binary(max_size=60), st.integers(0, 40), st.lists(st.integers(1, 9), min_size=1))
def test_however_a_stream_is_cut_it_says_the_same(stream: bytes, missing: int, sizes: list[int]) -> None:
    """Also one that is garbage or ends too early: the same names and values, or the same reason."""
    stream = stream[: max(0, len(stream) - missing)]
    ends = itertools.accumulate(itertools.islice(itertools.cycle(sizes), len(stream) + 1))
    places = [0, *itertools.takewhile(lambda end: end < len(stream), ends), len(stream)]
    assert outcome([stream[one:other] for one, other in itertools.pairwise(places)]) == outcome([stream])


def outcome(blocks: Iterable[bytes]) -> object:
    try:
        return read(blocks)
    except StreamBroken as error:
        return str(error)


def test_tiny_chunks_make_no_events_of_their_own() -> None:
    """A kernel that sends its bytes one by one costs the host no object for each."""
    events = StreamDecoder(LIMITS).feed(head("a") + chunk(b"x") * 50_000 + END)
    assert events == [NameBegins("a", "int"), ValueBytes(b"x" * 50_000), ValueEnds(whole=True)]


def test_a_decoder_holds_no_more_than_a_head() -> None:
    """What it was fed of a value is with whoever fed it."""
    decoder = StreamDecoder(LIMITS)
    decoder.feed(head("a") + struct.pack(">I", 1_000_000))
    for _ in range(9):
        assert decoder.feed(b"x" * 100_000) == [ValueBytes(b"x" * 100_000)]
        assert not decoder._buffer


def test_a_long_type_is_cut() -> None:
    """It is shown to nobody whole, and stands in the index."""
    ((_, kind, _),) = read([head("a", "t" * 5_000) + END])
    assert kind == "t" * 200
