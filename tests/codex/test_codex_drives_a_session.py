"""The real Codex drives whole sessions, and leaves nothing behind.

Each plane is held by itself: what the model received, what went over the wire, what Codex reported, and the
process table afterwards.
"""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from tests.codex.codex_exec import CodexRun, run_codex
from tests.codex.scripted_model import Item, Request, Script, call, javascript, results_of
from tests.mcp.line_client import WAIT_S
from tests.processes import left_over, run_directories

pytestmark = [pytest.mark.codex, pytest.mark.slow]

UNKNOWN_TO_THE_CATALOG = "fake-model"
CODE_MODE = "gpt-6-sol"
REPORT = "".join(f"{number}\t{'north' if number % 3 else 'south'}\t{number * 7}\n" for number in range(1, 5001))
TOTALS = {
    region: sum(n * 7 for n in range(1, 5001) if (n % 3 == 0) == (region == "south")) for region in ("north", "south")
}
COUNT = "rows = [line.split('\\t') for line in context.splitlines()]\nlen(rows)"
SUM = """
totals = {}
for number, region, amount in rows:
    totals[region] = totals.get(region, 0) + int(amount)
answer = f"north {totals['north']}, south {totals['south']}"
print(sorted(totals))
"""
CITE = "mark = cite(search('5000\\tnorth')[0].lines())\nanswer = f'{answer} {mark}'\nanswer"
ANSWER = f"north {TOTALS['north']}, south {TOTALS['south']}"
STEPS = ["run_repl"] * 3


def test_codex_drives_a_session_with_direct_tool_calls(tmp_path: Path) -> None:
    """Classic mode, from opening a file by its relative path to reading the trace; every answer is the contract's."""
    run = run_codex(direct_calls(), tmp_path, model=UNKNOWN_TO_THE_CATALOG, tapped=True, files={"report.tsv": REPORT})
    assert run.last_message == f"{ANSWER} [c1]"
    assert [tool for tool, _ in run.tool_calls] == [
        "rlm_init_context",
        "rlm_run_repl",
        "rlm_run_repl",
        "rlm_get_var",
        "rlm_run_repl",
        "rlm_get_var",
        "rlm_run_repl",
        "rlm_run_repl",
        "rlm_finalize",
        "rlm_finalize",
        "rlm_get_trace",
    ]
    # Codex calls an isError result "failed": the step whose code raised is not among them.
    statuses = [status for _, status in run.tool_calls]
    assert statuses == ["completed"] * 5 + ["failed"] * 2 + ["completed", "failed"] + ["completed"] * 2
    assert_the_wire_is_the_contract(run)
    assert_nothing_is_left(run)


def test_codex_drives_a_session_from_code_mode(tmp_path: Path) -> None:
    """The newest models call tools from JavaScript; `bin/rlm-mcp` is Codex's direct child here."""
    run = run_codex(programs(), tmp_path, model=CODE_MODE)
    assert run.last_message == ANSWER
    assert_nothing_is_left(run)


@pytest.mark.parametrize("way", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda way: way.name)
def test_a_codex_that_is_ended_takes_everything_along_even_in_the_middle_of_a_step(
    tmp_path: Path, way: signal.Signals
) -> None:
    """After SIGKILL no signal reaches the server, only the end of its input; the kernel is in a loop without end."""
    run = run_codex(endless_step(), tmp_path, model=UNKNOWN_TO_THE_CATALOG, ended_by=way)
    assert_nothing_is_left(run)


def direct_calls() -> Script:
    """A model that calls the tools one by one."""
    opened = yield from ask("rlm_init_context", context_paths=["report.tsv"])
    assert opened["data"]["context"]["chars"] == len(REPORT)
    session = {"session_id": opened["data"]["session_id"]}

    counted = yield from ask("rlm_run_repl", **session, code=COUNT)
    assert (counted["data"]["status"], counted["data"]["result"]) == ("ok", "5000")
    summed = yield from ask("rlm_run_repl", **session, code=SUM)
    assert (summed["data"]["step_index"], summed["data"]["stdout"]) == (2, "['north', 'south']\n")
    totals = yield from ask("rlm_get_var", **session, var_name="totals")
    assert totals["data"]["value"] == TOTALS

    raised = yield from ask("rlm_run_repl", **session, code="totals['west']")
    assert raised["ok"] is True
    assert raised["data"]["status"] == "error"
    assert (raised["data"]["error"]["ename"], raised["data"]["error"]["evalue"]) == ("KeyError", "'west'")

    missing = yield from ask("rlm_get_var", **session, var_name="total")
    assert missing["error"]["code"] == "VARIABLE_NOT_FOUND"
    assert "totals" in missing["error"]["message"]
    unknown = yield from ask("rlm_run_repl", **session, code="1", cell="2")
    assert unknown["error"]["code"] == "INVALID_INPUT"
    assert "cell" in unknown["error"]["message"]

    cited = yield from ask("rlm_run_repl", **session, code=CITE)
    assert cited["data"]["result"] == f"'{ANSWER} [c1]'"
    invented = yield from ask("rlm_finalize", **session, final_var_name="answer", quotes=["4999\tnorth\t34999"])
    assert invented["error"]["code"] == "CITATION_MISMATCH"
    assert [one["id"] for one in invented["error"]["citations"]] == ["q1"]
    final = yield from ask("rlm_finalize", **session, final_var_name="answer", quotes=["4999\tnorth\t34993"])
    assert (final["data"]["final_answer"], final["data"]["finish_reason"]) == (f"{ANSWER} [c1]", "completed")
    found = [(one["id"], one["status"], one["doc"], one["start_line"]) for one in final["data"]["citations"]]
    assert found == [("c1", "verified", "report.tsv", 5000), ("q1", "verified", "report.tsv", 4999)]
    trace = yield from ask("rlm_get_trace", **session)
    done = ["init_context", *STEPS, "run_repl", "refused", "finalize"]
    assert [event["action"] for event in trace["data"]["events"]] == done
    return str(final["data"]["final_answer"])


