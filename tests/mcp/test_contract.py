"""The wire contract, line by line: the rules for every tool, then each tool, then the guardrails.

Each section of the contract is a section here, in its order. `test_start.py` has its first two (starting, settings).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import pytest

from rlm_kernel_mcp.context_wire import EXPLORING
from rlm_kernel_mcp.questions_wire import ASKING
from tests.mcp.line_client import ENDLESS_CALL, LineClient, data_of, text_of
from tests.records import record_of

ORDER = [
    "rlm_init_context",
    "rlm_run_repl",
    "rlm_await_step",
    "rlm_interrupt",
    "rlm_get_var",
    "rlm_finalize",
    "rlm_get_trace",
    "rlm_list_sessions",
    "rlm_add_context",
    "rlm_answer",
]
WITH_SESSION = [tool for tool in ORDER if tool not in ("rlm_init_context", "rlm_list_sessions")]
READ_ONLY = {"rlm_get_var", "rlm_get_trace", "rlm_list_sessions"}
ARGUMENTS = {
    "rlm_init_context": {
        "context_text",
        "context_paths",
        "context_name",
        "exclude",
        "wait_ms",
        "max_steps",
        "max_runtime_ms",
        "budget_limit",
        "step_timeout_ms",
        "max_subcalls",
        "subcall_tokens_limit",
        "host_functions",
        "question",
        "response_format",
    },
    "rlm_run_repl": {"session_id", "code", "timeout_ms", "wait_ms", "max_output_chars", "response_format"},
    "rlm_await_step": {"session_id", "step_index", "wait_ms", "max_output_chars", "response_format"},
    "rlm_interrupt": {"session_id", "response_format"},
    "rlm_get_var": {"session_id", "var_name", "offset", "limit", "response_format"},
    "rlm_finalize": {"session_id", "final_text", "final_var_name", "quotes", "max_output_chars", "response_format"},
    "rlm_get_trace": {"session_id", "from_step", "to_step", "detail", "max_output_chars", "offset", "response_format"},
    "rlm_list_sessions": {"state", "limit", "offset", "response_format"},
    "rlm_add_context": {
        "session_id",
        "name",
        "text",
        "paths",
        "json_text",
        "exclude",
        "wait_ms",
        "response_format",
    },
    "rlm_answer": {"session_id", "answers", "take", "wait_ms", "max_output_chars", "response_format"},
}
STEP_FIELDS = {
    "status",
    "stdout",
    "stderr",
    "result",
    "error",
    "updated_vars_summary",
    "step_index",
    "duration_ms",
    "guardrail_stop",
    "budget",
    "truncated",
    "lost",
    "subcalls",
}
ASKED_LIMITS = {"max_subcalls": 200, "subcall_tokens_limit": 2_000_000, "wait_limit_ms": 1_800_000}
"""Of what the code asks its agent, where nothing else is set."""
EVENT_FIELDS = {
    "ts",
    "step_index",
    "action",
    "source",
    "result_status",
    "summary",
    "duration_ms",
    "guardrail_snapshot",
    "functions",
}
TEXT = "  first line\r\n\tsecond: né, 😀, e\u0301\n\n last without newline "


@pytest.fixture(scope="module")
def session_id(client: LineClient) -> str:
    """A session for steps that do not disturb each other."""
    return client.open_session(TEXT, max_steps=1_000, budget_limit=10_000_000, max_runtime_ms=3_600_000)


# --- rules for every tool -------------------------------------------------------------------------


def test_the_tools_are_the_contract_s_in_fixed_order(client: LineClient) -> None:
    """With exactly the contract's arguments, closed against others, and no outputSchema."""
    tools = client.request("tools/list")["result"]["tools"]
    assert [tool["name"] for tool in tools] == ORDER
    assert client.request("tools/list")["result"]["tools"] == tools
    for tool in tools:
        assert set(tool["inputSchema"]["properties"]) == ARGUMENTS[tool["name"]]
        assert tool["inputSchema"]["additionalProperties"] is False
        assert "outputSchema" not in tool


def test_every_tool_carries_its_annotations(client: LineClient) -> None:
    """An un-annotated tool is refused by `codex exec`."""
    for tool in client.request("tools/list")["result"]["tools"]:
        hints = tool["annotations"]
        assert hints["readOnlyHint"] is (tool["name"] in READ_ONLY)
        assert hints["openWorldHint"] is False
        assert hints["destructiveHint"] is False


def test_a_session_id_is_wanted_wherever_a_session_is_meant(client: LineClient) -> None:
    """Never guessed, never the last one used."""
    for tool in WITH_SESSION:
        schema = {tool["name"]: tool["inputSchema"] for tool in client.request("tools/list")["result"]["tools"]}[tool]
        assert "session_id" in schema["required"]
        assert client.error(tool)["code"] == "INVALID_INPUT"


def test_session_ids_are_short_and_never_the_same(client: LineClient, session_id: str) -> None:
    """Minted by the server."""
    other = client.open_session()
    assert other != session_id
    for minted in (session_id, other):
        assert re.fullmatch(r"s_[a-z0-9]{6,12}", minted)


@pytest.mark.parametrize("tool", WITH_SESSION)
def test_an_unknown_session_is_not_found_and_the_live_ones_are_named(
    client: LineClient, session_id: str, tool: str
) -> None:
    """With the call that lists them."""
    more: dict[str, dict[str, Any]] = {
        "rlm_run_repl": {"code": "1"},
        "rlm_await_step": {"step_index": 1},
        "rlm_get_var": {"var_name": "x"},
        "rlm_finalize": {"final_text": "x"},
        "rlm_add_context": {"name": "x", "text": "x"},
    }
    error = client.error(tool, session_id="s_nobody", **more.get(tool, {}))
    assert error["code"] == "SESSION_NOT_FOUND"
    assert "s_nobody" in error["message"]
    assert "rlm_list_sessions" in error["next_step"]


