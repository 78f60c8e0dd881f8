"""The longest final answer: what taking it costs the server, in processor time and in memory.

Is: `rlm_finalize` of a `str` of 64,000,000 characters, beside a bare program that reads the same text from a pipe,
checks it, packs it and writes it into SQLite. Is not: the kernel's own work, which is to write the text.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import psutil

from bench.measure import Amounts, Bar, Figures, Row, interleave
from bench.processes import MB
from bench.sides.ours import OurServer, our_server
from rlm_kernel_mcp.session.finalize import LONG_CHARS_MAX
from tests.processes import largest_bytes

KINDS = {
    "ASCII": 'f"line {n} of a text that was put together".ljust(60, ".")',
    "four bytes each": '"".join(chr(0x20000 + (n * 7_919 + at * 31) % 40_000) for at in range(60))',
}
"""A piece of the text, by what it is of."""
MAKE = (
    'answer = "".join(__PIECE__ for n in range(20_000)); answer = (answer * (__CHARS__ // len(answer) + 1))[:__CHARS__]'
)
BARE = """
import os, resource, sqlite3, sys, zlib
reader, writer = os.pipe()
if not os.fork():
    os.close(reader)
    __MAKE__
    for at in range(0, len(answer), 65_536):
        data = answer[at : at + 65_536].encode()
        while data:
            data = data[os.write(writer, data) :]
    os._exit(0)
os.close(writer)
store, held = sqlite3.connect(sys.argv[1]), bytearray()
store.execute("PRAGMA journal_mode = WAL")
store.execute("CREATE TABLE pages (number INTEGER PRIMARY KEY, data BLOB)")
def keep(data):
    data.decode()
    store.execute("INSERT INTO pages (data) VALUES (?)", (zlib.compress(data, 1),))
while block := os.read(reader, 262_144):
    held += block
    if len(held) > 262_144:
        end = 262_144
        while held[end] & 0xC0 == 0x80:
            end -= 1
        keep(bytes(held[:end]))
        del held[:end]
keep(bytes(held))
store.commit()
used = resource.getrusage(resource.RUSAGE_SELF)
print(used.ru_utime + used.ru_stime)
"""


async def long_answers(amounts: Amounts) -> list[Row]:
    """Of each width, taken in turn with the bare program."""
    chars = 4_200_000 if amounts.smoke else LONG_CHARS_MAX
    rows = []
    for kind, piece in KINDS.items():
        make, grown = MAKE.replace("__PIECE__", piece).replace("__CHARS__", str(chars)), list[float]()
        with our_server() as server:

            async def ours(server: OurServer = server, make: str = make, grown: list[float] = grown) -> float:
                return _taken(server, make, grown)

            async def bare(make: str = make) -> float:
                return _bare(make)

            mine, other = await interleave([ours, bare], amounts.times(3))
        what = f"`rlm_finalize` takes {chars:,} characters ({kind}): processor time of the server"
        against = "a bare program reads them from a pipe, checks, packs and stores them"
        rows.append(Row(what, mine, against, other, unit="s", bar=Bar(2.5)))
        rows.append(
            Row("the server grows by at most this meanwhile", Figures(tuple(grown)), unit="MB", bar=Bar(96, of="ours"))
        )
    return rows


def _taken(server: OurServer, make: str, grown: list[float]) -> float:
    """Seconds of the server's own processor time; its growth is added to `grown`."""
    session_id = server.open_session()
    assert server.step(session_id, make)["status"] == "ok"
    process = psutil.Process(server.pid)
    Path(f"/proc/{server.pid}/clear_refs").write_text("5", encoding="ascii")  # the peak begins anew
    size, before = largest_bytes(server.pid), process.cpu_times()
    final = server.call("rlm_finalize", session_id=session_id, final_var_name="answer", max_output_chars=1_000)
    used = process.cpu_times()
    grown.append((largest_bytes(server.pid) - size) / MB)
    assert final["final_answer_chars"] > 4_000_000
    return used.user - before.user + used.system - before.system


def _bare(make: str) -> float:
    program = BARE.replace("__MAKE__", make)
    with tempfile.TemporaryDirectory() as directory:
        done = subprocess.run(
            [sys.executable, "-c", program, f"{directory}/store.db"], capture_output=True, text=True, check=True
        )
    return float(done.stdout)
