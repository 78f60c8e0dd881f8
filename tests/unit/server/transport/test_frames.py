"""Every line of stdin becomes a message or an answer, where there is a request to answer."""

from __future__ import annotations

import gc
import json
import math
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp.types import (
    INVALID_REQUEST,
    PARSE_ERROR,
    JSONRPCError,
    JSONRPCNotification,
    JSONRPCRequest,
    JSONRPCResponse,
)

from rlm_kernel_mcp.server.transport.frames import Frame, read_frame, refuse_long_line, write_frame
from rlm_kernel_mcp.server.transport.json_text import DEEPEST
from rlm_kernel_mcp.server.transport.lines import Line, frame_of


def call_with(value: bytes) -> Any:
    """The argument `a` as the server gets it when it is sent as the JSON `value`."""
    frame = read_frame(b'{"jsonrpc":"2.0","id":1,"method":"m","params":{"arguments":{"a":' + value + b"}}}")
    assert frame is not None
    assert isinstance(frame.message, JSONRPCRequest)
    assert frame.message.params is not None
    return frame.message.params["arguments"]["a"]


def answer_to(line: bytes) -> JSONRPCError:
    """The answer that goes straight back."""
    frame = read_frame(line)
    assert frame is not None
    assert frame.message is None
    assert frame.answer is not None
    return frame.answer


@pytest.mark.parametrize(
    ("value", "read"),
    [
        (b'"\\ud800"', "\ud800"),
        (b'"\xff"', "\udcff"),
        (b'"a\x00b"', "a\0b"),
        (b"1" * 5000, math.inf),
        (b"Infinity", math.inf),
        (b'"\xc3\xa9\\u00e9"', "éé"),
    ],
)
def test_what_the_sdk_drops_or_changes_reaches_the_tool(value: bytes, read: object) -> None:
    """A dropped line leaves its sender waiting for ever; a replaced byte would change the text in silence."""
    assert call_with(value) == read


@pytest.mark.parametrize("levels", [300, 5_000, 200_000])
def test_a_value_of_any_depth_reaches_the_tool_as_some_nested_value(levels: int) -> None:
    """Depth is refused by the tool, as a wrong type, and is not a way to make the reader fail."""
    value = call_with(b"[" * levels + b"]" * levels)
    for _ in range(DEEPEST - 5):
        (value,) = value


def test_a_byte_order_mark_before_a_message_is_passed_over() -> None:
    """Some tools of Windows begin what they write with one; JSON lets a reader do so."""
    frame = read_frame(b'\xef\xbb\xbf{"jsonrpc":"2.0","id":7,"method":"ping"}\r')
    assert frame is not None
    assert isinstance(frame.message, JSONRPCRequest)
    assert frame.message.id == 7
    assert read_frame(b"\xef\xbb\xbf") is None


def test_a_deep_value_leaves_its_neighbours_alone() -> None:
    """Only what lies too deep is replaced, by null."""
    deep = b'{"k":' * 3_000 + b'"]}"' + b"}" * 3_000
    value = call_with(b'[1,{"x":"a\\"]}b","deep":' + deep + b'},"end"]')
    assert value[0] == 1
    assert value[1]["x"] == 'a"]}b'
    assert value[2] == "end"


@pytest.mark.parametrize("line", [b"", b"  ", b"garbage", b"[1]", b"null", b"\xff\xfe", b'{"jsonrpc":"2.0"}'])
def test_a_line_with_no_request_id_is_passed_over(line: bytes) -> None:
    """There is nobody to answer."""
    assert read_frame(line) is None


@pytest.mark.parametrize(
    ("line", "request_id"),
    [
        (b'{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"x', 7),
        (b'{"x":{"id":3},"id": "ab", "y": tru}', "ab"),
        (b'{"s":"\\"id\\":1","id":-4,}', -4),
        (b'{"id":01}', 1),
        (b'{"id":"a\\u0062\\n","x":}', "ab\n"),
        (b'{"id":2.5,"x":}', 2.5),
    ],
)
def test_broken_json_is_answered_where_its_id_can_be_seen(line: bytes, request_id: int | str) -> None:
    """The id of the outermost object counts, and no other."""
    answer = answer_to(line)
    assert answer.id == request_id
    assert answer.error.code == PARSE_ERROR


@pytest.mark.parametrize(
    "line",
    [
        b'{"jsonrpc":"2.0","id":4,"method":"tools/call","params":[1]}',
        b'{"jsonrpc":"2.0","id":4,"method":5}',
        b'{"jsonrpc":"1.0","id":4,"method":"ping"}',
        b'{"id":4,"method":"ping"}',
    ],
)
def test_json_that_is_no_request_is_answered(line: bytes) -> None:
    """In words that say what a request needs."""
    answer = answer_to(line)
    assert (answer.id, answer.error.code) == (4, INVALID_REQUEST)
    assert '"jsonrpc": "2.0"' in answer.error.message


