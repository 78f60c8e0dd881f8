"""Each task given to an agent: with a server, a record and a directory of its own; scored by what was finalized.

Is: the run of one task, and what it took, from the server's record too. Is not: the sum of many (`report.py`).
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.dense.agents.job import Agent, Job, Used
from bench.dense.program import write
from bench.dense.scorers import score
from bench.dense.tasks import Paper, Task
from demo.agent import until_ended
from rlm_kernel_mcp.store.long_answers import PagedText
from rlm_kernel_mcp.store.store import Store

Prices = tuple[float, float]
"""Dollars a million tokens, in and out."""


@dataclass(frozen=True, slots=True)
class Subcalls:
    """Who answers the questions of a session's code."""

    backend: str
    """As `RLM_SUBCALL_BACKEND`."""
    model: str = ""
    max_questions: int = 1_000

    def settings(self) -> dict[str, str]:
        """Of the server."""
        named = {"RLM_SUBCALL_MODEL": self.model} if self.backend == "openai" else {}
        return {"RLM_SUBCALL_BACKEND": self.backend, "RLM_SUBCALL_MAX": str(self.max_questions), **named}


@dataclass(slots=True)
class Result:
    """One task, done."""

    paper: str
    chars: int
    kind: str
    score: float
    output: str
    gold: str
    is_finalized: bool
    used: Used
    steps: int
    """Of the sessions that it opened."""
    asked: int
    """Questions of their code."""
    sub_tokens_in: int
    sub_tokens_out: int
    sub_usd: float | None
    seconds: float


def evaluate(agent: Agent, papers: Sequence[Paper], subcalls: Subcalls) -> Iterator[Result]:
    """Every task of every paper, one after the other."""
    for paper in papers:
        for task in paper.tasks:
            yield _one(agent, paper, task, subcalls)


def _one(agent: Agent, paper: Paper, task: Task, subcalls: Subcalls) -> Result:
    with tempfile.TemporaryDirectory(prefix="rlm-dense-") as name:
        place, work = Path(name), Path(name, "work")
        work.mkdir()
        hosts = {"RLM_HOST_DIR": str(place / "hosts"), "RLM_HOST_IDLE_S": "0", "RLM_HOST_WAIT_S": "60"}
        settings = {
            "RLM_STATE_DIR": str(place / "state"), "RLM_CONTEXT_ROOTS": str(work), **hosts, **subcalls.settings()
        }  # fmt: skip
        job = Job(work, tuple(write(paper, work)), task.question, settings)
        begun = time.monotonic()
        used = agent.run(job)
        seconds = time.monotonic() - begun
        until_ended(place / "hosts")
        return _looked_up(paper, task, place / "state", used, seconds)


def _looked_up(paper: Paper, task: Task, state: Path, used: Used, seconds: float) -> Result:
    """What the record has of the sessions of a task."""
    if not state.exists():
        return Result(paper.name, paper.chars, task.kind, 0.0, "", task.gold, False, used, 0, 0, 0, 0, None, seconds)
    store = Store.open(state)
    try:
        sessions = list(store.sessions())
        ended = (one for one in sessions if one.finished_at and one.parent is None)  # what a child says is no answer
        final = sorted(ended, key=lambda one: one.finished_at or "")
        answer = store.final_answer(final[-1].session_id) if final else ""
        output = "".join(answer.pages()) if isinstance(answer, PagedText) else answer
        rows = [row for one in sessions for row in store.subcalls.rows(one.session_id)]
        steps = sum(head.row.action == "run_repl" for one in sessions for head in store.heads(one.session_id))
    finally:
        store.close()
    asked = sum(row.kind in ("llm", "rlm") and row.fate != "late" for row in rows)  # no calls of functions, no turns
    # What the agent answers is among its own tokens, and what a child has spent is in its own rows.
    paid = [row for row in rows if row.backend != "agent" and row.child_session is None]
    dollars = [row.usd for row in paid if row.usd is not None]
    return Result(
        paper.name, paper.chars, task.kind, score(output, task) if final else 0.0, output, task.gold, bool(final), used,
        steps, asked, sum(row.tokens_in for row in paid), sum(row.tokens_out for row in paid),
        sum(dollars) if dollars else None, seconds,
    )  # fmt: skip


def dollars_of(result: Result, prices: Mapping[str, Prices | None]) -> float | None:
    """What a task cost by the user's prices of `model` and `sub_model`; None where one is wanted and not known."""
    total = 0.0
    for name, tokens in (
        ("model", (result.used.tokens_in, result.used.tokens_out)),
        ("sub_model", (result.sub_tokens_in, result.sub_tokens_out)),
    ):
        if not any(tokens):
            continue
        if name == "sub_model" and result.sub_usd is not None:
            total += result.sub_usd
            continue
        price = prices.get(name)
        if price is None:
            return None
        total += sum(count * dollars for count, dollars in zip(tokens, price, strict=True)) / 1_000_000
    return total
