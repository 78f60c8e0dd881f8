"""Bad input of every kind is answered where there is a request to answer, in the envelope, and loses nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.mcp.line_client import LineClient, error_of, text_of
from tests.mcp.test_contract import ARGUMENTS

CODES = {
    "INVALID_INPUT",
    "SESSION_NOT_FOUND",
    "CONTEXT_NOT_FOUND",
    "CONTEXT_DENIED",
}
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=40)
    | st.sampled_from(
        ["s_1", "json", "markdown", "full", "x\0y", "\ud800", "\u202e", "../..", "~", "**/*", "x" * 5_000]
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@pytest.fixture(scope="module")
def session_id(client: LineClient) -> Iterator[str]:
    """A session that must come through everything here unharmed."""
    session_id = client.open_session("kept")
    client.run(session_id, "mine = 'kept'")
    yield session_id
    assert client.data("rlm_get_var", session_id=session_id, var_name="mine")["value"] == "kept"
    assert client.data("rlm_list_sessions")["sessions"][0]["step_index"] == 1


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_arguments_of_any_kind_get_the_envelope(client: LineClient, session_id: str, data: st.DataObject) -> None:
    """Known names with any values, unknown names, and too few of them."""
    assert session_id
    tool = data.draw(st.sampled_from(sorted(set(ARGUMENTS) - {"rlm_list_sessions"})))
    names = st.sampled_from(sorted(ARGUMENTS[tool])) | st.text(st.characters(), max_size=10)
    arguments = data.draw(st.dictionaries(names, VALUES, max_size=5))
    arguments.pop("context_text", None)  # a text is a right context
    result = client.call(tool, **arguments)
    if arguments.get("response_format") == "markdown":
        assert result["isError"] is True
        assert result["content"][0]["text"].split(":")[0] in CODES
    else:
        assert error_of(result)["code"] in CODES


@pytest.mark.parametrize("name", ["tool", "self", "arguments"])
def test_an_unknown_argument_is_named_whatever_it_is_called(client: LineClient, session_id: str, name: str) -> None:
    """Also by the words that the functions here have for their own parameters."""
    assert session_id
    error = client.error("rlm_get_trace", **{name: None})
    assert error["code"] == "INVALID_INPUT"
    assert f"has no argument {name};" in error["message"]


@pytest.mark.parametrize("arguments", [[1], "text", 7, True, [[]]])
def test_arguments_that_are_no_object_get_the_envelope(client: LineClient, session_id: str, arguments: object) -> None:
    """Not the SDK's bare "Invalid request parameters"."""
    assert session_id
    error = error_of(client.result(client.begin("rlm_run_repl", arguments)))
    assert error["code"] == "INVALID_INPUT"
    assert error["message"].startswith("The arguments of rlm_run_repl must be an object")
    assert "session_id" in error["next_step"]


@pytest.mark.parametrize(
    ("arguments", "given"),
    [([], "a list of 0"), ("", 'the text ""'), (0, "0"), (False, "false"), (1.5, "1.5"), ("{}", 'the text "{}"')],
)
def test_arguments_that_are_no_object_are_named_also_where_none_are_needed(
    client: LineClient, session_id: str, arguments: object, given: str
) -> None:
    """An empty list is not an empty object: who sends one has something else in mind."""
    assert session_id
    error = error_of(client.result(client.begin("rlm_list_sessions", arguments)))
    assert error["message"].endswith(f"given: {given}.")


def test_null_is_no_arguments(client: LineClient, session_id: str) -> None:
    """As when they are absent."""
    assert session_id
    assert client.result(client.begin("rlm_list_sessions", None))["isError"] is False


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (b'"\\ud800"', "valid Unicode"),
        (b'"a\xffb"', "valid Unicode"),
        (b'"\\u0000"', "NUL"),
        (b"NaN", "a text of"),
        (b"1" * 10_000, "a text of"),
        (b"1e999", "a text of"),
        (b"[" * 100_000 + b"]" * 100_000, "a text of"),
        (b'{"a":' * 2_000 + b"1" + b"}" * 2_000, "a text of"),
        (b'"' + b"x" * 200_001 + b'"', "200,001 characters"),
        (b'""', "empty"),
    ],
    ids=["surrogate", "no utf-8", "nul", "nan", "long number", "infinite", "deep list", "deep object", "long", "empty"],
)
def test_values_that_the_sdk_would_drop_get_the_envelope(
    client: LineClient, session_id: str, value: bytes, said: str
) -> None:
    """A dropped line leaves the client waiting for ever."""
    head = b'{"jsonrpc":"2.0","id":"bad","method":"tools/call","params":{"name":"rlm_run_repl","arguments":'
    line = head + b'{"session_id":"' + session_id.encode() + b'","code":' + value + b"}}}"
    client.seen.clear()
    client.send_line(line)
    error = error_of(client.answer("bad")["result"])
    assert error["code"] == "INVALID_INPUT"
    assert said in error["message"]