@pytest.mark.parametrize("tool", ORDER)
def test_an_unknown_argument_is_refused_in_the_envelope(client: LineClient, tool: str) -> None:
    """Not dropped, and not in the words of pydantic or the SDK."""
    error = client.error(tool, surprise=1)
    assert error["code"] == "INVALID_INPUT"
    assert "surprise" in error["message"]
    assert "validation error" not in error["message"]


def test_markdown_is_one_text_block_for_reading(client: LineClient, session_id: str) -> None:
    """Of every tool; no JSON dump, no structuredContent."""
    client.run(session_id, "md = 'x'")
    calls: list[tuple[str, dict[str, Any]]] = [
        ("rlm_init_context", {"context_text": "a ``` b"}),
        ("rlm_run_repl", {"session_id": session_id, "code": "print('out'); 41 + 1"}),
        ("rlm_await_step", {"session_id": session_id, "step_index": 1}),
        ("rlm_interrupt", {"session_id": session_id}),
        ("rlm_get_var", {"session_id": session_id, "var_name": "md"}),
        ("rlm_get_trace", {"session_id": session_id}),
        ("rlm_list_sessions", {}),
        ("rlm_get_var", {"session_id": session_id, "var_name": "not_there"}),
        ("rlm_finalize", {"session_id": client.open_session(), "final_text": "done"}),
        ("rlm_answer", {"session_id": session_id}),  # which nobody's questions wait for here
    ]
    for tool, arguments in calls:
        result = client.call(tool, **arguments, response_format="markdown")
        assert "structuredContent" not in result
        assert [block["type"] for block in result["content"]] == ["text"]
        with pytest.raises(ValueError, match=r"line 1 column"):
            json.loads(text_of(result))
    step = text_of(
        client.call("rlm_run_repl", session_id=session_id, code="print('out'); 42", response_format="markdown")
    )
    assert "```\nout\n```" in step
    assert "42" in step
    assert "characters" in step.splitlines()[-1]


def test_a_result_with_pictures_has_text_and_image_blocks_and_no_structured_content(
    client: LineClient, session_id: str
) -> None:
    """Some clients drop images where there is structuredContent."""
    png = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    code = f"""
import base64
class Picture:
    def _repr_png_(self):
        return base64.b64decode({png!r})
Picture()
"""
    result = client.call("rlm_run_repl", session_id=session_id, code=code)
    assert "structuredContent" not in result
    assert [block["type"] for block in result["content"]] == ["text", "image"]
    assert result["content"][1]["mimeType"] == "image/png"
    assert json.loads(text_of(result))["data"]["status"] == "ok"


def test_an_exception_of_the_user_s_code_is_data(client: LineClient, session_id: str) -> None:
    """`ok: true`, no isError: the tool did what it was asked."""
    data = client.run(session_id, "def f():\n    return 1 / 0\nf()")
    assert data["status"] == "error"
    assert data["error"]["ename"] == "ZeroDivisionError"
    assert data["error"]["evalue"] == "division by zero"
    assert "line 2" in data["error"]["traceback"]
    assert "\x1b" not in data["error"]["traceback"]


def test_long_output_is_cut_to_size_and_the_cut_is_said_exactly_and_nothing_is_lost(
    client: LineClient, session_id: str
) -> None:
    """Head and tail stay; the notice has the numbers and the call that gets the rest."""
    data = client.run(session_id, "print('HEAD' + 'x' * 50_000 + 'TAIL')")
    out = data["stdout"]
    assert len(out) <= 8_000
    assert out.startswith("HEAD")
    assert out.rstrip().endswith("TAIL")
    cut = data["truncated"]["stdout"]
    assert f"{cut:,} of 50,009 characters" in out
    assert out.count("x") - len(re.findall("x", re.search(r"\[\.\.\..*\.\.\.\]", out)[0])) == 50_000 - cut  # type: ignore[index]
    assert "rlm_get_trace" in out
    short = client.run(session_id, "print('y' * 5_000)", max_output_chars=1_000)
    assert len(short["stdout"]) <= 1_000
    index = data["step_index"]
    pages, offset = [], 0
    while True:
        page = client.data(
            "rlm_get_trace",
            session_id=session_id,
            from_step=index,
            to_step=index,
            detail="full",
            max_output_chars=20_000,
            offset=offset,
        )
        pages += [event["stdout"] for event in page["events"]]
        if page["next_offset"] is None:
            break
        offset = page["next_offset"]
    assert "".join(pages) == "HEAD" + "x" * 50_000 + "TAIL\n"


def test_errors_tell_no_host_path_and_no_traceback_of_the_server(client: LineClient) -> None:
    """Outside of what the caller gave, and the roots and the working directory, which are the user's own setting."""
    for arguments in ({"context_paths": ["/no/such/place"]}, {"context_paths": ["no_such_file"]}):
        error = client.error("rlm_init_context", **arguments)
        told = json.dumps(error).replace(f"the allowed roots, which are '{client.directory.resolve()}'", "")
        told = told.replace(f"Relative paths begin at '{client.directory.resolve()}'.", "")
        assert str(client.directory.resolve()) not in told
        assert "Traceback" not in told
        assert sys.prefix not in told


UNTIL_INTERRUPTED: Final = """
import time
try:
    begun = 1
    while True: time.sleep(0.01)
except KeyboardInterrupt:
    ready = True
"""
"""A step that goes on as long as a test needs it, and then ends as if by itself."""


