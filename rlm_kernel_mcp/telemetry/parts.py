"""What telemetry sees of a session: the fields that it reads, by name.

Is: the form of what it is told, so that it lies below all who tell it. Is not: a span. Above: `spans.py`,
`recording.py`. Below: nothing.
"""

from __future__ import annotations

from typing import Protocol


class Ended(Protocol):
    """What has become of a step (`session/steps/outcomes.py`)."""

    @property
    def status(self) -> str: ...
    @property
    def stdout(self) -> str: ...
    @property
    def stderr(self) -> str: ...
    @property
    def result(self) -> str | None: ...
    @property
    def duration_ms(self) -> int: ...


class Spent(Protocol):
    """What a question took (`session/answering/keeping.py`)."""

    @property
    def tokens_in(self) -> int: ...
    @property
    def tokens_out(self) -> int: ...
    @property
    def usd(self) -> float | None: ...
    @property
    def attempts(self) -> int: ...
    @property
    def queued_ms(self) -> int: ...
    @property
    def duration_ms(self) -> int: ...


class Said(Protocol):
    """Who has answered."""

    @property
    def model(self) -> str: ...
    @property
    def child(self) -> str | None: ...


class Question(Protocol):
    """A question of a session's code (`session/answering/questions.py`)."""

    @property
    def kind(self) -> str: ...
    @property
    def prompt(self) -> str: ...
    @property
    def text(self) -> str | None: ...
    @property
    def step_index(self) -> int: ...
    @property
    def source(self) -> str: ...


class Asked(Protocol):
    """A question that is over, and what became of it."""

    @property
    def question(self) -> Question: ...
    @property
    def model(self) -> str: ...
    @property
    def fate(self) -> str: ...
    @property
    def answer(self) -> str | None: ...
    @property
    def error_code(self) -> str | None: ...
    @property
    def said(self) -> Said: ...
    @property
    def spent(self) -> Spent: ...


class Asker(Protocol):
    """Who answers (`session/answering/backends/protocol.py`)."""

    @property
    def name(self) -> str: ...
    @property
    def where(self) -> str: ...
