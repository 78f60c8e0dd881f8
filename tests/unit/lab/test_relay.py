"""Between a page and a kernel: what may go in, and under which headers what comes out."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest

from rlm_kernel_mcp.kernel.untrusted.messages import BadMessage
from rlm_kernel_mcp.lab.relay import CELL, PageMessage, Relay, has_too_many_parts, state_said
from rlm_kernel_mcp.wire import DELIMITER

ASKED: Final = {"msg_id": "m1", "msg_type": CELL, "session": "page", "username": "u", "date": "2026-11-30"}


def frames(kind: str, content: object, parent: object = ASKED, **header: Any) -> list[bytes]:
    """A message as a kernel sends it: a topic, and a signature that nobody checks."""
    parts = ({"msg_type": kind, "msg_id": "k1", "session": "kernel", **header}, parent, {"trusted": True}, content)
    return [b"topic", DELIMITER, b"signature", *(json.dumps(part).encode() for part in parts), b"buffer"]


def heard(relay: Relay, kind: str, content: object, channel: str = "iopub", parent: object = ASKED) -> PageMessage:
    """What the page hears."""
    message = relay.of_kernel(channel, frames(kind, content, parent))
    assert message is not None
    return message


def test_a_page_hears_its_own_header_and_one_session() -> None:
    """A kernel whose messages come from several sessions would make a page forget what it waits for."""
    relay = Relay()
    assert relay.ask("shell", {**ASKED, "more": {"x": 1}}) is not None
    first = relay.of_kernel("iopub", frames("stream", {"text": "a"}, {"msg_id": "m1"}, session="one"))
    second = relay.of_kernel("iopub", frames("stream", {"text": "b"}, ASKED, session="two", msg_id="k2", x="y"))
    assert first is not None
    assert second is not None
    assert first.parent == second.parent == {**ASKED, "version": "5.4"}
    assert first.header["session"] == second.header["session"] not in ("one", "two", "page")
    assert first.header.keys() == {"msg_id", "msg_type", "session", "username", "date", "version"}


def test_another_clients_cell_has_a_header_of_ours() -> None:
    """Of it a page sees the output where it wants to, and never takes it for its own."""
    other = heard(Relay(), "stream", {"text": "a"}, parent={"msg_id": "m9", "session": "agent", "msg_type": "x" * 999})
    assert (other.parent["msg_id"], other.parent["msg_type"]) == ("m9", CELL)
    assert heard(Relay(), "stream", {"text": "a"}, parent={}).parent == {}


@pytest.mark.parametrize(
    ("channel", "kind"),
    [
        ("shell", "shutdown_request"),
        ("control", "shutdown_request"),
        ("control", "interrupt_request"),
        ("shell", "interrupt_request"),
        ("control", "debug_request"),
        ("shell", "comm_open"),
        ("shell", "comm_msg"),
        ("control", CELL),
        ("stdin", CELL),
        ("iopub", CELL),
        ("control", "rlm_get_var_request"),
        ("shell", ""),
    ],
)
def test_a_page_asks_for_nothing_else(channel: str, kind: str) -> None:
    """Interrupts and ends go by the server, which knows whose the kernel is."""
    assert Relay().ask(channel, {**ASKED, "msg_type": kind}) is None


@pytest.mark.parametrize("header", [None, "x", [], {}, {"msg_type": CELL}, {"msg_type": CELL, "msg_id": "x" * 999}])
def test_a_request_without_a_usable_header_goes_nowhere(header: object) -> None:
    assert Relay().ask("shell", header) is None


def test_a_cell_ends_once_and_by_its_own_reply() -> None:
    """A page needs it whatever else has no room; a second one, or one that nobody waits for, is output as any."""
    relay = Relay()
    relay.ask("shell", ASKED)
    relay.ask("shell", {**ASKED, "msg_id": "c", "msg_type": "complete_request"})
    of_none = heard(relay, "execute_reply", {"status": "ok"}, "shell", {**ASKED, "msg_id": "m9"})
    of_another = heard(relay, "execute_reply", {"status": "ok"}, "shell", {**ASKED, "msg_id": "c"})
    printed = heard(relay, "stream", {"text": "x"})
    reply = heard(relay, "execute_reply", {"status": "ok"}, "shell")
    assert relay.of_kernel("control", frames("execute_reply", {"status": "ok"})) is None
    ends = [relay.ends_a_cell(one) for one in (of_none, of_another, printed, reply, reply)]
    assert ends == [False, False, False, True, False]


def test_what_a_kernel_is_is_said_by_this_end() -> None:
    """At once, while a step of the agent's runs too; and then what the kernel does."""
    relay = Relay()
    asked = relay.ask("shell", {**ASKED, "msg_type": "kernel_info_request"})
    assert asked is not None
    busy, reply, idle, now = relay.answers(asked, "busy")
    assert [busy.content, idle.content, now.content] == [
        {"execution_state": state} for state in ("busy", "idle", "busy")
    ]
    assert (busy.parent, reply.parent, now.parent) == (asked, asked, {})
    assert (reply.channel, reply.header["msg_type"]) == ("shell", "kernel_info_reply")
    assert (reply.content["help_links"], reply.content["debugger"]) == ([], False)
    comms = relay.ask("control", {**ASKED, "msg_type": "comm_info_request"})
    assert comms is not None
    assert relay.answers(comms, "idle")[1].content == {"status": "ok", "comms": {}}


def test_a_state_about_a_request_of_the_hosts_is_for_no_page() -> None:
    """A variable that is read while a step runs does not make the kernel idle."""
    state = {"execution_state": "idle"}
    for kind in ("rlm_get_var_request", "", "interrupt_request"):
        told = frames("status", state, {**ASKED, "msg_type": kind})
        assert (Relay().of_kernel("iopub", told), state_said(told)) == (None, None)
    assert state_said(frames("status", state)) == ("idle", "m1")
    assert state_said(frames("status", {"execution_state": "dead"})) is None
    assert state_said(frames("status", {"execution_state": ["idle"]})) is None
    assert state_said(frames("stream", state)) is None
    assert state_said(frames("status", state, {**ASKED, "msg_type": "kernel_info_request"})) is None


@pytest.mark.parametrize(
    "broken",
    [
        [],
        [DELIMITER],
        [DELIMITER, b"s", b"{}", b"{}", b"{}"],
        [DELIMITER, b"s", b"[]", b"{}", b"{}", b"{}"],
        [DELIMITER, b"s", b"{}", b"{}", b"{}", b"[" * 100_000],
        [DELIMITER, b"s", b"{}", b"{}", b"{}", b"\xff"],
        [DELIMITER, b"s", b"{}", b"{}", b"{}", b'"' + b"x" * (4 << 20) + b'"'],
    ],
    ids=["empty", "delimiter", "short", "array", "deep", "bytes", "large"],
)
def test_what_is_no_message_is_told_from_one(broken: list[bytes]) -> None:
    with pytest.raises(BadMessage):
        Relay().of_kernel("iopub", broken)
    with pytest.raises(BadMessage):
        state_said(broken)


@pytest.mark.parametrize("is_new", [True, False])
def test_a_message_that_claims_parts_without_number_is_not_taken_apart(*, is_new: bool) -> None:
    """Nobody makes a list of so many."""
    size, order = (8, "little") if is_new else (4, "big")
    assert has_too_many_parts(b"\xff" * size, is_new=is_new)
    assert not has_too_many_parts((6).to_bytes(size, order) + b"\xff" * 50, is_new=is_new)  # type: ignore[arg-type]
    assert not has_too_many_parts(b"", is_new=is_new)
