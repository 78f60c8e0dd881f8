"""`rlm-kernel-mcp trace` of a session whose final answer lies in the store page by page."""

from __future__ import annotations

import json
from argparse import Namespace
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest

from rlm_kernel_mcp.commands.following.follow import Following
from rlm_kernel_mcp.commands.showing import forms
from rlm_kernel_mcp.commands.showing.terminal import Plain
from rlm_kernel_mcp.commands.trace import print_trace, traced
from rlm_kernel_mcp.errors import InvalidInput
from rlm_kernel_mcp.session.account import Account
from rlm_kernel_mcp.session.evidence.citations import Checked, Citation, Coverage, Passage
from rlm_kernel_mcp.session.reports import Guardrails
from rlm_kernel_mcp.session.trace.journal import Journal
from rlm_kernel_mcp.settings import Settings, load_settings
from rlm_kernel_mcp.store.store import EventRow, SessionRecord, Store
from tests.records import changed

PAGES: Final = ("so it is, and ", "it says so [\uff43", "7]; ", "and no more.")
WHOLE: Final = "".join(PAGES)
PASSAGE: Final = Passage("a.txt", None, 0, 4, 0, 4, 1, 1, "text", "0" * 64, "", "")
CITED: Final = Checked((Citation("c7", "marker", "verified", PASSAGE),), Coverage(0)).record()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Of a state directory with the session `s_1`, which has such an answer."""
    store = Store.open(tmp_path)
    store.add_session(SessionRecord("s_1", "2026-11-29T10:00:00.000Z", "text", "idle"))
    journal, account = Journal(store, "s_1"), Account(Guardrails())
    new = journal.long_answer()
    assert all(new.add(page.encode(), len(page)) for page in PAGES)
    answer = new.end()
    assert answer is not None
    journal.closed("finalized", final_answer=None, extra=json.dumps(answer.recorded()))
    journal.final(0, "completed", "variable", answer, account, CITED)
    store.close()
    return load_settings(Path.cwd(), {"RLM_STATE_DIR": str(tmp_path)})


def damage(settings: Settings) -> None:
    changed(settings.state_dir, "UPDATE answer_pages SET data = x'00' WHERE number = 1")


def printed(settings: Settings, capsys: pytest.CaptureFixture[str], **how: bool) -> Any:
    assert print_trace(settings, "s_1", form="jsonl", **how) == 0
    return json.loads(capsys.readouterr().out or "null")


def test_a_long_answer_is_printed_whole(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    """As JSON, as text, and to whoever follows the session."""
    assert printed(settings, capsys)["result"] == WHOLE
    assert print_trace(settings, "s_1", form="text") == 0
    assert WHOLE in capsys.readouterr().out
    for as_json in (True, False):
        store = Store.open(settings.state_dir)
        Following(store, "s_1", {"RLM_HOST": "off"}, as_json=as_json).run()
        store.close()
        assert "and no more." in capsys.readouterr().out


def test_a_mark_over_two_pages_is_annotated_as_it_is_written(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    """And as `[c7]` where that cannot be read any more."""

    def mark() -> str:
        (item,) = printed(settings, capsys, as_annotations=True)["first"]["items"]
        exact: str = item["body"]["selector"]["exact"]
        return exact

    assert mark() == "[\uff437]"
    damage(settings)
    assert mark() == "[c7]"


def test_a_damaged_page_is_told_and_not_left_out_in_silence(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the command, and to whoever follows."""
    damage(settings)
    assert print_trace(settings, "s_1", form="jsonl") == 0
    said = capsys.readouterr()
    assert (said.out, "1 event" in said.err) == ("", True)
    store = Store.open(settings.state_dir)
    Following(store, "s_1", {"RLM_HOST": "off"}, as_json=True).run()
    store.close()
    assert capsys.readouterr().out == ""


