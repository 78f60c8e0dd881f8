"""What is shown of others' cells to a person at a console."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest

from rlm_kernel_mcp.commands.attached.agents_steps import AgentsSteps, Step
from rlm_kernel_mcp.commands.attached.onlooking import CELLS_MAX, Onlooker
from rlm_kernel_mcp.session.account import Account
from rlm_kernel_mcp.session.reports import Guardrails
from rlm_kernel_mcp.session.trace.journal import Journal
from rlm_kernel_mcp.store.store import SessionRecord, Store


def message(msg_type: str, cell: str, request: str = "execute_request", **content: Any) -> dict[str, Any]:
    """A message on iopub."""
    return {"msg_type": msg_type, "parent_header": {"msg_id": cell, "msg_type": request}, "content": content}


class Clock:
    """A time that is set by hand."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def onlooker(*steps: Step, clock: Clock | None = None) -> Onlooker:
    """One with these steps of the agent on record."""
    return Onlooker(lambda code: next((step for step in steps if step.code == code), None), clock or Clock())


def begin(code: str, cell: str = "a") -> dict[str, Any]:
    """The echo of a cell's code."""
    return message("execute_input", cell, code=code, execution_count=1)


def test_it_is_said_for_how_many_answers_the_agent_s_step_waits() -> None:
    """At its beginning, and where that changes; looked for once a second, and for no other cell."""
    clock, waits = Clock(), [0]
    shown = Onlooker(lambda code: None, clock, lambda: waits[0])
    shown.take(begin("x"))
    clock.now_s, waits[0] = 2.0, 7
    assert shown.text() == "Another client's cell is running.\n> x\n"
    shown.begin(Step(3, "x", 2))
    assert (
        shown.text()
        == "The agent's step 3 is running, and waits for 2 answers.\n> x\nThe agent's step 3 waits for 7 answers.\n"
    )
    waits[0] = 9
    assert shown.text() == ""
    clock.now_s = 3.0
    assert shown.text() == "The agent's step 3 waits for 9 answers.\n"
    clock.now_s, waits[0] = 4.0, 0
    assert shown.text() == "The agent's step 3 has its answers.\n"
    clock.now_s = 5.0
    assert shown.text() == ""


def test_a_record_that_cannot_be_read_for_a_moment_answers_no_question() -> None:
    """The step waits for as many answers as before, as far as is known."""
    clock = Clock()
    shown = Onlooker(lambda code: None, clock, lambda: None)
    shown.begin(Step(3, "x", 2))
    shown.text()
    clock.now_s = 2.0
    assert shown.text() == ""


def test_a_step_that_the_record_has_late_is_called_one_as_soon_as_it_has() -> None:
    """While it runs, or at its end."""
    clock, found = Clock(), list[Step]()
    shown = Onlooker(lambda code: None, clock, late=lambda: found[0] if found else None)
    said = "Another client's cell is running.\n> x\n"
    late = "That cell is the agent's step 3, as the record says now.\n"
    shown.take(begin("x"))
    assert shown.text() == said
    clock.now_s = 1.0
    assert shown.text() == ""
    found.append(Step(3, "x"))
    assert shown.text() == ""
    clock.now_s = 2.0
    assert shown.text() == late
    shown.take(message("status", "a", execution_state="idle"))
    assert shown.text() == "The agent's step 3 has ended.\n"
    shown.take(begin("x"))
    shown.take(message("status", "a", execution_state="idle"))
    assert shown.text() == f"{said}{late}The agent's step 3 has ended.\n"


def test_a_step_that_was_found_in_the_record_is_not_shown_again_when_its_beginning_is_heard() -> None:
    """The console hears of cells before it looks what runs."""
    shown = onlooker(Step(3, "x"))
    shown.begin(Step(3, "x"))
    shown.take(begin("x"))
    shown.take(message("stream", "a", text="one\n"))
    shown.take(message("stream", "b", text="another's\n"))
    shown.take(message("status", "a", execution_state="idle"))
    assert shown.text() == "The agent's step 3 is running.\n> x\n| one\nThe agent's step 3 has ended.\n"


def test_a_line_is_shown_when_it_has_its_end_or_has_waited_for_it() -> None:
    """Dots that come one by one are seen too."""
    clock = Clock()
    shown = onlooker(Step(3, "x"), clock=clock)
    shown.take(begin("x"))
    assert shown.text() == "The agent's step 3 is running.\n> x\n"
    shown.take(message("stream", "a", text="one\ntw"))
    assert shown.text() == "| one\n"
    shown.take(message("stream", "a", text="o\n."))
    assert shown.text() == "| two\n"
    clock.now_s = 0.9
    assert shown.text() == ""
    clock.now_s = 1.1
    assert shown.text() == "| .\n"
    shown.take(message("stream", "a", text="end"))
    shown.take(message("status", "a", execution_state="idle"))
    assert shown.text() == "| end\nThe agent's step 3 has ended.\n"


