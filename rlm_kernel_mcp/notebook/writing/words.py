"""The markdown cells of a notebook: what the session was for, what happened between its steps, and the answer.

Is: text for reading, in which nothing of a client, a kernel or a model acts: it stands in fences and code spans. Is
not: facts for programs, which are in the metadata. Sans-I/O. Above: `events.py`. Below: `server/pages/`,
`text/markup.py`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Final

from rlm_kernel_mcp.notebook.form.names import (
    ANSWER_CHARS_MAX,
    ANSWERS_CHARS_MAX,
    NotebookFacts,
    SourceRow,
    SubcallFacts,
)
from rlm_kernel_mcp.notebook.form.texts import text_of
from rlm_kernel_mcp.server.pages import facts as pages
from rlm_kernel_mcp.server.pages.footnotes import evidence
from rlm_kernel_mcp.session.evidence.citations import Checked
from rlm_kernel_mcp.session.trace.reports import TraceEvent
from rlm_kernel_mcp.text.markup import code, fenced
from rlm_kernel_mcp.text.safe_text import cut_text, safe_text
from rlm_kernel_mcp.text.wording import counted

SUBCALLS_SHOWN: Final = 200
"""Of one step, in its table; the metadata has all."""
CELL_CHARS: Final = 120
TITLES: Final = {
    "interrupt": "Interrupted",
    "restore": "The kernel was replaced",
    "stop": "A limit was reached",
    "refused": "Refused",
    "add_context": "A context",
    "init_context": "The context",
}
RUNS_AGAIN: Final = (
    "It runs again from top to bottom over the same sources, and gives the same outputs, except in cells with the tag "
    "`not-repeatable`, whose metadata say why. What its code asked is answered from the answers in the metadata. "
    "`rlm-kernel-mcp notebook run FILE` does so, and compares."
)
RESTORED: Final = (
    "A kernel was replaced in this session. Steps after that have the tag `after-restore`: what they show may rest on "
    "values that came back older, or not at all."
)


def opening(facts: NotebookFacts, *, was_restored: bool) -> str:
    """The first cell: the question and the context."""
    question = facts["question"]
    lines = ["# A session of rlm-kernel-mcp", ""]
    lines += [fenced(question), ""] if question else []
    lines += [f"- session {code(facts['session_id'])}, opened {facts['created_at']}, {facts['status']}"]
    lines += [f"- client {code(facts['client'])}"] if facts["client"] else []
    lines += [f"- context {_context(row)}" for row in facts["contexts"]]
    limits = ", ".join(f"{name} {value:,}" for name, value in facts["limits"].items() if type(value) is int)
    used = ", ".join(f"{name} {value:,}" for name, value in facts["used"].items() if type(value) is int)
    lines += [f"- limits: {code(limits)}", f"- used: {code(used)}"]
    lines += [f"- walls that held: {code(', '.join(facts['walls']) or 'none')}", "", RUNS_AGAIN]
    return "\n".join([*lines, *(["", RESTORED] if was_restored else [])])


def _context(row: SourceRow) -> str:
    size = f"{counted(row['chars'], 'character')} in {counted(row['document_count'], 'document')}"
    size = counted(row["chars"], "character") if row["kind"] == "json" else size
    where = "; ".join(code(safe_text(path)) for path in row.get("paths", ())[:20])
    more = f" and {len(row['paths']) - 20:,} more paths" if len(row.get("paths", ())) > 20 else ""
    said = (
        "in this notebook" if "text" in row or "text_base64" in row else f"{where}{more}" if where else "needs a file"
    )
    if "file" in row:
        said = f"too long for a notebook, needs the file {code(row['file'])}"
    digest = f", sha256 {code(row['sha256'])}" if row["sha256"] else ", whose hash is not known"
    return f"{code(row['name'])}: {row['kind']} of {size}, {counted(row['bytes'], 'byte')}{digest}; {said}"


def happened(event: TraceEvent) -> str:
    """An event that is no cell."""
    title = TITLES.get(event.action, event.action)
    lines = [f"**{title}**: {event.result_status}, {event.ts}", "", code(safe_text(event.summary)), ""]
    lines += [f"- {line.removeprefix('- ')}" for line in pages.told(event.facts)]
    if event.code:
        lines += ["", fenced(safe_text(event.code), "python")]
    return "\n".join(lines).rstrip()


def asked(step: str, subcalls: Sequence[SubcallFacts]) -> str:
    """A step's questions, as a table that is closed at first."""
    head = f"<details><summary>{counted(len(subcalls), 'question')} of {step}</summary>"
    rows = [*_rows(subcalls[:SUBCALLS_SHOWN])]
    left = len(subcalls) - SUBCALLS_SHOWN
    more = [f"\nAnd {left:,} more, in the metadata of the step's cell."] if left > 0 else []
    table = ["| number | kind | fate | asked | about | answer |", "|---|---|---|---|---|---|", *rows]
    return "\n".join([head, "", *table, *more, "", "</details>"])


def _rows(subcalls: Sequence[SubcallFacts]) -> Iterator[str]:
    for one in subcalls:
        answer = text_of(one.get("answer"), one.get("answer_base64"), ANSWERS_CHARS_MAX)
        said = one.get("error_code", "not kept") if answer is None else answer
        parts = (str(one["number"]), one["kind"], one["fate"], one.get("prompt", ""), one.get("text", ""), said)
        yield f"| {' | '.join(_in_table(part) for part in parts)} |"


def _in_table(text: str) -> str:
    """A code span on one line of a table, which a bar would end even there."""
    cut = text if len(text) <= CELL_CHARS else f"{text[: CELL_CHARS - 1]}…"
    return code(safe_text(cut)).replace("|", "¦") if cut else ""


def answered(text: str, reason: str, checked: Checked | None) -> str:
    """The last cell: the final answer as it was given, and what it rests on."""
    cut = cut_text(text, ANSWER_CHARS_MAX, "rlm_finalize, called again as it was, gives all of it").text
    lines = ["# Answer", "", *([f"The session was stopped: {code(reason)}.", ""] if reason != "completed" else [])]
    lines += [fenced(cut), ""]
    if checked is not None:
        lines += ["\n\n".join(evidence(checked.citations, checked.coverage, sys.maxsize))]
    return "\n".join(lines).rstrip()