def interrupt_kernel(client: LineClient, session_id: str) -> None:
    """Behind the server's back: for the server nobody stops the step."""
    os.kill(record_of(Path(client.env["RLM_STATE_DIR"]), session_id).kernel_pid, signal.SIGINT)


def test_a_cancelled_call_stops_waiting_and_the_step_goes_on(client: LineClient) -> None:
    """Cancelling belongs to the call; rlm_interrupt belongs to the step."""
    session_id = client.open_session()
    call = client.begin(
        "rlm_run_repl",
        {"session_id": session_id, "code": UNTIL_INTERRUPTED},
    )
    client.wait_for_name(session_id, "begun")
    client.notify("notifications/cancelled", {"requestId": call})
    client.data("rlm_list_sessions")
    interrupt_kernel(client, session_id)
    assert client.data("rlm_await_step", session_id=session_id, step_index=1)["status"] == "ok"
    assert client.data("rlm_get_var", session_id=session_id, var_name="ready")["value"] is True
    assert all(message.get("id") != call for message in client.seen)


# --- rlm_init_context -----------------------------------------------------------------------------


def test_opening_with_a_text_tells_all_about_it(client: LineClient) -> None:
    """The text is kept as it is: sizes and hash are the source's."""
    data = client.data("rlm_init_context", context_text=TEXT)
    assert set(data) == {"session_id", "config", "counters", "context", "namespace", "imports", "walls", "subcalls"}
    assert data["config"] == {
        "max_steps": 64,
        "max_runtime_ms": 120_000,
        "budget_limit": 100_000,
        "step_timeout_ms": 60_000,
        **ASKED_LIMITS,
    }
    assert data["counters"] == {"step_index": 0, "runtime_ms": 0, "budget_used": 0}
    context = data["context"]
    assert context["kind"] == "text"
    assert (context["chars"], context["bytes"]) == (len(TEXT), len(TEXT.encode()))
    assert context["sha256"] == hashlib.sha256(TEXT.encode()).hexdigest()
    assert context["lines"] == 4
    assert context["document_count"] == len(context["documents"])
    assert all(isinstance(line, str) and line for line in data["namespace"].values())
    assert "context" in data["namespace"]
    assert {"re", "json", "math", "collections"} <= set(data["imports"])
    assert {"rlimits", "seccomp", "landlock"} <= set(data["walls"])
    got = client.data("rlm_run_repl", session_id=data["session_id"], code="[ord(c) for c in context]")
    assert json.loads(got["result"].replace("\n", "")) == [ord(character) for character in TEXT]


def test_given_limits_are_the_session_s(client: LineClient) -> None:
    """And said back."""
    limits = {"max_steps": 3, "max_runtime_ms": 4_000, "budget_limit": 500, "step_timeout_ms": 700}
    assert client.data("rlm_init_context", context_text="x", **limits)["config"] == limits | ASKED_LIMITS


def test_files_folders_and_globs_are_loaded_below_the_working_directory(client: LineClient) -> None:
    """The first 20 documents are listed, all are counted."""
    directory = client.directory / "corpus"
    directory.mkdir()
    for number in range(25):
        (directory / f"doc{number:02}.txt").write_text(f"document {number}\n")
    data = client.data("rlm_init_context", context_paths=["corpus"])
    assert data["context"]["kind"] == "documents"
    assert data["context"]["document_count"] == 25
    assert len(data["context"]["documents"]) == 20
    assert set(data["context"]["documents"][0]) == {"name", "chars"}
    step = client.run(
        data["session_id"], "len(documents), sum(len(text) for text in documents.values()) == len(context)"
    )
    assert step["result"] == "(25, True)"
    globbed = client.data("rlm_init_context", context_paths=["corpus/doc1*.txt", str(directory / "doc00.txt")])
    assert globbed["context"]["document_count"] == 11


def test_what_a_directory_leaves_out_is_counted_by_kind_and_exclude_adds_to_it(client: LineClient) -> None:
    """In one object, in one line; the names begin in the directory that was given, which is told once."""
    directory = client.directory / "project"
    for name in ("src/a.py", "src/b.pyc", ".env", "node_modules/x.js", "tests/c.py"):
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text("x")
    (directory / ".gitignore").write_text("*.pyc\n")
    context = client.data("rlm_init_context", context_paths=["project"], exclude=["tests/"])["context"]
    assert [document["name"] for document in context["documents"]] == ["src/a.py"]
    assert context["prefix"] == str(directory)
    assert context["skipped"] == {"hidden": 2, "vendored": 1, "ignored": 1, "excluded": 1}
    arguments = {"context_paths": ["project"], "exclude": ["tests/"], "response_format": "markdown"}
    page = client.call("rlm_init_context", **arguments)["content"][0]["text"]
    [line] = [line for line in page.splitlines() if line.startswith("Left out: ")]
    assert "2 hidden" in line
    for refused in ({"exclude": ["a["]}, {"exclude": "a"}, {"exclude": [1]}, {"exclude": None}):
        assert client.error("rlm_init_context", context_paths=["project"], **refused)["code"] == "INVALID_INPUT"
    error = client.error("rlm_init_context", context_text="x", exclude=["a"])
    assert (error["code"], "exclude goes with context_paths" in error["message"]) == ("INVALID_INPUT", True)


