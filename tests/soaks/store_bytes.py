"""One byte of the store changed, or a file of it cut off, or a value of a row of another type: what its readers say.

Is: seeded trials on copies of one small store, closed as well as left by a kill. Is not: a server (`faults`).
Each trial ends as `whole` (all is what was written), `told` (something is left out, and said), `set aside` (a new store
is begun, and said), or is a failure: `silent` (something is missing or changed without a word) or `raised`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import shutil
import sqlite3
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from bench.progress import told
from rlm_kernel_mcp.errors import SessionNotFound
from rlm_kernel_mcp.store.database.records import EVENT_COLUMNS, SESSION_COLUMNS
from rlm_kernel_mcp.store.store import EventRow, SessionRecord, Store

NOW: Final = "2026-11-22T10:00:00.000Z"
SESSIONS: Final = ("s_one", "s_two", "s_three")
CONTEXT: Final = "Straße, 😀, line\n".encode() * 200
WRONG_VALUES: Final[tuple[Any, ...]] = (None, 7, -1, 2**62, 1.5, "", "no json", b"\xff\xfe", b"", "{", "[1, 2]")
FAILURES: Final = ("silent", "raised")

Damage = Callable[[Path, random.Random], str]


def build(directory: Path) -> Store:
    """A store with three sessions, their events and contexts; it is left open, with its log beside it."""
    store = Store.open(directory)
    for number, session_id in enumerate(SESSIONS):
        context = json.dumps({"chars": 3_400, "head": "Straße" * 60, "sha256": hashlib.sha256(CONTEXT).hexdigest()})
        counters = json.dumps({"step_index": 8, "runtime_ms": 5, "budget_used": 900})
        store.add_session(SessionRecord(session_id, NOW, "text", "idle", context=context, counters=counters))
        store.put_context(session_id, CONTEXT)
        for step in range(1, 9):
            code = f"print({step})\n" * (1 + 40 * (step == 5))
            row_id = store.begin_event(EventRow(session_id, NOW, step, "run_repl", code=code, summary="print"))
            error = json.dumps({"ename": "E", "evalue": "é", "traceback": "line\n" * 20}) if step == 3 else None
            out = "out é \ud800" if step == 4 else "x" * (100 * step * (1 + number))
            store.complete_event(row_id, result_status="ok", duration_ms=step, stdout=out, error=error, result="r")
        if number == 0:
            store.update_session(session_id, status="finalized", final_answer="the answer " * 300, finished_at=NOW)
    return store


def change_byte(path: Path, rng: random.Random) -> str:
    """Another value at one place of a file."""
    data = bytearray(path.read_bytes())
    at = rng.randrange(len(data))
    before = data[at]
    data[at] = rng.choice([value for value in range(256) if value != before])
    path.write_bytes(data)
    return f"byte {at:,} of {path.name}: {before} to {data[at]}"


def cut_off(path: Path, rng: random.Random) -> str:
    """A file that ends too soon."""
    size = rng.randrange(path.stat().st_size)
    with path.open("r+b") as file:
        file.truncate(size)
    return f"{path.name} cut off at {size:,}"


def change_type(path: Path, rng: random.Random) -> str:
    """A value that SQLite takes in any column, in one row."""
    table = rng.choice(("sessions", "events"))
    columns = SESSION_COLUMNS if table == "sessions" else (*EVENT_COLUMNS, "text_bytes", "text_check")
    # An event whose session's name was changed by a statement is nobody's, and only `doctor` counts those.
    column = rng.choice([name for name in columns if (table, name) != ("events", "session_id")])
    value = rng.choice(WRONG_VALUES)
    connection = sqlite3.connect(path, isolation_level=None)
    (row_id,) = rng.choice(connection.execute(f"SELECT rowid FROM {table}").fetchall())
    try:
        connection.execute(f"UPDATE OR IGNORE {table} SET {column} = ? WHERE rowid = ?", (value, row_id))
    except sqlite3.IntegrityError:
        value = "(as it was: the column takes no NULL)"
    finally:
        connection.close()
    return f"{table}.{column} of row {row_id}: {value!r}"


def read_all(directory: Path) -> tuple[dict[str, Any], bool]:
    """All that a store has, as its readers get it, and whether they were told that something is amiss."""
    store = Store.open(directory)
    try:
        listed = store.sessions()
        keys = store.session_keys()
        summaries = store.summaries([key.session_id for key in keys])
        told = bool(listed.damaged or keys.damaged or summaries.damaged)
        found: dict[str, Any] = {"keys": sorted(map(repr, keys)), "listed": listed[:], "summaries": len(summaries)}
        for session_id in SESSIONS:
            try:
                record = found[session_id] = store.session(session_id)
            except SessionNotFound:
                record, told = None, True
            events = store.events(session_id)
            told |= bool(events.damaged or store.events(session_id, texts=False).damaged)
            found[f"events of {session_id}"] = events[:]
            context = store.context(session_id)
            if (
                record is not None
                and hashlib.sha256(context or b"").hexdigest() != json.loads(record.context)["sha256"]
            ):
                told = True  # a fresh kernel is told so when it is to get the context again
            found[f"context of {session_id}"] = context
        store.complete_event(store.begin_event(EventRow("s_one", NOW, 99, "run_repl")), result_status="ok")
        if not any(row.step_index == 99 for row in store.events("s_one")):
            raise AssertionError("what is written after it is not kept")
        return found, told or store.problem is not None
    finally:
        store.close()


def judge(directory: Path, expected: dict[str, Any]) -> str:
    """How a trial ended."""
    try:
        found, told = read_all(directory)
    except Exception as error:  # noqa: BLE001 (a soak's edge: whatever it is, it is counted)
        return f"raised {type(error).__name__}: {error}"
    if list(directory.glob("*.damaged-*")):
        return "set aside" if told else "silent: set aside without a word"
    if found == expected:
        return "whole"
    return "told" if told else f"silent: {[name for name in expected if found.get(name) != expected[name]]}"


def trials(count: int, seed: int) -> tuple[Counter[str], list[str]]:
    """Run them; the number of each end, and what failed."""
    ends: Counter[str] = Counter()
    failed: list[str] = []
    with tempfile.TemporaryDirectory(prefix="rlm-store-bytes-") as name:
        origin = Path(name)
        store = build(origin / "live")
        shutil.copytree(origin / "live", origin / "killed")  # as a kill leaves it: most of it is in the log
        store.close()
        for kind in ("live", "killed"):
            shutil.copytree(origin / kind, origin / f"{kind}-reference")
        expected = {kind: read_all(origin / f"{kind}-reference")[0] for kind in ("live", "killed")}
        kinds: list[tuple[str, str, Damage]] = [("live", "sessions.db", change_byte)] * 6
        kinds += [("killed", "sessions.db-wal", change_byte)] * 2
        kinds += [("live", "sessions.db", cut_off), ("live", "sessions.db", change_type)]
        for number in told(range(count), count, "trials"):
            rng = random.Random(f"{seed}/{number}")
            kind, file, damage = kinds[number % len(kinds)]
            trial = origin / "trial"
            shutil.copytree(origin / kind, trial)
            what = damage(trial / file, rng)
            end = judge(trial, expected[kind])
            shutil.rmtree(trial)
            ends[end.split(" ")[0].rstrip(":") if end.startswith(FAILURES) else end] += 1
            if end.startswith(FAILURES):
                failed.append(f"trial {number}: {what}: {end}")
    return ends, failed


def main(argv: Sequence[str]) -> int:
    """Run the trials; prints what failed, and at the end one line of JSON."""
    parser = argparse.ArgumentParser(prog="bin/soak store_bytes", description=__doc__)
    parser.add_argument("--count", type=int, default=600, help="trials (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the places and values (default: %(default)s)")
    arguments = parser.parse_args(argv)
    ends, failed = trials(arguments.count, arguments.seed)
    for line in failed:
        print(line)
    print(json.dumps({"soak": "store_bytes", "seed": arguments.seed, "count": arguments.count, "ends": ends}))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
