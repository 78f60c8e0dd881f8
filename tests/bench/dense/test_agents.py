"""An agent is given tasks, with a server of its own for each, and scored by what it has finalized."""

from __future__ import annotations

import json
import os
import sys
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from bench.dense import __main__ as command
from bench.dense.agents.codex import Codex
from bench.dense.agents.job import Missing
from bench.dense.families import needle, oolong
from bench.dense.program import answer
from bench.dense.tasks import Paper
from tests.endpoints.aside import endpoint_aside
from tests.endpoints.endpoint import Endpoint, Seen, answered, response
from tests.parts import require_openai

PAPERS: Final = {one.family: one for one in (oolong.paper(1 << 13, 1), needle.paper(1 << 13, 1))}
TURNS_MOST: Final = 40


class ScriptedModel:
    """Stands where the model is: calls the tools that a careful model would, and says that it is a script."""

    def __init__(self, paper: Paper) -> None:
        self.paper = paper
        self.session_id = ""

    def turn(self, body: dict[str, Any]) -> dict[str, Any]:
        """The next message, by what the last tool has answered."""
        asked = body["messages"][1]["content"]
        assert body["messages"][0]["content"], "the server's instructions"
        last = body["messages"][-1]
        if last["role"] != "tool":
            names = {tool["function"]["name"] for tool in body["tools"]}
            assert {"rlm_init_context", "rlm_run_repl", "rlm_answer", "rlm_finalize"} <= names
            (path,) = asked.partition("context_paths: '")[2].partition("'")[:1]
            return self.call("rlm_init_context", context_paths=[path])
        data = json.loads(last["content"])["data"]
        if "context" in data:
            self.session_id = data["session_id"]
            kind = next(task.kind for task in self.paper.tasks if task.question in asked)
            return self.call("rlm_run_repl", code=f"{self.paper.program}\nsaid = answers[{kind!r}]")
        if data["status"] == "needs_answers":
            given = [
                {"id": one["id"], "text": answer(one["prompt"], one.get("text") or "")}
                for one in data["questions"]["items"]
            ]
            return self.call("rlm_answer", answers=given)
        assert data["status"] == "ok", data
        return self.call("rlm_finalize", final_var_name="said")

    def call(self, tool: str, **arguments: object) -> dict[str, Any]:
        if tool != "rlm_init_context":
            arguments = {"session_id": self.session_id, "max_output_chars": 100_000, **arguments}
        function = {"name": tool, "arguments": json.dumps(arguments)}
        return {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c", "type": "function", "function": function}],
        }


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    require_openai()
    with endpoint_aside() as listening:
        yield listening


def drive(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, model: Any) -> None:
    """Have the next requests answered by a script."""

    async def fault(seen: Seen, _reader: object, writer: Any) -> None:
        choice = {"index": 0, "finish_reason": "tool_calls", "message": model(seen.body)}
        writer.write(response(200, json.dumps(answered(seen, "", choices=[choice])).encode()))
        await writer.drain()

    endpoint.faults = deque([fault] * TURNS_MOST)
    monkeypatch.setenv("OPENAI_BASE_URL", endpoint.url)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-none")


def ended(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["bin/bench-dense", *words])
    return command.main()


@pytest.mark.parametrize("family", ["oolong", pytest.param("needle", marks=pytest.mark.slow)])
def test_a_model_behind_an_endpoint_drives_the_server_to_an_exact_answer(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, family: str
) -> None:
    drive(endpoint, monkeypatch, ScriptedModel(PAPERS[family]).turn)
    lines = tmp_path / "results.jsonl"
    words = ["--agent", "loop", "--model", "m", "--sub-calls", "agent", "--lengths", "13", "--family", family]
    assert ended(monkeypatch, *words, "--tasks", "1", "--price", "1,2", "--json", str(lines)) == 0
    said = capsys.readouterr().out
    assert f"{family} (seeded, ours) by loop (m): 100.00 % (95 % interval 20.65 to 100.00, Wilson, n = 1)" in said
    assert "1 tasks about 1 texts; 1 finalized, 0 ended early" in said
    (result,) = map(json.loads, lines.read_text().splitlines())
    calls = len(endpoint.seen)
    assert result["used"] == {
        "calls": calls,
        "tokens_in": 10 * calls,
        "tokens_out": 3 * calls,
        "said": "",
        "failure": "",
    }
    assert result["usd"] == pytest.approx(calls * (10 + 2 * 3) / 1e6)
    assert (result["steps"], result["is_finalized"], result["score"]) == (1, True, 1.0)
    assert result["asked"] > 0