def test_paths_that_are_missing_or_outside_are_refused_by_their_own_codes(client: LineClient, tmp_path: Path) -> None:
    """And the message names the path that was given."""
    secret = tmp_path / "secret.txt"
    secret.write_text("s")
    (client.directory / "link.txt").symlink_to(secret)
    (client.directory / "loop").symlink_to("loop")
    missing = client.error("rlm_init_context", context_paths=["nothing_here.txt"])
    assert missing["code"] == "CONTEXT_NOT_FOUND"
    assert "nothing_here.txt" in missing["message"]
    for outside in (str(secret), "link.txt", "../../etc/passwd", "/etc/passwd"):
        denied = client.error("rlm_init_context", context_paths=[outside])
        assert denied["code"] == "CONTEXT_DENIED", outside
        assert outside in denied["message"]
    assert client.error("rlm_init_context", context_paths=["loop"])["code"] in ("CONTEXT_NOT_FOUND", "CONTEXT_DENIED")


# --- rlm_run_repl ---------------------------------------------------------------------------------


def test_a_step_answers_with_the_contract_s_fields(client: LineClient, session_id: str) -> None:
    """Text that was printed, the last value, and the names that were bound."""
    data = client.run(session_id, "import sys\nprint('out')\nprint('err', file=sys.stderr)\nxs = [1, 2, 3]\nlen(xs)")
    if data["status"] == "error":  # sys may be refused by the policy; stderr is reached by warnings as well
        data = client.run(session_id, "import warnings\nprint('out')\nwarnings.warn('err')\nxs = [1, 2, 3]\nlen(xs)")
    assert set(data) - {"note"} == STEP_FIELDS
    assert data["status"] == "ok"
    assert data["stdout"] == "out\n"
    assert "err" in data["stderr"]
    assert data["result"] == "3"
    assert data["error"] is None
    assert {"name": "xs", "type": "list", "size": 3} in data["updated_vars_summary"]
    assert data["guardrail_stop"] is None
    assert data["lost"] is None
    left = {"steps_left", "runtime_left_ms", "chars_left", "subcalls_left", "subcall_tokens_left"}
    assert (set(data["budget"]), data["subcalls"]) == (left, None)
    assert data["truncated"] == {"stdout": 0, "stderr": 0, "result": 0}


def test_state_persists_between_steps(client: LineClient, session_id: str) -> None:
    """Variables, functions, classes, imports, compiled patterns, open generators."""
    client.run(
        session_id,
        "import re\nv = 1\ndef f(): return 2\nclass C: x = 3\npattern = re.compile('4')\n"
        "def g():\n    yield 5\n    yield 6\ngen = g()\nnext(gen)",
    )
    step = client.run(session_id, "(v, f(), C.x, re.escape('.'), pattern.search('x4')[0], next(gen))")
    assert step["result"] == "(1, 2, 3, '\\\\.', '4', 6)"


def test_an_expression_without_value_has_no_result(client: LineClient, session_id: str) -> None:
    """null, and not the text "None"."""
    assert client.run(session_id, "quiet = 1")["result"] is None
    assert client.run(session_id, "None")["result"] is None


def test_a_rebound_name_is_told_again_and_an_untouched_one_is_not(client: LineClient, session_id: str) -> None:
    """The summary is about this step."""
    client.run(session_id, "one = 1; two = 2")
    names = [row["name"] for row in client.run(session_id, "two = 'zwei'")["updated_vars_summary"]]
    assert names == ["two"]


def test_a_step_that_outlasts_the_wait_is_running_and_goes_on(client: LineClient) -> None:
    """And a second step meanwhile is refused, with what to do instead."""
    session_id = client.open_session()
    data = client.run(session_id, f"print('begun', flush=True)\n{UNTIL_INTERRUPTED}", wait_ms=0)
    assert data["status"] == "running"
    assert data["step_index"] == 1
    busy = client.error("rlm_run_repl", session_id=session_id, code="1")
    assert busy["code"] == "SESSION_BUSY"
    assert "rlm_await_step" in busy["next_step"]
    client.wait_for_name(session_id, "begun")
    interrupt_kernel(client, session_id)
    done = client.data("rlm_await_step", session_id=session_id, step_index=1)
    assert done["status"] == "ok"
    assert done["stdout"] == "begun\n"
    again = client.data("rlm_await_step", session_id=session_id, step_index=1)
    assert again["stdout"] == "begun\n"


def test_a_step_that_outlasts_its_timeout_is_interrupted_and_the_names_stay(client: LineClient) -> None:
    """The session lives on."""
    session_id = client.open_session()
    data = client.run(session_id, "kept = 1\nimport time\nwhile True: time.sleep(60)", timeout_ms=1_000)
    assert data["status"] == "timeout"
    assert client.run(session_id, "kept")["result"] == "1"


def test_a_kernel_that_is_gone_says_what_was_lost(client: LineClient) -> None:
    """A call that cannot be interrupted is killed; `lost` says what is gone and what is back."""
    session_id = client.open_session("the context", step_timeout_ms=600)
    client.run(session_id, "a = [1, 2]", timeout_ms=60_000)
    data = client.run(session_id, ENDLESS_CALL)
    assert data["status"] == "timeout"
    assert set(data["lost"]) == {"reason", "lost", "restored"}
    assert client.run(session_id, "context", timeout_ms=60_000)["result"] == "'the context'"


# --- rlm_await_step, rlm_interrupt ----------------------------------------------------------------


def test_a_step_that_never_was_cannot_be_awaited(client: LineClient, session_id: str) -> None:
    """The message has the number that was given."""
    error = client.error("rlm_await_step", session_id=session_id, step_index=999_999)
    assert error["code"] == "INVALID_INPUT"
    assert "999" in error["message"]