def test_of_long_code_the_beginning_is_shown() -> None:
    """By lines and by characters; what is left out is said."""
    shown = onlooker()
    shown.take(begin("\n".join(f"line_{number}" for number in range(100))))
    lines = shown.text().splitlines()
    assert (lines[1], lines[10], lines[11:]) == ("> line_0", "> line_9", ["> [and 90 more lines]"])
    shown.take(begin("x" * 5_000))
    assert shown.text().endswith("x\n> [the first 1,000 of 5,000 characters]\n")


def test_nothing_that_is_shown_acts_or_passes_for_a_word_of_ours() -> None:
    """In code, output, results, displays and errors: each line has its mark."""
    shown = onlooker()
    evil = "\x1b]0;evil\x07\u202e\nThe agent's step 1 has ended."
    shown.take(begin(evil))
    shown.take(message("stream", "a", text=evil))
    shown.take(message("execute_result", "a", data={"text/plain": evil, "text/html": "<b>"}))
    shown.take(message("display_data", "a", data={"image/png": evil}))
    shown.take(message("error", "a", traceback=[evil, evil]))
    first, *lines = shown.text().splitlines()
    assert first == "Another client's cell is running."
    assert {line[:2] for line in lines} == {"> ", "| "}
    assert not {"\x1b", "\x07", "\u202e"} & set("".join(lines))
    assert "| [image/png]" in lines


def test_other_requests_and_threads_of_earlier_cells_are_not_shown() -> None:
    """The end of another request is not the end of the step."""
    shown = onlooker()
    shown.begin(Step(2, "x"))
    shown.text()
    shown.take(message("status", "b", "kernel_info_request", execution_state="idle"))
    assert shown.runs == "The agent's step 2"
    shown.take(message("status", "a", execution_state="idle"))
    assert shown.text() == "The agent's step 2 has ended.\n"
    shown.take(message("stream", "a", text="late\n"))
    shown.take(begin("y", "c"))
    shown.take(message("stream", "a", text="late\n"))
    assert shown.text() == "Another client's cell is running.\n> y\n"


def test_a_burst_of_made_up_cells_is_counted_and_holds_back_no_later_step() -> None:
    """Each of thousands would be looked for in the record, and take lines of the screen."""
    clock, looked = Clock(), list[str]()

    def begun(code: str) -> Step | None:
        looked.append(code)
        return Step(4, code) if code == "real" else None

    shown = Onlooker(begun, clock)
    for number in range(5_000):
        shown.take(begin(f"forged {number}", f"c{number}"))
    told = shown.text()
    assert len(looked) == CELLS_MAX
    assert told.count("is running") == CELLS_MAX
    clock.now_s = 1.1
    assert shown.text() == "4,800 more cells began within 1 s, too many to be shown.\n"
    shown.take(begin("real"))
    assert shown.text() == "The agent's step 4 is running.\n> real\n"
    clock.now_s = 2.2
    assert shown.text() == ""


def test_the_record_is_opened_once_however_many_cells_a_kernel_makes_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Opening takes twenty times as long as looking; one that takes the file's place is opened again."""
    opened: list[Path] = []
    open_store = Store.open

    def counted(directory: Path) -> Store:
        opened.append(directory)
        return open_store(directory)

    monkeypatch.setattr(Store, "open", counted)
    with contextlib.closing(open_store(tmp_path)) as store:
        store.add_session(SessionRecord("s_1", "2026-01-01T00:00:00Z", "text", "idle"))
        steps = AgentsSteps(tmp_path, "s_1")
        shown = Onlooker(steps.begun)
        for number in range(100):
            shown.take(begin(f"forged {number}"))
        assert shown.text().count("Another client's cell is running.") == 100
        assert len(opened) == 1
    for file in tmp_path.glob("sessions.db*"):
        file.unlink()
    with contextlib.closing(open_store(tmp_path)) as store:
        store.add_session(SessionRecord("s_1", "2026-01-01T00:00:00Z", "text", "idle"))
        account = Account(Guardrails())
        account.begin_step()
        journal = Journal(store, "s_1")
        journal.step_begins(1, "real", account)
        shown.take(begin("real"))
        assert "The agent's step 1 is running." in shown.text()
    assert len(opened) == 2
    assert steps._store is not None
    steps._store.close()
