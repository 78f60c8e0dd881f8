"""The forms in which `trace` prints events: for a person at a terminal, as text for whatever reads it, as JSON.

Is: what is printed before them, of each, and after them. Is not: where they come from, nor one that goes on
(`following/`). Above: `trace.py`. Below: `steps.py`, `heading.py`, `json_line.py`, `server/markdown.py`.
"""

from __future__ import annotations

import sys
from textwrap import indent
from typing import Final, Literal, Protocol

from rlm_kernel_mcp.commands.showing.heading import one_line, show_heading
from rlm_kernel_mcp.commands.showing.json_line import json_line
from rlm_kernel_mcp.commands.showing.steps import Steps
from rlm_kernel_mcp.commands.showing.terminal import is_terminal, printer
from rlm_kernel_mcp.commands.showing.words import marks
from rlm_kernel_mcp.server import markdown
from rlm_kernel_mcp.session.trace.reading import Nested
from rlm_kernel_mcp.session.trace.reports import TraceEvent
from rlm_kernel_mcp.store.store import SessionRecord, Store

INDENT: Final = "    "
Form = Literal["text", "json", "jsonl"]
"""How events are printed: for reading, as one JSON array, or as one JSON object a line."""


class Shown(Protocol):
    """A form."""

    def begin(self, store: Store, record: SessionRecord | None) -> None:
        """Before the first event. `record`: the session's; None: it is damaged, which its trace need not be."""

    def event(self, one: Nested, event: TraceEvent) -> None:
        """One of them, in its place."""

    def end(self) -> None:
        """After the last one."""


def shown_as(form: Form, *, of_many: bool = False) -> Shown:
    """For the stdout that there is now. `of_many`: as JSON each event says whose it is."""
    if form == "text":
        return OnTerminal() if is_terminal(sys.stdout) else AsText()
    return AsJson(is_array=form == "json", of_many=of_many)


class ForReading:
    """What both forms for people have."""

    _shown = 0

    def end(self) -> None:
        if not self._shown:
            print("No events.")


class OnTerminal(ForReading):
    """In colours where there are any."""

    def __init__(self) -> None:
        self._printer, self._marks = printer(), marks()
        self._steps = Steps(self._printer, self._marks)

    def begin(self, store: Store, record: SessionRecord | None) -> None:
        if record is not None:
            show_heading(store, record, self._printer, self._marks)

    def event(self, one: Nested, event: TraceEvent) -> None:
        self._shown += 1
        if one.depth:
            self._steps.child(one.session_id, one.depth)
        self._steps.event(event, one.depth)


class AsText(ForReading):
    """As `rlm_get_trace` gives it."""

    def __init__(self) -> None:
        self._begun = set[str]()
        """Child sessions that have a heading by now."""

    def begin(self, store: Store, record: SessionRecord | None) -> None:
        del store
        if record is not None and record.question:
            print(f"Question: {one_line(record.question)}")
            print(f"Client: {one_line(record.client)}\n" if record.client else "")

    def event(self, one: Nested, event: TraceEvent) -> None:
        self._shown += 1
        heading = ""
        if one.depth and one.session_id not in self._begun:
            self._begun.add(one.session_id)
            heading = f"Child session {one.session_id}:\n\n"
        print(indent(heading + markdown.event(event), INDENT * one.depth) + "\n")


class AsJson:
    """For scripts."""

    def __init__(self, *, is_array: bool, of_many: bool) -> None:
        self._is_array, self._of_many = is_array, of_many
        self._shown = 0

    def begin(self, store: Store, record: SessionRecord | None) -> None:
        """Nothing stands before them."""

    def event(self, one: Nested, event: TraceEvent) -> None:
        whose: dict[str, str | int] = {"session_id": one.session_id, "depth": one.depth} if self._of_many else {}
        line = json_line(event, **whose)
        if self._is_array:
            print("," if self._shown else "[", line, sep="\n", end="")
        else:
            print(line)
        self._shown += 1

    def end(self) -> None:
        if self._is_array:
            print("\n]" if self._shown else "[]")