def test_an_interrupt_ends_the_running_step(client: LineClient) -> None:
    """And both calls tell the same step."""
    session_id = client.open_session()
    call = client.begin("rlm_run_repl", {"session_id": session_id, "code": "n = 7\nwhile True: pass"})
    client.wait_for_name(session_id, "n")
    interrupted = client.data("rlm_interrupt", session_id=session_id)
    assert interrupted["status"] == "interrupted"
    assert interrupted["step_index"] == 1
    assert data_of(client.result(call))["status"] == "interrupted"
    assert client.run(session_id, "n")["result"] == "7"


def test_an_interrupt_of_a_session_with_its_final_answer_says_so(client: LineClient) -> None:
    """Nothing is wrong, and nothing will ever run there again."""
    session_id = client.open_session()
    client.data("rlm_finalize", session_id=session_id, final_text="done")
    data = client.data("rlm_interrupt", session_id=session_id)
    assert data["status"] == "ok"
    assert "has its final answer" in data["note"]


def test_a_trace_from_behind_its_end_says_so(client: LineClient, session_id: str) -> None:
    """An empty list alone looks like a session in which nothing was done."""
    last = client.run(session_id, "1")["step_index"]
    page = client.data("rlm_get_trace", session_id=session_id, from_step=last + 70)
    assert (page["events"], page["note"]) == (
        [],
        f"from_step={last + 70} lies after the last step, which is {last}.",
    )
    page = client.data("rlm_get_trace", session_id=session_id, offset=1_000_000)
    assert page["note"] == "offset=1,000,000 lies behind the end of these events."


def test_a_list_goes_on_where_the_last_answer_ended(client: LineClient, session_id: str) -> None:
    """As far as there are sessions; each is listed once."""
    client.run(session_id, "1")
    client.open_session()
    whole, found = client.data("rlm_list_sessions", state="all", limit=200), list[str]()
    while len(found) < len(whole["sessions"]) + whole["omitted"]:
        page = client.data("rlm_list_sessions", state="all", limit=7, offset=len(found))
        found += [row["session_id"] for row in page["sessions"]]
        if page["omitted"]:
            assert page["note"] == f"{page['omitted']} more, used longer ago: offset={len(found)} goes on."
    assert found[: len(whole["sessions"])] == [row["session_id"] for row in whole["sessions"]]
    assert len(set(found)) == len(found)
    behind = client.data("rlm_list_sessions", state="all", offset=len(found))
    assert behind == {"sessions": [], "omitted": 0}


def test_an_interrupt_with_nothing_running_is_ok_with_a_note(client: LineClient, session_id: str) -> None:
    """It is not a mistake to be careful."""
    data = client.data("rlm_interrupt", session_id=session_id)
    assert data["status"] == "ok"
    assert data["note"]


# --- rlm_get_var ----------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["Held()", "[1, Held()]", "{'a': Held()}"])
def test_an_object_is_shown_by_its_fields_and_the_reply_says_how_its_own_text_is_had(
    client: LineClient, session_id: str, value: str
) -> None:
    """Nothing of a session's code runs for a read; values of Python's own need no such word."""
    client.run(session_id, f"class Held:\n    def __init__(self): self.x = 1\nheld = {value}\nplain = [1, {{2}}]")
    asked = {"session_id": session_id, "var_name": "held"}
    data = client.data("rlm_get_var", **asked)
    assert "Held(x=1)" in data["value"]
    assert "str(held)" in data["note"]
    assert data["note"] in client.call("rlm_get_var", **asked, response_format="markdown")["content"][0]["text"]
    assert "note" not in client.data("rlm_get_var", session_id=session_id, var_name="plain")


@pytest.mark.parametrize(
    ("code", "type_name", "size", "value"),
    [
        ("[1, {'a': None}]", "list", 2, [1, {"a": None}]),
        ("'né'", "str", 2, "né"),
        ("None", "NoneType", None, None),
        ("True", "bool", None, True),
        ("2.5", "float", None, 2.5),
        ("{'k': [1]}", "dict", 1, {"k": [1]}),
    ],
)
def test_a_small_json_value_comes_whole(
    client: LineClient, session_id: str, code: str, type_name: str, size: int | None, value: object
) -> None:
    """As the JSON value itself."""
    client.run(session_id, f"small = {code}")
    data = client.data("rlm_get_var", session_id=session_id, var_name="small")
    assert set(data) == {"name", "type", "size", "value", "text", "total_chars", "offset", "next_offset", "truncated"}
    assert (data["name"], data["type"], data["size"], data["value"]) == ("small", type_name, size, value)
    assert (data["text"], data["next_offset"], data["truncated"]) == (False, None, False)


@pytest.mark.parametrize(
    "code", ["{1, 2}", "object()", "float('nan')", "lambda: 1", "10**5000", "'\\ud800'", "[[]] * 2 + [{3: 4}]"]
)
def test_what_is_no_json_comes_as_something_that_can_be_read(client: LineClient, session_id: str, code: str) -> None:
    """Never a failure of the tool, never bytes that are not JSON."""
    client.run(session_id, f"odd = {code}")
    data = client.data("rlm_get_var", session_id=session_id, var_name="odd")
    assert data["name"] == "odd"


def test_deep_values_come_as_something_that_can_be_read(client: LineClient, session_id: str) -> None:
    """Depth must not break the server's own writer."""
    client.run(session_id, "deep = []\nfor _ in range(400): deep = [deep]")
    assert client.data("rlm_get_var", session_id=session_id, var_name="deep", limit=200_000)["type"] == "list"