@pytest.mark.slow
def test_what_code_asks_an_endpoint_is_counted_and_priced_for_itself(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same endpoint has both, and the model for sub-calls has a price of its own."""
    driver = ScriptedModel(PAPERS["needle"])

    def either(body: dict[str, Any]) -> dict[str, Any]:
        if "tools" in body:
            return driver.turn(body)
        assert body["model"] == "small"
        prompt, _, data = body["messages"][-1]["content"].partition("\n\n<data ")
        return {"role": "assistant", "content": answer(prompt, data)}

    drive(endpoint, monkeypatch, either)
    words = ["--agent", "loop", "--model", "m", "--sub-model", "small", "--lengths", "13", "--family", "needle"]
    assert ended(monkeypatch, *words, "--price", "1,1", "--sub-price", "100,100") == 0
    said = capsys.readouterr().out
    asked = sum("tools" not in seen.body for seen in endpoint.seen)
    calls = len(endpoint.seen) - asked
    assert asked == 1
    assert "needle (seeded, ours) by loop (m): 100.00 %" in said
    assert f"of 1 sub-calls 10 in, 3 out; cost: ${(calls * 13 + 1_300) / 1e6:,.4f}" in said


def test_the_published_figures_stand_beside_a_user_s_own_as_those_of_others(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    paper = PAPERS["needle"]
    drive(endpoint, monkeypatch, ScriptedModel(paper).turn)
    row = {
        "index": 0,
        "input": f"{paper.documents['context.txt']}\n{paper.tasks[0].question}",
        "outputs": [paper.tasks[0].gold],
    }
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps(row))
    words = ["--agent", "loop", "--model", "m", "--sub-calls", "agent", "--real", "ruler", "--file", str(file)]
    assert ended(monkeypatch, *words) == 0
    mine, _, others = capsys.readouterr().out.partition("Published by others, of their own runs; nothing of it was ")
    assert "ruler by loop (m): 100.00 %" in mine
    assert "cost: not known" in mine
    assert "github.com/avilum/minrlm" in others


def test_a_model_that_finalizes_nothing_has_no_score_and_the_run_goes_on(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    drive(endpoint, monkeypatch, lambda body: {"role": "assistant", "content": "It is 42."})
    words = ["--agent", "loop", "--model", "m", "--sub-calls", "none", "--lengths", "13", "--family", "needle"]
    assert ended(monkeypatch, *words, "--seeds", "2") == 0
    said = capsys.readouterr().out
    assert ": 0.00 % (95 % interval 0.00 to 65.76, Wilson, n = 2)" in said
    assert "0 finalized" in said


def test_an_endpoint_that_refuses_ends_the_task_with_its_words(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def refuses(_seen: Seen, _reader: object, writer: Any) -> None:
        writer.write(response(401, json.dumps({"error": {"message": "no such key"}}).encode()))
        await writer.drain()

    drive(endpoint, monkeypatch, None)
    endpoint.faults = deque([refuses])
    words = ["--agent", "loop", "--model", "m", "--sub-calls", "none", "--lengths", "13", "--family", "needle"]
    assert ended(monkeypatch, *words) == 0
    told = capsys.readouterr()
    assert "no such key" in told.err
    assert "1 ended early" in told.out


CODEX: Final = """#!{python}
import json, os, sys
with open({record!r}, "w") as file:
    json.dump({{"argv": sys.argv[1:], "stdin": sys.stdin.read(), "key": os.environ.get("OPENAI_API_KEY")}}, file)
print(json.dumps({{"type": "item.completed", "item": {{"type": "mcp_tool_call"}}}}))
print(json.dumps({{"type": "item.completed", "item": {{"type": "agent_message", "text": "I am a script."}}}}))
usage = {{"input_tokens": 70, "cached_input_tokens": 9, "output_tokens": 5}}
print(json.dumps({{"type": "turn.completed", "usage": usage}}))
"""


def test_codex_is_told_of_our_server_on_its_command_line_and_of_no_key(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A script in its place, which records what it is given; tests/codex has the real one."""
    record, binary = tmp_path / "record.json", tmp_path / "codex"
    binary.write_text(CODEX.format(python=sys.executable, record=str(record)))
    binary.chmod(0o755)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary")
    words = ["--agent", "codex", "--model", "m", "--codex", str(binary), "--lengths", "13", "--family", "needle"]
    assert ended(monkeypatch, *words) == 0
    said = json.loads(record.read_text())
    assert said["argv"][:2] == ["exec", "--json"]
    assert said["stdin"] == ""
    assert not any("canary" in word for word in said["argv"])
    (names,) = (word for word in said["argv"] if word.startswith("mcp_servers.rlm.env_vars="))
    assert '"OPENAI_API_KEY"' in names
    assert any("RLM_SUBCALL_MODEL" in word for word in said["argv"])
    assert "tokens of the model 70 in, 5 out, in 1 calls" in capsys.readouterr().out


def test_a_codex_that_is_not_there_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(Missing, match="There is no no-such-codex on PATH"):
        Codex(None, "no-such-codex")
    assert ended(monkeypatch, "--agent", "codex", "--sub-model", "m", "--codex", "no-such-codex") == 2
    assert "no-such-codex" in capsys.readouterr().err


def test_a_codex_that_fails_is_told_with_its_last_words(tmp_path: Path, capsys: pytest.CaptureFixture[str],
                                                        monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    binary = tmp_path / "codex"
    binary.write_text("#!/bin/sh\necho some words >&2\necho not logged in >&2\nexit 3\n")
    binary.chmod(0o755)
    words = ["--agent", "codex", "--codex", str(binary), "--sub-calls", "none", "--lengths", "13", "--family", "needle"]
    assert ended(monkeypatch, *words) == 0
    assert "codex ended with status 3, and said: not logged in" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--agent", "loop"], "--agent loop needs --model"),
        (["--agent", "codex"], "needs --sub-model"),
        (["--program", "--lengths", "12"], "from 13 to 20"),
        (["--program", "--seeds", "0"], "at least 1"),
        ([], "required"),
    ],
)
def test_what_cannot_be_run_is_refused(
    words: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        ended(monkeypatch, *words)
    assert end.value.code == 2
    assert said in capsys.readouterr().err


def test_the_client_library_that_is_missing_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    assert ended(monkeypatch, "--agent", "loop", "--model", "m", "--family", "needle", "--lengths", "13") == 2
    assert "bin/setup --with openai" in capsys.readouterr().err
    assert os.environ.get("OPENAI_API_KEY") != "sk-canary"


@pytest.mark.parametrize("words", [["--program"], ["--agent", "loop", "--model", "m"]])
def test_a_file_that_cannot_be_written_is_refused_before_a_task_is_begun(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a task costs would be lost."""
    monkeypatch.setattr(command, "_papers", lambda *_: pytest.fail("a task was begun"))
    assert ended(monkeypatch, *words, "--json", str(tmp_path / "missing" / "rows")) == 2
    assert "cannot be written (No such file or directory); give --json another file." in capsys.readouterr().err
