"""What a console finds of the agent's steps in the record, while that is written and read beside it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from rlm_kernel_mcp.commands.attached.agents_steps import AgentsSteps, Step
from rlm_kernel_mcp.session.account import Account
from rlm_kernel_mcp.session.reports import Guardrails
from rlm_kernel_mcp.session.steps.outcomes import Outcome
from rlm_kernel_mcp.session.trace.journal import Journal
from rlm_kernel_mcp.store.database.apart import Apart
from rlm_kernel_mcp.store.database.database import Database
from rlm_kernel_mcp.store.store import EventHead, Rows, SessionRecord, Store


class Agent:
    """One who drives a session, as far as the record knows."""

    def __init__(self, store: Store) -> None:
        store.add_session(SessionRecord("s_1", "2026-01-01T00:00:00Z", "text", "idle"))
        self.journal, self.account = Journal(store, "s_1"), Account(Guardrails())

    def begin(self, code: str) -> int:
        return self.journal.step_begins(self.account.begin_step(), code, self.account)

    def end(self, row_id: int) -> None:
        self.journal.step_ended(row_id, Outcome("ok", 1, stdout="said\n"), self.account)

    def step(self, code: str) -> None:
        self.end(self.begin(code))


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    with closing(Store.open(tmp_path)) as store:
        yield Agent(store)


@pytest.fixture
def attach(tmp_path: Path) -> Iterator[Callable[..., AgentsSteps]]:
    """A console that was begun some time after the session, or that hears since a moment."""
    consoles: list[AgentsSteps] = []

    def attach(*since_ns: int) -> AgentsSteps:
        consoles.append(AgentsSteps(tmp_path, "s_1", *since_ns))
        return consoles[-1]

    yield attach
    for console in consoles:
        if console._store is not None:
            console._store.close()


def between_two_reads(monkeypatch: pytest.MonkeyPatch, *acts: Callable[[], None]) -> None:
    """Have these happen, one after each read of heads, before the texts are read that these heads belong to."""
    heads, left = Store.heads, list(acts)

    def then(store: Store, *wanted: Any) -> Rows[EventHead]:
        found = heads(store, *wanted)
        if found and left:
            left.pop(0)()
        return found

    monkeypatch.setattr(Store, "heads", then)


def test_a_step_that_begins_before_the_end_of_another_is_heard_is_found(
    agent: Agent, attach: Callable[..., AgentsSteps]
) -> None:
    """Whoever asks meanwhile for how many answers the step waits that runs has not heard of the next one by that."""
    steps = attach()
    steps.running()
    agent.step("one")
    assert steps.begun("one") == Step(1, "one")
    agent.step("two")
    agent.begin("three")
    assert steps.waits() == 0
    assert steps.begun("two") == Step(2, "two")
    assert steps.begun("three") == Step(3, "three")


@pytest.mark.parametrize("reads_before", [0, 1])
def test_a_step_that_ends_while_it_is_looked_for_is_found(
    agent: Agent, attach: Callable[..., AgentsSteps], monkeypatch: pytest.MonkeyPatch, reads_before: int
) -> None:
    """Its row is written anew between the read of what it is and that of its texts."""
    steps = attach()
    steps.running()
    row_id = agent.begin("x = 1")
    between_two_reads(monkeypatch, *[lambda: None] * reads_before, lambda: agent.end(row_id))
    assert steps.begun("x = 1") == Step(1, "x = 1")
    assert steps.begun("x = 1") is None


def test_a_step_that_says_something_while_the_console_begins_is_found(
    agent: Agent, attach: Callable[..., AgentsSteps], monkeypatch: pytest.MonkeyPatch
) -> None:
    row_id = agent.begin("x = 1")

    def says(text: str) -> Callable[[], None]:
        return lambda: agent.journal.step_goes_on(row_id, 1, text, "", 2)

    between_two_reads(monkeypatch, says("one\n"), says("two\n"))
    assert attach().running() == Step(1, "x = 1", 2)


def test_a_step_that_says_something_meanwhile_waits_for_as_many_answers_as_before(
    agent: Agent, attach: Callable[..., AgentsSteps], monkeypatch: pytest.MonkeyPatch
) -> None:
    steps, row_id = attach(), agent.begin("x = 1")
    agent.journal.step_goes_on(row_id, 1, "one\n", "", 2)
    between_two_reads(monkeypatch, lambda: agent.journal.step_goes_on(row_id, 2, "two\n", "", 2))
    assert steps.waits() == 2
    agent.end(row_id)
    assert steps.waits() == 0


def test_a_step_whose_code_is_damaged_is_none(agent: Agent, attach: Callable[..., AgentsSteps], tmp_path: Path) -> None:
    """It is so in a second reading too, and that is the last."""
    agent.begin("x = 1")
    with closing(sqlite3.connect(tmp_path / "sessions.db")) as file, file:
        file.execute("UPDATE events SET code = 'y = 1'")
    assert attach(0).begun("x = 1") is None


def test_a_step_is_found_once_the_record_can_be_read(
    agent: Agent, attach: Callable[..., AgentsSteps], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process may have it to itself for a moment; what the step is is not forgotten over that."""

    def locked(*_: object) -> sqlite3.Connection:
        raise sqlite3.OperationalError("database is locked")

    steps = attach()
    steps.running()
    row_id = agent.begin("x = 1")
    with monkeypatch.context() as patched:
        patched.setattr(Database, "_open_disk", locked)
        patched.setattr(Apart, "_connected", locked)
        assert steps.begun("x = 1") is None
        assert steps.waits() is None
    agent.end(row_id)
    agent.step("x = 1")
    assert steps.late() == Step(1, "x = 1")
    assert steps.late() is None, "it began after the cell that was asked for"


def test_of_the_steps_before_a_console_none_is_news_and_those_that_began_with_it_are(
    agent: Agent, attach: Callable[..., AgentsSteps]
) -> None:
    """It hears of cells before it looks into the record, and such a step may have ended by then."""
    before = agent.begin("before")
    agent.end(before)
    steps = attach(before + 1)
    agent.step("meanwhile")
    running = agent.begin("running")
    assert steps.running() == Step(3, "running")
    assert steps.begun("before") is None
    assert steps.begun("meanwhile") == Step(2, "meanwhile")
    assert steps.begun("running") == Step(3, "running")
    agent.end(running)
    assert steps.begun("meanwhile") is None