def test_a_long_text_is_read_in_pages_that_put_together_are_the_whole(client: LineClient, session_id: str) -> None:
    """By next_offset, to null."""
    client.run(session_id, "long = ''.join(chr(97 + i % 26) for i in range(10_000))")
    whole = ""
    offset: int | None = 0
    while offset is not None:
        data = client.data("rlm_get_var", session_id=session_id, var_name="long", offset=offset, limit=3_000)
        assert data["total_chars"] == 10_000
        assert data["text"] is True
        whole += data["value"]
        offset = data["next_offset"]
    assert whole == "".join(chr(97 + i % 26) for i in range(10_000))


def test_a_missing_name_is_not_found_with_the_nearest_names(client: LineClient, session_id: str) -> None:
    """A typing error is mended in one round."""
    client.run(session_id, "customers_by_region = {}")
    error = client.error("rlm_get_var", session_id=session_id, var_name="customer_by_region")
    assert error["code"] == "VARIABLE_NOT_FOUND"
    assert "customers_by_region" in error["message"]


def test_reading_a_variable_is_no_step(client: LineClient) -> None:
    """It counts against nothing but the reader's patience."""
    session_id = client.open_session(max_steps=2)
    before = client.run(session_id, "x = 1")["step_index"]
    for _ in range(3):
        client.data("rlm_get_var", session_id=session_id, var_name="x")
    assert client.run(session_id, "x")["step_index"] == before + 1


# --- rlm_finalize ---------------------------------------------------------------------------------


def test_a_final_answer_from_a_variable_ends_the_session(client: LineClient) -> None:
    """The same call again gives the same answer; another answer, and another step, are refused."""
    session_id = client.open_session()
    client.run(session_id, "answer = 'forty-two'")
    data = client.data("rlm_finalize", session_id=session_id, final_var_name="answer")
    assert set(data) == {"final_answer", "final_answer_chars", "finish_reason", "stats", "citations", "coverage"}
    assert (data["final_answer"], data["final_answer_chars"], data["finish_reason"]) == ("forty-two", 9, "completed")
    assert set(data["stats"]) == {"steps", "runtime_ms", "budget_used", "started_at", "finished_at"}
    assert data["stats"]["steps"] == 1
    assert data["citations"] == []
    assert data["coverage"]["cited"] == 0
    assert client.data("rlm_finalize", session_id=session_id, final_var_name="answer") == data
    assert client.error("rlm_finalize", session_id=session_id, final_text="other")["code"] == "SESSION_FINALIZED"
    assert client.error("rlm_run_repl", session_id=session_id, code="1")["code"] == "SESSION_FINALIZED"
    rows = {row["session_id"]: row["status"] for row in client.data("rlm_list_sessions", state="all")["sessions"]}
    assert rows[session_id] == "finalized"


def test_a_final_text_is_kept_exactly_also_when_it_is_empty(client: LineClient) -> None:
    """Whitespace and all."""
    for text in ("", " a\n"):
        data = client.data("rlm_finalize", session_id=client.open_session(), final_text=text)
        assert (data["final_answer"], data["final_answer_chars"]) == (text, len(text))


def test_a_long_final_answer_is_cut_like_any_text(client: LineClient) -> None:
    """`final_answer_chars` is its whole length; the same call with more room gets all of it."""
    session_id = client.open_session()
    client.run(session_id, "big = 'z' * 60_000")
    cut = client.data("rlm_finalize", session_id=session_id, final_var_name="big")
    assert len(cut["final_answer"]) <= 40_000
    assert cut["final_answer_chars"] == 60_000
    whole = client.data("rlm_finalize", session_id=session_id, final_var_name="big", max_output_chars=200_000)
    assert whole["final_answer"] == "z" * 60_000
    assert "note" not in whole


def test_a_cut_that_has_no_room_to_say_where_the_rest_of_an_answer_is_says_it_beside(client: LineClient) -> None:
    """However little was asked for, the reply names the call that gets the rest."""
    session_id = client.open_session()
    asked = {"session_id": session_id, "final_text": "z" * 1_000, "max_output_chars": 100}
    cut = client.data("rlm_finalize", **asked)
    left_out = 1_000 - cut["final_answer"].count("z")
    assert cut["note"].startswith(f"Cut: {left_out} characters of final_answer; rlm_finalize with a larger max_output_")
    page = client.call("rlm_finalize", **asked, response_format="markdown")["content"][0]["text"]
    assert f"1,000 characters, {1_000 - left_out} characters of it shown" in page
    assert page.count("max_output_chars") == 1


def test_a_final_answer_from_a_missing_variable_leaves_the_session_open(client: LineClient) -> None:
    """A typing error must not cost the session."""
    session_id = client.open_session()
    error = client.error("rlm_finalize", session_id=session_id, final_var_name="nothing")
    assert error["code"] == "VARIABLE_NOT_FOUND"
    assert client.run(session_id, "1")["status"] == "ok"


# --- rlm_get_trace, rlm_list_sessions -------------------------------------------------------------


def test_the_trace_has_every_event_in_order_also_after_the_end(client: LineClient) -> None:
    """Failed steps too; times in UTC; each with a snapshot of the guardrails."""
    session_id = client.open_session()
    client.run(session_id, "x = 1")
    client.run(session_id, "1 / 0")
    client.data("rlm_finalize", session_id=session_id, final_text="done")
    page = client.data("rlm_get_trace", session_id=session_id)
    assert set(page) == {"events", "next_offset"}
    events = page["events"]
    assert [(event["action"], event["step_index"]) for event in events] == [
        ("init_context", 0),
        ("run_repl", 1),
        ("run_repl", 2),
        ("finalize", 2),
    ]
    assert [event["result_status"] for event in events[1:3]] == ["ok", "error"]
    for event in events:
        assert set(event) == EVENT_FIELDS
        assert event["source"] == "mcp"
        assert datetime.fromisoformat(event["ts"]).utcoffset() is not None
        assert set(event["guardrail_snapshot"]) == {
            "step_index",
            "max_steps",
            "runtime_ms",
            "max_runtime_ms",
            "budget_used",
            "budget_limit",
            "subcalls",
            "max_subcalls",
            "subcall_tokens",
            "subcall_tokens_limit",
        }


