"""What the host makes of the messages of a peer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlm_kernel_mcp.front.front import NoHost
from rlm_kernel_mcp.host.entry import handshake

ASKED = b"rlm-host 1\0serve\0secret\x001.0\0/package\0/state"


def test_a_hello_names_a_descriptor() -> None:
    assert handshake.read_hello(b"rlm-host 1\0hello\x0012") == "12"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"rlm-host 1",
        b"rlm-host 2\0hello\x0012",
        b"rlm-host 1\0hello\0",
        b"rlm-host 1\0hello\0-1",
        b"rlm-host 1\0hello\x00../../1/fd/3",
        b"rlm-host 1\0hello\0" + b"1" * 11,
        "rlm-host 1\0hello\0²".encode(),
        b"rlm-host 1\0hello\x0012\0more",
        b"GET / HTTP/1.1",
    ],
)
def test_what_is_no_hello_is_refused(data: bytes) -> None:
    with pytest.raises(NoHost):
        handshake.read_hello(data)


def test_the_second_message_says_for_whom_a_peer_takes_us_and_what_its_client_has_set() -> None:
    data = ASKED + b"\0RLM_IMPORTS=a=b\0TZ=UTC\0PATH=/evil\0LD_PRELOAD=x\0--RLM_IMPORTS"
    asked = handshake.read_asked(data)
    assert (asked.verb, asked.nonce, asked.version) == ("serve", "secret", "1.0")
    assert (asked.package, asked.state) == ("/package", "/state")
    assert asked.environ == {"RLM_IMPORTS": "a=b", "TZ": "UTC"}
    assert asked.options == ("RLM_IMPORTS",)


def test_bytes_that_are_no_text_come_back_as_they_were() -> None:
    asked = handshake.read_asked(ASKED + b"\0RLM_STATE_DIR=/\xff")
    assert asked.environ["RLM_STATE_DIR"] == "/\udcff"


@pytest.mark.parametrize(
    "data", [b"", ASKED[:-7], ASKED.replace(b"host 1", b"host 2"), ASKED + b"\0" + b"x" * handshake.MESSAGE_BYTES_MAX]
)
def test_what_is_no_second_message_is_refused(data: bytes) -> None:
    with pytest.raises(NoHost):
        handshake.read_asked(data)


@given(st.binary(max_size=200) | st.lists(st.binary(max_size=8)).map(lambda parts: b"rlm-host 1\0" + b"\0".join(parts)))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for read in (handshake.read_hello, handshake.read_asked):
        try:
            read(data)
        except NoHost:
            continue


def test_the_words_of_a_verb_are_read_as_they_came() -> None:
    assert handshake.read_asked(ASKED + b"\0s_1\0--x\0").words == ("s_1", "--x", "")


def test_an_answer_is_bounded() -> None:
    assert handshake.answered("status", ["a", "b\udcff"]) == b"rlm-host 1\0status\0a\0b\xff"
    assert len(handshake.answered("status", ["x" * 200_000])) == handshake.MESSAGE_BYTES_MAX


def test_a_refusal_is_bounded() -> None:
    assert len(handshake.refused("x" * 100_000)) < 4_096