def programs() -> Script:
    """A model that writes programs: one opens and steps, the next reads, errs, finalizes and reads the trace."""
    opened, summed = yield from execute(f"""
        const opened = await tools.mcp__rlm__rlm_init_context({{context_text: {json.dumps(REPORT)}}});
        const session_id = opened.structuredContent.data.session_id;
        await tools.mcp__rlm__rlm_run_repl({{session_id, code: {json.dumps(COUNT)}}});
        const summed = await tools.mcp__rlm__rlm_run_repl({{session_id, code: {json.dumps(SUM)}}});
        text(JSON.stringify(opened)); text(JSON.stringify(summed));
    """)
    session_id = opened["structuredContent"]["data"]["session_id"]
    assert summed["structuredContent"]["data"]["stdout"] == "['north', 'south']\n"
    assert json.loads(summed["content"][0]["text"]) == summed["structuredContent"]

    totals, raised, missing, final, trace = yield from execute(f"""
        const session_id = {json.dumps(session_id)};
        const show = (result) => text(JSON.stringify(result));
        show(await tools.mcp__rlm__rlm_get_var({{session_id, var_name: "totals"}}));
        show(await tools.mcp__rlm__rlm_run_repl({{session_id, code: "totals['west']"}}));
        show(await tools.mcp__rlm__rlm_get_var({{session_id, var_name: "total"}}));
        show(await tools.mcp__rlm__rlm_finalize({{session_id, final_var_name: "answer"}}));
        show(await tools.mcp__rlm__rlm_get_trace({{session_id, response_format: "markdown"}}));
    """)
    assert totals["structuredContent"]["data"]["value"] == TOTALS
    assert raised["isError"] is False
    assert raised["structuredContent"]["data"]["error"]["ename"] == "KeyError"
    assert missing["isError"] is True
    assert missing["structuredContent"]["error"]["code"] == "VARIABLE_NOT_FOUND"
    assert "structuredContent" not in trace
    assert "finalize" in trace["content"][0]["text"]
    return str(final["structuredContent"]["data"]["final_answer"])


def endless_step() -> Script:
    """A model that starts a loop without end, and does not wait for it."""
    opened = yield from ask("rlm_init_context", context_text="short")
    session_id = opened["data"]["session_id"]
    begun = yield from ask("rlm_run_repl", session_id=session_id, code="while True: pass", wait_ms=0)
    assert begun["data"]["status"] == "running"
    return "never sent"


def ask(tool: str, **arguments: object) -> Generator[list[Item], Request, Any]:
    """One direct call, and the envelope that the model received for it."""
    request = yield [call(tool, arguments)]
    (text,) = results_of(request)
    return json.loads(text)


def execute(program: str) -> Generator[list[Item], Request, Any]:
    """One program in code mode, and the tool results that it showed to the model."""
    request = yield [javascript(program)]
    texts = results_of(request)
    assert not texts[0].startswith("Script error"), texts[0]
    return [json.loads(text) for text in texts]


def assert_the_wire_is_the_contract(run: CodexRun) -> None:
    """Each result is one text block of compact JSON, the same object as `structuredContent`."""
    sent = {message["id"] for message in run.to_server if message.get("method") == "tools/call"}
    results = [message["result"] for message in run.from_server if message.get("id") in sent]
    assert len(results) == len(run.tool_calls)
    for result in results:
        (block,) = result["content"]
        assert json.loads(block["text"]) == result["structuredContent"]
        assert result.get("isError", False) is not result["structuredContent"]["ok"]


def assert_nothing_is_left(run: CodexRun) -> None:
    """The server and a kernel were seen at work, and no process of the run has outlived Codex."""
    commands = list(run.processes.values())
    assert any(re.search(r"-m rlm_kernel_mcp( |$)", command) for command in commands), commands
    assert any("rlm_kernel_mcp.in_kernel" in command for command in commands), commands
    assert left_over(run.processes, timeout_s=WAIT_S) == []
    directories = run_directories(commands)
    assert directories
    assert not any(directory.exists() for directory in directories)