def test_the_full_trace_has_code_and_output(client: LineClient) -> None:
    """Of the steps that were asked for, inclusive."""
    session_id = client.open_session()
    for number in range(1, 4):
        client.run(session_id, f"print('n{number}')\n{number} / ({number} - 2)")
    page = client.data("rlm_get_trace", session_id=session_id, from_step=2, to_step=3, detail="full")
    first, second = page["events"]
    costs = {"printed", "delivered", "cost"}
    assert set(first) == EVENT_FIELDS | costs | {"code", "stdout", "stderr", "result", "error"}
    assert first["code"] == "print('n2')\n2 / (2 - 2)"
    assert first["cost"] == len(first["code"]) + first["delivered"]
    assert first["stdout"] == "n2\n"
    assert first["error"]["ename"] == "ZeroDivisionError"
    assert second["result"] == "3.0"


def test_sessions_are_listed_with_their_state(client: LineClient, session_id: str) -> None:
    """Also the ones that another call opened; ended ones on request, and how many more there are."""
    ended = client.open_session()
    client.data("rlm_finalize", session_id=ended, final_text="done")
    client.run(session_id, "1")
    live, every = client.data("rlm_list_sessions", limit=200), client.data("rlm_list_sessions", state="all", limit=200)
    assert set(live) == {"sessions", "omitted"}
    assert live["sessions"][0]["session_id"] == session_id
    assert ended not in {row["session_id"] for row in live["sessions"]}
    assert {row["session_id"]: row["status"] for row in every["sessions"]}[ended] == "finalized"
    assert client.data("rlm_list_sessions", limit=1)["omitted"] == len(live["sessions"]) + live["omitted"] - 1
    rows = {row["session_id"]: row for row in live["sessions"]}
    row = rows[session_id]
    times = {"created_at", "last_used_at"}
    assert set(row) == {"session_id", "status", "step_index", "context", "counters", "connection", *times}
    assert row["connection"] == "this"
    assert row["status"] == "idle"
    assert row["context"] == {"kind": "text", "chars": len(TEXT)}
    assert set(row["counters"]) == {"step_index", "runtime_ms", "budget_used"}


# --- rlm_add_context ------------------------------------------------------------------------------


def test_a_context_that_is_added_is_a_variable_of_its_own_and_no_step(client: LineClient) -> None:
    """Text and JSON; in the trace as `add_context`, charged to nothing."""
    session_id = client.open_session(TEXT)
    before = client.data("rlm_list_sessions")["sessions"][0]["counters"]
    added = client.data("rlm_add_context", session_id=session_id, name="more", text="one\ntwo\n")
    context = added["context"]
    assert added["session_id"] == session_id
    assert list(added["namespace"]) == ["more"]
    assert (context["name"], context["state"], context["kind"]) == ("more", "ready", "text")
    assert (context["chars"], context["lines"], context["changed"]) == (8, 2, False)
    parsed = client.data("rlm_add_context", session_id=session_id, name="data", json_text='{"a": [1]}')["context"]
    assert (parsed["kind"], parsed["document_count"]) == ("json", 0)
    row = next(row for row in client.data("rlm_list_sessions")["sessions"] if row["session_id"] == session_id)
    assert row["counters"] == before == {"step_index": 0, "runtime_ms": 0, "budget_used": 0}
    assert (
        client.run(session_id, "more, data['a'], documents['more'] == more")["result"] == "('one\\ntwo\\n', [1], True)"
    )
    events = client.data("rlm_get_trace", session_id=session_id)["events"]
    assert [event["action"] for event in events] == ["init_context", "add_context", "add_context", "run_repl"]
    assert "more" in text_of(
        client.call("rlm_add_context", session_id=session_id, name="x", text="more", response_format="markdown")
    )


def test_a_call_that_does_not_wait_is_answered_with_what_is_known(client: LineClient) -> None:
    """The rest is null, and the first step waits for it."""
    opened = client.data("rlm_init_context", context_text="x" * 100_000, wait_ms=0, context_name="story")
    context = opened["context"]
    assert list(opened["namespace"]) == ["story", "documents", "scratch", *EXPLORING, *ASKING]
    assert context["name"] == "story"
    if context["state"] == "loading":
        unknown = ("chars", "lines", "sha256", "head", "tail", "document_count")
        assert [context[name] for name in unknown] == [None] * len(unknown)
        assert isinstance(context["loaded_bytes"], int)
        assert isinstance(context["bytes"], int)
        assert [context[name] for name in ("held", "encodings", "undecodable_bytes")] == [None] * 3
        assert (context["documents"], context["skipped"], context["changed"]) == ([], {}, False)
    assert client.run(opened["session_id"], "len(story)")["result"] == "100000"


# --- guardrails -----------------------------------------------------------------------------------


def stopped_by(client: LineClient, session_id: str, reason: str) -> None:
    """The session runs nothing any more; everything that reads still works, and so does the end."""
    data = client.run(session_id, "ran = True")
    assert data["status"] == "stopped"
    assert data["guardrail_stop"] == reason
    assert client.error("rlm_get_var", session_id=session_id, var_name="ran")["code"] == "VARIABLE_NOT_FOUND"
    assert client.data("rlm_get_var", session_id=session_id, var_name="best")["value"] == "so far"
    assert client.data("rlm_get_trace", session_id=session_id)["events"]
    rows = {row["session_id"]: row["status"] for row in client.data("rlm_list_sessions")["sessions"]}
    assert rows[session_id] == "stopped"
    final = client.data("rlm_finalize", session_id=session_id, final_var_name="best")
    assert (final["final_answer"], final["finish_reason"]) == ("so far", reason)


