"""Attacks that are over in a moment: how long a neighbour waits, and what they leave behind for others to pay.

Is: a banner that acts on a terminal, last outcomes and values that are kept, a number beyond all, a path that never
holds still. Is not: attacks that go on (`attacks.py`) or replies that are dear (`costly.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.measure import Amounts, Bar, Figures, Row
from bench.processes import settle, status_mb
from bench.sides.ours import Call, OurServer, our_server

BAR_MS = 100.0
BANNER, OUTCOMES, VALUES, NUMBER, RACE = (
    "shows a person's console a banner with escape sequences",
    "leaves the server outcomes of 45 MB to keep",
    "has 900 MB of values kept on the disk",
    "answers reads with a number that no float can hold",
    "opens a path that changes all the time",
)
ATTACKS = (BANNER, OUTCOMES, VALUES, NUMBER, RACE)
QUANTITIES = {
    BANNER: ("so many of the banner's escape sequences reach the terminal", 0.0),
    OUTCOMES: ("the server grows by this much while ten sessions leave it outcomes of 45 MB each", 100.0),
    VALUES: ("a session's 900 MB of values take this much of the disk a while later", 560.0),
}
"""What is measured besides a neighbour's slowest read, and its limit."""
ACTS = b"\x1b]0;evil"
ACTING = "type(get_ipython().kernel).banner = '\\x1b]0;evil\\x07'\n1"
SAID = "import sys\nt = '\U0001f600' * {}\nprint(t)\nprint(t, file=sys.stderr)\nt"
BEYOND = """
import rlm_kernel_mcp.in_kernel.ipython.control as control
import rlm_kernel_mcp.in_kernel.display_text.values as values
control.view = lambda *given, **more: values.View('float', None, True, 5, b'1e999')
x = 1.5
"""
WHY = (
    "a read is written down before it is answered, and the store has one writer at a time: it waits for the other "
    "session's 45 MB, which SQLite writes in 60 to 110 ms (by the stacks of all threads in each wait above 50 ms)"
)
LOOK_S, PRUNED_S, CONSOLE_S = 0.5, 75.0, 30.0
MB = 1 << 20


class Neighbour:
    """A session that reads again and again, and its waits in ms."""

    def __init__(self, server: OurServer, calm: int) -> None:
        """`calm`: how many reads it does before anything attacks."""
        self.server = server
        session = server.open_session()
        server.step(session, "mine = 'kept'")
        self.read: Call = ("rlm_get_var", {"session_id": session, "var_name": "mine"})
        self.waits: list[float] = []
        for _ in range(calm):
            self.once()
        self.calm, self.waits = max(self.waits), []

    def during(self, call: Call) -> None:
        """Keep reading until another call is answered."""
        self.waits += self.server.waits_during(call, self.read)

    def once(self) -> None:
        begin = time.perf_counter()
        self.server.call(self.read[0], **self.read[1])
        self.waits.append((time.perf_counter() - begin) * 1_000)

    def row(self, what: str) -> Row:
        """Its longest wait since the last time this was asked."""
        worst, self.waits = max(self.waits), []
        what = f"a session's read takes at most this long while another one {what}"
        none = "it takes at most this long before"
        return Row(what, Figures((worst,)), none, Figures((self.calm,)), bar=Bar(BAR_MS, of="ours"), why_missed=WHY)


async def aftermath(amounts: Amounts) -> list[Row]:
    """Each with the neighbour's slowest read, and with a quantity of its own if it has one."""
    with our_server({"RLM_IMPORT_POLICY": "any"}) as server:
        neighbour = Neighbour(server, amounts.times(200))
        acting = _banner(server, neighbour)
        rows = [neighbour.row(BANNER), _quantity(BANNER, acting, "")]
        grown = await _outcomes(server, neighbour, *((2, 1_000) if amounts.smoke else (10, 3_900_000)))
        rows += [neighbour.row(OUTCOMES), _quantity(OUTCOMES, grown, "MB")]
        taken = await _values(server, neighbour, amounts.megabytes(100))
        rows += [neighbour.row(VALUES), _quantity(VALUES, taken, "MB")]
        session = server.open_session()
        server.step(session, BEYOND)
        for _ in range(amounts.times(50)):
            neighbour.during(("rlm_get_var", {"session_id": session, "var_name": "x"}))
        rows.append(neighbour.row(NUMBER))
        with changing_path(server.directory / "race"):
            for number in range(amounts.times(150)):
                paths = [["race/text", "race", "race/*"][number % 3]]
                neighbour.during(("rlm_init_context", {"context_paths": paths}))
        rows.append(neighbour.row(RACE))
    return rows


