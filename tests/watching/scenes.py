"""What a stream says in the tests of the page: messages as `watching/messages/` has them, written by hand.

Is: one session in each of its states, small. Is not: a record of a session: what the server says of one is tested with
it.
"""

from __future__ import annotations

import base64
from typing import Any, Final

QUESTION: Final = "Which handlers swallow exceptions silently, and is any of it a security risk?"
CHARS: Final = 2_000_000
DOCUMENTS: Final = 120
LIMITS: Final = {"steps": 64, "runtime_ms": 120_000, "chars": 100_000, "subcalls": 48}
WALLS: Final = ["rlimits", "no_new_privs", "landlock", "seccomp", "namespaces"]
FIRST_ID: Final = 1_764_500_000_000_000_000
"""Nanoseconds: larger than what a number of JavaScript can hold."""
Event = dict[str, Any]
Message = dict[str, Any]


def text(value: str, *, cut: int = 0, tail: str = "") -> dict[str, Any]:
    """A `Text`: `cut` characters lie between it and its tail."""
    made: dict[str, Any] = {"text": value, "chars": len(value) + cut + len(tail), "lines": value.count("\n") + 1}
    return made | ({"tail": tail, "cut": cut} if cut else {})


def event(number: int, kind: str = "step", **fields: Any) -> Event:
    """One event, of the step of its number unless another is named."""
    step = fields.pop("step", number)
    made = {
        "id": str(FIRST_ID + number * 1000),
        "type": kind,
        "ts": f"2026-11-28T12:{number // 60 % 60:02}:{number % 60:02}.000Z",
        "step": step,
        "status": "ok",
        "source": "mcp",
        "summary": "",
        "ms": 12,
        "cost": 200 + number,
        "used": {"steps": step, "runtime_ms": 100 * number, "chars": 300 * number},
    }
    return made | fields


def step(number: int, code: str = "", **fields: Any) -> Event:
    """A step that has printed a line."""
    source = code or f"hits = search('handler {number}')\nprint(len(hits))"
    return event(number, code=text(source), **{"stdout": text(f"{number} hits\n"), **fields})


