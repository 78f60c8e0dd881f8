"""Folding a kernel's messages into a reply: every field is checked and bounded."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlm_kernel_mcp.kernel.untrusted.messages import Message
from rlm_kernel_mcp.kernel.untrusted.reply import RESULT_CHARS_MAX, STREAM_CHARS_MAX, UPDATED_MAX, Reply
from rlm_kernel_mcp.kernel.untrusted.shown.displays import RESULT
from tests.unit.kernel.untrusted.shown.drawn import base64_of, png


def _feed(*messages: tuple[str, dict[str, Any]]) -> Reply:
    reply = Reply("m")
    for msg_type, content in messages:
        reply.feed(Message(msg_type, "m", "s", content, ()))
    return reply


def test_a_reply_is_complete_when_both_the_reply_and_idle_have_come() -> None:
    """The two sockets say nothing of each other's order."""
    idle = ("status", {"execution_state": "idle"})
    done = ("execute_reply", {"status": "ok"})
    assert not _feed(idle).complete
    assert not _feed(done).complete
    assert _feed(idle, done).complete
    assert _feed(done, idle).complete


def test_a_reply_that_says_that_nothing_follows_is_complete_with_the_result_in_it() -> None:
    """And only then: what else stands there is a kernel's word like any other."""
    reply = _feed(("execute_reply", {"status": "ok", "rlm": {"ends": True, "result": "2"}}))
    assert (reply.complete, reply.result) == (True, "2")
    assert _feed(("execute_reply", {"status": "ok", "rlm": {"ends": True}})).result is None
    assert _feed(("execute_reply", {"status": "ok", "rlm": {"ends": True, "result": ["2"]}})).result is None
    long = _feed(("execute_reply", {"status": "ok", "rlm": {"ends": True, "result": "2" * 2_500_000}})).result
    assert long == "2" * RESULT_CHARS_MAX
    for word in ("true", 1, None, False):
        unsaid = _feed(("execute_reply", {"status": "ok", "rlm": {"ends": word, "result": "2"}}))
        assert (unsaid.complete, unsaid.result) == (False, None)


def test_streams_are_joined_in_order_and_told_apart() -> None:
    """stdout and stderr each keep their own order."""
    reply = _feed(
        ("stream", {"name": "stdout", "text": "a"}),
        ("stream", {"name": "stderr", "text": "b"}),
        ("stream", {"name": "stdout", "text": "c"}),
    )
    assert (reply.stdout.text(), reply.stderr.text()) == ("ac", "b")


def test_a_stream_past_the_limit_is_cut_and_counted() -> None:
    """A kernel that ignores its own budget cannot fill the host."""
    reply = _feed(*[("stream", {"name": "stdout", "text": "x" * 3_000_000})] * 4)
    assert reply.stdout.chars == STREAM_CHARS_MAX
    assert reply.stdout.dropped == 12_000_000 - STREAM_CHARS_MAX


def test_the_reply_tells_what_the_step_bound() -> None:
    """Rows of another shape are left out, and there is a most."""
    rows = [["x", "int", None], ["y", "list", 3], ["bad"], [1, "int", 2], ["z", "int", -1]]
    reply = _feed(("execute_reply", {"status": "ok", "rlm": {"updated": rows}}))
    assert reply.updated == [("x", "int", None), ("y", "list", 3), ("z", "int", None)]
    many = _feed(("execute_reply", {"status": "ok", "rlm": {"updated": [["x", "int", 1]] * 10_000}}))
    assert len(many.updated) == UPDATED_MAX


def test_what_is_displayed_comes_from_displays_and_from_the_result() -> None:
    """A display that is changed later is kept as it was first."""
    good, beside = base64_of(png()), {"rlm": {"kept": {"text/html": "<b>"}}}
    shown = {"data": {"image/png": good, "image/jpeg": good, "text/html": "<script>"}, **beside}
    reply = _feed(("display_data", shown), ("update_display_data", shown), ("execute_result", shown))
    assert [(one.mime_type, one.data, one.place) for one in reply.displays.kept] == [
        ("image/png", good, 1),
        ("text/html", "<b>", 1),
        ("image/png", good, RESULT),
        ("text/html", "<b>", RESULT),
    ]
    assert reply.displays.left_out == {"no_picture": 2}
    assert _feed(("execute_result", {"data": [], **beside})).displays.kept == []


def test_an_error_is_taken_from_iopub_or_from_the_reply() -> None:
    """An interrupt's race can lose one of the two."""
    content = {"status": "error", "ename": "ValueError", "evalue": "x", "traceback": ["a", "b"]}
    for message in (("error", content), ("execute_reply", content)):
        reply = _feed(message)
        assert (reply.ename, reply.evalue, reply.traceback) == ("ValueError", "x", "a\nb")


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
_types = ["stream", "execute_input", "execute_result", "display_data", "error", "status", "execute_reply", "comm_msg"]
_keys = st.sampled_from(
    [
        "text",
        "name",
        "data",
        "ename",
        "evalue",
        "traceback",
        "status",
        "execution_state",
        "rlm",
        "code",
        "execution_count",
    ]
)


@given(st.lists(st.tuples(st.sampled_from(_types), st.dictionaries(_keys, _json, max_size=6)), max_size=12))
def test_no_message_of_any_shape_raises(messages: list[tuple[str, dict[str, Any]]]) -> None:
    """Whatever a kernel says, folding ends with text, counts and known words."""
    reply = _feed(*messages)
    assert isinstance(reply.stdout.text(), str)
    assert reply.status in (None, "ok", "error", "aborted")
    assert reply.result is None or isinstance(reply.result, str)
    assert all(isinstance(size, int | None) for _, _, size in reply.updated)


@pytest.mark.parametrize("state", ["busy", "starting", None, 1])
def test_only_idle_is_idle(state: object) -> None:
    """A status of any other kind does not end a step."""
    assert not _feed(("status", {"execution_state": state})).idle


def test_many_small_pieces_of_output_take_the_room_of_their_characters() -> None:
    """A piece of two characters takes some fifty bytes by itself."""
    reply = Reply("m")
    tracemalloc.start()
    try:
        for number in range(60_000):
            reply.feed(Message("stream", "m", "s", {"name": "stdout", "text": f"{number % 90 + 10}"}, ()))
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 500_000
    assert reply.stdout.chars == len(reply.stdout.text()) == 120_000
