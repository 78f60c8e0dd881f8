"""A store with one session in it, which has had all that a session can have."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import pytest

from rlm_kernel_mcp.session.context_reports import ContextReport
from rlm_kernel_mcp.session.evidence.citations import Checked, Citation, Coverage, Passage
from rlm_kernel_mcp.session.trace.events import EVIDENCE
from rlm_kernel_mcp.store.store import EventRow, SessionRecord, Store
from rlm_kernel_mcp.store.subcalls import SubcallRow, Texts, packed

SESSION: Final = "s_whole"
TEXT: Final = "alpha\nbeta\n"
SHA: Final = "a" * 64
ANSWER: Final = "It is ![alpha](http://evil.example/x.png) [c1]."
PASSAGE: Final = Passage("context", None, 0, 5, 0, 5, 1, 1, "alpha", "0" * 64, "", "")
CHECKED: Final = Checked((Citation("c1", "marker", "verified", PASSAGE),), Coverage(11, cited=5))
STEPS: Final[tuple[dict[str, Any], ...]] = (
    {
        "code": "len(context), cite(search('alpha')[0])",
        "result": "(11, [c1])",
        "result_status": "ok",
        "extra": json.dumps(
            {
                "functions": {"search": 1, "cite": 1},
                "claims": [[1, "context", "context", 0, 5, SHA, "alpha"]],
                "facts": {"printed": {"result": 10}, "delivered": 10, "cost": 48},
            }
        ),
    },
    {"code": "print('out')\n1 / 0", "stdout": "out\n", "result_status": "error", "error": ("ZeroDivisionError", "no")},
    {"code": "while True: pass", "result_status": "timeout", "error": ("KeyboardInterrupt", "")},
    {"code": "llm_query('What is it?', 'alpha')", "result": "'a letter'", "result_status": "ok"},
    {"code": "b'x' * 10**12", "result_status": "kernel_died"},
    {"code": "x = '\x1b[2J'", "result_status": "ok"},
    {"code": "import time\nprint(time.time())", "stdout": "1.5\n", "result_status": "ok"},
)


def report(name: str, **fields: Any) -> ContextReport:
    """Of a context of a text."""
    given: dict[str, Any] = {"kind": "text", "chars": 11, "lines": 2, "bytes": 11, "sha256": SHA, "document_count": 1}
    return ContextReport(**{**given, "name": name, "head": "", "tail": "", "documents": (), **fields})


def record() -> SessionRecord:
    """Its row: a text, and a directory that was added after the first step."""
    added = {
        "source": {
            "paths": ["lib/*.py"],
            "working_dir": "/data",
            "name": "lib",
            "prefix": "lib/",
            "exclude": ["*.pyc"],
        },
        "report": asdict(report("lib", kind="documents")),
        "at_step": 1,
        "states": None,
        "in_store": "lib",
    }
    return SessionRecord(
        SESSION,
        "2026-11-30T10:00:00.000Z",
        "text",
        "finalized",
        limits='{"max_steps": 64, "budget_limit": 100000}',
        counters='{"step_index": 7, "budget_used": 900}',
        context=json.dumps(asdict(report("context"))),
        context_ref=json.dumps({"inline": True, "name": "context", "prefix": "", "names": [], "added": [added]}),
        walls='[{"name": "seccomp", "holds": true, "detail": ""}, {"name": "mounts", "holds": false, "detail": ""}]',
        final_answer=ANSWER,
        finish_reason="completed",
        finished_at="2026-11-30T10:01:00.000Z",
        question="What is `it`?\n```\n# no heading",
        client="codex 1.0",
    )


def fill(store: Store) -> None:
    """Write all of it."""
    store.add_session(record())
    store.put_context(SESSION, TEXT.encode())
    add(store, 0, "init_context", summary="text of 11 characters")
    for at, step in enumerate(STEPS, 1):
        add_step(store, at, step)
        if at == 1:
            add(store, 1, "add_context", summary="lib: documents of 11 characters")
            console = {"code": "context[:3]", "result": "'alp'", "result_status": "ok", "source": "console"}
            add_step(store, 1, console)
        if at == 3:
            add(store, 3, "interrupt", summary="SIGINT to the kernel in step 3")
        if at == 4:
            row = SubcallRow(SESSION, store.mint(), "2026-11-30T10:00:04.000Z", 4, "mcp", 1, 1, answer_chars=8)
            texts = packed(Texts("What is it?", "alpha", "a letter | of many"))
            store.subcalls.book(SESSION, [(row, texts)], lambda connection: None)
        if at == 5:
            lost = {"facts": {"lost": [{"name": "m", "why": "it cannot be pickled"}], "restored": ["x"]}}
            add(store, 5, "restore", summary="restored 1 name, lost 1", extra=json.dumps(lost))
    final = EventRow(SESSION, "2026-11-30T10:01:00.000Z", 7, "finalize", result_status="completed")
    final.extra = json.dumps({EVIDENCE: CHECKED.record()})
    store.add_final(final, ANSWER)


def add(store: Store, step: int, action: str, **fields: Any) -> None:
    """An event without texts."""
    store.add_event(EventRow(SESSION, "2026-11-30T10:00:00.000Z", step, action, **{"result_status": "ok", **fields}))


def add_step(store: Store, at: int, step: dict[str, Any]) -> None:
    """A step with its texts."""
    fields = dict(step)
    if (error := fields.pop("error", None)) is not None:
        lines = f"Traceback\n{error[0]}: {error[1]}"
        fields["error"] = json.dumps({"ename": error[0], "evalue": error[1], "traceback": lines})
    row = EventRow(SESSION, f"2026-11-30T10:00:{at:02}.000Z", at, "run_repl", duration_ms=70, **fields)
    store.add_event(row)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """With that session."""
    opened = Store.open(tmp_path)
    fill(opened)
    yield opened
    opened.close()
