"""What the notebook of a session has, cell by cell."""

from __future__ import annotations

import base64
import json
import sqlite3
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import pytest

from rlm_kernel_mcp.both_sides.recorded_cells import question_digest
from rlm_kernel_mcp.errors import SessionNotFound
from rlm_kernel_mcp.notebook.form.names import HOW, KEY, TEXT_CHARS_MAX
from rlm_kernel_mcp.notebook.running.file import NotebookFile
from rlm_kernel_mcp.notebook.writing.record import notebook_of, text_of
from rlm_kernel_mcp.store.store import EventRow, SessionRecord, Store
from rlm_kernel_mcp.store.subcalls import SubcallRow, Texts, packed
from rlm_kernel_mcp.store.text_budget import STEP_TEXT_BYTES, fit
from tests.unit.kernel.untrusted.shown.drawn import png
from tests.unit.notebook.schema import code_cells, validate
from tests.unit.notebook.writing.conftest import SESSION, SHA, TEXT, report

LOADING: Final = '{"name": "context", "kind": "text", "state": "loading"}'


@pytest.fixture
def notebook(store: Store) -> dict[str, Any]:
    """Of that session, as it is read from its file."""
    made, damaged = notebook_of(store, SESSION)
    assert damaged == 0
    found: dict[str, Any] = json.loads("".join(text_of(made)))
    return found


