"""By how much the record of a session grows with a step: what was done, what is known of it, and what it displayed."""

from __future__ import annotations

from pathlib import Path

from bench.measure import Amounts, Bar, Figures, Row
from bench.sides.ours import our_server

KB = 1_000
SHOWN = 20_000
DISPLAYS = (
    "class Shown:\n"
    "    def __repr__(self): return 'shown'\n"
    f"    def _repr_html_(self): return '<b>' + 'x' * {SHOWN - 7} + '</b>'\n"
)
STEPS = {
    "of `1+1`": "1+1",
    "that cites, searches and binds (what is known of it is in its event)": "hits = search('text')\ncite(hits[0])",
    f"that displays {SHOWN:,} characters of HTML": "Shown()",
}


async def record_growth(amounts: Amounts) -> list[Row]:
    """Of the files on disk once the server has ended, by the difference of many steps and few."""
    few, many = amounts.times(100), amounts.times(600) + 1
    plain = _growth_kb("1+1", few, many)
    rows = [Row("the record grows by this much with a step of `1+1`", Figures((plain,)), unit="kB")]
    for what, code in list(STEPS.items())[1:]:
        grown = _growth_kb(code, few, many)
        is_shown = code == "Shown()"
        size = (SHOWN / KB) if is_shown else plain
        against = "that HTML has this size" if is_shown else "it grows by this much with a step of `1+1`"
        bar = Bar(1.2) if is_shown else None
        rows.append(
            Row(
                f"the record grows by this much with a step {what}",
                Figures((grown,)),
                against,
                Figures((size,)),
                unit="kB",
                bar=bar,
            )
        )
    return rows


def _growth_kb(code: str, few: int, many: int) -> float:
    """By a step, as the difference of two records, each of a server of its own."""
    return (_record_bytes(code, many) - _record_bytes(code, few)) / (many - few) / KB


def _record_bytes(code: str, count: int) -> int:
    with our_server() as server:
        directory = Path(server.directory)
        session_id = server.open_session("some text\n" * 10)
        server.step(session_id, DISPLAYS)
        for _ in range(count):
            server.step(session_id, code)
        server.close()  # what is written last is written then
        return sum(path.stat().st_size for path in (directory / "state").glob("sessions.db*"))
