"""The events of a trace as a person at a terminal reads them: a rule for each step, its code, and what came of it.

Is: lines. What others wrote stands behind a mark or an indent that it cannot do without, and so is taken for nothing of
ours. Is not: the events, which come safe, nor their form for pipes (`server/markdown.py`). Above: `forms.py`. Below:
`terminal.py`, `words.py`, `server/pages/facts.py`, `server/pages/footnotes.py`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from rlm_kernel_mcp.commands.showing.heading import one_line
from rlm_kernel_mcp.commands.showing.terminal import Part, Printer, Style
from rlm_kernel_mcp.commands.showing.words import Marks, between_ms, clock, lasted
from rlm_kernel_mcp.server.pages.facts import told
from rlm_kernel_mcp.server.pages.footnotes import evidence
from rlm_kernel_mcp.session.evidence.citations import Checked
from rlm_kernel_mcp.session.trace.batches import ACTION as QUESTIONS
from rlm_kernel_mcp.session.trace.reports import TraceEvent
from rlm_kernel_mcp.text.wording import counted

INDENT: Final = "    "
PAUSE_MS: Final = 1_000
"""From which on it is said how long it was between two steps."""
STATUSES: Final[Mapping[str, str]] = {
    "timeout": "ran out of time",
    "kernel_died": "its kernel died",
    "unknown": "nobody knows how it ended",
}
"""In words, where a status is none."""
FINE: Final = ("ok", "running")
STYLE_OF: Final[Mapping[str, Style]] = {
    "interrupt": "gone",
    "restore": "gone",
    "stop": "bad",
    "refused": "bad",
    "subcalls": "asked",
}
"""Of events that are no steps."""


def style_of(action: str, status: str, source: str) -> Style:
    """In which style it is said what an event is, and how it ended."""
    if action == "run_repl":
        return "person" if source == "console" else "head" if status in FINE else "bad"
    return "answer" if action == "finalize" else STYLE_OF.get(action, "dim")


class Steps:
    """Prints events."""

    def __init__(self, printer: Printer, marks: Marks) -> None:
        self._printer, self._marks = printer, marks
        self._children = set[str]()
        self._before: dict[int, TraceEvent] = {}
        """The step before, by depth, where nobody was waited for in it: that is no part of its duration."""

    def child(self, session_id: str, depth: int) -> None:
        """What follows is a child session's; said once."""
        if session_id not in self._children:
            self._children.add(session_id)
            self._before.pop(depth, None)
            self._rule(f"child session {session_id}", "", "asked", depth)

    def event(self, event: TraceEvent, depth: int = 0) -> None:
        """One of them. `depth`: how far below the session it is that is read."""
        match event.action:
            case "run_repl" if event.code is not None:
                self._step(event, depth)
            case "finalize":
                self._answer(event, depth)
            case _:
                self._other(event, depth)

    def _step(self, event: TraceEvent, depth: int) -> None:
        is_person = event.source == "console"
        label = "a person's cell" if is_person else f"{event.step_index}"
        said = [STATUSES.get(event.result_status, event.result_status), lasted(event.duration_ms)]
        if "cost" in event.facts:
            said.append(counted(event.facts["cost"], "character"))
        said += [f"{name} {count:,}" for name, count in event.functions.items()]
        said += [] if is_person else self._pause(event, depth)
        style = style_of("run_repl", event.result_status, event.source)
        self._rule(label, self._marks.dot.join([*said, clock(event.ts)]), style, depth)
        self._text(event.code or "", INDENT, "code", depth)
        self._text(event.stdout or "", self._marks.printed, "plain", depth)
        self._text(event.stderr or "", self._marks.stderr, "dim", depth)
        self._text(event.result or "", self._marks.result, "plain", depth)
        if event.error is not None:
            words = event.error.traceback or f"{event.error.ename}: {event.error.evalue}"
            self._text(words, self._marks.stderr, "bad", depth)
        if event.contexts_changed:
            changed = one_line(", ".join(event.contexts_changed))
            self._text(f"changed on disk: {changed}", self._marks.event, "gone", depth)

    def _pause(self, event: TraceEvent, depth: int) -> Iterator[str]:
        """How long the agent took for it, where that is long enough to be said."""
        before, self._before[depth] = self._before.get(depth), event
        waited_ms = 0 if before is None else between_ms(before.ts, before.duration_ms, event.ts)
        if waited_ms >= PAUSE_MS:
            yield f"{lasted(waited_ms)} after the step before"

    def _answer(self, event: TraceEvent, depth: int) -> None:
        self._rule("answer", self._marks.dot.join([event.result_status, clock(event.ts)]), "answer", depth)
        self._text(event.result or "", INDENT, "plain", depth)
        if event.evidence:
            checked = Checked.of_record(event.evidence)
            for paragraph in evidence(checked.citations, checked.coverage, sys.maxsize):
                self._text(paragraph, "", "answer", depth)

    def _other(self, event: TraceEvent, depth: int) -> None:
        style: Style = STYLE_OF.get(event.action, "dim")
        words = f"{event.action}, {event.result_status}: {one_line(event.summary)}" if event.summary else event.action
        self._text(f"{words}{self._marks.dot}{clock(event.ts)}", self._marks.event, style, depth)
        self._lines(told(event.facts), self._marks.event, style, depth)
        if event.action == QUESTIONS:
            self._before.pop(depth, None)
            for line in filter(None, (event.stdout or "").split("\n")):
                self._question(line, depth)

    def _question(self, line: str, depth: int) -> None:
        """One of those that were asked together, by its line of JSON, whose texts are the code's and the model's."""
        try:
            one = json.loads(line)
        except ValueError:
            self._lines([line], self._marks.printed, "dim", depth)
            return
        tokens = one.get("tokens_in", 0) + one.get("tokens_out", 0)
        said = [
            f"{one.get('number', '')} {one.get('fate', '')}".strip(),
            one.get("error_code"),
            one.get("child_session"),
        ]
        said += [counted(tokens, "token")] if tokens else []
        asked = " / ".join(one_line(one[name]) for name in ("prompt", "text") if one.get(name))
        self._lines([f"{', '.join(filter(None, said))}: {asked}"], self._marks.printed, "dim", depth)
        if one.get("answer"):
            self._lines([one_line(one["answer"])], self._marks.result, "asked", depth)

    def _rule(self, label: str, right: str, style: Style, depth: int) -> None:
        rule, indent = self._marks.rule, INDENT * depth
        room = self._printer.width - len(indent) - len(label) - len(right) - 5
        right_part: list[Part] = [(f" {right}", style)] if right else []
        self._printer.line(
            (f"{indent}{rule * 2} ", "dim"), (f"{label} ", style), (rule * max(room, 2), "dim"), *right_part
        )

    def _text(self, text: str, mark: str, style: Style, depth: int) -> None:
        if text:
            self._lines(text.removesuffix("\n").split("\n"), mark, style, depth)

    def _lines(self, lines: Iterable[str], mark: str, style: Style, depth: int) -> None:
        for line in lines:
            self._printer.line((INDENT * depth + mark, "dim" if mark.strip() else "plain"), (line, style))