def test_a_place_behind_the_end_says_so(client: LineClient) -> None:
    """An empty answer alone looks like an empty value, or like no sessions."""
    session_id = client.open_session("twelve chars")
    part = client.data("rlm_get_var", session_id=session_id, var_name="context", offset=99_999_999)
    assert part["note"] == "Nothing is there: the value has 12 characters, and offset is 99,999,999."
    assert "note" not in client.data("rlm_get_var", session_id=session_id, var_name="context", offset=11)
    listed = client.data("rlm_list_sessions", offset=5_000)
    assert listed["sessions"] == []
    assert listed["note"].startswith("Nothing is there: offset is 5,000, and there are ")
    assert "note" not in client.data("rlm_list_sessions")
    client.data("rlm_finalize", session_id=session_id, final_text="done")


@pytest.mark.parametrize("form", ["json", "markdown"])
def test_a_context_without_a_character_is_said_to_be_empty(client: LineClient, form: str) -> None:
    (client.directory / "empty.txt").write_text("")
    result = client.call("rlm_init_context", context_paths=["empty.txt"], response_format=form)
    assert "The context is empty: its documents hold no character." in text_of(result)


@pytest.mark.slow
def test_a_context_of_fifty_megabytes_comes_through_whole(client: LineClient) -> None:
    """As one line on the wire."""
    text = "0123456789" * 5_000_000
    data = client.data("rlm_init_context", context_text=text)
    assert data["context"]["chars"] == 50_000_000
    assert client.run(data["session_id"], "context.count('90')")["result"] == "4999999"
    client.data("rlm_finalize", session_id=data["session_id"], final_text="")


@pytest.mark.parametrize(
    "line",
    [
        b"garbage",
        b"",
        b"{}",
        b"[]",
        b'"text"',
        b"\x00\xff\xfe",
        b"{" * 10_000,
        b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"nobody"}}',
        b'{"jsonrpc":"2.0","method":"notifications/\\ud800"}',
        b'{"jsonrpc":"2.0","id":99,"result":{}}',
        b'{"jsonrpc":"2.0","id":99,"error":{"code":1,"message":"x"}}',
    ],
)
def test_a_garbage_line_disturbs_nobody(client: LineClient, session_id: str, line: bytes) -> None:
    """The next request is answered as ever."""
    client.send_line(line)
    assert client.data("rlm_get_var", session_id=session_id, var_name="mine")["value"] == "kept"


@pytest.mark.parametrize(
    "body",
    [
        '{"jsonrpc":"2.0","id":"bad","method":"tools/call","params":[]}',
        '{"jsonrpc":"2.0","id":"bad","method":"tools/call","params":{"name":5}}',
        '{"jsonrpc":"2.0","id":"bad","method":"tools/call"}',
        '{"jsonrpc":"2.0","id":"bad","method":"tools/call","params":{"name":"no_such_tool\\ud800"}}',
        '{"jsonrpc":"2.0","id":"bad","method":"no/such/method\\ud800"}',
        '{"jsonrpc":"2.0","id":"bad","method":"tools/call","params":{"name":"rlm_get_var"',
        '{"id":"bad","method":"tools/list"}',
    ],
)
def test_a_request_that_is_no_tool_call_gets_a_protocol_error(client: LineClient, body: str) -> None:
    """JSON-RPC's own, with its id."""
    client.seen.clear()
    client.send_line(body.encode())
    assert client.answer("bad")["error"]["message"]


def test_wrong_argument_names_are_told_harmlessly(client: LineClient) -> None:
    """What is echoed acts on nobody's terminal."""
    arguments: dict[str, Any] = {"\x1b[31m\u202e": 1}
    assert "\x1b" not in json.dumps(client.error("rlm_list_sessions", **arguments), ensure_ascii=False)
