"""Questions that need every line of a text: what of it reaches the client, and whether the answers are exact.

Is: OOLONG-like questions about 10,000 lines, answered by a fixed program (`bench/dense/`), whose questions a script
answers by leases, as sub-agents do. Is not: a model.
"""

from __future__ import annotations

import asyncio

from bench.dense import program
from bench.dense.families.oolong import of_lines
from bench.measure import Amounts, Bar, Figures, Row

LINES = 10_000


async def dense(amounts: Amounts) -> list[Row]:
    """Exact characters of tool results over the wire; the same in each run, but for the digits of durations."""
    lines = 200 if amounts.smoke else LINES
    ran = await asyncio.to_thread(_run, lines)
    what = f"6 OOLONG-like questions about {lines:,} lines, whose code asks of every line"
    afterwards = float(ran.driver_chars + ran.answers_chars)
    text = Figures((float(ran.paper.chars),))
    exact = float(sum(score == 1 for score in ran.scores.values()))
    return [
        Row(
            f"{what}: characters of results for the agent that drives the session",
            Figures((afterwards,)), "characters of the text", text, "chars", None if amounts.smoke else Bar(0.005),
        ),
        Row(
            "the same with what opened the session, which does not depend on the text's length",
            Figures((afterwards + ran.opened_chars,)), "characters of the text", text, "chars",
        ),
        Row(
            f"{what}: exact answers", Figures((exact,)), "questions", Figures((float(len(ran.scores)),)), "",
            Bar(1.0, "at least"),
        ),
    ]  # fmt: skip


def _run(lines: int) -> program.Ran:
    with program.server() as client:
        return program.run(client, of_lines(lines, 1, f"oolong, {lines:,} lines"))
