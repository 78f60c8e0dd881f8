"""What crosses between routers and nodes: bytes, and nothing that anybody could unpickle."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given as over
from hypothesis import strategies

from rlm_kernel_mcp.cluster.asked import Facts, NotBytes, asked, asking, failed, gave, given, only_bytes
from rlm_kernel_mcp.errors import InternalError, InvalidInput, RlmError, SessionMoved, SessionNotFound

TEXTS = strategies.text(strategies.characters(), max_size=50)  # lone surrogates too


@over(strategies.text(max_size=20), strategies.lists(TEXTS, max_size=4))
def test_a_call_comes_out_as_it_went_in(verb: str, texts: list[str]) -> None:
    assert asked(asking(verb, *texts)) == (verb, texts)


@over(TEXTS)
def test_what_a_call_gives_comes_out_as_it_went_in(text: str) -> None:
    assert given(gave(text)) == text


@pytest.mark.parametrize("error", [SessionMoved("to node-2"), SessionNotFound("no s_1", "Look."), InternalError("x")])
def test_an_error_is_the_same_at_the_other_end(error: RlmError) -> None:
    with pytest.raises(type(error)) as raised:
        given(failed(error))
    assert (raised.value.message, raised.value.next_step) == (error.message, error.next_step)


@pytest.mark.parametrize("value", ["text", bytearray(b"x"), None, 1, ["x"], {"x": b"x"}, object(), ValueError("x")])
def test_nothing_but_bytes_crosses(value: Any) -> None:
    """Ray pickles whatever is not, and the other end would unpickle it."""
    for cross in (only_bytes, asked, given):
        with pytest.raises(NotBytes):
            cross(value)


def test_a_kind_of_bytes_does_not_cross_either() -> None:
    """It would come with its class."""

    class Own(bytes):
        pass

    with pytest.raises(NotBytes):
        only_bytes(Own(b"x"))


@pytest.mark.parametrize("said", [b"", b"[]", b"{}\n", b'["load", 3]\n12', b"[1]\n", b'["load", "x"]\n', b"\xff"])
def test_what_is_no_call_is_refused(said: bytes) -> None:
    with pytest.raises(InvalidInput):
        asked(said)


def test_what_is_no_answer_is_a_defect() -> None:
    with pytest.raises(InternalError):
        given(b"?text")


def test_nodes_are_told_the_settings_of_whoever_begins_them() -> None:
    environ = {"RLM_MEMORY_LIMIT_MB": "128", "RLM_CONTEXT_ROOTS": "/data", "RLM_STATE_DIR": "/mine", "PATH": "/bin"}
    elsewhere = Facts.of_environ(environ, "/shared", is_one_machine=False)
    assert elsewhere.environ == {"RLM_MEMORY_LIMIT_MB": "128", "RLM_CLUSTER_STORE": "/shared"}
    here = Facts.of_environ(environ, "/shared", is_one_machine=True)
    assert here.environ == {**elsewhere.environ, "RLM_STATE_DIR": "/mine"}
    assert Facts.of_bytes(here.as_bytes()) == here
    assert here.store == "/shared"
