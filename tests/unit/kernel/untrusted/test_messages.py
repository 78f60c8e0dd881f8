"""Jupyter messages: ours are signed, a kernel's are checked."""

from __future__ import annotations

import hashlib
import hmac
import json
import tracemalloc

import pytest

from rlm_kernel_mcp.kernel.untrusted import messages
from rlm_kernel_mcp.kernel.untrusted.messages import CONTENT_BYTES_MAX, BadMessage, Codec, parse
from rlm_kernel_mcp.wire import DELIMITER


def _frames(content: bytes = b"{}", header: bytes = b'{"msg_type": "status"}', parent: bytes = b"{}") -> list[bytes]:
    return [b"topic", DELIMITER, b"signature", header, parent, b"{}", content]


def test_a_request_is_signed_as_the_protocol_says() -> None:
    """HMAC-SHA256 over the four dicts (Jupyter messaging 5.5, the wire protocol)."""
    msg_id, frames = Codec(b"key").build("execute_request", {"code": "1"}, [b"buffer"])
    assert frames[0] == DELIMITER
    expected = hmac.new(b"key", b"".join(frames[2:6]), hashlib.sha256).hexdigest()
    assert frames[1].decode() == expected
    assert json.loads(frames[2])["msg_id"] == msg_id
    assert frames[6:] == [b"buffer"]


def test_two_requests_have_different_ids() -> None:
    """Replies are told apart by them."""
    codec = Codec(b"key")
    assert codec.build("a", {})[0] != codec.build("a", {})[0]


def test_a_message_is_parsed_with_its_parent_and_buffers() -> None:
    """The parts that the client goes by."""
    message = parse([*_frames(b'{"text": "x"}', parent=b'{"msg_id": "m", "session": "s"}'), b"one", b"two"])
    assert (message.msg_type, message.parent_id, message.parent_session) == ("status", "m", "s")
    assert message.content == {"text": "x"}
    assert message.buffers == (b"one", b"two")


@pytest.mark.parametrize(
    "frames",
    [
        [],
        [b"no delimiter"],
        [DELIMITER],
        _frames()[:-1],
        _frames(b"[]"),
        _frames(b"not json"),
        _frames(b"[" * 100_000),
        _frames(b'{"n": ' + b"9" * 5_000 + b"}"),
        _frames(b'{"x": "\xff"}'),
        _frames(b" " * (CONTENT_BYTES_MAX + 1)),
        _frames(header=b" " * 100_000),
    ],
    ids=str,
)
def test_what_is_no_message_is_refused_whole(frames: list[bytes]) -> None:
    """Values that break a parser rather than a format included: depth, digits, encoding, size."""
    with pytest.raises(BadMessage):
        parse(frames)


def test_ids_that_are_no_short_text_name_no_parent() -> None:
    """A parent id of another type cannot be looked up as one."""
    message = parse(_frames(parent=json.dumps({"msg_id": ["m"], "session": "s" * 1_000}).encode()))
    assert (message.parent_id, message.parent_session) == ("", "")


@pytest.mark.parametrize("item", [b"[]", b"0", b'{"":0}', b'"x"'])
def test_more_small_items_than_memory_is_given_to_are_refused(item: bytes) -> None:
    """3 MB of them would take some 70 MB once they are parsed."""
    with pytest.raises(BadMessage, match="100,000 items"):
        parse(_frames(b'{"x": [' + b",".join([item] * (1_500_000 // len(item))) + b"]}"))


@pytest.mark.parametrize("size", [330_000, 100_000, 50_100])
def test_small_items_are_counted_however_small_their_text(size: int) -> None:
    """Below 1 MB too; what stands in strings is text."""
    items = b"[]," * size + b'"' + b",[{" * 10 + b'"'
    with pytest.raises(BadMessage, match="100,000 items"):
        parse(_frames(b'{"x": [' + items + b"]}"))


@pytest.mark.parametrize(
    "text", [b'"' + b'\\"' * 1_400_000, b'"' * 1_000_001, b',"' * 900_000, b'"' + b"\\" * 1_500_001]
)
def test_strings_that_do_not_end_are_gone_through_once(text: bytes) -> None:
    """Each quote could be the beginning of one; it would take minutes to try them all."""
    with pytest.raises(BadMessage):
        parse(_frames(b"{" + b"," * 150_000 + text))


def test_the_parsing_of_what_is_admitted_stays_within_bounds() -> None:
    """The worst that is let through."""
    text = b'{"x": [' + b"[]," * 49_900 + b"[]]}"
    tracemalloc.start()
    try:
        parse(_frames(text))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 35_000_000


@pytest.mark.slow
def test_without_the_limit_of_items_the_parsing_would_pass_these_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: what is refused takes more than what is let through may."""
    monkeypatch.setattr(messages, "LARGE_JSON_ITEMS", 10_000_000)
    tracemalloc.start()
    try:
        parse(_frames(b'{"x": [' + b"[]," * 700_000 + b"[]]}"))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak > 35_000_000


def test_a_long_table_is_no_crowd_of_items() -> None:
    """A text of commas that was printed or shown, at the kernel's own limit."""
    text = ",[{" * 130_000
    assert parse(_frames(json.dumps({"text": text}).encode())).content == {"text": text}