def head(name: str, status: str, **fields: Any) -> Message:
    """The first message."""
    context = {
        "name": "context",
        "state": "ready",
        "chars": CHARS,
        "lines": 40_000,
        "bytes": CHARS,
        "documents": DOCUMENTS,
        "held": "memory",
        "tracked": True,
        "stretches": [
            {"name": "asyncio", "start": 0, "end": CHARS // 4, "documents": 30},
            {"name": "email", "start": CHARS // 4, "end": CHARS // 2, "documents": 40},
            {"name": "test", "start": CHARS // 2, "end": CHARS, "documents": 50},
        ],
    }
    made = {
        "type": "head",
        "id": name,
        "title": QUESTION,
        "status": status,
        "client": "codex",
        "opened": "2026-11-28T12:00:00.000Z",
        "limits": LIMITS,
        "used": {"steps": 0, "runtime_ms": 0, "chars": 0, "subcalls": 0},
        "walls": WALLS,
        "contexts": [context],
        "parent": None,
        "children": [],
        "steps": 0,
    }
    return made | fields


def events(*those: Event) -> Message:
    return {"type": "events", "events": list(those), "more": False}


def mapped() -> Message:
    """Half of the context searched once, its first tenth three times."""
    bins = bytes(3 if at < 100 else 1 if at < 512 else 0 for at in range(1024))
    return {"type": "map", "context": "context", "searched": base64.b64encode(bins).decode()}


def citation(name: str, status: str = "verified", **fields: Any) -> dict[str, Any]:
    """A citation as the contract has it, with its place in the context."""
    made = {
        "id": name,
        "kind": "marker" if name.startswith("c") else "quote",
        "status": status,
        "doc": "asyncio/events.py",
        "path": "/data/asyncio/events.py",
        "start_char": 300,
        "end_char": 330,
        "start_line": 212,
        "end_line": 213,
        "text": "except FileExistsError:\n    pass",
        "text_chars": 32,
        "prefix": "_os.unlink(name)\n",
        "suffix": "\nreturn found",
        "context": "context",
        "start": 300,
        "end": 330,
    }
    return made | fields


def opening() -> list[Event]:
    """Steps of every kind: with an error, a person's, a kill and what it left, one that was given text."""
    failed = {"ename": "KeyError", "evalue": "'ssl'", "traceback": text("Traceback ...\nKeyError: 'ssl'")}
    return [
        event(0, "opened", summary=f"a context of {CHARS:,} characters in {DOCUMENTS} documents"),
        step(1, delivered={"context": [[0, 600]]}, searched={"chars": CHARS // 2, "share": 0.5}),
        step(
            2, "documents['ssl']", status="error", error=failed, changed=[{"name": "hits", "type": "Hits", "size": 9}]
        ),
        step(3, "len(hits)  # a person", source="console", step=2, cost=0),
        step(4, "while True: pass", status="timeout", step=3, ms=3_520),
        event(5, "interrupt", step=3, summary="SIGKILL to the kernel in step 3", rung="sigkill", cost=0),
        event(
            6,
            "restore",
            step=3,
            cost=0,
            summary="it did not come to rest within the grace time and was killed; restored 2 names, lost 2",
            restored=["hits", "total"],
            lost=[
                {"name": "match", "why": "cannot be kept: cannot pickle 're.Match' object"},
                {"name": "total", "why": "restored as it was after step 1; later steps may have changed it"},
            ],
        ),
        step(
            7,
            "total",
            step=4,
            stdout=text(""),
            result=text("401"),
            changed=[{"name": "n", "type": "int", "size": None}],
        ),
    ]


def asked() -> Event:
    """A batch of questions."""
    calls = [
        {"id": str(at), "kind": "llm", "status": status, "question": f"Is handler {at} a risk?", "chars": 1_200}
        | {"ms": 1_600, "tokens": 430, "answer": "no", "backend": "agent"}
        for at, status in enumerate(["ok", "cached", "SUBCALL_REFUSED"])
    ]
    return event(8, "subcalls", step=4, summary="3 questions", calls=calls, more=45, tokens=21_480, ms=14_200)


def answered() -> list[Event]:
    """One that was refused, and the one that was taken."""
    wrong = citation("q1", "near", text="except OSError: return", nearest={**citation("x"), "similarity": 0.87})
    refused = event(9, "refused", step=5, error_code="CITATION_MISMATCH", note="1 of 2 citations was not found.")
    answer = "There are 1,400 handlers that do nothing.\n\nTwo stand in functions that close something [c1][c2]."
    coverage = {"chars": CHARS, "searched": CHARS // 2, "ranked": 0, "delivered": 900, "delivered_by_text": 600}
    final = event(
        10,
        "final",
        step=5,
        answer=text(answer),
        citations=[citation("c1"), citation("c2", "whitespace", start=900_000, end=900_040, matches=3)],
        coverage={**coverage, "cited": 70, "changed": False},
    )
    return [refused | {"citations": [wrong]}, final]


def finished(name: str) -> list[Message]:
    """A session with an answer."""
    return [head(name, "finalized"), mapped(), events(*opening(), asked(), *answered()), ended("finalized")]


def running(name: str) -> list[Message]:
    """A session whose step runs."""
    begin = {
        "type": "begin",
        "id": str(FIRST_ID + 20_000),
        "step": 5,
        "source": "mcp",
        "code": "for hit in hits:\n    print(hit.line, flush=True)",
        "code_chars": 47,
        "ts": "2026-11-28T12:00:20.000Z",
        "elapsed_ms": 1_200,
        "so_far": "asyncio/events.py:212\n",
    }
    return [head(name, "running"), mapped(), events(*opening()), begin]


def stopped(name: str) -> list[Message]:
    """A session that has used all of its characters."""
    used = {"steps": 5, "runtime_ms": 30_100, "chars": 100_000, "subcalls": 0}
    stop = event(9, "stop", step=5, limit="budget_exceeded", used=used, cost=0, ms=0)
    return [head(name, "stopped"), mapped(), events(*opening(), stop)]


def dead(name: str) -> list[Message]:
    return [head(name, "dead", title=None), events(*opening()[:3]), ended("dead")]


def ended(status: str) -> Message:
    return {"type": "end", "status": status}


def row(name: str, status: str, **fields: Any) -> dict[str, Any]:
    """A session in the list."""
    made = {
        "id": name,
        "title": QUESTION,
        "status": status,
        "client": "codex",
        "parent": None,
        "opened": "2026-11-28T12:00:00.000Z",
        "last": "2026-11-28T12:01:00.000Z",
        "used": {"steps": 5, "runtime_ms": 30_100, "chars": 100_000},
        "limits": LIMITS,
        "chars": CHARS,
        "documents": DOCUMENTS,
        "held": "memory",
        "pulse": "ooehkoso",
        "running": {"step": 5, "elapsed_ms": 3_000} if status == "running" else None,
        "said": None,
    }
    return made | fields