def test_max_steps_counts_failed_steps_too(client: LineClient) -> None:
    """The step that reaches the limit still answers, with guardrail_stop set."""
    session_id = client.open_session(max_steps=3)
    client.run(session_id, "best = 'so far'")
    assert client.run(session_id, "1 / 0")["guardrail_stop"] is None
    last = client.run(session_id, "print('last')")
    assert (last["status"], last["stdout"], last["guardrail_stop"]) == ("ok", "last\n", "max_steps")
    assert last["budget"]["steps_left"] == 0
    stopped_by(client, session_id, "max_steps")


def test_max_runtime_interrupts_a_step_in_the_middle(client: LineClient) -> None:
    """Its own timeout is far away."""
    session_id = client.open_session(max_runtime_ms=400)
    client.data("rlm_add_context", session_id=session_id, name="best", text="so far")  # which costs none of it
    data = client.run(session_id, "while True: pass")
    assert data["status"] == "timeout"
    assert data["guardrail_stop"] == "timeout"
    stopped_by(client, session_id, "timeout")


@pytest.mark.slow
def test_the_time_between_steps_does_not_count(client: LineClient) -> None:
    """Only a step that executes uses up runtime."""
    session_id = client.open_session()
    first = client.run(session_id, "1")["budget"]["runtime_left_ms"]
    for _ in range(200):
        client.data("rlm_list_sessions")
    rows = {row["session_id"]: row for row in client.data("rlm_list_sessions")["sessions"]}
    assert rows[session_id]["counters"]["runtime_ms"] == 120_000 - first


def test_the_budget_counts_code_in_and_output_out_and_is_never_exceeded(client: LineClient) -> None:
    """A reply delivers no more than what is left; the rest stays in the trace for a person."""
    session_id = client.open_session(budget_limit=1_000)
    first = client.run(session_id, "best = 'so far'")
    assert first["budget"]["chars_left"] == 1_000 - len("best = 'so far'")
    code = "print('x' * 5_000)"
    data = client.run(session_id, code)
    assert data["guardrail_stop"] == "budget_exceeded"
    assert data["budget"]["chars_left"] == 0
    assert len(data["stdout"]) <= first["budget"]["chars_left"] - len(code)
    stopped_by(client, session_id, "budget_exceeded")


def test_the_trace_tells_what_was_used_by_the_end_of_each_step(client: LineClient) -> None:
    """Its output is counted once it was delivered; and how the session was opened."""
    session_id = client.open_session(budget_limit=1_000)
    used = [1_000 - client.run(session_id, f"'{'x' * count}'")["budget"]["chars_left"] for count in (10, 20, 30)]
    events = client.data("rlm_get_trace", session_id=session_id)["events"]
    assert [event["guardrail_snapshot"]["budget_used"] for event in events[1:]] == used
    assert "seccomp" in events[0]["summary"]


def test_a_running_step_is_running_in_the_trace_of_a_person_too(client: LineClient) -> None:
    """Another process than the server's: with its age, and what it has said so far."""
    session_id = client.open_session()
    client.run(session_id, "import time\nprint('so far', flush=True)\nwhile True: time.sleep(0.05)", wait_ms=0)
    command = [sys.executable, "-I", "-m", "rlm_kernel_mcp", "trace", session_id, "--json"]
    event: dict[str, Any] = {}
    while event.get("stdout") != "so far\n":  # noted once a second
        done = subprocess.run(command, env=client.env, capture_output=True, text=True, timeout=60, check=True)
        event = json.loads(done.stdout.splitlines()[-1])
        assert event["result_status"] == "running"
    assert event["duration_ms"] > 0
    own = client.data("rlm_get_trace", session_id=session_id)["events"][-1]
    assert (own["result_status"], own["duration_ms"] > 0) == ("running", True)
    assert own["summary"] == "import time print('so far', flush=True) while True: time.sleep(0.05)"
    client.data("rlm_interrupt", session_id=session_id)
    assert client.data("rlm_get_trace", session_id=session_id)["events"][-2]["result_status"] == "interrupted"


def test_a_running_step_is_running_in_the_trace(client: LineClient) -> None:
    """Unknown is only the end of a step whose server was killed."""
    session_id = client.open_session()
    client.run(session_id, "while True: pass", wait_ms=0)
    client.wait_until_running(session_id)
    assert client.data("rlm_get_trace", session_id=session_id)["events"][-1]["result_status"] == "running"
    client.data("rlm_interrupt", session_id=session_id)
    events = client.data("rlm_get_trace", session_id=session_id, from_step=1)["events"]
    assert events[0]["result_status"] == "interrupted"


def test_code_that_the_budget_cannot_take_is_not_run_and_the_answer_says_why(client: LineClient) -> None:
    """In both forms, once."""
    session_id = client.open_session(budget_limit=40)
    data = client.run(session_id, "x = '" + "y" * 50 + "'")
    assert (data["status"], data["guardrail_stop"], data["step_index"]) == ("stopped", "budget_exceeded", 0)
    assert "56 characters" in data["note"]
    assert "40" in data["note"]
    page = text_of(client.call("rlm_run_repl", session_id=session_id, code="1", response_format="markdown"))
    assert page.count("budget_exceeded") == 1
    assert page.count("still work") == 1
