"""What came out, for a person and for a program.

Is: tables and JSON of what was run just now, and beside it what others have published, marked as theirs. Is not: a
figure that stands here.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from bench.dense.agents.evaluation import Prices, Result, dollars_of
from bench.dense.intervals import Estimate, estimate
from bench.dense.program import ANSWERER, Ran
from bench.dense.published import PUBLISHED

PROGRAM_HEADINGS = (
    "tasks", "texts", "questions", "characters of the texts", "asked by code", "to the driver, opening", "afterwards",
    "share", "the answers", "to the answerer", "mean score",
)  # fmt: skip
NOT_OURS = "Published by others, of their own runs; nothing of it was measured here:"


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns for a terminal."""
    lines = [list(headings), *(list(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headings))]
    shown = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([shown[0], "  ".join("-" * width for width in widths), *shown[1:]])


def program_rows(done: Sequence[Ran]) -> list[tuple[str, ...]]:
    """A row for each family and length."""
    groups = defaultdict[str, list[Ran]](list)
    for ran in done:
        groups[ran.paper.name.rpartition(", seed")[0]].append(ran)
    return [_program_row(name, group) for name, group in groups.items()]


def _program_row(name: str, group: Sequence[Ran]) -> tuple[str, ...]:
    scores = [score for ran in group for score in ran.scores.values()]
    chars = sum(ran.paper.chars for ran in group)
    afterwards = sum(ran.driver_chars for ran in group)
    opened, answers = sum(ran.opened_chars for ran in group), sum(ran.answers_chars for ran in group)
    others = sum(ran.answerer_chars for ran in group)
    asked = sum(ran.asked for ran in group)
    counts = (len(group), len(scores), chars, asked, opened, afterwards)
    share = f"{afterwards / chars:.4f}"
    return (
        name,
        *(f"{count:,}" for count in counts),
        share,
        f"{answers:,}",
        f"{others:,}",
        f"{sum(scores) / len(scores):.3f}",
    )


def program_markdown(done: Sequence[Ran], facts: Sequence[str]) -> str:
    """The content of DENSE.md."""
    rows = program_rows(done)
    lines = [
        "# Dense tasks, answered by fixed programs", "",
        (f"`bin/bench-dense --program` writes this file; do not edit it. **Who answers is {ANSWERER}**: it is right by "
        "construction, so that these scores say that nothing is lost or mixed up between a text, the code in a kernel, "
        "its questions and their answers. They say nothing of any model's. `bin/bench-dense --agent` is for that "
        "([docs/evaluation.md](../docs/evaluation.md))."), "",
        ("From `to the driver` on the columns are characters of tool results. `share` is what came after the "
         "session was opened, but for the answers themselves, of the characters of the texts. The answerer took the "
         "questions by leases."),
        "", *(f"- {fact}" for fact in facts), "",
        "| " + " | ".join(PROGRAM_HEADINGS) + " |", "|" + "---|" * len(PROGRAM_HEADINGS),
        *("| " + " | ".join(row) + " |" for row in rows),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def program_json(ran: Ran) -> str:
    """One paper, as a line."""
    fields = {name: value for name, value in asdict(ran).items() if name not in ("paper", "outputs")}
    return json.dumps({"paper": ran.paper.name, "answerer": ANSWERER, "chars": ran.paper.chars, **fields})


def agent_summary(
    benchmark: str, agent: str, results: Sequence[Result], prices: Mapping[str, Prices | None]
) -> dict[str, Any]:
    """What one agent's results come to."""
    dollars = [dollars_of(result, prices) for result in results]
    known = [one for one in dollars if one is not None]
    found = estimate([result.score for result in results])
    return {
        "benchmark": benchmark,
        "agent": agent,
        "score": found._asdict(),
        "texts": len({result.paper for result in results}),
        "finalized": sum(result.is_finalized for result in results),
        "failures": sum(bool(result.used.failure) for result in results),
        "calls": sum(result.used.calls for result in results),
        "tokens": {
            "model_in": sum(result.used.tokens_in for result in results),
            "model_out": sum(result.used.tokens_out for result in results),
            "subcalls_in": sum(result.sub_tokens_in for result in results),
            "subcalls_out": sum(result.sub_tokens_out for result in results),
        },
        "subcalls": sum(result.asked for result in results),
        "usd": sum(known) if results and len(known) == len(results) else None,
        "seconds": sum(result.seconds for result in results),
    }


def agent_text(summary: Mapping[str, Any], results: Sequence[Result]) -> str:
    """The same for a person, beside what others have published."""
    found, tokens = Estimate(**summary["score"]), summary["tokens"]
    usd, count = summary["usd"], max(1, len(results))
    cost = "not known (--price, --sub-price)" if usd is None else f"${usd:,.4f} ({usd / count:,.4f} a task)"
    lines = [
        f"{summary['benchmark']} by {summary['agent']}: {_per_cent(found)}",
        (
            f"{found.tasks} tasks about {summary['texts']} texts; {summary['finalized']} finalized, "
            f"{summary['failures']} ended early"
        ),
        (
            f"tokens of the model {tokens['model_in']:,} in, {tokens['model_out']:,} out, in {summary['calls']:,} "
            f"calls; of {summary['subcalls']:,} sub-calls {tokens['subcalls_in']:,} in, "
            f"{tokens['subcalls_out']:,} out; cost: {cost}"
        ),
    ]
    by_kind = defaultdict[str, list[float]](list)
    for result in results:
        by_kind[result.kind].append(result.score)
    if 1 < len(by_kind) < len(results):
        lines += [f"  {kind}: {_per_cent(estimate(scores))}" for kind, scores in by_kind.items()]
    if published := PUBLISHED.get(summary["benchmark"]):
        rows = [
            (
                one.system,
                one.model,
                f"{one.score:.2f}",
                "" if one.usd is None else f"${one.usd:.2f}",
                one.source,
                one.note,
            )
            for one in published
        ]
        lines += ["", NOT_OURS, table(("system", "model", "score", "a query", "source", ""), rows)]
    return "\n".join(lines)


def _per_cent(found: Estimate) -> str:
    if found.mean is None:
        return "no task"
    if found.low is None or found.high is None:
        return f"{100 * found.mean:.2f} % ({found.tasks} task)"
    between = f"95 % interval {100 * found.low:.2f} to {100 * found.high:.2f}, {found.method}"
    return f"{100 * found.mean:.2f} % ({between}, n = {found.tasks})"


def result_json(result: Result, dollars: float | None) -> str:
    """One task, as a line."""
    return json.dumps({**asdict(result), "usd": dollars})
