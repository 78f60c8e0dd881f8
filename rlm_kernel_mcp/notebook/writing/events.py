"""The events of a session as the cells of its notebook, one after the other.

Is: which event becomes which cell, what its facts are, and why a step may show something else when it runs again. Is
not: reading the record (`record.py`). Sans-I/O. Above: `record.py`. Below: `cells.py`, `words.py`, `repeatable.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from rlm_kernel_mcp.kernel.untrusted.shown.displays import PICTURES
from rlm_kernel_mcp.notebook.form.names import (
    AFTER_RESTORE,
    ANSWER,
    CONSOLE,
    CONTEXT_CELL,
    ENDED,
    EVENT,
    SOURCES_CELL,
    STEP,
    CellFacts,
    DisplayFacts,
    NotebookFacts,
    SubcallFacts,
    Why,
    sources_needed,
)
from rlm_kernel_mcp.notebook.form.outputs import Json, Said
from rlm_kernel_mcp.notebook.writing import words
from rlm_kernel_mcp.notebook.writing.cells import code_cell, markdown_cell, note_facts
from rlm_kernel_mcp.notebook.writing.repeatable import Guesses
from rlm_kernel_mcp.questions_wire import ASKING, CALLING
from rlm_kernel_mcp.session.evidence.citations import Checked
from rlm_kernel_mcp.session.trace.reports import TraceEvent
from rlm_kernel_mcp.text.safe_text import safe_text

STOPPED: Final[Mapping[str, Why]] = {"interrupted": "interrupt", "timeout": "timeout"}
RUNGS: Final = ("SIGINT", "SIGKILL")
"""What a step is sent that does not end by itself; with the second one its kernel has ended."""
KERNEL_GONE: Final = frozenset({"kernel_died", "unknown"})
"""The ends of a step with which its kernel has ended, or its server. Of a person's cell `unknown` is one that ran, and
of which the record has the code alone."""
WHOLE: Final = frozenset({"ok", "error", "interrupted", "timeout"})
"""The ends of a step of which the record has all that it said. A step that runs has none of them."""
LIMIT_MIN_MS: Final = 100
LATE: Final = "late"
CLAIMS: Final = "claims"
"""Facts of a step: that what it said has in it what earlier ones left running printed, and the places that it cited."""
CUT: Final = "characters were not kept: the store has no more room for this step]"
"""How the store ends the note in place of what it has cut out of a text."""

Subcalls = Mapping[tuple[int, str], Sequence[SubcallFacts]]
"""By step and source."""


@dataclass(slots=True)
class Cells:
    """Those of one session. Its events come one by one, raw, and in their order."""

    facts: NotebookFacts
    subcalls: Subcalls
    was_restored: bool
    rungs: Mapping[int, str]
    """By the agent's step the last of `RUNGS` that it was sent; of one that ended by itself there is none."""
    _guesses: Guesses = field(default_factory=Guesses)
    _is_after_restore: bool = False
    _number: int = 0
    """Of events so far, which their cells are called by."""
    _cells_of_step: dict[int, int] = field(default_factory=dict)
    """How many cells of a person came with each step."""

    def first(self) -> list[Json]:
        """What the notebook begins with."""
        needed = sources_needed(self.facts["contexts"])
        source = f"{needed}\n{SOURCES_CELL}" if needed else SOURCES_CELL
        return [
            markdown_cell("session", words.opening(self.facts, was_restored=self.was_restored), "session"),
            code_cell("sources", source, {"role": "sources"}),
        ]

    def of(self, event: TraceEvent) -> Iterator[Json]:
        """The cells of one event; none of the session's beginning, and none of its questions: they are their step's."""
        self._number += 1
        if event.action == "run_repl" and event.code is not None and event.result_status != "charged":
            yield from self._step(event)
        elif event.action == "add_context" and (name := self._added(event)) is not None:
            yield self._context(event, name)
        elif event.action == "finalize":
            checked = Checked.of_record(event.evidence) if event.evidence else None
            text = words.answered(event.result or "", event.result_status, checked)
            yield markdown_cell("answer", text, "answer")
        elif event.action == "subcalls" or (event.action == "init_context" and event.result_status == "ok"):
            return
        else:
            self._is_after_restore |= event.action == "restore"
            yield markdown_cell(f"event-{self._number}", words.happened(event), "event", [EVENT])

    def _added(self, event: TraceEvent) -> str | None:
        """The name of a context that came, if the notebook has where it comes from."""
        name = event.summary.partition(":")[0]
        named = {row["name"] for row in self.facts["contexts"][1:]}
        return name if event.result_status == "ok" and name in named else None

    def _context(self, event: TraceEvent, name: str) -> Json:
        facts: CellFacts = {"role": "context", "context": name, "ts": event.ts, "ms": event.duration_ms}
        return code_cell(f"context-{self._number}", CONTEXT_CELL.format(name=name), facts)

    def _step(self, event: TraceEvent) -> Iterator[Json]:
        said = _said(event)
        is_step = event.source == "mcp"
        source = safe_text(event.code or "")
        subcalls = self.subcalls.get((event.step_index, event.source), ()) if is_step else ()
        facts: CellFacts = {
            "role": "step" if is_step else "console",
            "step": event.step_index,
            "ts": event.ts,
            "ms": event.duration_ms,
            "status": event.result_status,
            "used": event.guardrail_snapshot,
        }
        note_facts(facts, event.facts)
        if event.functions:
            facts["functions"] = dict(event.functions)
        if claims := event.facts.get(CLAIMS):
            facts["citations"] = claims
        if event.contexts_changed:
            facts["contexts_changed"] = list(event.contexts_changed)
        if subcalls:
            facts["subcalls"] = list(subcalls)
        if displays := _texts_displayed(event):
            facts["displays"] = displays
        if why := self._why(event, said, subcalls, source):
            facts["why"] = why
        if "ended" in why:
            facts["ended"] = ENDED.format(status=event.result_status)
        elif "interrupt" in why or "timeout" in why:
            facts["limit_ms"] = max(event.duration_ms, LIMIT_MIN_MS)
        tags = [STEP if is_step else CONSOLE, *([AFTER_RESTORE] if self._is_after_restore else [])]
        count = event.step_index if is_step else None
        yield code_cell(self._id(event, is_step), source, facts, tags, said.outputs(count), count)
        if subcalls:
            yield markdown_cell(
                f"questions-{event.step_index}", words.asked(f"step {event.step_index}", subcalls), "subcalls", [EVENT]
            )

    def _id(self, event: TraceEvent, is_step: bool) -> str:
        if is_step:
            return f"step-{event.step_index}"
        number = self._cells_of_step[event.step_index] = self._cells_of_step.get(event.step_index, 0) + 1
        return f"console-{event.step_index}-{number}"

    def _why(self, event: TraceEvent, said: Said, subcalls: Sequence[SubcallFacts], source: str) -> list[Why]:
        """Why its output may be another when it runs again."""
        found: list[Why] = []
        rung = self.rungs.get(event.step_index) if event.source == "mcp" else None
        if event.source == "mcp" and (event.result_status in KERNEL_GONE or rung == "SIGKILL"):
            found.append("ended")
        elif event.result_status in STOPPED or rung is not None:  # of processor time it says that it failed
            found.append(STOPPED.get(event.result_status, "timeout"))
        elif event.result_status not in WHOLE:
            found.append("cut")
        found += ["restore"] if self._is_after_restore else []
        found += ["changed"] if event.contexts_changed else []
        is_asking = event.source != "mcp" and any(name in source for name in (*ASKING, *CALLING))
        found += ["answer"] if is_asking or any(not ANSWER & one.keys() for one in subcalls) else []
        found += ["late"] if event.facts.get(LATE) else []
        is_cut = CUT in said.text or any(one.data is None for one in event.displays)
        found += ["cut"] if is_cut and "cut" not in found else []
        found += ["characters"] if source != event.code else []
        found += ["count"] if event.source != "mcp" and event.error is not None else []
        return found + self._guesses.of_step(event.code or "", said.text)


def _said(event: TraceEvent) -> Said:
    error = event.error
    named = None if error is None else (error.ename, error.evalue, error.traceback)
    shown = ((one.mime_type, one.data, one.place) for one in event.displays if one.data is not None)
    return Said.of(event.stdout, event.stderr, event.result, named, shown)


def _texts_displayed(event: TraceEvent) -> list[DisplayFacts]:
    """HTML, Markdown and SVG: a client that shows one asks the network for whatever is named there."""
    return [
        {"type": one.mime_type, "place": one.place, "text": safe_text(one.data)}
        for one in event.displays
        if one.data is not None and one.mime_type not in PICTURES
    ]
