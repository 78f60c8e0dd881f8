"""What is said comes out as it was said, and what nobody of ours says is refused."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlm_kernel_mcp import errors
from rlm_kernel_mcp.doors.wire import messages
from rlm_kernel_mcp.doors.wire.messages import (
    AT_ONCE_BYTES,
    HEAD_BYTES_MAX,
    LARGE_CHARS,
    arguments_of,
    call_of,
    said_at_once,
    unpacked,
)
from rlm_kernel_mcp.doors.wire.packets import BadMessage

pytestmark = pytest.mark.anyio
LONE = "\ud83d\ude00"


def kinds(kind: type[errors.RlmError]) -> Iterator[type[errors.RlmError]]:
    for one in kind.__subclasses__():
        if one.__module__ == errors.__name__:
            yield one
        yield from kinds(one)


class OnlyHere(errors.ContextTooLarge):
    """An error of some module, which says what it says in another way."""

    def __init__(self, count: int) -> None:
        super().__init__(f"{count:,} bytes are too many")


@pytest.mark.parametrize("text", ["short", LONE, LONE * LARGE_CHARS, "x" * LARGE_CHARS * 8])
async def test_arguments_are_at_the_other_end_what_they_were(text: str) -> None:
    arguments = {"session_id": "s_1", "code": text, "quotes": [{"text": text, "doc": None}], "timeout_ms": None}
    parts = [bytearray(part) for part in call_of(7, "run", arguments, tells=True)]
    said, texts = await unpacked(parts)
    assert arguments_of(said, texts) == arguments
    assert (said["id"], said["call"], said["tells"]) == (7, "run", True)


@pytest.mark.parametrize("kind", sorted(kinds(errors.RlmError), key=str))
async def test_an_error_is_raised_as_what_it_was(kind: type[errors.RlmError]) -> None:
    error = kind(f"what happened {LONE}", "what to do")
    if isinstance(error, errors.CitationMismatch):
        error = errors.CitationMismatch("wrong", "what to do", [{"id": "c1", "nearest": {"line": 3}}])
    said, _ = await unpacked([bytearray(part) for part in messages.packed({"error": messages.error_said(error)})])
    heard = messages.error_heard(said["error"])
    assert (type(heard), heard.code, heard.message) == (type(error), error.code, error.message)
    assert heard.next_step == "what to do"
    assert getattr(heard, "citations", None) == getattr(error, "citations", None)


async def test_an_error_of_one_module_is_what_stands_above_it_in_the_tree() -> None:
    heard = messages.error_heard(messages.error_said(OnlyHere(1_000)))
    assert (type(heard), heard.message) == (errors.ContextTooLarge, "1,000 bytes are too many")


async def test_an_error_of_a_later_kind_is_an_error_all_the_same() -> None:
    for kind in ("Exception", "Mapping", "later"):
        heard = messages.error_heard({"kind": kind, "message": "a", "next_step": "b"})
        assert type(heard) is errors.InternalError


@given(st.binary(max_size=100) | st.sampled_from([b"[" * 100_000, b"1" * 5_000, b"[]", b'{"a":', b"\xff", b"NaN"]))
async def test_any_head_is_read_or_refused(data: bytes) -> None:
    try:
        said, _ = await unpacked([bytearray(data)])
    except BadMessage:
        return
    assert isinstance(said, dict)


async def test_a_head_has_a_bound_of_its_own() -> None:
    """It is read at once, while nobody else is served."""
    with pytest.raises(BadMessage, match="4,194,304 bytes"):
        await unpacked([bytearray(HEAD_BYTES_MAX + 1)])


async def test_a_head_of_very_many_items_is_not_even_read_where_others_would_wait_for_it() -> None:
    """A thread would be of no use; a host's own answers are read whole."""
    head = bytearray(b'{"id": 1, "x": [' + b"[]," * 1_000 + b'"[[["]}')
    with pytest.raises(BadMessage, match="1,000 items"):
        await unpacked([head], 1_000)
    assert (await unpacked([head], 2_003))[0] == (await unpacked([head]))[0]


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"arguments": {}},
        {"arguments": [], "texts": {}},
        {"arguments": {}, "texts": None},
        {"arguments": {}, "texts": []},
        {"arguments": {}, "texts": {"code": 1}},
        {"arguments": {}, "texts": {"code": "0"}},
        {"arguments": {}, "texts": {"code": None}},
    ],
)
def test_what_is_no_call_is_refused(said: messages.Head) -> None:
    with pytest.raises(BadMessage, match="no call"):
        arguments_of(said, ["text"])


@pytest.mark.parametrize(
    "packet",
    [
        b'{"id":1,"out":"stdout","text":"\\"gave\\":"}',
        b'{"id":1,"gave":2,"text":"' + b"x" * AT_ONCE_BYTES + b'"}',
        b'{"id":1,"gave":2,' + b"[" * 10_000,
        b'["gave":]',
        b'[{"gave":1}]',
        b'{"id":1,"gave":\xff}',
        b"",
    ],
    ids=["elsewhere", "too-large", "too-deep", "broken", "no-object", "no-text", "nothing"],
)
def test_what_is_no_small_message_of_its_kind_is_read_in_its_turn(packet: bytes) -> None:
    """Where what is wrong with it ends the connection."""
    assert said_at_once(packet, b'"gave":') is None
    assert said_at_once(b'{"id":1,"gave":2,"text":"\\ud800"}', b'"gave":') == {"id": 1, "gave": 2, "text": "\ud800"}
