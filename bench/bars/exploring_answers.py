"""Who waits for a search: `rlm_get_var` of its own session, other sessions, an interrupt. And `lines` and `rank`."""

from __future__ import annotations

import asyncio
import resource
import sqlite3
import time
from pathlib import Path
from typing import Final

from bench.bars.exploring import EXPRESSIONS, FREQUENT, HOSTILE, write_log
from bench.bars.mapped import SMALL_MB
from bench.measure import Amounts, Bar, Figures, Row, interleave
from bench.sides.ours import Call, OurServer, our_server

SEARCHES: Final = {
    "a search for a literal": "search('ERROR', limit=None)",
    "a search for 20 frequent literals": f"search({FREQUENT!r}, limit=None)",
    "a search for a pattern that any word can begin": f"search({EXPRESSIONS[-1]!r}, regex=True, limit=None)",
    "a search for a hostile pattern": f"search({HOSTILE[1]!r}, regex=True, limit=None)",
    "a count by the shapes of lines": "count('ERROR', by='line shape')",
    "a search for a pattern that spans lines": r"search(r'NEVER\s+(?s:.)*THERE', regex=True, limit=None)",
}
LOOP: Final = {"a Python loop": "for number in range(20_000_000): pass"}
WHY_WORST: Final = "one read of some thousands; in a loop of plain Python the worst is of the same order (39 ms of 51)"
RANK_MB: Final = 20
NUMBERS: Final = 1_000
NUMBER_OF_LINES: Final = """
import random, time
rng = random.Random(12)
began = time.process_time(); last = lines(-1); first_ms = (time.process_time() - began) * 1_000
took = []
for number in [rng.randint(1, last.line) for _ in range({})]:
    began = time.process_time(); lines(number); took.append((time.process_time() - began) * 1_000)
took.sort()
print(first_ms, took[len(took) // 2], took[-1])
"""


async def exploring_answers(amounts: Amounts) -> list[Row]:
    """Over 1 GB of a log, mapped."""
    size = max(SMALL_MB, amounts.megabytes(1024))
    with our_server(env={"RLM_MEMORY_LIMIT_MB": "64"} if amounts.smoke else None) as server:
        path = server.directory / "log.txt"
        write_log(path, size)
        session, neighbour = server.open_session(context_paths=[path.name]), server.open_session()
        server.step(session, "mine = 'kept'", wait_ms=600_000)
        server.step(neighbour, "mine = 'kept'")
        rows = _line_rows(server, session, size, amounts)
        rows += _waits(server, session, neighbour, amounts)
        rows.append(await _interrupts(server, session, amounts))
        server.finalize(session)
    return [*rows, await _rank(amounts)]


def _line_rows(server: OurServer, session: str, size: int, amounts: Amounts) -> list[Row]:
    code = NUMBER_OF_LINES.format(amounts.times(NUMBERS))
    first, middle, most = map(float, server.step(session, code, wait_ms=600_000)["stdout"].split())
    return [
        Row(f"the first `lines(-1)` finds the last line of {size:,} MB (processor time)", Figures((first,))),
        Row(f"`lines(n)` finds any line of it (the median of {NUMBERS:,})", Figures((middle,)), bar=Bar(1, of="ours")),
        Row(f"`lines(n)` finds any line of it (the worst of {NUMBERS:,})", Figures((most,)), bar=Bar(1, of="ours")),
    ]


def _waits(server: OurServer, session: str, neighbour: str, amounts: Amounts) -> list[Row]:
    reads: dict[str, tuple[Call, float]] = {
        "`rlm_get_var` of the same session": (("rlm_get_var", {"session_id": session, "var_name": "mine"}), 50),
        "another session's `rlm_get_var`": (("rlm_get_var", {"session_id": neighbour, "var_name": "mine"}), 100),
        "another session's step": (("rlm_run_repl", {"session_id": neighbour, "code": "1 + 1"}), 100),
    }
    searches = dict([*SEARCHES.items()][:2]) if amounts.smoke else SEARCHES
    rows = []
    for read, (call, limit) in reads.items():
        waits: dict[str, list[float]] = {}
        for what, code in [*searches.items(), *LOOP.items()]:
            step: Call = ("rlm_run_repl", {"session_id": session, "code": f"{code}; None", "wait_ms": 600_000})
            waits[what] = server.waits_during(step, call)
        (loop,) = (Figures(tuple(waits.pop(what))) for what in LOOP)
        rows.append(
            Row(
                f"{read} is answered during a search",
                Figures(tuple(wait for found in waits.values() for wait in found)),
                "it is answered during a Python loop",
                loop,
                bar=Bar(limit, of="ours"),
            )
        )
        worst = max(waits, key=lambda what: max(waits[what]))
        name = f"{read} takes at most this long (during {worst})"
        during_loop, other = "it takes at most this long during a Python loop", Figures((max(loop.samples),))
        rows.append(Row(name, Figures((max(waits[worst]),)), during_loop, other, bar=Bar(limit, of="ours")))
    return rows


async def _interrupts(server: OurServer, session: str, amounts: Amounts) -> Row:
    """Each search in an endless loop, so that none has ended before it is interrupted."""
    taken: dict[str, float] = {}
    for what, code in SEARCHES.items():
        for turn in range(amounts.times(5)):
            server.start_endless(session, f"while True: {code}")
            await asyncio.sleep(0.05 * turn)  # somewhere else in the search each time
            began = time.perf_counter()
            report = server.call("rlm_interrupt", session_id=session)
            assert report["status"] == "interrupted", report
            taken[what] = max(taken.get(what, 0.0), (time.perf_counter() - began) * 1_000)
        if amounts.smoke:
            break
    worst = max(taken, key=lambda what: taken[what])
    name = f"`rlm_interrupt` ends any search after at most this long (the worst was {worst})"
    return Row(name, Figures((taken[worst],)), bar=Bar(100, of="ours"))


async def _rank(amounts: Amounts) -> Row:
    """The first call, which makes the index, against an fts5 table filled with the same chunks."""
    size = amounts.megabytes(RANK_MB)
    with our_server() as server:
        path = server.directory / "log.txt"
        write_log(path, size)
        chunks = _chunks(path)

        async def ours() -> float:
            session = server.open_session(context_paths=[path.name])
            code = "import time; began = time.process_time(); rank('timeout waiting'); time.process_time() - began"
            took = float(server.step(session, code, wait_ms=600_000)["result"]) * 1_000
            server.finalize(session)
            return took

        async def bare() -> float:
            began = resource.getrusage(resource.RUSAGE_SELF)
            index = sqlite3.connect(":memory:")
            index.execute("CREATE VIRTUAL TABLE part USING fts5(text, content='')")
            with index:
                index.executemany("INSERT INTO part(rowid, text) VALUES (?, ?)", enumerate(chunks))
            ended = resource.getrusage(resource.RUSAGE_SELF)
            index.close()
            return (ended.ru_utime + ended.ru_stime - began.ru_utime - began.ru_stime) * 1_000

        mine, other = await interleave([ours, bare], amounts.times(5), warm_up=1)
    what = f"the first `rank` makes its index of {size:,} MB (processor time)"
    return Row(what, mine, "an fts5 table is filled with the same chunks", other, bar=Bar(1.5))


def _chunks(path: Path) -> list[str]:
    """Of whole lines and about 8,000 characters, as `rank` has them."""
    chunks, chunk = [], ""
    for line in path.read_text(encoding="ascii").splitlines(keepends=True):
        if len(chunk) + len(line) > 8_000:
            chunks.append(chunk)
            chunk = ""
        chunk += line
    return [*chunks, chunk]
