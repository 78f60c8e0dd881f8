"""A thousand quotes of an answer, looked for in 1 GB, against GNU grep with 20 patterns in the C locale.

And a thousand marks, each of which says where its passage stands: there the check alone is measured, in this process.
"""

from __future__ import annotations

import hashlib
import os
import random
import resource
import shlex
import subprocess
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

import psutil

from bench.bars.exploring import LEVELS, MESSAGES
from bench.bars.mapped import SMALL_MB
from bench.measure import Amounts, Bar, Figures, Row, Sample, interleave
from bench.processes import settle, status_mb
from bench.sides.ours import Call, OurServer, our_server
from rlm_kernel_mcp.context_wire import Claim
from rlm_kernel_mcp.session.contexts.source import ContextSource
from rlm_kernel_mcp.session.kernels.claimed import EvidenceBook
from tests.unit.session.evidence.sources import checked, contexts_of

QUOTES: Final = 1_000
PATTERNS: Final = 20
MARKS: Final = 1_000
MARKED_MB: Final = 9
LINES_A_MB: Final = 10_000
HASH_LIMIT_S: Final = 600.0
WHY: Final = (
    "most of it is Aho-Corasick's time in two passes, of which the second looks for quotes that are not there word for "
    "word, and for pieces of those of which the first has seen nothing (decisions 0120 and 0124)"
)
INVENTED: Final = "The {} service lost {} orders after the failover of node {}"


async def quotes(amounts: Amounts) -> list[Row]:
    """Processor time of the server's own process, where the check is made."""
    size = max(SMALL_MB, amounts.megabytes(1024))
    with our_server(env={"RLM_MEMORY_LIMIT_MB": "64"} if amounts.smoke else None) as server:
        path = server.directory / "log.txt"
        write_marked(path, size)
        exact = _quotes_of(path, amounts.times(QUOTES))
        neighbour = server.open_session()
        server.step(neighbour, "mine = 'kept'")
        read: Call = ("rlm_get_var", {"session_id": neighbour, "var_name": "mine"})
        sides = [_Check(server, path, texts) for texts in (exact, _altered(exact))]
        grep = _grep(path, exact[:PATTERNS])
        warm_up = 0 if amounts.smoke else 1
        whole, part, other = await interleave([*(side.sample for side in sides), grep], amounts.times(3), warm_up)
        waits = await sides[1].waits(read)
    name = f"`grep -cF -f` counts the lines with {PATTERNS} patterns"
    what = f"{len(exact):,} quotes, {{}}, are looked for in {size:,} MB (processor time)"
    meanwhile = "another session's `rlm_get_var` takes at most this long meanwhile"
    more_mb = max(more for side in sides for more in side.more_mb)
    return [
        Row(what.format("all exact"), whole, name, other, bar=Bar(3)),
        Row(what.format("30 % of them altered or invented"), part, name, other, bar=Bar(6), why_missed=WHY),
        Row(meanwhile, Figures((max(waits),)), bar=Bar(100, of="ours")),
        Row("the check of the quotes takes this much memory", Figures((more_mb,)), unit="MB", bar=Bar(64, of="ours")),
        _marks(amounts),
    ]


def _marks(amounts: Amounts) -> Row:
    """Marks of lines from all over a file, in an order of their own."""
    with tempfile.TemporaryDirectory(prefix="rlm-bench-") as around:
        path = Path(around, "root", "log.txt")
        path.parent.mkdir()
        write_marked(path, MARKED_MB)
        os.truncate(path, MARKED_MB << 20)
        contexts = contexts_of(path.parent, ContextSource(paths=(str(path),)))
        text, rng, book = path.read_text(encoding="ascii"), random.Random(3), EvidenceBook()
        for number in range(1, MARKS + 1):
            start = text.rfind("\n", 0, rng.randrange(1_000, len(text) - 1_000)) + 1
            passage = text[start : text.find("\n", start)]
            sha256 = hashlib.sha256(passage.encode()).hexdigest()
            end = start + len(passage)
            book.take([Claim(number, contexts.all[0].name, path.name, start, end, sha256, passage)])
        taken = []
        for _ in range(amounts.times(20)):
            began = time.thread_time()
            result = checked(contexts, book=book, marks=tuple(book.claims))
            taken.append((time.thread_time() - began) * 1_000)
            assert len(result.citations) == MARKS
            assert not result.failed
    what = f"{MARKS:,} marks of an answer are checked against {MARKED_MB} MB (processor time)"
    return Row(what, Figures(tuple(taken)), bar=Bar(25, of="ours"))


