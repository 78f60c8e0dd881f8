"""The real Codex is given a task by `bin/bench-dense --agent codex`, and what it has finalized is scored."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.dense.agents.codex import Codex
from bench.dense.agents.evaluation import Subcalls, evaluate
from bench.dense.families import needle
from bench.dense.program import answer
from tests.codex.codex_exec import CONFIG, RUN_TIMEOUT_S
from tests.codex.scripted_model import Script, ScriptedModel, call, results_of, told
from tests.codex.test_codex_answers_questions import ask
from tests.codex.test_codex_drives_a_session import UNKNOWN_TO_THE_CATALOG
from tests.parts import codex_binary

pytestmark = [pytest.mark.codex, pytest.mark.slow]


def careful(program: str) -> Script:
    """Loads what the prompt names, runs the program, answers what it asks and finalizes: a script, no model."""
    request = yield [call("rlm_list_sessions", {})]
    assert json.loads(results_of(request)[0])["data"]["sessions"] == [], "a record of its own"
    path = told(request).partition("context_paths: '")[2].partition("'")[0]
    opened = yield from ask(UNKNOWN_TO_THE_CATALOG, "rlm_init_context", {"context_paths": [path]})
    session: dict[str, object] = {"session_id": opened["session_id"]}
    code = f"{program}\nsaid = answers['needle']"
    data = yield from ask(UNKNOWN_TO_THE_CATALOG, "rlm_run_repl", {**session, "code": code})
    while data["status"] == "needs_answers":
        items = data["questions"]["items"]
        given = [{"id": one["id"], "text": answer(one["prompt"], one["text"])} for one in items]
        data = yield from ask(UNKNOWN_TO_THE_CATALOG, "rlm_answer", {**session, "answers": given})
    yield from ask(UNKNOWN_TO_THE_CATALOG, "rlm_finalize", {**session, "final_var_name": "said"})
    return "it is in the session"


def test_codex_answers_a_task_and_its_final_answer_is_scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its own server and host, with the user's configuration beside them; its tokens are Codex's account."""
    paper = needle.paper(1 << 13, 1)
    model = ScriptedModel(careful(paper.program), on_request=lambda: None, on_end=lambda: None)
    with model:
        ours, _, _ = CONFIG.partition("[mcp_servers.rlm]")
        words = {"model": json.dumps(UNKNOWN_TO_THE_CATALOG), "base_url": json.dumps(model.base_url)}
        (tmp_path / "config.toml").write_text(ours.format(**words))
        monkeypatch.setenv("CODEX_HOME", str(tmp_path))
        monkeypatch.setenv("SCRIPTED_MODEL_KEY", "any")
        agent = Codex(UNKNOWN_TO_THE_CATALOG, str(codex_binary()), run_s=RUN_TIMEOUT_S)
        (result,) = evaluate(agent, [paper], Subcalls("agent"))
    model.finish(result.used.failure)
    assert result.used.failure == ""
    assert result.output == paper.tasks[0].gold
    assert (result.score, result.is_finalized, result.steps, result.asked) == (1.0, True, 1, 1)
    assert result.used.said == "it is in the session"
    assert (result.used.tokens_in, result.used.tokens_out) == (len(model.requests), len(model.requests))