def test_a_request_whose_id_no_answer_can_carry_is_passed_over() -> None:
    """An id that is not Unicode cannot be written back."""
    assert read_frame(b'{"jsonrpc":"2.0","id":"\\ud800","method":"ping"}') is None


def test_a_line_that_is_too_long_is_answered_from_its_start() -> None:
    """Only the start of it was kept."""
    frame = refuse_long_line(b'{"jsonrpc":"2.0","id":9,"method":"tools/call","params":{"a":"xxx', 1_000)
    assert frame is not None
    assert frame.answer is not None
    assert frame.answer.id == 9
    assert "1,000 bytes" in frame.answer.error.message


@pytest.mark.parametrize(
    "line",
    [
        b'{"jsonrpc":"2.0","id":7,"method":"ping","params":{"x":[LISTS]}}',
        b'{"method":"ping","params":{"x":[LISTS]},"jsonrpc":"2.0","id":7}',
    ],
    ids=["id first", "id last"],
)
def test_a_line_of_very_many_items_is_answered_and_not_read(line: bytes) -> None:
    """A thread would be of no use: nobody else is served while a million lists are read."""
    crowded = bytearray(line.replace(b"LISTS", b"[]," * 200_000 + b"1"))
    frame = frame_of(Line(crowded, len(crowded)))
    assert frame is not None
    assert frame.answer is not None
    assert (frame.answer.id, frame.answer.error.code) == (7, INVALID_REQUEST)
    assert "300,000 items" in frame.answer.error.message
    table = bytearray(line.replace(b"[LISTS]", json.dumps(',[{"' * 200_000).encode()))
    frame = frame_of(Line(table, len(table)))
    assert frame is not None
    assert isinstance(frame.message, JSONRPCRequest)


def test_an_answer_that_is_no_unicode_becomes_an_error_answer() -> None:
    """The client is answered in any case; what could not be said stands in the log."""
    line = write_frame(JSONRPCResponse(jsonrpc="2.0", id=3, result={"a": "\ud800"}))
    body = json.loads(line)
    assert body["id"] == 3
    assert "could not be written" in body["error"]["message"]
    assert write_frame(JSONRPCNotification(jsonrpc="2.0", method="m", params={"a": "\ud800"})) == b""


@pytest.mark.parametrize(
    "line",
    [b'{"id":\xd9\xa1,}', b'{"id":"\\ud800",}', b'{"id":"\\u12",}', b'{"id":' + b"1" * 30 + b",}", b'{"id":1e5,}'],
    ids=["Arabic digit", "half a pair", "half an escape", "too long", "exponent"],
)
def test_an_id_that_cannot_be_read_in_broken_json_answers_nobody(line: bytes) -> None:
    """And is not an error."""
    assert read_frame(line) is None


@pytest.mark.parametrize(
    "unit", [b'\\"', b'"', b'"id" ', b'"id":1', b"[]", b'{"a":', b"[", b"\\", b'"\\', b"  ", b"1"], ids=ascii
)
@pytest.mark.parametrize("head", [b"", b"{", b'{"a":"', b"[" * 2_000])
def test_the_cost_of_a_line_grows_no_faster_than_its_length(unit: bytes, head: bytes) -> None:
    """Ten times the line, less than thirty times the processor time: by squares it would be a hundred."""
    short, long = (_processor_time(head + unit * (length // len(unit))) for length in (50_000, 500_000))
    assert long < 30 * max(short, 0.001)


def test_a_reader_whose_cost_grows_by_squares_would_be_seen() -> None:
    """The control: one that goes through the rest of the line at each character."""

    def read(line: bytes) -> None:
        for position in range(len(line)):
            line[position:].count(b"x")

    short, long = (_processor_time(b"x" * length, read) for length in (2_000, 20_000))
    assert long > 30 * short


def _processor_time(line: bytes, read: Callable[[bytes], object] = read_frame) -> float:
    """Without collections of garbage, which go through whatever all tests before this one have made."""
    gc.disable()
    try:
        begin = time.thread_time()
        read(line)
        return time.thread_time() - begin
    finally:
        gc.enable()


@given(st.binary(max_size=200))
def test_no_line_whatever_stops_the_reader(line: bytes) -> None:
    """The result is a frame or nothing."""
    assert read_frame(line) is None or isinstance(read_frame(line), Frame)


@given(
    st.dictionaries(
        st.sampled_from(["jsonrpc", "id", "method", "params", "result", "error"]),
        st.none() | st.integers() | st.text(st.characters(), max_size=5) | st.just("2.0") | st.just({}) | st.just([]),
    )
)
def test_no_json_object_whatever_stops_the_reader_or_the_writer(body: dict[str, Any]) -> None:
    """What is answered can be written."""
    frame = read_frame(json.dumps(body).encode())
    if frame is not None and frame.answer is not None:
        assert write_frame(frame.answer)