def write_marked(path: Path, megabytes: int) -> None:
    """Write a log in which each line is another one, and but for its last number comes again every 16 MB."""
    rng = random.Random(7)
    lines = [_line(rng) for _ in range(min(megabytes, 16) * LINES_A_MB)]
    written = number = 0
    with path.open("w", encoding="ascii") as file:
        while written < megabytes << 20:
            block = "".join(f"{line} seq={number + place}\n" for place, line in enumerate(lines))
            written += file.write(block)
            number += len(lines)


def _line(rng: random.Random) -> str:
    time = f"2026-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}T{rng.randint(0, 23):02}:{rng.randint(0, 59):02}"
    message = rng.choice(MESSAGES).format(rng.randint(1, 10**7), rng.randint(1, 9_999))
    return f"{time}:{rng.uniform(0, 60):06.3f}Z {rng.choice(LEVELS):5} [worker-{rng.randint(1, 31)}] {message}"


class _Check:
    """One set of quotes, which is checked again and again, each time in a session of its own."""

    def __init__(self, server: OurServer, path: Path, texts: list[str]) -> None:
        self._server, self._path, self._texts = server, path, texts
        self.more_mb: list[float] = []

    async def sample(self) -> float:
        """Milliseconds of the server's processor time."""
        server = self._server
        finalize = await self._ready()
        process = psutil.Process(server.pid)
        _forget_peak(server.pid)
        held_mb, before = status_mb(server.pid, "VmHWM"), process.cpu_times()
        try:
            server.call(finalize[0], **finalize[1])
        except RuntimeError as error:
            if "CITATION_MISMATCH" not in str(error):
                raise
        after = process.cpu_times()
        self.more_mb.append(status_mb(server.pid, "VmHWM") - held_mb)
        self._end(finalize)
        return (after.user + after.system - before.user - before.system) * 1_000

    async def waits(self, read: Call) -> list[float]:
        """How long a read takes, in ms, again and again meanwhile: in a run of its own, since it takes time too."""
        finalize = await self._ready()
        waits = self._server.waits_during(finalize, read)
        self._end(finalize)
        return waits

    async def _ready(self) -> Call:
        server = self._server
        session = server.open_session(context_paths=[self._path.name])
        server.step(session, "1", wait_ms=600_000)
        await settle(server.pid, HASH_LIMIT_S)  # its hash is made beside it
        return "rlm_finalize", {"session_id": session, "final_text": "done", "quotes": self._texts}

    def _end(self, finalize: Call) -> None:
        """An answer that is refused leaves the session open."""
        session = finalize[1]["session_id"]
        if session in [one["session_id"] for one in self._server.call("rlm_list_sessions")["sessions"]]:
            self._server.finalize(session)


def _forget_peak(pid: int) -> None:
    Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")


def _quotes_of(path: Path, count: int) -> list[str]:
    """So many lines, from all over the file; of some the next one too."""
    rng, found, size = random.Random(12), [], path.stat().st_size
    with path.open("rb") as file:
        for _ in range(count):
            file.seek(rng.randrange(size - 2_000))
            file.readline()
            lines = [file.readline() for _ in range(2 if rng.random() < 0.3 else 1)]
            found.append(b"".join(lines).decode("ascii").rstrip("\n"))
    return found


def _altered(exact: list[str]) -> list[str]:
    """A third each of three in ten: other white space, one to three typing errors, invented."""
    rng = random.Random(13)
    others: list[Callable[[str], str]] = [_spaced, partial(_mistyped, rng), partial(_invented, rng)]
    return [others[number % 10](text) if number % 10 < len(others) else text for number, text in enumerate(exact)]


def _spaced(text: str) -> str:
    first, second, rest = text.split(" ", 2)
    return f"{first}\n  {second}  {rest}"


def _mistyped(rng: random.Random, text: str) -> str:
    for _ in range(rng.randint(1, 3)):
        place = rng.randrange(len(text))
        text = text[:place] + rng.choice(["", "x", text[place] + "q"]) + text[place + 1 :]
    return text


def _invented(rng: random.Random, text: str) -> str:
    del text
    return INVENTED.format(rng.choice(["alpha", "beta", "gamma"]), rng.randrange(10**6), rng.randrange(99))


def _grep(path: Path, patterns: list[str]) -> Sample:
    looked_for = path.with_name("patterns.txt")
    looked_for.write_text("\n".join(text.split("\n")[0] for text in patterns) + "\n", encoding="ascii")
    # Into a pipe: GNU grep ends at the first match where its output is the null device.
    command = f"{shlex.join(['grep', '-cF', '-f', str(looked_for), str(path)])} | cat > /dev/null"

    async def run() -> float:
        return _of_program(command)

    return run


def _of_program(command: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, shell=True, env={**os.environ, "LC_ALL": "C"}, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1_000
