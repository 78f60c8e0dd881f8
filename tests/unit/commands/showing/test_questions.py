"""`rlm-kernel-mcp trace --question`: what is kept of one question."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest

from rlm_kernel_mcp.commands.trace import traced
from rlm_kernel_mcp.errors import InvalidInput, SessionNotFound
from rlm_kernel_mcp.settings import Settings, load_settings
from rlm_kernel_mcp.store.store import SessionRecord, Store
from rlm_kernel_mcp.store.subcalls import SubcallRow, Texts, packed

LONG: Final = "of the whole text " * 1_000
HOSTILE: Final = "```\n# not ours\n\x1b[2J"
ASKED: Final = {
    "session_id": "s_1",
    "question": 2,
    "json": False,
    "format": "text",
    "children": False,
    "follow": False,
    "annotations": False,
}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Of a state directory with a session of two kernels, each of which has asked a second question."""
    with closing(Store.open(tmp_path)) as store:
        store.add_session(SessionRecord("s_1", "2026-11-29T10:00:00.000Z", "text", "idle"))
        asked: list[tuple[int, int, dict[str, Any], Texts]] = [
            (1, 1, {}, Texts("another", None, "one")),
            (1, 2, {}, Texts("What is said?", LONG, HOSTILE)),
            (7, 2, {"fate": "failed", "error_code": "budget"}, Texts()),
            (7, 3, {"fate": "duplicate", "duplicate_of": 2}, Texts("What is said?", LONG, None)),
        ]
        rows = [
            (SubcallRow("s_1", number, f"2026-11-29T10:00:0{number}Z", step, "mcp", 1, question, **more), packed(texts))
            for number, (step, question, more, texts) in enumerate(asked, start=1)
        ]
        of_a_cell = SubcallRow("s_1", 5, "2026-11-29T10:00:05Z", 0, "console", 1, 4)
        rows.append((of_a_cell, packed(Texts("Whose?", None, "ours"))))
        store.subcalls.book("s_1", rows, lambda connection: None)
    return load_settings(Path.cwd(), {"RLM_STATE_DIR": str(tmp_path)})


def test_a_question_is_shown_whole_with_its_text_and_its_answer(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of which the trace has 200 characters. Nothing of them acts, nor passes for a line of ours."""
    assert traced(settings, Namespace(**ASKED)) == 0
    shown = capsys.readouterr().out
    assert f"Text, {len(LONG):,} characters:\n```\n{LONG}\n```\n" in shown
    assert "Answer, 22 characters:\n````\n```\n# not ours\n\\x1b[2J\n````\n" in shown
    assert "Question 2 of step 1, 2026-11-29T10:00:02Z: answered\n\nPrompt, 13 characters:\n" in shown
    assert "Question 2 of step 7, 2026-11-29T10:00:03Z: failed, budget\n\nIts texts are not kept.\n" in shown
    assert "another" not in shown


def test_one_that_was_asked_twice_says_whose_answer_it_has(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    """It was sent once."""
    assert traced(settings, Namespace(**ASKED | {"question": 3})) == 0
    assert "It is the same as question 2, and has its answer.\n" in capsys.readouterr().out


def test_one_that_a_person_has_asked_is_of_no_step(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    """But of a cell of an attached console."""
    assert traced(settings, Namespace(**ASKED | {"question": 4})) == 0
    assert "Question 4 of a person's cell, 2026-11-29T10:00:05Z: answered\n" in capsys.readouterr().out


def test_scripts_read_a_question_as_json(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    """One value, or a line for each, in ASCII."""
    assert traced(settings, Namespace(**ASKED | {"format": "json"})) == 0
    whole = json.loads(capsys.readouterr().out)
    assert [(one["step_index"], one["fate"], one["answer"]) for one in whole] == [
        (1, "answered", "```\n# not ours\n\\x1b[2J"),
        (7, "failed", None),
    ]
    assert (whole[0]["prompt"], whole[0]["text"]) == ("What is said?", LONG)
    for how in ({"json": True, "format": None}, {"format": "jsonl"}):
        assert traced(settings, Namespace(**ASKED | how)) == 0
        assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == whole


def refusals() -> Iterator[tuple[dict[str, Any], type[Exception], str]]:
    """What is asked beside or instead, and how it is refused."""
    yield {"question": 9}, InvalidInput, "Session s_1 has no question 9"
    yield {"session_id": "s_2"}, SessionNotFound, "s_2"
    for other in ("follow", "children", "annotations"):
        yield {other: True}, InvalidInput, "--question goes with none of"
    yield {"format": "html"}, InvalidInput, "--question goes with none of"


@pytest.mark.parametrize(("how", "error", "words"), [*refusals()])
def test_what_cannot_be_shown_is_said(
    settings: Settings, how: dict[str, Any], error: type[Exception], words: str
) -> None:
    """With what to do instead."""
    with pytest.raises(error, match=words):
        traced(settings, Namespace(**ASKED | how))
