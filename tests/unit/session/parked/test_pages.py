"""What somebody is shown of questions: whole while they fit, cut where one is longer, and nothing that acts."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlm_kernel_mcp.session.parked.pages import body_of, page_of, raw_page_of
from rlm_kernel_mcp.session.parked.pile import Parked
from rlm_kernel_mcp.session.parked.reports import AskedItem


def parked(number: int, prompt: str = "Broken or fine?", text: str | None = None, schema: str | None = None) -> Parked:
    return Parked(number, prompt, text, schema, 0.0, lambda answer, by: None)


def items(*asked: Parked, room: int, most: int = 100) -> list[AskedItem]:
    return [item for _, item in page_of(asked, room, most)]


def test_a_page_has_whole_questions_while_they_fit() -> None:
    """In their order, with all that they have."""
    asked = [parked(number, text="x" * 100, schema='{"type":"string"}') for number in range(1, 30)]
    shown = items(*asked, room=1_000)
    assert [item.id for item in shown] == list(range(1, len(shown) + 1))
    assert 4 <= len(shown) < 10
    assert shown[0].row() == {
        "id": 1, "prompt": "Broken or fine?", "text": "x" * 100, "schema": '{"type":"string"}', "total_chars": 115
    }  # fmt: skip
    assert len(json.dumps([item.row() for item in shown])) <= 1_100


def test_what_is_no_question_to_a_model_says_so() -> None:
    """Whole, cut, and raw for a program."""
    asked = replace(parked(1, text="z" * 100), kind="rlm")
    for room in (1_000, 150):
        (shown,) = items(asked, room=room)
        assert list(shown.row())[:2] == ["id", "kind"]
        assert shown.row()["kind"] == "rlm"
    ((_, raw),) = raw_page_of([asked], 1)
    assert raw.kind == "rlm"


def test_no_more_are_shown_than_are_wanted() -> None:
    asked = [parked(number) for number in range(9)]
    assert [item.id for item in items(*asked, room=10_000, most=3)] == [0, 1, 2]


def test_a_question_longer_than_a_page_is_cut_where_it_comes_first() -> None:
    """And where another is on the page already it comes on the next."""
    short, long = parked(1), parked(2, text="y" * 5_000)
    assert [item.id for item in items(short, long, room=1_000)] == [1]
    (cut,) = items(long, short, room=1_000)
    assert cut.cut
    assert cut.prompt == long.prompt
    assert cut.text is not None
    assert set(cut.text) == {"y"}
    assert 700 < len(cut.text) < 1_000
    assert cut.total_chars == 5_000 + len(long.prompt)
    assert cut.row()["cut"] is True


def test_a_schema_without_room_is_not_shown_in_part() -> None:
    """Half a schema would be another one; the whole question has it."""
    asked = parked(1, text="short", schema=json.dumps({"enum": ["z" * 50] * 100}))
    (cut,) = items(asked, room=1_000)
    assert (cut.schema, cut.cut, cut.text) == (None, True, "short")
    assert asked.schema is not None
    assert asked.schema in body_of(asked)


@pytest.mark.parametrize("room", [0, 1, 50, 99, 101])
def test_the_first_question_is_on_the_smallest_page_too(room: int) -> None:
    """Else whoever drives the session could not go on."""
    (cut,) = items(parked(1, text="x" * 500), parked(2), room=room)
    assert (cut.id, cut.cut) == (1, True)
    assert len(cut.prompt) + len(cut.text or "") <= max(0, room)


def test_nothing_in_a_question_acts() -> None:
    """Direction marks, escapes and invisible characters are shown as what they are."""
    (shown,) = items(parked(1, "a\u202eb", "c\x1b[2Jd\u200be"), room=1_000)
    assert "\u202e" not in shown.prompt
    assert shown.text is not None
    assert not {"\x1b", "\u200b"} & set(shown.text)
    assert not shown.cut


@settings(max_examples=150, deadline=None)
@given(
    texts=st.lists(
        st.tuples(st.text(max_size=300), st.none() | st.text('\n"\\ab\u202e', max_size=900)), min_size=1, max_size=6
    ),
    room=st.integers(0, 2_000),
)
def test_a_page_is_no_longer_than_asked_for(texts: list[tuple[str, str | None]], room: int) -> None:
    """As its client gets it, but for the number of its first question; and what is not cut is all there."""
    asked = [parked(number, *text) for number, text in enumerate(texts)]
    shown = items(*asked, room=room)
    assert shown
    assert sum(item.chars for item in shown) <= max(room, 100)
    for item, one in zip(shown, asked, strict=False):
        assert item.total_chars == one.chars
        assert item.cut or (item.text is None) is (one.text is None)
    assert not any(item.cut for item in shown[1:])


def a_question_with_a_session() -> Parked:
    return replace(
        parked(1, "How many?", "a b c", '{"type":"integer"}'),
        kind="rlm",
        child="s_abcdefgh",
        told="Work on session s_abcdefgh. Question: How many?",
    )


def test_a_program_is_given_the_question_of_a_session_with_its_text() -> None:
    """It may have no tools: it can answer as any other question, and knows where code would answer it."""
    ((_, raw),) = raw_page_of([a_question_with_a_session()], 1)
    assert (raw.prompt, raw.text, raw.schema) == ("How many?", "a b c", '{"type":"integer"}')
    assert (raw.kind, raw.child_session, raw.total_chars) == ("rlm", "s_abcdefgh", 14)


@pytest.mark.parametrize("room", [1_000, 170])
def test_an_agent_is_told_where_the_question_of_a_session_is_answered(room: int) -> None:
    """Whole or cut: its text would take the window that the session is there to save."""
    (shown,) = items(a_question_with_a_session(), room=room)
    assert shown.prompt.startswith("Work on session")
    assert (shown.text, shown.child_session) == (None, "s_abcdefgh")
    assert shown.row()["child_session"] == "s_abcdefgh"
    assert body_of(a_question_with_a_session()).startswith("Work on session s_abcdefgh")
    assert "a b c" not in body_of(a_question_with_a_session())


def test_a_question_without_a_session_names_none() -> None:
    """Its row is as it was."""
    (shown,) = items(parked(1), room=1_000)
    assert "child_session" not in shown.row()