def by_id(notebook: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {cell["id"]: cell for cell in notebook["cells"]}


def test_what_questions_asked_is_read_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Megabytes of it, packed, which the events of a trace have too."""
    read: list[int] = []
    texts = store.subcalls.texts

    def counted(session_id: str, row_id: int) -> Texts:
        read.append(row_id)
        return texts(session_id, row_id)

    monkeypatch.setattr(store.subcalls, "texts", counted)
    found, _ = notebook_of(store, SESSION)
    assert by_id(found)["step-4"]["metadata"][KEY]["subcalls"][0]["answer"] == "a letter | of many"
    assert len(read) == 1


def test_it_is_a_notebook(notebook: dict[str, Any]) -> None:
    """With an id for each cell, for our kernel, and in the order of the session."""
    validate(notebook)
    assert notebook["metadata"]["kernelspec"]["name"] == "rlm-python"
    assert [cell["id"] for cell in notebook["cells"]] == [
        "session",
        "sources",
        "step-1",
        "context-3",
        "console-1-1",
        "step-2",
        "step-3",
        "event-7",
        "step-4",
        "questions-4",
        "step-5",
        "event-11",
        "step-6",
        "step-7",
        "answer",
    ]


def test_the_question_and_the_facts_of_the_contexts_stand_on_top(notebook: dict[str, Any]) -> None:
    """Where a question cannot act as markdown."""
    top = notebook["cells"][0]["source"]
    assert "````\nWhat is `it`?\n```\n# no heading\n````" in top
    assert f"`context`: text of 11 characters in 1 document, 11 bytes, sha256 `{SHA}`; in this notebook" in top
    assert "`lib`: documents of 11 characters" in top
    assert "`lib/*.py`" in top
    assert "client `codex 1.0`" in top
    assert "walls that held: `seccomp`" in top


def test_a_text_is_in_the_notebook_and_paths_are_named(notebook: dict[str, Any]) -> None:
    text, paths = notebook["metadata"][KEY]["contexts"]
    assert (text["text"], text["sha256"]) == (TEXT, SHA)
    assert (paths["paths"], paths["working_dir"], paths["exclude"]) == (["lib/*.py"], "/data", ["*.pyc"])
    assert (paths["prefix"], paths["at_step"]) == ("lib/", 1)


def test_a_text_of_more_than_four_million_characters_is_named_by_the_first_cell(store: Store) -> None:
    """With the name of the file that has to have it."""
    store.put_context(SESSION, b"x" * (TEXT_CHARS_MAX + 1))
    found, _ = notebook_of(store, SESSION)
    row = found["metadata"][KEY]["contexts"][0]
    assert "text" not in row
    assert row["file"] == f"rlm-context-{SHA[:16]}.txt"
    first = code_cells(found)[0]["source"]
    assert row["file"] in first
    assert SHA in first
    assert "raise RuntimeError(" in first


def test_a_text_that_utf_8_cannot_have_is_in_the_notebook_all_the_same(store: Store) -> None:
    """Another program that writes the notebook anew writes UTF-8."""
    store.put_context(SESSION, "a\udc80".encode("utf-8", "surrogatepass"))
    found, _ = notebook_of(store, SESSION)
    json.dumps(found, ensure_ascii=False).encode()
    assert "text_base64" in found["metadata"][KEY]["contexts"][0]


def test_nothing_that_a_kernel_a_model_or_a_name_says_keeps_another_program_from_writing_it_anew(store: Store) -> None:
    """In UTF-8, which has no lone surrogates. The answer of a question is kept exactly all the same."""
    added: dict[str, Any] = {
        "source": {"paths": ["\udcff.log"], "working_dir": "/\udcfe", "name": "odd", "prefix": "odd/"}
    }
    added |= {"report": asdict(report("odd", kind="documents")), "at_step": 0, "states": None, "in_store": "odd"}
    reference = json.dumps({"inline": True, "name": "context", "prefix": "", "names": [], "added": [added]})
    row = SessionRecord("s_new", "2026-11-30T11:00:00.000Z", "text", "idle", context=LOADING, context_ref=reference)
    store.add_session(row)
    claims = json.dumps({"claims": [[1, "context\ud800", "\ud801", 0, 5, SHA, "\ud802"]]})
    step = EventRow(
        "s_new", "2026-11-30T11:00:01.000Z", 1, "run_repl", result_status="ok", code="'\ud803'", extra=claims
    )
    store.add_event(step)
    asked = SubcallRow("s_new", store.mint(), "2026-11-30T11:00:01.000Z", 1, "mcp", 1, 1, model_said="\ud804")
    texts = packed(Texts("\ud805", "\ud806", "yes\ud807"))
    store.subcalls.book("s_new", [(asked, texts)], lambda connection: None)
    found, damaged = notebook_of(store, "s_new")
    validate(found)
    json.dumps(found, ensure_ascii=False).encode()
    cell = code_cells(found)[1]["metadata"][KEY]
    assert (damaged, cell["why"]) == (0, ["characters"])
    (read,) = NotebookFile(found).recorded("")["answers"]
    assert read == {"step": 1, "digest": question_digest("llm", "\ud805", "\ud806"), "answer": "yes\ud807"}


def test_a_step_s_cell_has_its_real_outputs(notebook: dict[str, Any]) -> None:
    """Streams, the value, the exception, under the step's number."""
    cells = by_id(notebook)
    assert cells["step-1"]["outputs"] == [
        {"output_type": "execute_result", "data": {"text/plain": "(11, [c1])"}, "metadata": {}, "execution_count": 1}
    ]
    stream, error = cells["step-2"]["outputs"]
    assert stream == {"output_type": "stream", "name": "stdout", "text": "out\n"}
    assert (error["ename"], error["traceback"]) == ("ZeroDivisionError", ["Traceback", "ZeroDivisionError: no"])
    assert cells["step-2"]["execution_count"] == 2
    assert cells["step-2"]["metadata"]["tags"] == ["step", "raises-exception"]


def test_a_step_s_metadata_have_its_time_costs_and_citations(notebook: dict[str, Any]) -> None:
    facts = by_id(notebook)["step-1"]["metadata"][KEY]
    assert (facts["ts"], facts["ms"], facts["status"]) == ("2026-11-30T10:00:01.000Z", 70, "ok")
    assert (facts["cost"], facts["delivered"], facts["printed"]) == (48, 10, {"result": 10})
    assert facts["functions"] == {"search": 1, "cite": 1}
    assert facts["citations"] == [
        {"mark": "c1", "context": "context", "document": "context", "start": 0, "end": 5},
    ]


def test_pictures_of_a_step_are_its_outputs_and_html_is_in_its_metadata(store: Store) -> None:
    """A client that opened the notebook would ask other machines for what HTML and Markdown name."""
    store.add_session(SessionRecord("s_new", "2026-11-30T11:00:00.000Z", "text", "idle", context=LOADING))
    facts = '{"facts": {"displayed": {"image/png": 1, "text/html": 1}}}'
    row = EventRow("s_new", "2026-11-30T11:00:01.000Z", 1, "run_repl", result_status="ok", code="f()", extra=facts)
    row.id = store.mint()
    store.displays.add("s_new", row.id, [(1, "image/png", png()), (1, "text/html", b"<img src=//evil.example>")])
    store.add_event(row)
    found, _ = notebook_of(store, "s_new")
    validate(found)
    cell = code_cells(found)[1]
    assert cell["outputs"] == [
        {"output_type": "display_data", "data": {"image/png": base64.b64encode(png()).decode()}, "metadata": {}}
    ]
    assert cell["metadata"][KEY]["displays"] == [
        {"type": "text/html", "place": 1, "text": "<img src=//evil.example>"},
    ]
    assert "why" not in cell["metadata"][KEY]


def test_a_picture_that_the_record_has_not_got_is_a_reason(store: Store) -> None:
    store.add_session(SessionRecord("s_new", "2026-11-30T11:00:00.000Z", "text", "idle", context=LOADING))
    facts = '{"facts": {"displayed": {"image/png": 1}}}'
    row = EventRow("s_new", "2026-11-30T11:00:01.000Z", 1, "run_repl", result_status="ok", code="f()", extra=facts)
    store.add_event(row)
    found, _ = notebook_of(store, "s_new")
    assert code_cells(found)[1]["metadata"][KEY]["why"] == ["cut"]


def test_a_person_s_cell_is_marked(notebook: dict[str, Any]) -> None:
    cell = by_id(notebook)["console-1-1"]
    assert (cell["source"], cell["metadata"]["tags"]) == ("context[:3]", ["console"])
    assert cell["metadata"][KEY]["role"] == "console"


@pytest.mark.parametrize(
    ("cell", "why"),
    [
        ("step-1", []),
        ("step-3", ["timeout"]),
        ("step-5", ["ended"]),
        ("step-6", ["restore", "characters"]),
        ("step-7", ["restore", "clock"]),
    ],
)
def test_what_may_not_repeat_is_tagged_with_its_reasons(notebook: dict[str, Any], cell: str, why: list[str]) -> None:
    metadata = by_id(notebook)[cell]["metadata"]
    assert metadata[KEY].get("why", []) == why
    assert ("not-repeatable" in metadata["tags"]) is bool(why)
    assert ("after-restore" in metadata["tags"]) is (cell in ("step-6", "step-7"))


@pytest.mark.parametrize(
    ("step", "why"),
    [
        ({"code": "1", "stdout": fit({"stdout": "x" * (STEP_TEXT_BYTES + 1)}, 0)[0]["stdout"]}, "cut"),
        ({"code": "1", "stdout": "x", "extra": '{"late_chars": 1}'}, "late"),
        ({"code": "1", "extra": '{"contexts_changed": ["context"]}'}, "changed"),
        ({"code": "'\\x1b' + '\x1b'"}, "characters"),
        ({"code": "1", "result_status": "interrupted", "source": "console"}, "interrupt"),
        ({"code": "1", "result_status": "unknown"}, "ended"),
        ({"code": "1", "result_status": "unknown", "source": "console"}, "cut"),
        ({"code": "llm_query('x')", "result_status": "ok", "source": "console"}, "answer"),
    ],
    ids=["cut", "late", "changed", "characters", "interrupt", "ended", "console", "console asks"],
)
def test_what_the_record_knows_is_a_reason(store: Store, step: dict[str, Any], why: str) -> None:
    store.add_session(SessionRecord("s_new", "2026-11-30T11:00:00.000Z", "text", "idle", context=LOADING))
    row = EventRow("s_new", "2026-11-30T11:00:01.000Z", 1, "run_repl", **{"result_status": "ok", **step})
    store.add_event(row)
    found, damaged = notebook_of(store, "s_new")
    assert (damaged, code_cells(found)[1]["metadata"][KEY]["why"]) == (0, [why])


@pytest.mark.parametrize(
    "step",
    [
        {"result_status": "error", "extra": '{"refused": ["CONTEXT_NOT_FOUND", "gone", "look"]}'},
        {"result_status": "interrupted"},
        {"result_status": "timeout"},
    ],
    ids=["no context", "interrupted", "withdrawn"],
)
def test_a_step_that_never_ran_is_told_and_does_not_run(store: Store, step: dict[str, Any]) -> None:
    """Its context could not be loaded, or it was given up before its kernel had it: nothing was sent to end it."""
    store.add_session(SessionRecord("s_new", "2026-11-30T11:00:00.000Z", "text", "idle", context=LOADING))
    store.add_event(EventRow("s_new", "2026-11-30T11:00:01.000Z", 1, "run_repl", code="1", **step))
    found, _ = notebook_of(store, "s_new")
    assert [cell["id"] for cell in found["cells"]] == ["session", "sources", "event-1"]
    assert "```python\n1\n```" in found["cells"][-1]["source"]


@pytest.mark.parametrize(
    ("status", "sent", "why", "is_run"),
    [
        ("timeout", ["SIGINT"], "timeout", True),
        ("interrupted", ["SIGINT", "SIGINT"], "interrupt", True),
        ("error", ["SIGINT"], "timeout", True),
        ("timeout", ["SIGINT", "SIGINT", "SIGKILL"], "ended", False),
        ("error", ["SIGINT", "SIGINT", "SIGKILL"], "ended", False),
    ],
    ids=["timeout", "interrupted", "processor time", "killed", "killed for its processor time"],
)
def test_a_step_that_did_not_end_by_itself_is_stopped_again_or_not_run_whatever_its_status_is(
    store: Store, status: str, sent: list[str], why: str, is_run: bool
) -> None:
    """One that swallows each interrupt would never end in a client without limits."""
    store.add_session(SessionRecord("s_new", "2026-11-30T11:00:00.000Z", "text", "idle", context=LOADING))
    ran = EventRow("s_new", "2026-11-30T11:00:01.000Z", 1, "run_repl", result_status=status, code="f()")
    ran.duration_ms = 700
    store.add_event(ran)
    for rung in sent:
        words = f"{rung} to the kernel in step 1"
        store.add_event(
            EventRow("s_new", "2026-11-30T11:00:02.000Z", 1, "interrupt", result_status="ok", summary=words)
        )
    facts = code_cells(notebook_of(store, "s_new")[0])[1]["metadata"][KEY]
    assert facts["why"] == [why]
    assert (facts.get("limit_ms"), "ended" in facts) == ((700, False) if is_run else (None, True))


def test_a_step_that_was_stopped_is_stopped_again_and_one_that_ended_its_kernel_is_not_run(
    notebook: dict[str, Any],
) -> None:
    cells = by_id(notebook)
    assert cells["step-3"]["metadata"][KEY]["limit_ms"] == 100
    assert "ended its kernel (kernel_died)" in cells["step-5"]["metadata"][KEY]["ended"]
    assert "raises-exception" in cells["step-5"]["metadata"]["tags"]


def test_questions_are_in_the_metadata_of_their_step_with_all_of_their_answers(notebook: dict[str, Any]) -> None:
    """And in a table for a reader, in which a bar of theirs ends no field."""
    cells = by_id(notebook)
    (asked,) = cells["step-4"]["metadata"][KEY]["subcalls"]
    assert asked["answer"] == "a letter | of many"
    assert asked["digest"] == question_digest("llm", "What is it?", "alpha")
    assert "`a letter ¦ of many`" in cells["questions-4"]["source"]


def test_what_happened_between_steps_is_said(notebook: dict[str, Any]) -> None:
    said = by_id(notebook)["event-11"]
    assert said["metadata"]["tags"] == ["event"]
    assert "gone: `m` (`it cannot be pickled`)" in said["source"]
    assert "restored: `x`" in said["source"]


def test_the_answer_with_its_citations_is_last_and_does_not_act(notebook: dict[str, Any]) -> None:
    """A picture of another server in it would tell that somebody reads."""
    answer = notebook["cells"][-1]["source"]
    assert "```\nIt is ![alpha](http://evil.example/x.png) [c1].\n```" in answer
    assert "[^c1]: `context:1` verified: `alpha`" in answer
    facts = notebook["metadata"][KEY]
    assert [one["id"] for one in facts["citations"]] == ["c1"]
    assert facts["annotations"]["total"] == 1


def test_nothing_in_it_acts_on_a_terminal(notebook: dict[str, Any]) -> None:
    """Of code too: what it has in place of such a character is said to be another."""
    assert by_id(notebook)["step-6"]["source"] == r"x = '\x1b[2J'"


def test_without_the_sources_the_first_cell_names_both_ways(notebook: dict[str, Any]) -> None:
    """In whatever kernel: it is plain Python."""
    with pytest.raises(RuntimeError) as raised:
        exec(code_cells(notebook)[0]["source"], {})
    assert str(raised.value) == HOW
    assert "notebook run FILE" in HOW
    assert "RLM_NOTEBOOK=FILE" in HOW


def test_what_is_damaged_is_counted(store: Store, tmp_path: Path) -> None:
    """And the rest is a notebook."""
    with closing(sqlite3.connect(tmp_path / "sessions.db")) as connection, connection:
        connection.execute("UPDATE events SET code = 'other' WHERE step_index = 2")
    found, damaged = notebook_of(store, SESSION)
    assert damaged == 1
    validate(found)


def test_there_is_no_notebook_of_no_session(store: Store) -> None:
    with pytest.raises(SessionNotFound, match="no session s_other"):
        notebook_of(store, "s_other")
