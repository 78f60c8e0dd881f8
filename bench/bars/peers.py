"""All lines with a word, in a session and as two other servers for large contexts find them.

RLM_BENCH_PEERS names a directory with both (`pip install --no-deps --target DIRECTORY aleph-rlm==0.9.4
better-rlm==0.4.1 pyyaml python-dotenv`). Without it their loops stand in for them, written down here, and the rows
have no bar.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from bench.bars.exploring import write_log
from bench.bars.mapped import SMALL_MB
from bench.measure import Amounts, Bar, Row, Sample, interleave
from bench.sides.in_process import our_sessions, result_of

PEERS: Final = os.environ.get("RLM_BENCH_PEERS", "")
TIMED: Final = """
began = time.process_time()
found = all_lines()
print((time.process_time() - began) * 1_000, len(found))
"""
ALEPH: Final = """
import importlib.util, re, sys, time
spec = importlib.util.spec_from_file_location("helpers", sys.argv[2] + "/aleph/repl/helpers.py")
sys.modules["helpers"] = helpers = importlib.util.module_from_spec(spec)
spec.loader.exec_module(helpers)
text = open(sys.argv[1], encoding="utf-8", newline="").read()
all_lines = lambda: helpers.search(text, "ERROR", max_results=10**9)
"""
BETTER: Final = """
import sys, time
sys.path.insert(0, sys.argv[2])
from better_rlm.context_store import ContextStore
class Meta: content_path = sys.argv[1]
store = ContextStore.__new__(ContextStore)
store.get = lambda name: Meta
all_lines = lambda: store.grep("x", "ERROR", max_matches=10**9)[0]
"""
LIKE_ALEPH: Final = """
import re, sys, time
text = open(sys.argv[1], encoding="utf-8", newline="").read()
def all_lines():
    lines, looked_for, found = text.splitlines(), re.compile("ERROR"), []
    for number, line in enumerate(lines):
        if looked_for.search(line):
            around = chr(10).join(lines[max(0, number - 2):number + 3])
            found.append({"match": line, "line_num": number, "context": around})
    return found
"""
LIKE_BETTER: Final = """
import re, sys, time
def all_lines():
    looked_for, found = re.compile("ERROR"), []
    with open(sys.argv[1], encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, 1):
            if looked_for.search(line):
                found.append((number, line.rstrip(chr(10))[:500]))
    return found
"""
NAMED: Final = {"aleph-rlm's `search`": (ALEPH, LIKE_ALEPH), "better-rlm's `grep`": (BETTER, LIKE_BETTER)}


async def peers(amounts: Amounts) -> list[Row]:
    """256 MB of a log: processor time of the search alone, without the reading of the file."""
    size = max(SMALL_MB, amounts.megabytes(256))
    with our_sessions({"RLM_MEMORY_LIMIT_MB": "64"} if amounts.smoke else None) as (sessions, directory):
        path = directory / "log.txt"
        write_log(path, size)
        session = sessions.open(context_paths=path)
        result_of(session, "import time")
        counted: set[int] = set()

        def ours(code: str) -> Sample:
            async def step() -> float:
                timed = f"began = time.process_time(); {code}; print((time.process_time() - began) * 1_000, len(found))"
                took, count = result_of(session, timed).split()
                result_of(session, "del found")
                counted.add(int(count))
                return float(took)

            return step

        def theirs(code: str) -> Sample:
            async def run() -> float:
                took, count = _of_peer(code, path)
                counted.add(count)
                return took

            return run

        codes = [real if PEERS else like for real, like in NAMED.values()]
        sides = [
            ours("found = search('ERROR', limit=None)"),
            ours("found = [(line.line, line.text) for line in search('ERROR', limit=None).lines]"),
            *map(theirs, codes),
        ]
        places, lines, *others = await interleave(sides, amounts.times(3), warm_up=1)
    assert len(counted) == 1, f"they differ in how many lines they find: {counted}"
    rows = []
    for name, other in zip(NAMED, others, strict=True):
        named = f"{name if PEERS else f'a loop like {name}'} finds the lines with it"
        what = f"`search` finds every place of a word in {size:,} MB (processor time)"
        rows.append(Row(what, places, named, other, bar=Bar(0.25) if PEERS else None))
        what = f"it does, and the number and the text of each line are read, in {size:,} MB (processor time)"
        rows.append(Row(what, lines, named, other))
    return rows


def _of_peer(code: str, path: Path) -> tuple[float, int]:
    argv = [sys.executable, "-c", code + TIMED, str(path), PEERS]
    took, count = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split()
    return float(took), int(count)
