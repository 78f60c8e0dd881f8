"""A session's record is told once, in order, from wherever a page has got to; nothing is missing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rlm_kernel_mcp.errors import SessionNotFound
from rlm_kernel_mcp.session.reports import StepError
from rlm_kernel_mcp.store.store import Store
from rlm_kernel_mcp.watching.messages.events import Event
from rlm_kernel_mcp.watching.messages.stream import Begin, Message
from rlm_kernel_mcp.watching.record.history import FIRST_STEPS, MESSAGE_CHARS, History, chars_of, moment_of
from tests.unit.watching.recorded import Recorded


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Recorded]:
    made = Recorded(tmp_path, question="what?", client="codex")
    yield made
    made.close()


def told(history: History) -> list[Message]:
    """All that is there by now."""
    found = [*history.take()]
    while history.is_behind:
        found += history.take()
    return found


def events(messages: list[Message]) -> list[Event]:
    found: list[Event] = []
    for message in messages:
        if message["type"] == "events":
            found += message["events"]
        elif message["type"] == "event":
            found.append(message["event"])
    return found


def steps(messages: list[Message]) -> list[tuple[str, int]]:
    return [(event["type"], event["step"]) for event in events(messages)]


def begins(messages: list[Message]) -> list[Begin]:
    return [message for message in messages if message["type"] == "begin"]


def test_the_head_says_what_the_session_is_for(session: Recorded, store: Store) -> None:
    session.step()
    (head,) = History(store, "s_1").head()
    assert head["type"] == "head"
    assert (head["title"], head["client"], head["status"], head["steps"]) == ("what?", "codex", "idle", 1)
    assert head["limits"] == {"steps": 64, "runtime_ms": 120_000, "chars": 100_000}
    assert head["used"]["steps"] == 1


def test_a_session_that_nobody_knows_has_no_history(session: Recorded, store: Store) -> None:
    with pytest.raises(SessionNotFound):
        History(store, "s_2")


def test_events_come_once_and_in_order(session: Recorded, store: Store) -> None:
    for _ in range(3):
        session.step()
    history = History(store, "s_1")
    assert steps(told(history)) == [("step", 1), ("step", 2), ("step", 3)]
    assert told(history) == []
    session.step()
    assert steps(told(history)) == [("step", 4)]


def test_the_last_message_of_the_history_says_so(session: Recorded, store: Store) -> None:
    session.step()
    messages = [message for message in told(History(store, "s_1")) if message["type"] == "events"]
    assert [message["more"] for message in messages] == [True, False]


def test_a_long_session_begins_with_its_first_steps_and_then_tells_all(session: Recorded, store: Store) -> None:
    for _ in range(2 * FIRST_STEPS):
        session.step()
    history = History(store, "s_1")
    assert steps(history.take()) == [("step", number) for number in range(1, FIRST_STEPS + 1)]
    rest = steps(told(history))
    assert rest == [("step", number) for number in range(FIRST_STEPS + 1, 2 * FIRST_STEPS + 1)]


def test_long_texts_make_several_messages(session: Recorded, store: Store) -> None:
    for _ in range(60):
        session.step(stdout="x" * 20_000, stderr="y" * 20_000)
    messages = told(History(store, "s_1"))
    sizes = [sum(map(chars_of, message["events"])) for message in messages if message["type"] == "events"]
    assert len(events(messages)) == 60
    assert max(sizes) < MESSAGE_CHARS + 50_000


def test_a_step_that_runs_is_no_event_and_says_what_it_has_printed(session: Recorded, store: Store) -> None:
    row_id = session.begin("while True: pass")
    history = History(store, "s_1")
    assert [one["so_far"] for one in begins(told(history))] == [""]
    session.journal.step_goes_on(row_id, 1_000, "so far", "")
    messages = told(history)
    assert [(one["id"], one["code"], one["so_far"]) for one in begins(messages)] == [
        (str(row_id), "while True: pass", "so far")
    ]
    assert events(messages) == []
    session.end(row_id, stdout="so far")
    assert steps(told(history)) == [("step", 1)]


def test_of_a_step_whose_output_a_host_tells_the_record_says_nothing(session: Recorded, store: Store) -> None:
    row_id = session.begin()
    history = History(store, "s_1")
    assert begins([*history.take(row_id), *history.take(row_id)]) == []


def test_whoever_comes_back_is_told_the_step_that_ran_meanwhile(session: Recorded, store: Store) -> None:
    """What happened during the step has a later id, and was told before it."""
    session.step()
    row_id = session.begin()
    session.interrupt()
    history = History(store, "s_1")
    assert steps(told(history)) == [("step", 1), ("interrupt", 2)]
    session.end(row_id, "interrupted", error=StepError("KeyboardInterrupt", "", ""))
    again = History(store, "s_1", int(history.cursor))
    assert steps(told(again)) == [("step", 2), ("interrupt", 2)]


def test_whoever_comes_back_after_all_of_it_is_told_nothing_twice(session: Recorded, store: Store) -> None:
    session.step()
    session.interrupt()
    first = History(store, "s_1")
    told(first)
    session.step()
    assert steps(told(History(store, "s_1", int(first.cursor)))) == [("step", 2)]


def test_a_session_with_its_answer_is_over(session: Recorded, store: Store) -> None:
    session.step()
    history = History(store, "s_1")
    told(history)
    before = history.standing
    session.finalize()
    assert steps(told(history)) == [("final", 1)]
    assert (before.is_over, history.standing.is_over) == (False, True)
    assert history.end() == {"type": "end", "status": "finalized"}


def test_a_session_that_is_gone_is_over(session: Recorded, store: Store) -> None:
    history = History(store, "s_1")
    told(history)
    session.store.remove_session("s_1")
    told(history)
    assert history.standing.is_over


def test_what_was_delivered_may_be_known_later(session: Recorded, store: Store) -> None:
    class Late:
        """A map that learns something after an event was told."""

        knows = False

        def refresh(self, *_: object) -> bool:
            return self.knows

        def news(self) -> list[Any]:
            return []

        def add_to(self, event: Event) -> None:
            if self.knows:
                event["delivered"] = {"context": [(0, 5)]}

    session.step()
    history, late = History(store, "s_1"), Late()
    history.maps = history._view.maps = late  # type: ignore[assignment]
    assert "delivered" not in events(told(history))[0]
    late.knows = True
    (again,) = events(told(history))
    assert again["delivered"] == {"context": [(0, 5)]}


def test_a_context_that_is_there_now_is_told_at_once(session: Recorded, store: Store) -> None:
    history = History(store, "s_1")
    told(history)
    session.store.update_session("s_1", context='{"name": "logs", "chars": 7, "document_count": 1}')
    head, again = told(history)[:2]
    assert head["type"] == "head"
    assert [(one["name"], one["chars"]) for one in head["contexts"]] == [("logs", 7)]
    assert again == {"type": "map", "context": "logs", "searched": None}
    assert told(history) == []


def test_the_moment_of_an_id_is_the_one_at_which_it_was_made() -> None:
    assert moment_of(1_796_053_937_654_618_989) == "2026-11-30T15:52:17.654Z"
    assert moment_of(10**30).endswith("Z")