def test_the_steps_of_child_sessions_are_printed_with_those_of_their_parent(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    """Indented for reading, and as JSON with whose they are; else the trace is that of one session."""
    store = Store.open(settings.state_dir)
    store.add_session(SessionRecord("s_child", "2026-11-29T10:00:01.000Z", "text", "idle", parent="s_1", depth=1))
    store.add_event(EventRow("s_child", "2026-11-29T10:00:01.000Z", 1, "run_repl", result_status="ok", code="6 * 7"))
    store.close()
    asked = {
        "session_id": "s_1",
        "json": False,
        "format": "text",
        "children": True,
        "follow": False,
        "annotations": False,
        "question": None,
    }
    assert traced(settings, Namespace(**asked)) == 0
    text = capsys.readouterr().out
    assert "\n    Child session s_child:\n" in text
    assert "\n    6 * 7\n" in text
    assert traced(settings, Namespace(**asked | {"json": True})) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["session_id"], line["depth"], line["action"]) for line in lines] == [
        ("s_1", 0, "finalize"),
        ("s_child", 1, "run_repl"),
    ]
    assert traced(settings, Namespace(**asked | {"children": False})) == 0
    assert "s_child" not in capsys.readouterr().out
    for other in ("follow", "annotations"):
        with pytest.raises(InvalidInput, match="--children goes neither with"):
            traced(settings, Namespace(**asked | {other: True}))


def test_sessions_of_which_a_damaged_record_makes_each_the_other_s_child_are_printed_once(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nor does one that is its own parent come twice."""
    store = Store.open(settings.state_dir)
    for session_id, parent in (("s_a", "s_b"), ("s_b", "s_a"), ("s_own", "s_own")):
        store.add_session(SessionRecord(session_id, "2026-11-29T10:00:01.000Z", "text", "idle", parent=parent, depth=1))
        store.add_event(EventRow(session_id, "2026-11-29T10:00:01.000Z", 1, "run_repl", result_status="ok", code="1"))
    store.close()
    for session_id, shown in (("s_a", ["s_a", "s_b"]), ("s_own", ["s_own"])):
        asked = {
            "session_id": session_id,
            "json": True,
            "format": None,
            "children": True,
            "follow": False,
            "annotations": False,
            "question": None,
        }
        assert traced(settings, Namespace(**asked)) == 0
        assert [json.loads(line)["session_id"] for line in capsys.readouterr().out.splitlines()] == shown


def test_as_json_the_trace_is_one_value_and_as_lines_one_for_each_event(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same events, for scripts that read either."""
    assert print_trace(settings, "s_1", form="jsonl") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert print_trace(settings, "s_1", form="json") == 0
    assert json.loads(capsys.readouterr().out) == lines
    damage(settings)
    assert print_trace(settings, "s_1", form="json") == 0
    assert json.loads(capsys.readouterr().out) == []


def test_the_trace_begins_with_what_the_session_is_for(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    """In a client's words, of which nothing acts on a terminal; for scripts there are events alone."""
    with closing(Store.open(settings.state_dir)) as store:
        record = SessionRecord("s_2", "2026", "text", "idle", question="Which\x1b[2J handlers?", client="codex 1")
        store.add_session(record)
        Journal(store, "s_2").event("init_context", 0, "ok", "text", Account(Guardrails()))
    assert print_trace(settings, "s_2") == 0
    assert capsys.readouterr().out.startswith("Question: Which\\x1b[2J handlers?\nClient: codex 1\n\n2")
    assert print_trace(settings, "s_2", form="jsonl") == 0
    assert json.loads(capsys.readouterr().out)["action"] == "init_context"


def test_one_json_value_cannot_be_followed(settings: Settings) -> None:
    asked = Namespace(
        session_id="s_1", follow=True, annotations=False, json=False, format="json", children=False, question=None
    )
    with pytest.raises(InvalidInput, match="--format json does not go with --follow") as refused:
        traced(settings, asked)
    assert "--format jsonl" in refused.value.next_step


def test_at_a_terminal_the_trace_is_laid_out_for_a_person(
    settings: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is piped, and what scripts read, is as ever."""
    monkeypatch.setattr(forms, "is_terminal", lambda *streams: True)
    monkeypatch.setattr(forms, "printer", lambda: Plain(60))
    assert print_trace(settings, "s_1") == 0
    heading, empty, rule, *rest = capsys.readouterr().out.splitlines()
    assert (heading.split()[0], empty, rule.startswith("── answer ─")) == ("s_1", "", True)
    assert rest[0] == f"    {WHOLE}"
    assert print_trace(settings, "s_1", form="jsonl") == 0
    assert json.loads(capsys.readouterr().out)["result"] == WHOLE