def _quantity(attack: str, value: float, unit: str) -> Row:
    name, limit = QUANTITIES[attack]
    return Row(name, Figures((value,)), unit=unit, bar=Bar(limit, of="ours"))


def _banner(server: OurServer, neighbour: Neighbour) -> int:
    """A person attaches a console; how many of the kernel's escape sequences reach the terminal."""
    session = server.open_session()
    server.step(session, ACTING)
    ours, theirs = os.openpty()
    settings = {"RLM_STATE_DIR": str(server.directory / "state"), "TERM": "dumb", "PROMPT_TOOLKIT_NO_CPR": "1"}
    argv = [sys.executable, "-I", "-m", "rlm_kernel_mcp", "attach", session]
    console = subprocess.Popen(argv, stdin=theirs, stdout=theirs, stderr=theirs, env={**os.environ, **settings})
    os.close(theirs)
    shown, ends = b"", time.monotonic() + CONSOLE_S
    try:
        while b"In [" not in shown and time.monotonic() < ends:
            neighbour.once()
            with contextlib.suppress(OSError):
                shown += os.read(ours, 1 << 16) if select.select([ours], [], [], 0)[0] else b""
    finally:
        console.kill()
        console.wait()
        os.close(ours)
    if b"In [" not in shown:
        raise TimeoutError(f"no prompt within {CONSOLE_S:.0f} s: {shown[-500:]!r}")
    server.finalize(session)
    return shown.count(ACTS)


async def _outcomes(server: OurServer, neighbour: Neighbour, sessions: int, chars: int) -> float:
    """MB by which the server grows over the last outcomes, the first ones not counted."""
    opened = [server.open_session() for _ in range(sessions)]
    before = 0.0
    for number, session in enumerate(opened):
        call = {"session_id": session, "code": SAID.format(chars), "max_output_chars": 100}
        neighbour.during(("rlm_run_repl", call))
        if not number:
            await settle(server.pid)
            before = status_mb(server.pid, "VmRSS")
    await settle(server.pid)
    grown = status_mb(server.pid, "VmRSS") - before
    for session in opened:
        server.finalize(session)
    return max(0.0, grown)


async def _values(server: OurServer, neighbour: Neighbour, megabytes: int) -> float:
    """MB of disk that nine values of that size take, once pruning has had its time or frees no more."""
    session = server.open_session()
    for number in range(9):
        code = f"import os\nb{number} = os.urandom({megabytes} << 20)"
        neighbour.during(("rlm_run_repl", {"session_id": session, "code": code}))
        await settle(server.pid)  # the next step would end what is being kept
    (_, bound), ends = QUANTITIES[VALUES], time.monotonic() + PRUNED_S
    await asyncio.sleep(LOOK_S)
    while (taken := _disk_mb(server.directory / "state")) > bound and time.monotonic() < ends:
        neighbour.once()
        await asyncio.sleep(LOOK_S)
    server.finalize(session)
    return taken


def _disk_mb(directory: Path) -> float:
    total = 0
    for path in directory.rglob("*"):
        with contextlib.suppress(OSError):
            total += path.stat().st_blocks * 512
    return total / MB


@contextlib.contextmanager
def changing_path(path: Path) -> Iterator[None]:
    """Swap a link to a directory, a file and a directory in turn, as fast as possible."""
    (path.parent / "other").mkdir()
    (path.parent / "other" / "text").write_text("x", encoding="utf-8")
    over = threading.Event()

    def change() -> None:
        ways: Sequence[object] = (lambda: path.symlink_to("other"), path.touch, path.mkdir)
        for way in itertools.cycle(ways):
            if over.is_set():
                return
            with contextlib.suppress(OSError):
                path.unlink() if path.is_symlink() or not path.is_dir() else path.rmdir()
            with contextlib.suppress(OSError):
                way()  # type: ignore[operator]

    changing = threading.Thread(target=change)
    changing.start()
    try:
        yield
    finally:
        over.set()
        changing.join()
